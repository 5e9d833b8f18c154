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
"""How a model is loaded, saved and trained by others: its processor is found again where its weights were loaded from,
and other trainers than FaceGPT's own learn from it what they need to know."""

from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedModel
from transformers.utils import logging

from .eight_bit_weights import pack_state
from .processing_facegpt import FaceGPTProcessor

logger = logging.get_logger(__name__)

NO_FACES_LEARNED = (
    "This trainer has put a loss of its own in the place of FaceGPT's forward, as TRL's SFTTrainer does: words are "
    "learned, but no face, as the face head never runs. Use facegpt_trainer.training.FaceGPTTrainer, which is an "
    "SFTTrainer with FaceGPT's losses, or transformers' Trainer."
)

# What says from where, and of which version, a checkpoint's files are taken, and whether its code may run.
REMEMBERED = ("cache_dir", "local_files_only", "revision", "subfolder", "trust_remote_code")


class ProcessorSource(NamedTuple):
    """Where a model was loaded from."""

    name: str  # a directory by its whole path, or a name on the Hub
    settings: dict[str, Any]  # of `from_pretrained`


class LoadsProcessor:
    """A model that finds its own processor again: of the same revision, and from another working directory too."""

    processor_source: ProcessorSource | None = None

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | PathLike | None, *model_args: Any, **kwargs: Any
    ) -> Any:
        """As of any model of transformers."""
        given = {name: kwargs[name] for name in REMEMBERED if kwargs.get(name) is not None}
        loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)  # type: ignore[misc]
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if pretrained_model_name_or_path is not None:
            # A directory's path is looked up now: the working directory may be another one later.
            directory = Path(pretrained_model_name_or_path)
            name = directory.resolve() if directory.is_dir() else pretrained_model_name_or_path
            model.processor_source = ProcessorSource(str(name), given)
        return loaded

    def load_processor(self) -> FaceGPTProcessor:
        """The processor that was saved beside this model.

        Raises:
            ValueError: if this model was not loaded from anywhere.
        """
        if self.processor_source is None:
            raise ValueError(
                "got no processor, and this model was not loaded by from_pretrained, so that none lies beside it; "
                "give the processor"
            )
        return FaceGPTProcessor.from_pretrained(self.processor_source.name, **self.processor_source.settings)


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
