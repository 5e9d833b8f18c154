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

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .numba_kernels import array, helper, kernel, run
from .scanline import SMALLEST_AREA, WIDEST
from .topology import Topology

_NEAR = 1e-3  # metres, that of `facing_triangles`


def blend_silhouettes(
    planes: Tensor, attributes: Tensor, points: Tensor, topology: Topology, index: Tensor, depth: Tensor
) -> Tensor:
    """Planes `(N, C, H, W)` blended along the silhouettes of `points (N, V, 3)`, as its namesake does."""
    return _Blend.apply(planes, attributes, points, _find_pairs(points, topology, index, depth))


class _Pairs:
    """Neighbouring pixels whose centres an outline parts: rows of `start, end, inner, outer, upright`."""

    def __init__(self, rows: np.ndarray, first: np.ndarray, count: np.ndarray):
        self.rows = rows  # (P, 5) int32; pixels are numbered within their picture
        self.first = first  # (N,) where a picture's rows begin
        self.count = count  # (N,) how many there are


def _find_pairs(points: Tensor, topology: Topology, index: Tensor, depth: Tensor) -> _Pairs:
    place, edges = array(points), topology.compact_edges
    count = len(place)
    limits = np.array([_NEAR, SMALLEST_AREA, WIDEST], dtype=place.dtype)
    facing = np.zeros((count, len(topology.compact) + 1), dtype=np.bool_)
    lines, found = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    height, width = index.shape[1:]
    run(_count_lines, count, place, topology.compact, edges, limits, height, width, facing, lines)
    first = lines.cumsum() - lines
    rows = np.empty((lines.sum(), 5), dtype=np.int32)
    run(_visible_pairs, count, place, edges, facing, array(index), array(depth), lines, first, rows, found)
    return _Pairs(rows, first, found)


