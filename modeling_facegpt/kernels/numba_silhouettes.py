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
"""`silhouettes` for Numba on the CPU: the same pairs of pixels, the same blend, the same gradients."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..mesh import Topology
from ..scanline import NEAR, SMALLEST_AREA, WIDEST
from .numba_color import encode_row, encoding_slope
from .numba_kernels import allocate, array, dtype_of, helper, kernel, run

_KNUTH = 2654435761  # of multiplicative hashing


def blend_silhouettes(
    planes: Tensor, attributes: Tensor, points: Tensor, topology: Topology, index: Tensor, depth: Tensor
) -> Tensor:
    """Planes `(N, C, H, W)` blended along the silhouettes of `points (N, V, 3)`, as its namesake does."""
    return _Blend.apply(planes, attributes, points, _find_pairs(points, topology, index, depth), False)


def blend_picture(
    image: Tensor, mask: Tensor, values: Tensor, points: Tensor, topology: Topology, index: Tensor, depth: Tensor
) -> tuple[Tensor, Tensor]:
    """Picture and mask blended, as its namesake does; the first columns of `values (N, V, 3 + C)` are the colours."""
    pairs = _find_pairs(points, topology, index, depth)
    blended = _Blend.apply(image, _EncodeColors.apply(values), points, pairs, True)
    return blended, _Blend.apply(mask, torch.ones_like(values[..., :1]), points, pairs, True)


class _Pairs(NamedTuple):
    """Neighbouring pixels whose centres an outline parts: rows of `start, end, inner, outer, upright`."""

    rows: np.ndarray  # (P, 5) int32; pixels are numbered within their picture
    first: np.ndarray  # (N,) where a picture's rows begin
    count: np.ndarray  # (N,) how many there are


def _find_pairs(points: Tensor, topology: Topology, index: Tensor, depth: Tensor) -> _Pairs:
    place, edges = array(points), topology.compact_edges
    count = len(place)
    limits = np.array([NEAR, SMALLEST_AREA, WIDEST], dtype=place.dtype)
    facing = np.zeros((count, len(topology.compact) + 1), dtype=np.bool_)
    outline = np.empty((count, len(edges)), dtype=np.int32)
    lengths, lines, found = np.zeros((3, count), dtype=np.int64)
    size = tuple(index.shape[1:])
    run(_find_outline, count, place, topology.compact, edges, limits, size, facing, outline, lengths, lines)
    first = lines.cumsum() - lines
    rows, reaches = np.empty((lines.sum(), 5), dtype=np.int32), np.empty(lines.sum(), dtype=place.dtype)
    table = np.full((count, 2 * lines.max(initial=1)), -1, dtype=np.int32)  # of borders, by a hash of their two pixels
    kept = rows, reaches, table
    edges = edges, facing, outline, lengths
    run(_visible_pairs, count, place, edges, array(index), array(depth), lines, first, kept, found)
    return _Pairs(rows, first, found)


class _Blend(torch.autograd.Function):
    """Planes, the vertices' attributes and points, the pairs, and whether to limit to [0, 1] -> blended planes."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, attributes: Tensor, points: Tensor, pairs: _Pairs, limited: bool):
        # By how much the pixel that is blended with is brighter; NaN where the limit cuts the gradient off.
        contrast = np.empty((len(pairs.rows), planes.shape[1]), dtype=dtype_of(planes))
        [blended] = allocate((planes.shape, contrast.dtype))
        given = array(planes), array(attributes), array(points), *pairs
        run(_blend, planes.shape[0], *given, limited, contrast, blended)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(attributes, points)
        ctx.pairs, ctx.contrast = pairs, contrast
        return torch.from_numpy(blended)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_blended: Tensor | None):
        if grad_blended is None:
            return (None,) * 5
        attributes, points = ctx.saved_tensors
        [grad_planes] = allocate((grad_blended.shape, dtype_of(points)))
        sums = tuple(torch.empty_like(of, memory_format=torch.contiguous_format) for of in (attributes, points))
        given = array(attributes), array(points), *ctx.pairs, ctx.contrast, array(grad_blended)
        run(_blend_backward, len(grad_blended), *given, grad_planes, *(total.numpy() for total in sums))
        return torch.from_numpy(grad_planes), *sums, None, None


