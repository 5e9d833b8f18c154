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
"""Packs the islands of the texture coordinates anew, so that the head fills its square and not a fifth of it."""

import math

import torch
from torch import Tensor

from .source import AnnyHead

MARGIN = 0.004  # of the square, around each island
# Left, bottom, right, top of each island's rectangle. `face` is the largest island, with ears and scalp; `rest` is
# what else there is of the skin: the nape and the end of the neck, which nobody sees.
RECTANGLES = {
    "face": (0.00, 0.36, 1.00, 1.00),
    "left_eye": (0.00, 0.18, 0.18, 0.36),
    "right_eye": (0.00, 0.00, 0.18, 0.18),
    "upper_teeth": (0.18, 0.285, 0.54, 0.36),
    "lower_teeth": (0.18, 0.21, 0.54, 0.285),
    "rest": (0.18, 0.00, 0.54, 0.21),
    "mouth_cavity": (0.54, 0.12, 0.82, 0.36),
    "tongue": (0.82, 0.12, 1.00, 0.36),
    "eye_cavity.L": (0.54, 0.00, 0.77, 0.12),
    "eye_cavity.R": (0.77, 0.00, 1.00, 0.12),
}
# The island of the face is stretched where the face is: by this much more than on average in its middle, and towards
# the chin.
STRETCH_ACROSS, STRETCH_DOWN = 0.6, 0.5


def pack_texture(head: AnnyHead) -> Tensor:
    """Texture coordinates `(V_uv, 2)` in [0, 1], each island stretched into its rectangle; seams stay as they are."""
    island = _islands(head.uv_triangles, len(head.uv_coordinates))
    packed = head.uv_coordinates.clone()
    for name, members in _named_islands(head, island).items():
        old = head.uv_coordinates[members]
        low, high = old.amin(0), old.amax(0)
        left, bottom, right, top = RECTANGLES[name]
        place = (old - low) / (high - low).clamp_min(1e-9)
        if name == "face":
            place = _upright(place)
        start, end = torch.tensor([left, bottom]) + MARGIN, torch.tensor([right, top]) - MARGIN
        packed[members] = start + place * (end - start)
    return packed


def _upright(place: Tensor) -> Tensor:
    """The island of the face, `(P, 2)` in [0, 1], which MakeHuman lays on its side, turned and its middle enlarged."""
    across, down = place[:, 1], place[:, 0]
    across = across - STRETCH_ACROSS / (2 * math.pi) * (2 * math.pi * across).sin()
    down = (1 - STRETCH_DOWN) * down + STRETCH_DOWN * down.square()
    return torch.stack((across, 1 - down), dim=1)


def _islands(triangles: Tensor, count: int) -> Tensor:
    """Number `(V_uv,)` of the connected island of each texture coordinate: the smallest index in it."""
    island = torch.arange(count)
    while True:
        lowest = island[triangles].amin(1, keepdim=True).expand_as(triangles)
        spread = island.scatter_reduce(0, triangles.flatten(), lowest.flatten(), "amin")
        if torch.equal(spread, island):
            return island
        island = spread


def _named_islands(head: AnnyHead, island: Tensor) -> dict[str, Tensor]:
    """Masks `(V_uv,)` of what goes into each rectangle."""
    of_triangle = island[head.uv_triangles[:, 0]]
    named: dict[str, Tensor] = {}
    numbers, sizes = of_triangle.unique(return_counts=True)
    for number in numbers.tolist():
        name = _name(head, of_triangle == number, largest=number == int(numbers[sizes.argmax()]))
        named[name] = named.get(name, torch.zeros(len(island), dtype=torch.bool)) | (island == number)
    return named


def _name(head: AnnyHead, triangles: Tensor, largest: bool) -> str:
    if largest:
        return "face"
    for name in RECTANGLES:
        if name in head.parts and bool(head.parts[name][head.triangles[triangles]].all()):
            return name
    return "rest"
