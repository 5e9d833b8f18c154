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
"""What follows from the triangles of a mesh alone, worked out once per tensor of them and kept as long as it lives."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


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
