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

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from .mesh import Topology

NEAR = 1e-3  # metres; a triangle with a corner at or before this depth is not drawn
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

    corner: Tensor  # (3, L) int64 position among all vertices of the chunk
    number: Tensor  # (L,) int64 triangle number
    image: Tensor  # (L,) int64 picture of the chunk

    def first(self, count: int) -> "Triangles":
        return Triangles(self.corner[:, :count], self.number[:count], self.image[:count])

    def select(self, index: Tensor) -> "Triangles":
        number, image = (column.index_select(0, index) for column in (self.number, self.image))
        return Triangles(gather(self.corner, index), number, image)


class _Spans(NamedTuple):
    """Runs of pixels in one row of one triangle, one per entry (S)."""

    triangle: Tensor  # (S,) int64 into `Triangles`
    center: Tensor  # (S,) y of the row's pixel centres
    pixel: Tensor  # (S,) int32 position of the row's first pixel in the chunk
    bounds: tuple[Tensor, Tensor]  # (S,) each: first column, and the one after the last, as floats


class Cover(NamedTuple):
    """Pixels that a triangle covers, nearest or not, one per entry, in the order of triangles."""

    triangle: Tensor  # (Q,) int64 into `Triangles`
    pixel: Tensor  # (Q,) int64 among the pixels of the chunk
    center: tuple[Tensor, Tensor]  # (Q,) each, x and y


def chunk_triangles(topology: Topology, vertices: int, count: int) -> Triangles:
    """The triangles of a mesh of so many vertices, once for each of `count` pictures."""
    columns = topology.columns
    image = torch.arange(count, device=columns.device)[:, None].expand(count, columns.shape[1])
    number = torch.arange(columns.shape[1], device=columns.device).repeat(count)
    return Triangles((columns[:, None] + image * vertices).flatten(1), number, image.flatten())


def cover_pixels(columns: Tensor, triangles: Triangles, settings: Settings) -> tuple[Triangles, Tensor, Cover]:
    """Expand triangles into the pixels whose centres they cover.

    Args:
        columns (`torch.Tensor` of shape `(3, n * V)`): x and y in pixels and the depth of the chunk's vertices.
        triangles (`Triangles`): of `chunk_triangles`.
        settings (`Settings`): size of the pictures, and what to drop.

    Returns:
        `tuple[Triangles, torch.Tensor, Cover]`: the triangles that face the camera (L), the columns at their corners
        `(3, 3, L)`, and what they cover, hidden or not.
    """
    seen = _facing(columns, triangles, settings.cull)
    place = columns_at(columns, seen.corner)
    return seen, place, _cover(_spans(place, seen, settings))


def gather(columns: Tensor, index: Tensor) -> Tensor:
    """Entries `(C, P)` of columns `(C, L)`. One column at a time is what PyTorch does fastest; it has no gradient."""
    entries = columns.new_empty(len(columns), index.numel())
    for column, target in zip(columns, entries, strict=True):
        torch.index_select(column, 0, index, out=target)
    return entries


def columns_at(columns: Tensor, corner: Tensor) -> Tensor:
    """Columns `(C, V)` of vertices at corners `(3, L)` of triangles: `(C, 3, L)`."""
    return gather(columns, corner.reshape(-1)).view(len(columns), *corner.shape)


def facing_triangles(points: Tensor, topology: Topology, near: float = NEAR) -> Tensor:
    """Which triangles `(N, F)` are drawn, seen from the front, when `points (N, V, 3)` are pixels and depth."""
    columns = points.movedim(-1, 0)  # (3, N, V)
    x, y = (columns_at(column, topology.columns).unbind(1) for column in columns[:2])
    front = _doubled_area(x, y) < -SMALLEST_AREA
    if _can_all_be_drawn(columns.flatten(1), near):
        return front
    z = columns_at(columns[2], topology.columns).unbind(1)
    (left, right), (top, bottom), (nearest, _) = (_extent(values) for values in (x, y, z))
    return front & (nearest > near) & (right - left < WIDEST) & (bottom - top < WIDEST)


def nearest_fragments(pixel: Tensor, depth: Tensor, pixels: int) -> Tensor:
    """The fragments that win the depth test, in their order; of those at equal depth in a pixel the first one."""
    buffer = depth.new_full((pixels,), torch.inf).scatter_reduce_(0, pixel, depth, "amin")
    winner = repeated(depth == buffer.index_select(0, pixel))
    if winner.numel() > int((buffer < torch.inf).count_nonzero()):  # more than pixels, so some are at equal depth
        pixel = pixel.index_select(0, winner)
        first = winner.new_full((pixels,), depth.numel()).scatter_reduce_(0, pixel, winner, "amin")
        winner = winner[first.index_select(0, pixel) == winner]
    return winner


def repeated(times: Tensor) -> Tensor:
    """The number of each entry, as often as it says; of flags `(R,)`, where they are set.

    It is `torch.repeat_interleave`, or `nonzero`, without a branch per entry: processors guess those wrong.
    """
    end = times.cumsum(0)
    total = int(end[-1]) if end.numel() else 0
    return torch.bincount(end, minlength=total)[:total].cumsum(0)  # how many have ended


