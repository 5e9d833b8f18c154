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
"""The triangle mesh that travels from the morphable model to the renderer and to files."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .argument_checks import ArgumentCheck
from .topology import Topology, topology_of

_SHORTEST = 1e-12  # square metres; a shorter sum has no direction


class Mesh(NamedTuple):
    """Faces of one topology, in model space: right-handed, metres, +x the subject's left, +y up, +z out of it."""

    vertices: Tensor  # (N, V, 3) metres
    albedo: Tensor  # (N, V, 3) linear RGB reflectance in [0, 1]
    triangles: Tensor  # (F, 3) int64, counter-clockwise seen from outside


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Area-weighted unit vertex normals, pointing outwards for counter-clockwise triangles.

    Args:
        vertices (`torch.Tensor` of shape `(N, V, 3)`): in any frame of right-handed axes.
        triangles (`torch.Tensor` of shape `(F, 3)`): vertex indices.

    Returns:
        `torch.Tensor` of shape `(N, V, 3)`; zero where a vertex belongs to no triangle of any area.
    """
    ArgumentCheck().floats("vertices", vertices, "N V 3").indices("triangles", triangles, "F 3", of="V")
    columns = vertices.movedim(-1, 0).contiguous()  # (3, N, V): PyTorch gathers and scatters columns fast
    summed = _AreaNormals.apply(columns, topology_of(triangles))
    squared = summed[0] * summed[0] + summed[1] * summed[1] + summed[2] * summed[2]
    return (summed * squared.clamp_min(_SHORTEST**2).rsqrt()).movedim(0, -1)


class _AreaNormals(torch.autograd.Function):
    """Columns x, y, z `(3, N, V)` -> such columns of the sum of twice area times normal of a vertex's triangles."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor, topology: Topology) -> Tensor:
        ctx.save_for_backward(columns)
        ctx.topology = topology
        sums = torch.zeros_like(columns)
        for part in _parts(columns.shape[1]):
            corners = _flat_corners(topology, columns[:, part])
            a, b, c = (_gather(columns[:, part], corner) for corner in corners)
            weighted = _cross(_subtract(b, a), _subtract(c, a))
            _scatter(sums[:, part], corners, (weighted, weighted, weighted))
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (columns,) = ctx.saved_tensors
        sums = torch.zeros_like(columns)
        for part in _parts(columns.shape[1]):
            corners = _flat_corners(ctx.topology, columns[:, part])
            a, b, c = (_gather(columns[:, part], corner) for corner in corners)
            upstream = (_gather(gradient[:, part], corner) for corner in corners)
            summed = [first + second + third for first, second, third in zip(*upstream, strict=True)]
            # The triangle's a x b + b x c + c x a is linear in each corner.
            _scatter(sums[:, part], corners, [_cross(_subtract(*edge), summed) for edge in ((b, c), (c, a), (a, b))])
        return sums, None


def _parts(count: int) -> list[slice]:
    """A few meshes at a time, so that what is computed of them stays in the cache."""
    return [slice(start, min(start + 4, count)) for start in range(0, count, 4)]


def _flat_corners(topology: Topology, columns: Tensor) -> list[Tensor]:
    """Positions `(n * F,)` of the triangles' three corners in a flattened column of `columns (3, n, V)`."""
    _, count, vertices = columns.shape
    first_vertex = torch.arange(count, device=columns.device)[:, None] * vertices
    return [(corner + first_vertex).view(-1) for corner in topology.corners]


def _gather(columns: Tensor, corner: Tensor) -> list[Tensor]:
    return [column.reshape(-1).index_select(0, corner) for column in columns]


def _scatter(sums: Tensor, corners: list[Tensor], values: Sequence[Sequence[Tensor]]) -> None:
    """Add what each corner brings, three columns `(n * F,)`, to the vertices' `sums (3, n, V)`."""
    for corner, columns in zip(corners, values, strict=True):
        for total, column in zip(sums, columns, strict=True):
            total.view(-1).scatter_add_(0, corner, column)


def _subtract(a: Sequence[Tensor], b: Sequence[Tensor]) -> list[Tensor]:
    return [left - right for left, right in zip(a, b, strict=True)]


def _cross(a: Sequence[Tensor], b: Sequence[Tensor]) -> list[Tensor]:
    return [a[j] * b[k] - a[k] * b[j] for j, k in ((1, 2), (2, 0), (0, 1))]
