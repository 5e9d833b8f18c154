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
"""Identity basis and named shape directions of anny's head."""

import re

import torch
from torch import Tensor

from ..person import Person
from ..person_faces import person_features
from .fields import smooth_modes
from .people import average_changes, average_phenotypes, face_changes, shapes_of
from .source import AnnyHead

# What real faces show beyond named changes: smooth fields of two lengths (metres) and amplitudes (metres).
FIELDS = ((0.040, 1.5e-3), (0.018, 0.7e-3))
FIELD_MODES = 60
EYE_RIGID_RADIUS, EYE_FREE_RADIUS = 0.012, 0.020
# Phenotype, its value at either end, and how much of the way between the ends the slider goes. anny's gender runs from
# male to female; adults are from 0.667 (about 25 years) on.
PHENOTYPE_SLIDERS = {
    "masculine": (0, 1.0, 0.0, 0.5),
    "age": (1, 0.667, 1.0, 1.0),
    "muscle": (2, 0.0, 1.0, 0.5),
    "weight": (3, 0.0, 1.0, 0.5),
    "stature": (4, 0.0, 1.0, 0.5),
    "proportions": (5, 0.0, 1.0, 0.5),
}
DIRECTION_RENAMES = {
    "scale-horiz": "width",
    "scale-vert": "height",
    "scale-depth": "depth",
    "-incr": "",
}


def residual_fields(head: AnnyHead, mean: Tensor, weights: Tensor) -> Tensor:
    """Displacements `(M, V, 3)`, metres, whose random sum with N(0, 1) weights is added to anny's people.

    Args:
        mean (`torch.Tensor` of shape `(V, 3)`): the mean face.
        weights (`torch.Tensor` of shape `(V,)`): 1 on the face, falling smoothly to 0 outside.
    """
    fields = []
    for scale, amplitude in FIELDS:
        even, odd = smooth_modes(mean, head.mirror, weights, scale, FIELD_MODES)
        for axis in range(3):
            # Mirroring flips x, so that symmetric faces need odd functions there. Faces are mostly symmetric.
            symmetric, skew = (odd, even) if axis == 0 else (even, odd)
            for modes, strength in ((symmetric, 1.0), (skew, 0.35)):
                field = torch.zeros(FIELD_MODES, len(mean), 3)
                field[..., axis] = modes * amplitude * strength
                fields.append(field)
    return _rigid_eyes(torch.cat(fields), head, mean)


def _rigid_eyes(fields: Tensor, head: AnnyHead, mean: Tensor) -> Tensor:
    """Fields that move each eyeball and its lids as one, so that no eyeball pierces a lid."""
    for name in ("left_eye", "right_eye"):
        eye = head.parts[name]
        motion = fields[:, eye].mean(1, keepdim=True)
        distance = (mean - mean[eye].mean(0)).norm(dim=1)
        blend = ((EYE_FREE_RADIUS - distance) / (EYE_FREE_RADIUS - EYE_RIGID_RADIUS)).clamp(0, 1)
        blend = blend.square() * (3 - 2 * blend)
        blend = blend.where(~eye, torch.ones_like(blend))
        fields = fields + (motion - fields) * blend[:, None]
    return fields


def identity_basis(moves: Tensor, fields: Tensor, weights: Tensor, count: int) -> Tensor:
    """Whitened principal components `(count, V, 3)` of people plus random fields.

    Args:
        moves (`torch.Tensor` of shape `(N, V, 3)`): displacements of random people from their mean.
        fields (`torch.Tensor` of shape `(M, V, 3)`): added with independent N(0, 1) weights.
        weights (`torch.Tensor` of shape `(V,)`): how much each vertex counts, its area included.
    """
    rows = torch.cat(((moves - moves.mean(0)) / len(moves) ** 0.5, fields)).flatten(1)  # (N + M, 3 V)
    weighted = rows * weights.sqrt().repeat_interleave(3)
    values, vectors = torch.linalg.eigh((weighted @ weighted.T).double())
    vectors = vectors[:, -count:].flip(1)
    basis = (vectors.T.float() @ rows).unflatten(1, (-1, 3))
    return basis * _fixed_signs(basis)[:, None, None]


def _fixed_signs(basis: Tensor) -> Tensor:
    """Signs that make each component's largest entry positive: eigenvectors come with either."""
    flat = basis.flatten(1)
    return flat.gather(1, flat.abs().argmax(1, keepdim=True)).sign().flatten()


def person_distribution(people: Tensor, person: Person, basis: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """How identity follows from people: slopes `(F, K)` on their features, and spread `(K, K)` around that.

    Args:
        people (`torch.Tensor` of shape `(N, V, 3)`): heads of N people, without the random fields.
        person (`Person`): whose heads they are.
        basis (`torch.Tensor` of shape `(K, V, 3)`): whitened, so that all people together have unit covariance.
        weights (`torch.Tensor` of shape `(V,)`): how much each vertex counts.
    """
    coefficients = project_shapes(people - people.mean(0), basis, weights).double()  # (N, K)
    features = person_features(person).double()
    centred = features - features.mean(0)
    slopes = torch.linalg.lstsq(centred, coefficients).solution  # (F, K)
    covariance = centred.T @ centred / len(centred)
    left = torch.eye(len(basis), dtype=torch.float64) - slopes.T @ covariance @ slopes
    values, vectors = torch.linalg.eigh(left)
    return slopes.float(), (vectors * values.clamp(min=1e-4).sqrt()).float()


def direction_changes(head: AnnyHead) -> dict[str, list[str]]:
    """anny's changes behind each named direction; left and right go together."""
    directions: dict[str, list[str]] = {}
    for change in face_changes(head):
        name = re.sub(r"^[lr]-", "", change)
        for old, new in DIRECTION_RENAMES.items():
            name = name.replace(old, new)
        directions.setdefault(name, []).append(change)
    return directions


def shape_directions(head: AnnyHead, basis: Tensor, weights: Tensor) -> tuple[list[str], Tensor]:
    """Names, and the change of identity coefficients `(D, K)` that moves each slider from 0 to 1."""
    average = average_phenotypes()
    start = {name: torch.tensor([value]) for name, value in average_changes(face_changes(head)).items()}
    neutral = shapes_of(head, average, start)[0]
    names, moves = [], []
    for name, (index, low, high, share) in PHENOTYPE_SLIDERS.items():
        ends = average.repeat(2, 1)
        ends[:, index] = torch.tensor([low, high])
        first, second = shapes_of(head, ends, {change: value.repeat(2) for change, value in start.items()})
        names.append(name)
        moves.append((second - first) * share)
    for name, changes in direction_changes(head).items():
        shape = shapes_of(head, average, start | {change: start[change] + 1.0 for change in changes})[0]
        names.append(name)
        moves.append(shape - neutral)
    return names, project_shapes(torch.stack(moves), basis, weights)


def project_shapes(moves: Tensor, basis: Tensor, weights: Tensor, noise: float = 3e-4) -> Tensor:
    """Most likely coefficients `(D, K)` of displacements `(D, V, 3)` seen with `noise` (metres)."""
    scale = (weights / weights.sum()).sqrt().repeat_interleave(3) / noise * 3**0.5
    flat = basis.flatten(1) * scale
    normal = flat @ flat.T + torch.eye(len(flat)) / len(flat)
    return torch.linalg.solve(normal, flat @ (moves.flatten(1) * scale).T).T