def spread_ranges(first: Tensor, end: Tensor, *bases: Tensor) -> tuple[Tensor, ...]:
    """For each range [first, end) of whole floats: its number, repeated, the values inside, and those above each base.

    The bases `(R,)` have a number for each range. Values are int32: processors add those several times as fast.
    """
    length = (end - first).long()
    owner = repeated(length)
    offset = (first.long() + length - length.cumsum(0)).int()
    step = torch.arange(owner.numel(), dtype=torch.int32, device=owner.device)
    starts = offset, *(base.int() + offset for base in bases)
    return owner, *(start.index_select(0, owner).add_(step) for start in starts)


def _can_all_be_drawn(columns: Tensor, near: float) -> bool:
    """Whether no triangle need be looked at, because all vertices `(3, V)` lie before the camera and together."""
    if columns.numel() == 0:
        return True
    lowest, highest = columns.amin(1), columns.amax(1)
    return bool((lowest[2] > near) & (highest - lowest < WIDEST).all())


def _facing(columns: Tensor, triangles: Triangles, cull: bool) -> Triangles:
    """Keep the triangles that face the camera; half of a closed mesh goes here, before anything else is computed."""
    doubled_area = _doubled_area(*columns_at(columns[:2], triangles.corner))
    # Front faces are counter-clockwise with y up, so clockwise, of negative area, with y down.
    keep = doubled_area < -SMALLEST_AREA if cull else doubled_area.abs() > SMALLEST_AREA
    return triangles.select(repeated(keep))


def _doubled_area(x: Iterable[Tensor], y: Iterable[Tensor]) -> Tensor:
    (x0, x1, x2), (y0, y1, y2) = x, y
    return (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)


def _spans(place: Tensor, seen: Triangles, settings: Settings) -> _Spans:
    """Cut triangles into rows. Every crossing of an edge is computed from the edge's upper end."""
    x, y = _sort_by_height(place)
    triangle, row, line = spread_ranges(*_rows(y, place, settings), seen.image * settings.height)
    center = row.to(place.dtype) + 0.5
    below = center >= y[1].index_select(0, triangle)  # then the row crosses the lower of the two short edges
    crossings = (
        _crossing(_edges(x[::2], y[::2]), triangle, center),
        _crossing(_edges(x, y), triangle + below * y[1].numel(), center),
    )
    one, other = (_first_pixel(crossing, settings.width) for crossing in crossings)
    return _Spans(triangle, center, line * settings.width, (torch.minimum(one, other), torch.maximum(one, other)))


def _sort_by_height(place: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The corners' x and y, columns `(L,)`, from top to bottom."""
    x, y = list(place[0]), list(place[1])
    for upper, lower in ((0, 1), (1, 2), (0, 1)):
        # By 0 or 1, which is exact; `where` is several times as slow on flags that nobody can guess.
        swap = (y[upper] > y[lower]).to(place.dtype)
        x[upper], x[lower] = torch.lerp(x[upper], x[lower], swap), torch.lerp(x[lower], x[upper], swap)
        y[upper], y[lower] = torch.minimum(y[upper], y[lower]), torch.maximum(y[upper], y[lower])
    return x, y


def _rows(y: list[Tensor], place: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """First row, and the row after the last, by sorted y; none for triangles that cannot be drawn."""
    (left, right), (nearest, _) = _extent(place[0]), _extent(place[2])
    drawn = (nearest > settings.near) & (right - left < WIDEST) & (y[2] - y[0] < WIDEST)
    drawn &= _first_pixel(left, settings.width) < _first_pixel(right, settings.width)
    first, end = _first_pixel(y[0], settings.height), _first_pixel(y[2], settings.height)
    return first, first + (end - first) * drawn


def _edges(x: list[Tensor], y: list[Tensor]) -> Tensor:
    """Edges from one corner to the next, one kind after the other: x and y of the upper end, and the slope."""
    slopes = [(x[k + 1] - x[k]) / (y[k + 1] - y[k]) for k in range(len(x) - 1)]
    return torch.stack([torch.cat(columns) for columns in (x[:-1], y[:-1], slopes)])


def _crossing(edges: Tensor, edge: Tensor, center: Tensor) -> Tensor:
    """Where some of the edges cross rows' centres, `(S,)`."""
    x, y, slope = gather(edges, edge)
    return (center - y).mul_(slope).add_(x)


def _extent(values: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """The smallest and the largest of three columns."""
    one, two, three = values
    return torch.minimum(torch.minimum(one, two), three), torch.maximum(torch.maximum(one, two), three)


def _first_pixel(edge: Tensor, limit: int) -> Tensor:
    """The first pixel whose centre is at or after a position, in [0, limit], as a float."""
    return (edge - 0.5).ceil_().clamp_(0, limit)


def _cover(spans: _Spans) -> Cover:
    span, column, pixel = spread_ranges(*spans.bounds, spans.pixel)
    return Cover(
        triangle=spans.triangle.index_select(0, span),
        pixel=pixel.long(),
        center=(column.to(spans.center.dtype) + 0.5, spans.center.index_select(0, span)),
    )
