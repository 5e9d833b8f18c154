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
"""Faces that refer to earlier ones: which face of the dialogue is meant, and what is changed of it.

A face of an answer is fresh, or it is an earlier face of the dialogue and a change. `ReferencePointer` chooses, and
`EditHead` says the change: gates say which groups of parameters the words touch, and the others stay bit for bit as
they are. So an undo is a look one face further back with all gates shut.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .configuration_facegpt import FaceGPTConfig, MorphableModelConfig
from .face_encoder import FacePlaces
from .face_head import bounded_code, decode, encode
from .face_parameters import (
    FaceParameters,
    ParameterSizes,
    parameter_sizes,
    parameters_to_vector,
    vector_to_parameters,
)
from .module_state import FullPrecisionModule

FRESH = -1  # what a face refers to that refers to no other
MOST_FACES_BACK = 16  # faces that are still further back are told apart by their states alone


class ReferencePointer(FullPrecisionModule):
    """Which earlier face of its dialogue a face refers to, or none: attention of one head over the earlier faces.

    Scores are products of a query from the state that predicts a face with keys from the states at the earlier
    `<FACE>` tokens, and of the query with what is learned for each distance (Shaw et al. 2018, "Self-Attention with
    Relative Position Representations"): "the one before" is then as easy to say as "the one with the beard".
    """

    def __init__(self, hidden_size: int, width: int):
        super().__init__()
        self.scale = width**-0.5
        self.norm = nn.LayerNorm(hidden_size)
        self.query = nn.Linear(hidden_size, width)
        self.key = nn.Linear(hidden_size, width)
        self.slots = nn.Embedding(1 + MOST_FACES_BACK, width)  # no earlier face; one face back, two faces back ...

    def forward(self, states: Tensor, face_states: Tensor, faces_back: Tensor) -> Tensor:
        """Scores `(N, 1 + M)`: of no earlier face, then of each of M; minus infinity for those that cannot be meant.

        Args:
            states (`torch.Tensor` of shape `(N, D)`): the states that predict the faces.
            face_states (`torch.Tensor` of shape `(M, D)`): the states at the `<FACE>` tokens of a batch.
            faces_back (`torch.Tensor` of shape `(N, M)`): how far back in its dialogue each of M is, 1 for the latest
                face; below 1 where it is no earlier face of the same dialogue.
        """
        query = self.scale * self.query(self.norm(states))
        slots = query @ self.slots.weight.mT
        scores = query @ self.key(self.norm(face_states)).mT + slots.gather(1, faces_back.clamp(1, MOST_FACES_BACK))
        return torch.cat((slots[:, :1], scores.masked_fill(faces_back < 1, -torch.inf)), dim=1)


def faces_back(places: FacePlaces, numbers: Tensor) -> Tensor:
    """How far back in its dialogue each of M faces is for those of `numbers` `(N,)`: `(N, M)`, 1 for the latest one
    before; 0 where it is of another dialogue, or not before."""
    back = places.orders[numbers, None] - places.orders[None]
    return torch.where(places.rows[numbers, None] == places.rows[None], back, 0).clamp(min=0)


def chosen_references(scores: Tensor, places: FacePlaces) -> Tensor:
    """What `ReferencePointer`'s scores `(N, 1 + M)` choose: `(N,)` numbers within rows, or `FRESH`."""
    numbers = torch.cat((places.orders.new_tensor([FRESH]), places.orders))
    return numbers[scores.argmax(-1)]


class FaceEdits(NamedTuple):
    """What is to be changed of E faces."""

    change: Tensor  # (E, P) of the code, where its group's gate is open
    gates: Tensor  # (E, groups of FaceParameters) log-odds: above 0 a gate is open


class EditHead(FullPrecisionModule):
    """Three-layer perceptron from a hidden state and the code of the face that it refers to, to the edits."""

    def __init__(self, config: FaceGPTConfig, hidden_size: int, width: int):
        super().__init__()
        self.code_size = sum(parameter_sizes(config.face_model_config))
        self.norm = nn.LayerNorm(hidden_size)
        self.state = nn.Linear(hidden_size, width)
        self.code = nn.Linear(self.code_size, width)
        self.hidden = nn.Linear(width, width)
        self.activation = nn.GELU()
        self.output = nn.Linear(width, self.code_size + len(ParameterSizes._fields))

    def forward(self, states: Tensor, codes: Tensor) -> FaceEdits:
        """The edits of E faces.

        Args:
            states (`torch.Tensor` of shape `(E, D)`): the states that predict the faces.
            codes (`torch.Tensor` of shape `(E, P)`): of the faces referred to.
        """
        both = self.state(self.norm(states)) + self.code(bounded_code(codes))
        output = self.output(self.activation(self.hidden(self.activation(both))))
        return FaceEdits(output[:, : self.code_size], output[:, self.code_size :])


def apply_edits(vectors: Tensor, edits: FaceEdits, picture_cameras: Tensor, config: MorphableModelConfig) -> Tensor:
    """Edited faces `(E, P)`. Groups whose gate is shut are copied, not computed.

    Args:
        vectors (`torch.Tensor` of shape `(E, P)`): parameters of the faces referred to.
        edits (`FaceEdits`): of E faces.
        picture_cameras (`torch.Tensor` of shape `(E, 3)`): as in `decode`.
        config (`MorphableModelConfig`): the 3DMM.
    """
    if not len(vectors):
        return vectors
    opened = spread_over_groups(edits.gates > 0, config)
    code = encode(vector_to_parameters(vectors, config), picture_cameras, config)
    changed = decode(code + edits.change * opened, picture_cameras, config)
    return torch.where(opened, parameters_to_vector(changed), vectors)


def changed_groups(vectors: Tensor, references: Tensor, config: MorphableModelConfig) -> Tensor:
    """Which groups of `vectors` `(E, P)` differ at all from those of `references` `(E, P)`: `(E, groups)` bool."""
    groups = vector_to_parameters(vectors != references, config)
    return torch.stack([group.any(-1) for group in groups], dim=-1)


def spread_over_groups(values: Tensor, config: MorphableModelConfig) -> Tensor:
    """One value per group `(..., groups)` to one per parameter `(..., P)`."""
    sizes = torch.tensor(parameter_sizes(config), device=values.device)
    return values.repeat_interleave(sizes, dim=-1)


def sum_over_groups(values: Tensor, config: MorphableModelConfig) -> Tensor:
    """The sum of each group `(..., groups)` of one value per parameter `(..., P)`; 0 for a group of none."""
    groups: FaceParameters = vector_to_parameters(values, config)
    return torch.stack([group.sum(-1) for group in groups], dim=-1)
