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
"""From triangles to the pixels that they cover: triangles are cut into rows, rows into pixels.

Triangles are told apart by the half-open intervals that their edges leave on a row, and each edge's crossing is
computed from its upper end in both triangles that share it. So the result is watertight to the last bit.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .topology import Topology

WIDEST = 1e5  # pixels
SMALLEST_AREA = 1e-9  # square pixels
SMALLEST_WEIGHT = 1e-20  # a pixel centre on an edge by rounding still gets weights that sum to 1


class Settings(NamedTuple):
    """Of one call: size of the pictures, and what is dropped."""

    height: int
    width: int
    near: float  # metres; triangles with a corner at or before it are dropped
    cull: bool  # drop triangles seen from behind


class Triangles(NamedTuple):
    """Triangles of the pictures of a chunk, picture by picture, one per entry (L)."""

    corner: tuple[Tensor, ...]  # 3 x (L,) int64 position among all vertices of the chunk
    number: Tensor  # (L,) int64 triangle number
    image: Tensor  # (L,) int64 picture of the chunk

    def first(self, count: int) -> "Triangles":
        return Triangles(tuple(corner[:count] for corner in self.corner), self.number[:count], self.image[:count])

    def select(self, index: Tensor) -> "Triangles":
        return Triangles(
            corner=tuple(corner.index_select(0, index) for corner in self.corner),
            number=self.number.index_select(0, index),
            image=self.image.index_select(0, index),
        )


class _Spans(NamedTuple):
    """Runs of pixels in one row of one triangle, one per entry (S)."""

    triangle: Tensor  # (S,) int64 into `Triangles`
    center: Tensor  # (S,) y of the row's pixel centres
    pixel: Tensor  # (S,) int64 position of the row's first pixel in the chunk
    first: Tensor  # (S,) first column, as a float
    end: Tensor  # (S,) column after the last, as a float


class Cover(NamedTuple):
    """Pixels that a triangle covers, nearest or not, one per entry, in the order of triangles."""

    triangle: Tensor  # (Q,) int64 into `Triangles`
    pixel: Tensor  # (Q,) int64 among the pixels of the chunk
    center: tuple[Tensor, Tensor]  # (Q,) each, x and y


def chunk_triangles(topology: Topology, vertices: int, count: int) -> Triangles:
    """The triangles of a mesh of so many vertices, once for each of `count` pictures."""
    triangles = topology.triangles
    image = torch.arange(count, device=triangles.device).repeat_interleave(triangles.shape[0])
    return Triangles(
        corner=tuple(column.repeat(count) + image * vertices for column in topology.corners),
        number=torch.arange(triangles.shape[0], device=triangles.device).repeat(count),
        image=image,
    )


def cover_pixels(columns: tuple[Tensor, ...], triangles: Triangles, settings: Settings) -> tuple[Triangles, Cover]:
    """Expand triangles into the pixels whose centres they cover.

    Args:
        columns (`tuple[torch.Tensor, ...]`): x and y in pixels and the depth of the chunk's vertices, `(n * V,)` each.
        triangles (`Triangles`): of `chunk_triangles`.
        settings (`Settings`): size of the pictures, and what to drop.

    Returns:
        `tuple[Triangles, Cover]`: the triangles that face the camera, and what they cover, hidden or not.
    """
    seen = _facing(columns, triangles, settings.cull)
    return seen, _cover(_spans(columns, seen, settings))


def facing_triangles(points: Tensor, topology: Topology, near: float = 1e-3) -> Tensor:
    """Which triangles `(N, F)` are drawn, seen from the front, when `points (N, V, 3)` are pixels and depth."""
    columns = (column.contiguous() for column in points.unbind(-1))
    x, y, z = ([column.index_select(1, corner) for corner in topology.corners] for column in columns)
    doubled_area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    (left, right), (top, bottom), (nearest, _) = (_extent(values) for values in (x, y, z))
    return (doubled_area < -SMALLEST_AREA) & (nearest > near) & (right - left < WIDEST) & (bottom - top < WIDEST)


def nearest_fragments(pixel: Tensor, depth: Tensor, pixels: int) -> Tensor:
    """The fragments that win the depth test, by pixel; at equal depth the first one."""
    buffer = depth.new_full((pixels,), torch.inf).scatter_reduce_(0, pixel, depth, "amin")
    candidate = (depth == buffer.index_select(0, pixel)).nonzero().squeeze(1)
    winner = torch.full((pixels,), depth.numel(), device=depth.device)
    winner.scatter_reduce_(0, pixel.index_select(0, candidate), candidate, "amin")
    return winner[winner < depth.numel()]


def spread_ranges(first: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """For each range [first, end) of whole floats: its number, repeated, and the values inside, both int64."""
    length = (end - first).long()
    owner = torch.repeat_interleave(length)
    offset = first.long() + length - length.cumsum(0)
    return owner, torch.arange(owner.numel(), device=first.device) + offset.index_select(0, owner)


def _facing(columns: tuple[Tensor, ...], triangles: Triangles, cull: bool) -> Triangles:
    """Keep the triangles that face the camera; half of a closed mesh goes here, before anything else is computed."""
    x, y = ([column.index_select(0, at) for at in triangles.corner] for column in columns[:2])
    doubled_area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    # Front faces are counter-clockwise with y up, so clockwise, of negative area, with y down.
    keep = doubled_area < -SMALLEST_AREA if cull else doubled_area.abs() > SMALLEST_AREA
    return triangles.select(keep.nonzero().squeeze(1))


def _spans(columns: tuple[Tensor, ...], seen: Triangles, settings: Settings) -> _Spans:
    """Cut triangles into rows. Every crossing of an edge is computed from the edge's upper end."""
    x, y, z = ([column.index_select(0, at) for at in seen.corner] for column in columns)
    x, y = _sort_by_height(x, y)
    triangle, row = spread_ranges(*_rows(x, y, z, settings))
    center = row.to(y[0].dtype) + 0.5
    long_slope = (x[2] - x[0]) / (y[2] - y[0])
    short_slope = torch.cat(((x[1] - x[0]) / (y[1] - y[0]), (x[2] - x[1]) / (y[2] - y[1])))
    short = triangle + x[0].numel() * (center >= y[1].index_select(0, triangle))
    one = _crossing(x[0], y[0], long_slope, triangle, center)
    other = _crossing(torch.cat((x[0], x[1])), torch.cat((y[0], y[1])), short_slope, short, center)
    return _Spans(
        triangle=triangle,
        center=center,
        pixel=(row + seen.image.index_select(0, triangle) * settings.height) * settings.width,
        first=_first_pixel(torch.minimum(one, other), settings.width),
        end=_first_pixel(torch.maximum(one, other), settings.width),
    )


