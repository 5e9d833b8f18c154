# Copyright 2026 The FaceGPT developers.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What other trainers than FaceGPT's own need to know: which of them train no face, and how a checkpoint resumes."""

from os import PathLike
from typing import Any

from transformers import PreTrainedModel
from transformers.utils import logging

from .eight_bit_weights import pack_state

logger = logging.get_logger(__name__)

NO_FACES_LEARNED = (
    "This trainer has put a loss of its own in the place of FaceGPT's forward, as TRL's SFTTrainer does: words are "
    "learned, but no face, as the face head never runs. Use facegpt_trainer.training.FaceGPTTrainer, which is an "
    "SFTTrainer with FaceGPT's losses, or transformers' Trainer."
)


class TrainedByOthers:
    """A model that says so when a trainer passes it by, and whose checkpoints every `Trainer` resumes."""

    vlm: Any
    config: Any
    state_dict: Any

    @property
    def base_model(self) -> PreTrainedModel:
        """What a trainer with a loss of its own calls in place of this model."""
        if "forward" in vars(self):
            logger.warning_once(NO_FACES_LEARNED)
        return self.vlm.base_model

    def save_pretrained(self, save_directory: str | PathLike, **kwargs: Any) -> Any:
        """As of any model of transformers, with weights under the names of this model's modules: those of older
        releases, under which many are written by default, are skipped by a `Trainer` that resumes. What the
        configuration names as `eight_bit_weights` is written in 8 bits."""
        settings = {"save_original_format": False, **kwargs}
        if self.config.eight_bit_weights:
            state = settings.get("state_dict") or self.state_dict()
            settings["state_dict"] = pack_state(state, self.config.eight_bit_weights)
        return super().save_pretrained(save_directory, **settings)  # type: ignore[misc]
