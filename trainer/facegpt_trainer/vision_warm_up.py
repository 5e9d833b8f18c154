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
probe, thrown away afterwards, reads the face straight off the tower's features, with the losses of the model itself
and one more: landmarks in the picture, which teach features two or three times as fast as parameters alone do.
"""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from modeling_facegpt.camera import Camera
from modeling_facegpt.face_head import decode
from modeling_facegpt.face_parameters import parameter_sizes, vector_to_parameters
from modeling_facegpt.face_supervision import FaceTargets, face_loss_terms
from modeling_facegpt.image_supervision import ImageComparison
from modeling_facegpt.losses import point_loss
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.output_facegpt import weighted_sum
from modeling_facegpt.reconstruction import landmarks_in_photo

from .careful_trainer import CarefulTrainer
from .checkpoint import last_whole_checkpoint
from .collator import FaceCollator, join_batches, split_draws
from .pictures.data_engine import PictureBatch
from .pictures.face_sampler import chance

PROBE_CHANNELS = 64
WARM_UP_CLOSE_UPS = 0.75
LANDMARK_COUNT = 68
LANDMARK_SCALE = 0.1  # picture sides per unit of the probe's output
LANDMARK_WEIGHT = 20.0


class VisionProbe(nn.Module):
    """A convolutional tower and a probe that reads one face off all places of its last map at once.

    Args:
        tower (`nn.Module`): gives hidden states that reshape to `(B, places, channels)`.
        face_model (`MorphableModel`): the 3DMM.
        loss_weights (`dict`): of the model's loss terms.
        places, channels (`int`): of the tower's last map.
    """

    def __init__(
        self,
        tower: nn.Module,
        face_model: MorphableModel,
        loss_weights: dict[str, float],
        places: int,
        channels: int,
    ):
        super().__init__()
        self.tower = tower
        self.face_model = face_model.requires_grad_(False)
        self.loss_weights = loss_weights
        self.channels = channels
        self.code_size = sum(parameter_sizes(face_model.config))
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Linear(channels, PROBE_CHANNELS)
        self.read = nn.Linear(PROBE_CHANNELS * places, 2 * self.code_size + 2 * LANDMARK_COUNT)
        # The first guess is the mean face in the middle of the picture.
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def forward(self, pixel_values: Tensor, picture_cameras: Tensor, face_targets: Tensor) -> dict[str, Tensor]:
        """The loss of B pictures of one face each: cameras `(B, 3)`, true parameters `(B, P)`."""
        config = self.face_model.config
        features = self.tower(pixel_values, output_hidden_states=True).hidden_states[-1]
        places = features.reshape(len(features), -1, self.channels)
        found = self.read(nn.functional.gelu(self.mix(self.norm(places))).flatten(1))
        code, log_variance, offsets = found.split([self.code_size, self.code_size, 2 * LANDMARK_COUNT], dim=-1)
        parameters = decode(code, picture_cameras, config)
        targets = FaceTargets(picture_cameras, face_targets, None, None)
        comparison = ImageComparison(pixel_values.shape[-1], self.loss_weights)
        terms = face_loss_terms(self.face_model, code, log_variance, parameters, targets, comparison)
        with torch.no_grad():
            camera = Camera(picture_cameras[:, 0], picture_cameras[:, 1:])
            guess = landmarks_in_photo(
                self.face_model, decode(torch.zeros_like(code), picture_cameras, config), camera
            )
            true = landmarks_in_photo(self.face_model, vector_to_parameters(face_targets, config), camera)
        read_off = guess + LANDMARK_SCALE * offsets.unflatten(-1, (LANDMARK_COUNT, 2))
        means = {name: term.mean for name, term in terms.items()}
        loss = weighted_sum(means, self.loss_weights) + LANDMARK_WEIGHT * point_loss(read_off, true).mean()
        return {"loss": loss}


class ProbeTrainer(CarefulTrainer, Trainer):
    """`Trainer`, and nothing more: the probe computes its loss itself."""


class ProbeCollator:
    """Pictures of one face each and what is true of it, for rows of `{"picture": number}`."""

    def __init__(self, collator: FaceCollator):
        self.collator = collator

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        torch.set_num_threads(1)  # pictures are drawn beside the model, not instead of it
        batch = join_batches([self._draw(*draw) for draw in split_draws(examples, self.collator.draw_size)])
        return {
            "pixel_values": self.collator.lay_out(batch)["pixel_values"],
            "picture_cameras": batch.picture_cameras,
            "face_targets": batch.face_targets,
        }

    def _draw(self, number: int, pictures: int) -> PictureBatch:
        engine = self.collator.engine
        generator = engine.generator(number)
        close_up = chance(generator, WARM_UP_CLOSE_UPS, pictures)
        return engine.compose(generator, close_up, torch.ones(pictures, dtype=torch.long))


def warm_up_vision(
    vlm: Any, collator: FaceCollator, loss_weights: dict[str, float], arguments: TrainingArguments, pictures: int
) -> None:
    """Train `vlm`'s vision tower in place; a run that was stopped goes on from its last checkpoint.

    Args:
        vlm (`LlavaForConditionalGeneration`): its `model.vision_tower`, a ResNet, is trained.
        collator (`FaceCollator`): draws the pictures.
        loss_weights (`dict`): of the model's loss terms.
        arguments (`TrainingArguments`): batch size, learning rate and the rest.
        pictures (`int`): to draw.
    """
    channels = vlm.config.vision_config.hidden_sizes[-1]
    features = vlm.config.image_seq_length * vlm.config.vision_config.hidden_size
    face_model = collator.engine.face_model
    trainer = ProbeTrainer(
        model=VisionProbe(vlm.model.vision_tower, face_model, loss_weights, features // channels, channels),
        args=arguments,
        train_dataset=Dataset.from_dict({"picture": range(pictures)}),
        data_collator=ProbeCollator(collator),
    )
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(Path(str(arguments.output_dir))))
