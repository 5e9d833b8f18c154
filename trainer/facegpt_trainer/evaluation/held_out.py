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
"""What all evaluations share: seeds that training never uses, and one device on which faces are compared."""

import copy
from collections.abc import Sequence

import torch

from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.reconstruction import Reconstruction, to_device

HELD_OUT_SEED = 987_654_321
_BETWEEN_SEEDS = 1_000_000  # more than the batches of any evaluation: two seeds share no picture


def held_out_seed(seed: int) -> int:
    """The seed of held-out pictures and dialogues for the `seed` that a person gives, from 0 on."""
    return HELD_OUT_SEED + _BETWEEN_SEEDS * seed


def face_model_on_cpu(model: FaceGPTForConditionalGeneration) -> MorphableModel:
    """The 3DMM where held-out faces are drawn and measured, wherever the model runs."""
    face_model = model.face_model
    return face_model if face_model.device.type == "cpu" else copy.deepcopy(face_model).cpu()


def on_cpu(found: Sequence[Reconstruction]) -> list[Reconstruction]:
    """What the model found, where it is compared."""
    return [to_device(faces, torch.device("cpu")) for faces in found]
