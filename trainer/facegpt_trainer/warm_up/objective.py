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
"""What a warm-up minimises: landmarks with their uncertainty, codes, and who a face belongs to."""

from typing import NamedTuple

import torch
from torch import Tensor

from modeling_facegpt.face_parameters import FaceParameters, vector_to_parameters
from modeling_facegpt.losses import code_likelihood_loss, code_loss, point_likelihood_loss, point_loss
from modeling_facegpt.morphable_model import MorphableModel

from ..pictures.portrait_stream import CropBatch
from .network import FaceReading

# So that each term turns the tower about as much as any other: after 800 steps, gradients with these weights are 1.2
# (landmarks) and 0.6 (identity). With 1 and 2, landmarks had 200 times as much, and nobody's identity was learned.
WEIGHTS = {
    "landmarks": 0.05,
    "distance": 0.0,  # only told
    "identity": 10.0,
    "consistency": 0.1,
    "possible": 2.0,
    "albedo": 3.0,
    "expression": 4.0,
    "light": 0.5,
    "rotation": 0.15,
    "translation": 0.3,
    "log_focal": 0.02,
    "gaze": 1.0,
    "likelihood": 0.5,
}
LANDMARK_UNIT = 0.01  # picture sides
LARGEST_CODE_ERROR = 9.0  # squared; faces that are hidden tell nothing by it


class ShapeMetric(NamedTuple):
    """How far apart two identities are as shapes: `|factor @ (a - b)|`, in millimetres."""

    factor: Tensor  # (num_identity, num_identity)

    def squared_distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Mean squared displacement of the face region between identities `(..., K)`, square millimetres `(...)`."""
        return ((first - second) @ self.factor.mT).square().sum(-1)


@torch.no_grad()
def shape_metric(face_model: MorphableModel) -> ShapeMetric:
    """Displacement of the face region, less what turning, shifting and scaling the mean face explains: no picture
    tells a large face far away from a small one near by."""
    inside = face_model.region("face") > 0.5
    mean = face_model.template[inside].double()
    mean = mean - mean.mean(0)
    basis = face_model.identity_basis[:, inside].double().flatten(1)  # (K, 3V)
    zero, one = torch.zeros_like(mean[:, 0]), torch.ones_like(mean[:, 0])
    x, y, z = mean.unbind(-1)
    rigid = [(one, zero, zero), (zero, one, zero), (zero, zero, one), (zero, -z, y), (z, zero, -x), (-y, x, zero)]
    moves = torch.stack([torch.stack(columns, dim=-1).flatten() for columns in [*rigid, (x, y, z)]])
    directions = torch.linalg.qr(moves.mT).Q  # (3V, 7)
    basis = basis - (basis @ directions) @ directions.mT
    gram = basis @ basis.mT * (1e6 / len(mean))
    values, vectors = torch.linalg.eigh(gram)
    return ShapeMetric((vectors * values.clamp(min=0).sqrt()).mT.float())


class Objective:
    """The terms of a batch, and their weighted sum.

    Args:
        face_model (`MorphableModel`): whose codes are read.
    """

    def __init__(self, face_model: MorphableModel):
        self.config = face_model.config
        self.metric = shape_metric(face_model)
        self.spread = self.metric.factor.square().sum()  # expected squared distance of a random person to the mean
        self.visibility = face_model.component_visibility

    def terms(self, reading: FaceReading, batch: CropBatch) -> dict[str, Tensor]:
        """Each term, averaged over the faces that it is known for."""
        points = point_likelihood_loss(reading.landmarks, reading.landmark_log_variance, batch.landmarks)
        drawn = batch.drawn
        code, target = reading.code[drawn], batch.codes[drawn]
        errors = (code_loss(code, target) * self.visibility).clamp(max=LARGEST_CODE_ERROR)
        groups = vector_to_parameters(errors, self.config)
        terms = {name: group.mean() for name, group in zip(FaceParameters._fields, groups, strict=True)}
        likelihood = code_likelihood_loss(code, reading.code_log_variance[drawn], target)
        identity = vector_to_parameters(reading.code, self.config).identity
        displacement = self.metric.squared_distance(identity[drawn], batch.identity[drawn])
        return terms | {
            "landmarks": points.mean() / LANDMARK_UNIT,
            "distance": point_loss(reading.landmarks.detach(), batch.landmarks).mean() / LANDMARK_UNIT,
            "likelihood": likelihood.mean(),
            "identity": displacement.mean() / self.spread,
            "consistency": self._consistency(identity, batch.person, drawn),
            "possible": (self._size(identity) - 1).clamp(min=0).mean(),
        }

    def _size(self, identity: Tensor) -> Tensor:
        """Squared distance to the mean face, 1 for a random person."""
        return self.metric.squared_distance(identity, torch.zeros_like(identity)) / self.spread

    def _consistency(self, identity: Tensor, person: Tensor, drawn: Tensor) -> Tensor:
        """Logarithm of how far apart pictures of one person are, over how far those of different people are: a ratio,
        so that nothing is gained by calling everybody average. Renders and photographs are not held against each
        other, and nobody may be further from the mean than people are (`possible`): both would be ways to cheat."""
        distance = self.metric.squared_distance(identity[:, None], identity[None])
        same = (person[:, None] == person).float()
        others = (1 - same) * (drawn[:, None] == drawn[None])
        same = same - torch.eye(len(person))
        within = (distance * same).sum() / same.sum().clamp(min=1)
        between = (distance * others).sum() / others.sum().clamp(min=1)
        return (within + 1e-3).log() - (between + 1e-3).log()


def weighted(terms: dict[str, Tensor]) -> Tensor:
    """The loss."""
    return torch.stack([WEIGHTS[name] * value for name, value in terms.items()]).sum()