class _EncodeColors(torch.autograd.Function):
    """Linear colours, the first three of `values (N, V, 3 + C)` -> sRGB `(N, V, 3)`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor):
        encoded = values.new_empty(*values.shape[:2], 3)
        run(_encode_colors, len(values), array(values), encoded.numpy())
        ctx.save_for_backward(values, encoded)
        return encoded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_encoded: Tensor):
        values, encoded = ctx.saved_tensors
        gradient = torch.empty_like(values, memory_format=torch.contiguous_format)
        run(_encode_colors_backward, len(values), array(values), array(encoded), array(grad_encoded), array(gradient))
        return gradient


@kernel
def _encode_colors(first, end, values, encoded):
    for picture in range(first, end):
        for vertex in range(values.shape[1]):
            for channel in range(3):
                encoded[picture, vertex, channel] = values[picture, vertex, channel]
        encode_row(encoded[picture].reshape(3 * values.shape[1]))


@kernel
def _encode_colors_backward(first, end, values, encoded, grad_encoded, gradient):
    for picture in range(first, end):
        gradient[picture] = 0
        for vertex in range(values.shape[1]):
            for channel in range(3):
                slope = encoding_slope(values[picture, vertex, channel], encoded[picture, vertex, channel])
                gradient[picture, vertex, channel] = grad_encoded[picture, vertex, channel] * slope


@helper
def _is_facing(points, a, b, c, limits):
    """Whether a triangle of flat points is drawn, seen from the front."""
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    a, b, c = np.uint64(a) * three, np.uint64(b) * three, np.uint64(c) * three
    x0, y0, x1, y1, x2, y2 = points[a], points[a + one], points[b], points[b + one], points[c], points[c + one]
    if not (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0) < -limits[1]:  # every other one goes here
        return False
    front = min(points[a + two], points[b + two], points[c + two]) > limits[0]
    front &= max(x0, x1, x2) - min(x0, x1, x2) < limits[2]
    return front & (max(y0, y1, y2) - min(y0, y1, y2) < limits[2])


@helper
def _axes(points, start, end):
    """Whether the edge runs along y rather than x, and its ends along that axis."""
    x0, y0, x1, y1 = points[start, 0], points[start, 1], points[end, 0], points[end, 1]
    if abs(y1 - y0) >= abs(x1 - x0):
        return True, y0, y1
    return False, x0, x1


@helper
def _lines(v0, v1, limit):
    """The lines of pixels, first and after the last, whose centres lie between the ends of an edge."""
    real = type(v0)
    half, most = real(0.5), real(limit)
    first = min(max(np.ceil(min(v0, v1) - half), real(0)), most)
    end = min(max(np.ceil(max(v0, v1) - half), real(0)), most)
    return np.int64(first), np.int64(end)


@kernel
def _find_outline(first, end, points, triangles, edges, limits, size, facing, outline, lengths, lines):
    """For pictures [first, end): triangles that face the camera, edges where that ends, how many lines these cross."""
    corners, ends = triangles.reshape(-1), edges.reshape(-1)
    for image in range(first, end):
        place, flat, front, found = points[image], points[image].reshape(-1), facing[image], outline[image]
        for number in range(triangles.shape[0]):
            at = np.uint64(3 * number)
            a, b, c = corners[at], corners[at + np.uint64(1)], corners[at + np.uint64(2)]
            front[number] = _is_facing(flat, a, b, c, limits)
        count, total = 0, 0
        for edge in range(edges.shape[0]):
            at = np.uint64(4 * edge)
            if front[ends[at + np.uint64(2)]] != front[ends[at + np.uint64(3)]]:
                upright, v0, v1 = _axes(place, ends[at], ends[at + np.uint64(1)])
                line, after = _lines(v0, v1, size[0] if upright else size[1])
                total += after - line
                found[count] = edge
                count += 1
        lengths[image], lines[image] = count, total


@helper
def _crossing(points, start, end, upright, line):
    """Of an edge at the centre of a line: how far along, at which u, the share of its second end, and the depth."""
    real = points.dtype.type
    one = real(1)
    u, v = (0, 1) if upright else (1, 0)
    ratio = (real(line) + real(0.5) - points[start, v]) / (points[end, v] - points[start, v])
    crossing = points[start, u] + ratio * (points[end, u] - points[start, u])
    nearness = (one - ratio) / points[start, 2], ratio / points[end, 2]
    depth = one / (nearness[0] + nearness[1])
    return ratio, crossing, nearness[1] / (nearness[0] + nearness[1]), depth


@kernel
def _visible_pairs(first, end, points, outlines, index, depth, lines, places, kept, found):
    """For pictures [first, end): the pairs whose edge is in front, one per border between two pixels."""
    edges, facing, outline, lengths = outlines
    height, width = index.shape[1:]
    for image in range(first, end):
        place, front = points[image], facing[image]
        first_row, end_row = places[image], places[image] + lines[image]
        mine = kept[0][first_row:end_row], kept[1][first_row:end_row], kept[2][image]
        shown = index[image].reshape(-1), depth[image].reshape(-1)
        count = 0
        for edge in outline[image, : lengths[image]]:
            # The front face runs through the edge in its own direction, which has the surface on a known side.
            start, stop = edges[edge, 0], edges[edge, 1]
            if not front[edges[edge, 2]]:
                start, stop = stop, start
            upright, v0, v1 = _axes(place, start, stop)
            way = start, stop, upright, (v1 > v0) == upright
            first_line, end_line = _lines(v0, v1, height if upright else width)
            for line in range(first_line, end_line):
                inner, outer, reach = _pair(place, way, line, (height, width), shown)
                if inner >= 0:
                    count = _keep_outermost(way, inner, outer, reach, mine, count)
        found[image] = count


@helper
def _pair(points, way, line, size, shown):
    """The inner and the outer pixel that an edge parts on a line, and its reach; -1 where it is not seen."""
    start, stop, upright, after = way
    height, width = size
    step, across = (1, width) if upright else (width, height)
    _, crossing, _, edge_depth = _crossing(points, start, stop, upright, line)
    real = type(crossing)
    floor = np.floor(crossing - real(0.5))
    if not (floor >= 0 and floor + 1 < across):
        return -1, -1, crossing
    low = line * width + np.int64(floor) if upright else np.int64(floor) * width + line
    inner, outer = (low + step, low) if after else (low, low + step)
    infinite = real(np.inf)
    inside = shown[1][inner] if shown[0][inner] >= 0 else infinite
    outside = shown[1][outer] if shown[0][outer] >= 0 else infinite
    if not (outside > edge_depth and abs(inside - edge_depth) < outside - edge_depth):
        return -1, -1, crossing
    reach = crossing - floor - real(1)
    return inner, outer, -reach if after else reach


@helper
def _keep_outermost(way, inner, outer, reach, kept, count):
    """Keep one pair per border: an edge behind the surface lies further in than the outline that hides it."""
    start, stop, upright, after = way
    rows, reaches, table = kept
    size = table.shape[0]
    slot = ((inner * 4 + (2 if after else 0) + (1 if upright else 0)) * _KNUTH) % size
    while table[slot] >= 0 and (rows[table[slot], 2] != inner or rows[table[slot], 3] != outer):
        slot = (slot + 1) % size
    rival = table[slot]
    if rival >= 0 and not reach > reaches[rival]:
        return count
    if rival < 0:
        rival = table[slot] = count
        count += 1
    reaches[rival] = reach
    rows[rival, 0], rows[rival, 1] = start, stop
    rows[rival, 2], rows[rival, 3], rows[rival, 4] = inner, outer, upright
    return count


@helper
def _recall(points, rows, number, width):
    """A pair again: ratio, reach, share."""
    start, end, inner, outer = rows[number, 0], rows[number, 1], rows[number, 2], rows[number, 3]
    upright, low = rows[number, 4] == 1, min(inner, outer)
    line, before = (low // width, low % width) if upright else (low % width, low // width)
    ratio, crossing, share, _ = _crossing(points, start, end, upright, line)
    reach = crossing - points.dtype.type(before) - points.dtype.type(1)
    return ratio, (-reach if inner > outer else reach), share


@kernel
def _blend(first, end, planes, attributes, points, rows, places, counts, limited, contrast, blended):
    """Blend pictures [first, end); `contrast (P, C)` is for the way back."""
    channels, height, width = planes.shape[1:]
    for image in range(first, end):
        place, given = points[image], planes[image].reshape(channels, height * width)
        result = blended[image].reshape(channels, height * width)
        for channel in range(channels):
            for pixel in range(height * width):
                result[channel, pixel] = given[channel, pixel]
        for number in range(places[image], places[image] + counts[image]):
            start, stop, inner, outer = rows[number, 0], rows[number, 1], rows[number, 2], rows[number, 3]
            _, reach, share = _recall(place, rows, number, width)
            target = outer if reach > 0 else inner
            for channel in range(channels):
                source = given[channel, outer]
                if reach > 0:
                    one, other = attributes[image, start, channel], attributes[image, stop, channel]
                    source = one + share * (other - one)
                contrast[number, channel] = source - given[channel, target]
                result[channel, target] += abs(reach) * contrast[number, channel]
        if limited:
            _limit(place, rows, (places[image], places[image] + counts[image]), width, contrast, result)


@helper
def _limit(points, rows, numbers, width, contrast, blended):
    """Mark the pairs whose pixels left [0, 1], where several blend the same one, and bring the pixels back."""
    for number in range(numbers[0], numbers[1]):
        target = rows[number, 3] if _recall(points, rows, number, width)[1] > 0 else rows[number, 2]
        for channel in range(blended.shape[0]):
            if not 0 <= blended[channel, target] <= 1:
                contrast[number, channel] = np.nan
    for number in range(numbers[0], numbers[1]):
        for target in (rows[number, 2], rows[number, 3]):
            for channel in range(blended.shape[0]):
                blended[channel, target] = min(max(blended[channel, target], 0), 1)


@kernel
def _blend_backward(first, end, attributes, points, rows, places, counts, contrast, upstream, *made):
    """Of pictures [first, end), in `made` to planes, attributes and points."""
    channels, height, width = upstream.shape[1:]
    for image in range(first, end):
        place, total, values, changed = points[image], made[2][image], attributes[image], made[1][image]
        given = upstream[image].reshape(channels, height * width)
        result = made[0][image].reshape(channels, height * width)
        total[:], changed[:] = 0, 0
        for channel in range(channels):
            for pixel in range(height * width):
                result[channel, pixel] = given[channel, pixel]
        _cut_off(place, rows, (places[image], places[image] + counts[image]), width, contrast, result)
        for number in range(places[image], places[image] + counts[image]):
            pair = _recall(place, rows, number, width)
            planes = given, result
            grad_amount, grad_share = _colors_backward(rows, number, pair, contrast, planes, values, changed)
            _pass_to_ends(place, rows, number, pair, grad_amount, grad_share, total)


@helper
def _colors_backward(rows, number, pair, contrast, planes, values, changed):
    """From the pixel that a pair blends to what it is blended with; amount and share's gradients are returned."""
    _, reach, share = pair
    given, result = planes
    one, zero = type(reach)(1), type(reach)(0)
    start, stop, outer = rows[number, 0], rows[number, 1], rows[number, 3]
    target, amount = outer if reach > 0 else rows[number, 2], abs(reach)
    grad_amount, grad_share = zero, zero
    for channel in range(given.shape[0]):
        if np.isnan(contrast[number, channel]):
            continue
        grad = given[channel, target]
        result[channel, target] -= grad * amount
        grad_amount += grad * contrast[number, channel]
        if reach > 0:
            near, far = values[start, channel], values[stop, channel]
            grad_share += grad * amount * (far - near)
            changed[start, channel] += grad * amount * (one - share)
            changed[stop, channel] += grad * amount * share
        else:
            result[channel, outer] += grad * amount
    return (zero if reach == 0 else grad_amount), grad_share


