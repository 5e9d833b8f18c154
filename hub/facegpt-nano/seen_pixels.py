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
"""The pixels that see a triangle, and what planes of pixels pass back to the triangles' corners at fixed visibility.

Over the screen a plane's value is p = n / s, where s sums e / z over a triangle's corners, e being the signed areas
that a pixel makes with the edges, and n sums the same times the corners' values; s and n are linear. A corner that
moves takes its share e / E of the surface along, E being the triangle's signed area. So with barycentrics b, gradients
g of the planes, and q = sum of g p, a pixel passes z b (q ds - sum of g dn) / E back to the place of each corner, and
b (q - sum of g times the corner's values) / z to its depth. Only b g and b q change between the pixels of a triangle:
their sums are all that is taken from pixels. Values count from those of the first corner, so that nothing cancels.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from .scanline import Triangles, repeated


class SeenPixels(NamedTuple):
    """The pixels of a chunk of n pictures that see a triangle, one per entry (P), and its triangles (L)."""

    pictures: slice
    position: Tensor  # (P,) int64 among the chunk's pixels
    before: Tensor  # (P,) int64 how many pixels the chunk's earlier pictures have
    triangle: Tensor  # (P,) int64 among the L triangles
    corner: Tensor  # (3, L) int64 among the chunk's vertices

    def take(self, planes: Tensor) -> Tensor:
        """Rows `(C, P)` of what planes `(N, C, H, W)` show at the pixels."""
        rows = planes.new_empty(planes.shape[1], self.position.numel())
        for row, (flat, position) in zip(rows, self._channels(planes[self.pictures].contiguous()), strict=True):
            torch.index_select(flat, 0, position, out=row)
        return rows

    def put(self, planes: Tensor, rows: Tensor) -> None:
        """Let contiguous planes `(N, C, H, W)` show rows `(C, P)` at the pixels."""
        for row, (flat, position) in zip(rows, self._channels(planes[self.pictures]), strict=True):
            flat.scatter_(0, position, row)

    def _channels(self, planes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each channel of the chunk's planes, memory from it on, and the pixels' positions in that."""
        channels, area = planes.shape[1], planes.shape[2:].numel()
        position = torch.add(self.position, self.before, alpha=channels - 1) if channels > 1 else self.position
        for channel in range(channels):
            yield planes.view(-1)[channel * area :], position

    def sums(self, rows: Tensor, shares: Tensor) -> Tensor:
        """What each corner of each triangle has of rows `(C, P)` by its shares `(3, P)` in the pixels: `(C, 3, L)`."""
        total = rows.new_zeros(len(rows), *self.corner.shape)
        triangle = self.triangle.expand(3, -1)
        for of_row, row in zip(total, rows, strict=True):
            of_row.scatter_add_(1, triangle, shares * row)
        return total

    def add_to_vertices(self, columns: Tensor, at_corners: Tensor) -> None:
        """Add what corners have, `(C, 3, L)`, to what vertices have, columns `(C, N, V)`."""
        of_vertices = columns[:, self.pictures].flatten(1)  # a view: columns are contiguous
        of_vertices.scatter_add_(1, self.corner.reshape(-1).expand(len(columns), -1), at_corners.flatten(1))


def list_pixels(index: Tensor, pictures: slice, triangles: Triangles) -> SeenPixels:
    """Those of triangle numbers `(N, H, W)` on some of the pictures, with all the triangles of these."""
    index = index[pictures]
    position = repeated(index.reshape(-1) >= 0)
    area = index.shape[1] * index.shape[2]
    ends = torch.searchsorted(position, torch.arange(len(index) + 1, device=index.device) * area)
    image = repeated(ends.diff())
    triangle = index.reshape(-1).index_select(0, position) + image * (triangles.number.numel() // len(index))
    return SeenPixels(pictures, position, image * area, triangle, triangles.corner)


def pass_back(place: Tensor, values: Tensor, sums: Tensor, products: Tensor) -> Tensor:
    """What planes pass back to x, y and z of triangles' corners `(3, 3, L)`.

    Args:
        place (`torch.Tensor` of shape `(3, 3, L)`): x and y in pixels and depth of each corner.
        values (`torch.Tensor` of shape `(C, 3, L)`): of the corners, which the planes interpolate.
        sums (`torch.Tensor` of shape `(C, 3, L)`): of the planes' gradients, by `SeenPixels.sums`.
        products (`torch.Tensor` of shape `(3, L)`): of gradients times planes, summed over planes, the same way.
    """
    slopes = values - values[:, :1]
    products = products - (values[:, :1] * sums).sum(0)
    x, y = place[:2] - place[:2, :1]
    near = 1 / place[2]
    scale = place[2] / (x[1] * y[2] - y[1] * x[2])
    # Of e / z of each corner, along x and along y.
    derivatives = torch.stack((y[1] - y[2], y[2], -y[1], x[2] - x[1], -x[2], x[1])).view(2, *near.shape) * near
    to_place = derivatives.sum(1, keepdim=True) * products
    for slope, total in zip(slopes, sums, strict=True):
        to_place -= (derivatives * slope).sum(1, keepdim=True) * total
    to_depth = near * (products - (slopes * sums).sum(0))
    return torch.cat((to_place * scale, to_depth[None]))


class SharesGradient(Tensor):
    """The gradient of barycentrics, worked out where somebody looks: `rasterize` only takes `to_points` from it."""

    to_points: Tensor  # what it comes to there, in the shape that the backend's `rasterize` passes back
    _compute: Callable[[], Tensor]

    @staticmethod
    def __new__(cls, like: Tensor, to_points: Tensor, compute: Callable[[], Tensor]):
        gradient = Tensor._make_wrapper_subclass(cls, like.shape, dtype=like.dtype, device=like.device)
        gradient.to_points, gradient._compute = to_points, compute
        return gradient

    @classmethod
    def __torch_function__(cls, function: Callable, types: Any, arguments: Any = (), options: Any = None):
        """What Python asks of the tensor, its memory too, is asked of the one that it stands for."""
        arguments, options = tree_map_only(cls, lambda gradient: gradient._compute(), (arguments, options or {}))
        return function(*arguments, **options)

    __torch_dispatch__ = __torch_function__  # what PyTorch asks, to add up gradients
