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
"""Warm-up of a vision tower on renders of single faces, before the language model is trained on top of it.

Joint training from nothing stays long on a plateau where neither has anything to offer to the other. Here a small
probe, thrown away afterwards, reads the code of the face straight off the tower's features.
"""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from modeling_facegpt.configuration_facegpt import MorphableModelConfig
from modeling_facegpt.face_head import encode
from modeling_facegpt.face_parameters import ParameterSizes, parameter_sizes, vector_to_parameters

from .collator import FaceCollator

PROBE_CHANNELS = 64
# How much more a group counts than its share of the numbers: where a face is comes before who it is.
GROUP_EMPHASIS = {"translation": 10.0, "rotation": 5.0}


class VisionProbe(nn.Module):
    """A convolutional tower and a probe that reads one face's code off all places of its last map at once."""

    def __init__(self, tower: nn.Module, config: MorphableModelConfig, places: int, channels: int):
        super().__init__()
        self.tower = tower
        self.channels = channels
        sizes = parameter_sizes(config)
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Linear(channels, PROBE_CHANNELS)
        self.read = nn.Linear(PROBE_CHANNELS * places, sum(sizes))
        self.register_buffer("emphasis", _emphasis(sizes), persistent=False)

    def forward(self, pixel_values: Tensor, codes: Tensor) -> dict[str, Tensor]:
        """Weighted squared error of the codes `(B, P)`; rows of NaN are pictures that do not show exactly one face."""
        features = self.tower(pixel_values, output_hidden_states=True).hidden_states[-1]
        places = features.reshape(len(features), -1, self.channels)
        found = self.read(nn.functional.gelu(self.mix(self.norm(places))).flatten(1))
        known = codes.isfinite().all(-1)
        error = (found[known] - codes[known]).square() * self.emphasis
        return {"loss": error.sum() / max(error.numel(), 1)}


class ProbeCollator:
    """Pictures with the code of their face, for rows of `{"picture": number}`."""

    def __init__(self, collator: FaceCollator):
        self.collator = collator

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        batch = self.collator.engine.batch(int(examples[0]["picture"]), len(examples))
        config = self.collator.engine.face_model.config
        owners = torch.repeat_interleave(torch.arange(len(batch.counts)), batch.counts)
        codes = encode(vector_to_parameters(batch.face_targets, config), batch.picture_cameras, config)
        single = (batch.counts == 1)[owners]
        rows = torch.full((len(batch.counts), codes.shape[1]), float("nan"))
        return {
            "pixel_values": self.collator.lay_out(batch)["pixel_values"],
            "codes": rows.index_copy(0, owners[single], codes[single]),
        }


def warm_up_vision(vlm: Any, collator: FaceCollator, arguments: TrainingArguments, pictures: int) -> None:
    """Train `vlm`'s vision tower in place; a run that was stopped goes on from its last checkpoint.

    Args:
        vlm (`LlavaForConditionalGeneration`): its `model.vision_tower`, a ResNet, is trained.
        collator (`FaceCollator`): draws the pictures.
        arguments (`TrainingArguments`): batch size, learning rate and the rest.
        pictures (`int`): to draw.
    """
    tower = vlm.model.vision_tower
    config = collator.engine.face_model.config
    channels = vlm.config.vision_config.hidden_sizes[-1]
    features = vlm.config.image_seq_length * vlm.config.vision_config.hidden_size
    probe = VisionProbe(tower, config, features // channels, channels)
    trainer = Trainer(
        model=probe,
        args=arguments,
        train_dataset=Dataset.from_dict({"picture": range(pictures)}),
        data_collator=ProbeCollator(collator),
    )
    output = Path(str(arguments.output_dir))
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(output)) if output.is_dir() else None)


def _emphasis(sizes: ParameterSizes) -> Tensor:
    groups = zip(sizes._fields, sizes, strict=True)
    return torch.cat([torch.full((size,), GROUP_EMPHASIS.get(name, 1.0)) for name, size in groups])