def _sort_by_height(x: list[Tensor], y: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The corners' columns from top to bottom."""
    x, y = list(x), list(y)
    for upper, lower in ((0, 1), (1, 2), (0, 1)):
        swap = y[upper] > y[lower]
        x[upper], x[lower] = torch.where(swap, x[lower], x[upper]), torch.where(swap, x[upper], x[lower])
        y[upper], y[lower] = torch.minimum(y[upper], y[lower]), torch.maximum(y[upper], y[lower])
    return x, y


def _rows(x: list[Tensor], y: list[Tensor], z: list[Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
    """First row, and the row after the last, of sorted triangles; none for triangles that cannot be drawn."""
    (left, right), (nearest, _) = _extent(x), _extent(z)
    drawn = nearest > settings.near
    drawn &= (right - left < WIDEST) & (y[2] - y[0] < WIDEST)
    drawn &= _first_pixel(left, settings.width) < _first_pixel(right, settings.width)
    first, end = _first_pixel(y[0], settings.height), _first_pixel(y[2], settings.height)
    return first, first + (end - first) * drawn


def _crossing(x: Tensor, y: Tensor, slope: Tensor, edge: Tensor, center: Tensor) -> Tensor:
    """Where edges `(S,)` of the tables x, y, slope cross the rows' centres."""
    return x.index_select(0, edge) + (center - y.index_select(0, edge)) * slope.index_select(0, edge)


def _extent(values: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The smallest and the largest of three columns."""
    low, high = torch.minimum(values[0], values[1]), torch.maximum(values[0], values[1])
    return torch.minimum(low, values[2]), torch.maximum(high, values[2])


def _first_pixel(edge: Tensor, limit: int) -> Tensor:
    """The first pixel whose centre is at or after a position, in [0, limit], as a float."""
    return (edge - 0.5).ceil().clamp(0, limit)


def _cover(spans: _Spans) -> Cover:
    owner, column = spread_ranges(spans.first, spans.end)
    return Cover(
        triangle=spans.triangle.index_select(0, owner),
        pixel=spans.pixel.index_select(0, owner) + column,
        center=(column.to(spans.center.dtype) + 0.5, spans.center.index_select(0, owner)),
    )
