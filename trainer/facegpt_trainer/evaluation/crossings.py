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
"""Counts where surfaces pass through each other: pairs of triangles, one of them pierced by an edge of the other."""

from typing import NamedTuple

import torch
from torch import Tensor

from modeling_facegpt.face_parameters import FaceParameters, parameter_sizes
from modeling_facegpt.morphable_model import MorphableModel

EYE_REACH = 0.022  # metres: lids are the skin that lies so near to the centre of an eyeball
MOUTH_SHAPES = ("jaw", "mouth", "cheekPuff", "noseSneer")
_MARGIN = 1e-9  # barycentric; touching does not count


class Surfaces(NamedTuple):
    """Parts of a head that must not pass through each other, as triangles `(F, 3)`."""

    lips: Tensor  # and the cavity of the mouth
    lids: Tensor  # and the cavities of the eyes
    eyeballs: Tensor
    teeth: Tensor  # and gums
    tongue: Tensor


def surfaces(model: MorphableModel) -> Surfaces:
    """The parts of a 3DMM with anny-head's regions."""

    def touching(mask: Tensor) -> Tensor:
        return model.triangles[(mask > 0.2)[model.triangles].any(1)]

    eyes = model.region("left_eye") + model.region("right_eye")
    gums = model.region("gums") if "gums" in model.config.region_names else torch.zeros_like(eyes)
    inside = model.region("teeth") + model.region("tongue") + gums
    near = (torch.cdist(model.template, model.eye_centres).amin(1) < EYE_REACH) & (eyes + inside < 0.5)
    lips = model.region("lips") + model.region("mouth_cavity")
    return Surfaces(
        lips=touching(lips * (inside < 0.5)),
        lids=touching(near.float()),
        eyeballs=touching(eyes),
        teeth=touching(model.region("teeth") + gums),
        tongue=touching(model.region("tongue")),
    )


def random_people(model: MorphableModel, count: int, seed: int) -> FaceParameters:
    """`count` random people without expression."""
    sizes = parameter_sizes(model.config)
    people = FaceParameters(*(torch.zeros(count, size) for size in sizes))
    generator = torch.Generator().manual_seed(seed)
    return people._replace(identity=torch.randn(count, sizes.identity, generator=generator))


def face_crossings(model: MorphableModel, people: int = 2000, seed: int = 0) -> dict[str, float]:
    """Crossing pairs of triangles in `people` random people, the worst of them under each name.

    Lips at rest, and lids at half and at full blink are counted for all people. For teeth and tongue the people are
    shared out evenly among the shapes of the mouth, each at half and at full strength.
    """
    parts = surfaces(model)
    faces = random_people(model, people, seed)
    names = list(model.config.expression_names)
    blinks = [names.index("eyeBlinkLeft"), names.index("eyeBlinkRight")]
    worst = {"lips at rest": 0, "lids, half blink": 0, "lids, full blink": 0}
    for person in range(people):
        rest = _one(faces, person)
        worst["lips at rest"] = max(worst["lips at rest"], count_crossings(model.shape(rest)[0], parts.lips, None))
        for name, strength in (("lids, half blink", 0.5), ("lids, full blink", 1.0)):
            vertices = model.shape(_expressing(rest, blinks, strength))[0]
            own = count_crossings(vertices, parts.lids, None)
            worst[name] = max(worst[name], own + count_crossings(vertices, parts.lids, parts.eyeballs))
    return {name: float(count) for name, count in (worst | _mouth_crossings(model, parts, faces)).items()}


def _mouth_crossings(model: MorphableModel, parts: Surfaces, faces: FaceParameters) -> dict[str, int]:
    names = list(model.config.expression_names)
    shapes = [name for name in names if name.startswith(MOUTH_SHAPES)]
    worst = {"teeth, every mouth shape": 0, "tongue, every mouth shape and tongueOut": 0}
    for person in range(len(faces.identity)):
        shape = [*shapes, "tongueOut"][person % (len(shapes) + 1)]
        for strength in (0.5, 1.0):
            face = _expressing(_one(faces, person), [names.index(shape)], strength)
            teeth, tongue = mouth_crossings(model.shape(face)[0], parts)
            worst["teeth, every mouth shape"] = max(worst["teeth, every mouth shape"], teeth)
            name = "tongue, every mouth shape and tongueOut"
            worst[name] = max(worst[name], tongue)
    return worst