class _Blend(torch.autograd.Function):
    """Planes, the vertices' attributes and points, and the pairs -> blended planes."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, attributes: Tensor, points: Tensor, pairs: _Pairs):
        blended = planes.clone(memory_format=torch.contiguous_format)
        given = (array(planes), array(attributes), array(points), pairs.rows, pairs.first, pairs.count)
        run(_blend, planes.shape[0], *given, array(blended))
        ctx.save_for_backward(planes, attributes, points)
        ctx.pairs = pairs
        return blended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_blended: Tensor):
        planes, attributes, points = ctx.saved_tensors
        pairs = ctx.pairs
        gradients = (
            grad_blended.clone(memory_format=torch.contiguous_format),
            torch.zeros_like(attributes, memory_format=torch.contiguous_format),
            torch.zeros_like(points, memory_format=torch.contiguous_format),
        )
        given = (array(planes), array(attributes), array(points), pairs.rows, pairs.first, pairs.count)
        run(_blend_backward, planes.shape[0], *given, array(grad_blended), *(array(grad) for grad in gradients))
        return *gradients, None


@helper
def _is_facing(points, corners, limits):
    """Whether a triangle is drawn, seen from the front."""
    a, b, c = corners
    x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
    if not (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0) < -limits[1]:
        return False
    if not min(points[a, 2], points[b, 2], points[c, 2]) > limits[0]:
        return False
    return max(x0, x1, x2) - min(x0, x1, x2) < limits[2] and max(y0, y1, y2) - min(y0, y1, y2) < limits[2]


@helper
def _axes(points, start, end):
    """Whether the edge runs along y rather than x, and its ends along the other axis (u), along its own (v), in z."""
    x0, y0, x1, y1 = points[start, 0], points[start, 1], points[end, 0], points[end, 1]
    if abs(y1 - y0) >= abs(x1 - x0):
        return True, x0, x1, y0, y1
    return False, y0, y1, x0, x1


@helper
def _lines(v0, v1, limit, half):
    """The lines of pixels, first and after the last, whose centres lie between the ends of an edge."""
    zero = half - half
    first = min(max(np.ceil(min(v0, v1) - half), zero), limit)
    end = min(max(np.ceil(max(v0, v1) - half), zero), limit)
    return np.int64(first), np.int64(end)


@kernel
def _count_lines(first, end, points, triangles, edges, limits, height, width, facing, lines):
    """For pictures [first, end): which triangles face the camera, and how many lines the silhouettes cross."""
    for image in range(first, end):
        place, front = points[image], facing[image]
        real = place.dtype.type
        for number in range(triangles.shape[0]):
            corners = triangles[number, 0], triangles[number, 1], triangles[number, 2]
            front[number] = _is_facing(place, corners, limits)
        total = 0
        for edge in range(edges.shape[0]):
            if front[edges[edge, 2]] != front[edges[edge, 3]]:
                upright, _, _, v0, v1 = _axes(place, edges[edge, 0], edges[edge, 1])
                line, after = _lines(v0, v1, real(height if upright else width), real(0.5))
                total += after - line
        lines[image] = total


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
def _visible_pairs(first, end, points, edges, facing, index, depth, lines, places, rows, found):
    """For pictures [first, end): the pairs whose edge is in front, one per border between two pixels."""
    height, width = index.shape[1:]
    for image in range(first, end):
        place, front = points[image], facing[image]
        real = place.dtype.type
        half, infinite = real(0.5), real(np.inf)
        mine = rows[places[image] :]
        reaches = np.empty(lines[image], dtype=place.dtype)
        size = 2
        while size < 2 * lines[image]:
            size *= 2
        table = np.full(size, -1, dtype=np.int32)  # of borders, by a hash of their two pixels
        count = 0
        for edge in range(edges.shape[0]):
            forward = front[edges[edge, 2]]
            if forward == front[edges[edge, 3]]:
                continue
            # The front face runs through the edge in its own direction, which has the surface on a known side.
            start, stop = edges[edge, 0], edges[edge, 1]
            if not forward:
                start, stop = stop, start
            upright, _, _, v0, v1 = _axes(place, start, stop)
            after = (v1 > v0) == upright
            step, across = (1, width) if upright else (width, height)
            first_line, end_line = _lines(v0, v1, real(height if upright else width), half)
            for line in range(first_line, end_line):
                _, crossing, _, edge_depth = _crossing(place, start, stop, upright, line)
                floor = np.floor(crossing - half)
                if not (floor >= 0 and floor + 1 < across):
                    continue
                before = np.int64(floor)
                low = line * width + before if upright else before * width + line
                inner, outer = (low + step, low) if after else (low, low + step)
                inside, outside = infinite, infinite
                if index[image, inner // width, inner % width] >= 0:
                    inside = depth[image, inner // width, inner % width]
                if index[image, outer // width, outer % width] >= 0:
                    outside = depth[image, outer // width, outer % width]
                if not (outside > edge_depth and abs(inside - edge_depth) < outside - edge_depth):
                    continue
                reach = crossing - floor - real(1)
                if after:
                    reach = -reach
                # Between the same two pixels, an edge behind the surface lies further in than the outline hiding it.
                slot = ((inner * 4 + (2 if after else 0) + (1 if upright else 0)) * 2654435761) % size
                while table[slot] >= 0 and (mine[table[slot], 2] != inner or mine[table[slot], 3] != outer):
                    slot = (slot + 1) % size
                rival = table[slot]
                if rival >= 0 and not reach > reaches[rival]:
                    continue
                if rival < 0:
                    rival = table[slot] = count
                    count += 1
                reaches[rival] = reach
                mine[rival, 0], mine[rival, 1] = start, stop
                mine[rival, 2], mine[rival, 3], mine[rival, 4] = inner, outer, upright
        found[image] = count


@helper
def _recall(points, row, width):
    """A pair again: start, end, inner, outer, upright; ratio, reach, share."""
    start, end, inner, outer, upright = row[0], row[1], row[2], row[3], row[4] == 1
    low = min(inner, outer)
    line, before = (low // width, low % width) if upright else (low % width, low // width)
    ratio, crossing, share, _ = _crossing(points, start, end, upright, line)
    reach = crossing - points.dtype.type(before) - points.dtype.type(1)
    return ratio, (-reach if inner > outer else reach), share


@kernel
def _blend(first, end, planes, attributes, points, rows, places, counts, blended):
    """Blend pictures [first, end), of which `blended` holds a copy."""
    channels, _, width = planes.shape[1:]
    for image in range(first, end):
        for row in rows[places[image] : places[image] + counts[image]]:
            start, stop, inner, outer = row[0], row[1], row[2], row[3]
            _, reach, share = _recall(points[image], row, width)
            target = outer if reach > 0 else inner
            r, c = target // width, target % width
            for channel in range(channels):
                if reach > 0:
                    one, other = attributes[image, start, channel], attributes[image, stop, channel]
                    source = one + share * (other - one)
                else:
                    source = planes[image, channel, outer // width, outer % width]
                blended[image, channel, r, c] += abs(reach) * (source - planes[image, channel, r, c])


@kernel
def _blend_backward(
    first, end, planes, attributes, points, rows, places, counts, upstream, grad_planes, grad_attributes, grad_points
):
    """Of pictures [first, end); `grad_planes` holds a copy of `upstream`."""
    channels, _, width = planes.shape[1:]
    for image in range(first, end):
        place, total = points[image], grad_points[image]
        one, zero = place.dtype.type(1), place.dtype.type(0)
        for row in rows[places[image] : places[image] + counts[image]]:
            start, stop, inner, outer, upright = row[0], row[1], row[2], row[3], row[4] == 1
            ratio, reach, share = _recall(place, row, width)
            target = outer if reach > 0 else inner
            r, c, amount = target // width, target % width, abs(reach)
            grad_amount, grad_share = zero, zero
            for channel in range(channels):
                grad = upstream[image, channel, r, c]
                if reach > 0:
                    near, far = attributes[image, start, channel], attributes[image, stop, channel]
                    source = near + share * (far - near)
                    grad_share += grad * amount * (far - near)
                    grad_attributes[image, start, channel] += grad * amount * (one - share)
                    grad_attributes[image, stop, channel] += grad * amount * share
                else:
                    source = planes[image, channel, outer // width, outer % width]
                    grad_planes[image, channel, outer // width, outer % width] += grad * amount
                grad_planes[image, channel, r, c] -= grad * amount
                grad_amount += grad * (source - planes[image, channel, r, c])
            # The reach is minus the crossing where the surface lies after it.
            grad_crossing = grad_amount if (reach > 0) == (inner < outer) else -grad_amount
            if reach == 0:
                grad_crossing = zero
            u, v = (0, 1) if upright else (1, 0)
            z0, z1 = place[start, 2], place[stop, 2]
            nearness = (one - ratio) / z0 + ratio / z1
            grad_ratio = grad_crossing * (place[stop, u] - place[start, u])
            grad_ratio += grad_share / (z0 * z1 * nearness * nearness)
            grad_v = grad_ratio / (place[stop, v] - place[start, v])
            total[start, u] += grad_crossing * (one - ratio)
            total[stop, u] += grad_crossing * ratio
            total[start, v] += grad_v * (ratio - one)
            total[stop, v] -= grad_v * ratio
            total[start, 2] += grad_share * share * (one - ratio) / (z0 * z0 * nearness)
            total[stop, 2] -= grad_share * (one - share) * ratio / (z1 * z1 * nearness)
