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
"""The triangle mesh that goes from the morphable model to the renderer and to files, its normals and its topology.

A topology is what follows from the triangles alone, worked out once per tensor of them and kept as long as it lives.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.weak import WeakTensorKeyDictionary

from .argument_checks import ArgumentCheck

_SHORTEST = 1e-12  # square metres; a shorter sum has no direction


class Mesh(NamedTuple):
    """Faces of one topology, in model space: right-handed, metres, +x the subject's left, +y up, +z out of it."""

    vertices: Tensor  # (N, V, 3) metres
    albedo: Tensor  # (N, V, 3) linear RGB reflectance in [0, 1]
    triangles: Tensor  # (F, 3) int64, counter-clockwise seen from outside


class Edges(NamedTuple):
    """The edges of a mesh, one per entry (E), as the first triangle that has them runs through them."""

    start: Tensor  # (E,) int64 vertex
    end: Tensor  # (E,) int64 vertex
    first: Tensor  # (E,) int64 triangle
    second: Tensor  # (E,) int64 another triangle with this edge, F at a boundary


class VertexCorners(NamedTuple):
    """Which corners of triangles each vertex is: sums over them need no atomics and have one order."""

    first: Tensor  # (V + 1,) int64: those of vertex v are entries first[v] to first[v + 1]
    corner: Tensor  # (3 * F,) int64: three times a triangle's number, plus 0, 1 or 2


class Topology:
    """Triangles `(F, 3)` and the tables that renderers make of them. Keep nothing that is asked once.

    Tables are made outside of inference mode, whoever asks first: they serve gradients later.
    """

    def __init__(self, triangles: Tensor):
        if triangles.dim() != 2 or triangles.shape[-1] != 3 or triangles.dtype != torch.int64:
            raise ValueError(
                f"got triangles of shape {tuple(triangles.shape)}, {triangles.dtype}; give (F, 3) of int64"
            )
        # A copy: what is cached must not change when the caller writes into the tensor behind PyTorch's back.
        self.triangles = triangles.detach().clone(memory_format=torch.contiguous_format)
        self._repeated: dict[tuple[int, int], Tensor] = {}
        self.highest = int(triangles.max()) if triangles.numel() else -1

    @cached_property
    @torch.inference_mode(False)
    def columns(self) -> Tensor:
        """The first, second and third corners `(3, F)`."""
        return self.triangles.T.contiguous()

    @property
    def corners(self) -> tuple[Tensor, ...]:
        """The first, second and third corners: columns `(F,)`, which PyTorch gathers fast."""
        return self.columns.unbind(0)

    @cached_property
    def compact(self) -> np.ndarray:
        """The triangles as small numbers without a sign, for kernels on the CPU."""
        return self.triangles.to(torch.int32).numpy().view(np.uint32)

    @cached_property
    def compact_edges(self) -> np.ndarray:
        """The fields of `edges` as columns of small numbers without a sign, for kernels on the CPU."""
        return torch.stack(self.edges, dim=1).to(torch.int32).numpy().view(np.uint32)

    @cached_property
    @torch.inference_mode(False)
    def vertex_corners(self) -> VertexCorners:
        vertex, corner = self.triangles.flatten().sort(stable=True)
        first = torch.searchsorted(vertex, torch.arange(self.highest + 2, device=vertex.device))
        return VertexCorners(first, corner)

    @torch.inference_mode(False)
    def repeated(self, copies: int, vertices: int) -> Tensor:
        """Triangles `(copies * F, 3)` of so many meshes of so many vertices, one after another; made once."""
        if (copies, vertices) not in self._repeated:
            first = torch.arange(copies, device=self.triangles.device)[:, None, None] * vertices
            self._repeated[copies, vertices] = (self.triangles + first).flatten(0, 1)
        return self._repeated[copies, vertices]

    def corners_of_vertices(self, vertices: int) -> VertexCorners:
        """`vertex_corners` with an entry for each of so many vertices, those of no triangle too."""
        first, corner = self.vertex_corners
        return VertexCorners(torch.cat((first, first[-1:].expand(vertices + 1 - len(first)))), corner)

    @cached_property
    @torch.inference_mode(False)
    def edges(self) -> Edges:
        start, end = self.triangles.flatten(), self.triangles.roll(-1, dims=1).flatten()
        key = torch.minimum(start, end) * (self.highest + 1) + torch.maximum(start, end)
        key, order = key.sort(stable=True)
        new = torch.ones_like(key, dtype=torch.bool)
        new[1:] = key[1:] != key[:-1]
        leader = new.nonzero().squeeze(1)
        paired = torch.cat((~new, new.new_zeros(1)))[leader + 1]
        first, follower = order[leader], order[(leader + 1).clamp_max(order.numel() - 1)]
        count = self.triangles.shape[0]
        return Edges(start[first], end[first], first // 3, torch.where(paired, follower // 3, count))


_KNOWN = WeakTensorKeyDictionary()


def topology_of(triangles: Tensor) -> Topology:
    """The topology of triangles `(F, 3)`; built at the first call with a tensor and whenever it has been changed.

    Hand the same tensor in at each call: a new view or copy of it is a new tensor.
    """
    # Inference tensors count no versions; a fresh record is then the only safe one.
    if triangles.is_inference():
        return Topology(triangles)
    known = _KNOWN.get(triangles)
    if known is None or known[0] != triangles._version:
        with torch.inference_mode(False):
            known = triangles._version, Topology(triangles)
        _KNOWN[triangles] = known
    return known[1]


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