def mouth_crossings(vertices: Tensor, parts: Surfaces) -> tuple[int, int]:
    """Crossings of a face `(V, 3)`: of its teeth with lips and cheeks, and of its tongue with all of these."""
    teeth = count_crossings(vertices, parts.teeth, parts.lips)
    tongue = count_crossings(vertices, parts.tongue, torch.cat((parts.lips, parts.teeth)))
    return teeth, tongue


def _one(faces: FaceParameters, index: int) -> FaceParameters:
    return FaceParameters(*(group[index : index + 1] for group in faces))


def _expressing(face: FaceParameters, expressions: list[int], strength: float) -> FaceParameters:
    return face._replace(expression=face.expression.index_fill(1, torch.tensor(expressions), strength))


def count_crossings(vertices: Tensor, first: Tensor, second: Tensor | None) -> int:
    """Number of pairs of triangles, one of each surface, that cross; without `second`, pairs within the first.

    Args:
        vertices (`torch.Tensor` of shape `(V, 3)`): metres.
        first (`torch.Tensor` of shape `(F, 3)`): triangles of one surface.
        second (`torch.Tensor` of shape `(G, 3)`): of the other. Triangles that share a vertex never count.
    """
    if second is None:
        return len(crossing_pairs(vertices, first, first)) // 2
    return len(crossing_pairs(vertices, first, second))


def crossing_pairs(vertices: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Indices `(P, 2)` into `first` and `second` of the pairs that cross."""
    points = vertices.double()
    pairs = _near(points, first, second)
    a, b = first[pairs[:, 0]], second[pairs[:, 1]]
    apart = (a[:, :, None] != b[:, None, :]).flatten(1).all(1)
    pairs, a, b = pairs[apart], points[a[apart]], points[b[apart]]
    return pairs[_pierced(a, b) | _pierced(b, a)]


def _near(points: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Pairs `(P, 2)` whose boxes overlap."""
    low, high = points[second].amin(1), points[second].amax(1)
    found = []
    for start in range(0, len(first), 256):
        corners = points[first[start : start + 256]]
        least, most = corners.amin(1), corners.amax(1)
        overlap = ((least[:, None] <= high) & (most[:, None] >= low)).all(2)
        found.append(torch.nonzero(overlap) + torch.tensor([start, 0]))
    return torch.cat(found) if found else torch.zeros(0, 2, dtype=torch.int64)


def _pierced(triangles: Tensor, others: Tensor) -> Tensor:
    """Whether an edge of each of the `others (P, 3, 3)` passes through the inside of its triangle `(P, 3, 3)`."""
    starts = others
    steps = others.roll(-1, dims=1) - starts  # (P, 3, 3)
    origin = triangles[:, None, 0]
    side, other_side = triangles[:, None, 1] - origin, triangles[:, None, 2] - origin
    across = torch.linalg.cross(steps, other_side.expand_as(steps))
    determinant = (side * across).sum(-1)
    safe = torch.where(determinant.abs() < 1e-24, torch.full_like(determinant, torch.inf), determinant)
    offset = starts - origin
    u = (offset * across).sum(-1) / safe
    turned = torch.linalg.cross(offset, side.expand_as(offset))
    v = (steps * turned).sum(-1) / safe
    along = (other_side * turned).sum(-1) / safe
    inside = (u > _MARGIN) & (v > _MARGIN) & (u + v < 1 - _MARGIN) & (along > _MARGIN) & (along < 1 - _MARGIN)
    return (inside & safe.isfinite()).any(1)