@helper
def _cut_off(points, rows, numbers, width, contrast, grad_planes):
    """No gradient where the blend was limited."""
    for number in range(numbers[0], numbers[1]):
        target = rows[number, 3] if _recall(points, rows, number, width)[1] > 0 else rows[number, 2]
        for channel in range(grad_planes.shape[0]):
            if np.isnan(contrast[number, channel]):
                grad_planes[channel, target] = 0


@helper
def _pass_to_ends(points, rows, number, pair, grad_amount, grad_share, sums):
    """Add what a pair's amount and share pass back to the two ends of its edge."""
    ratio, reach, share = pair
    start, stop, upright = rows[number, 0], rows[number, 1], rows[number, 4] == 1
    one = type(ratio)(1)
    # The reach is minus the crossing where the surface lies after it.
    grad_crossing = grad_amount if (reach > 0) == (rows[number, 2] < rows[number, 3]) else -grad_amount
    u, v = (0, 1) if upright else (1, 0)
    z0, z1 = points[start, 2], points[stop, 2]
    nearness = (one - ratio) / z0 + ratio / z1
    grad_ratio = grad_crossing * (points[stop, u] - points[start, u])
    grad_ratio += grad_share / (z0 * z1 * nearness * nearness)
    grad_v = grad_ratio / (points[stop, v] - points[start, v])
    sums[start, u] += grad_crossing * (one - ratio)
    sums[stop, u] += grad_crossing * ratio
    sums[start, v] += grad_v * (ratio - one)
    sums[stop, v] -= grad_v * ratio
    sums[start, 2] += grad_share * share * (one - ratio) / (z0 * z0 * nearness)
    sums[stop, 2] -= grad_share * (one - share) * ratio / (z1 * z1 * nearness)
