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
"""`rasterizer` for Numba on the CPU: the same rules, the same visibility to the bit, the same gradients.

A picture is drawn in two passes. The first walks the rows of the triangles that face the camera and notes the number
of the one in front; depths are computed only where two are about as far. The second computes weights, once per pixel.
The backward passes go through the pixels in order. Every band of rows has its own sums, so nothing is atomic, and the
order of additions depends on nothing but the number of threads.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .numba_kernels import array, bands, helper, kernel, run
from .scanline import SMALLEST_AREA, SMALLEST_WEIGHT, WIDEST, Settings
from .topology import Topology

_NO_DEPTH = 0.0  # as yet: what is drawn lies beyond it
_BEYOND = 1 + 1e-4  # a triangle whose corners are that much farther is behind, whatever the rounding


def pixel_points(vertices: Tensor, focal: Tensor, center: Tensor, near: float, farthest: float) -> Tensor:
    """Camera-space vertices `(N, V, 3)` in pixels and depth; -1 as depth of those that cannot be drawn."""
    return _PixelPoints.apply(vertices, focal, center, near, farthest)


def rasterize(points: Tensor, topology: Topology, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Triangle index, barycentrics and depth, as in `Fragments`, of `points (N, V, 3)` in pixels and metres."""
    return _Rasterize.apply(points, topology, settings)


def interpolate(attributes: Tensor, barycentrics: Tensor, index: Tensor, topology: Topology) -> Tensor:
    """Planes `(N, C, H, W)` of vertex attributes `(N, V, C)`."""
    return _Interpolate.apply(attributes, barycentrics, index, topology)


def limits_of(points: Tensor, settings: Settings) -> np.ndarray:
    """What triangles must keep to, in the type of the points: nearest depth, smallest area, largest width."""
    return np.array([settings.near, SMALLEST_AREA, WIDEST], dtype=array(points).dtype)


class _PixelPoints(torch.autograd.Function):
    """Vertices `(N, V, 3)`, focal lengths `(N,)` and principal points `(N, 2)` -> points `(N, V, 3)`."""

    @staticmethod
    def forward(ctx: Any, vertices: Tensor, focal: Tensor, center: Tensor, near: float, farthest: float):
        points = torch.empty_like(vertices, memory_format=torch.contiguous_format)
        ctx.limits = np.array([near, farthest], dtype=points.numpy().dtype)
        given = array(vertices), array(focal), array(center), ctx.limits
        run(_project, len(vertices), *given, points.numpy())
        ctx.save_for_backward(vertices, focal, points)
        return points

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_points: Tensor):
        vertices, focal, points = ctx.saved_tensors
        gradients = points.new_empty(points.shape), focal.new_empty(len(focal)), focal.new_empty(len(focal), 2)
        given = array(vertices), array(focal), array(points), array(grad_points)
        run(_project_backward, len(vertices), *given, *(gradient.numpy() for gradient in gradients))
        return *gradients, None, None


class _Rasterize(torch.autograd.Function):
    """Points `(N, V, 3)` -> the three fields of `Fragments`."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, topology: Topology, settings: Settings):
        count, (height, width) = points.shape[0], (settings.height, settings.width)
        index = torch.empty(count, height, width, dtype=torch.int64)
        barycentrics = points.new_empty(count, 3, height, width)
        depth = points.new_empty(count, height, width)
        cut = bands(count)
        given = (array(points), topology.compact, limits_of(points, settings), settings.cull)
        run(_draw, count * cut, cut, *given, array(index), array(barycentrics), array(depth))
        ctx.mark_non_differentiable(index)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(points, index)
        ctx.topology = topology
        return index, barycentrics, depth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Any, grad_barycentrics: Tensor | None, grad_depth: Tensor | None):
        points, index = ctx.saved_tensors
        count, vertices, _ = points.shape
        nothing = points.new_empty(0, 0, 0)
        upstream = (
            array(nothing[..., None] if grad_barycentrics is None else grad_barycentrics),
            array(nothing if grad_depth is None else grad_depth),
        )
        cut = bands(count)
        sums = points.new_zeros(count, cut, vertices, 3)
        given = (array(points), ctx.topology.compact, array(index), *upstream)
        run(_draw_backward, count * cut, cut, *given, sums.numpy())
        return sums.sum(1) if cut > 1 else sums[:, 0], None, None


class _Interpolate(torch.autograd.Function):
    """Vertex attributes and fragments -> planes of pixels."""

    @staticmethod
    def forward(ctx: Any, attributes: Tensor, barycentrics: Tensor, index: Tensor, topology: Topology):
        count, _, channels = attributes.shape
        planes = attributes.new_empty(count, channels, *index.shape[1:])
        cut = bands(count)
        given = (array(attributes), topology.compact, array(index), array(barycentrics))
        run(_interpolate, count * cut, cut, *given, array(planes))
        ctx.save_for_backward(attributes, barycentrics, index)
        ctx.topology = topology
        return planes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_planes: Tensor):
        attributes, barycentrics, index = ctx.saved_tensors
        count, vertices, channels = attributes.shape
        cut = bands(count)
        sums = attributes.new_zeros(count, cut, vertices, channels)
        grad_barycentrics = torch.empty_like(barycentrics)
        given = (array(attributes), ctx.topology.compact, array(index), array(barycentrics), array(grad_planes))
        run(_interpolate_backward, count * cut, cut, *given, sums.numpy(), grad_barycentrics.numpy())
        return sums.sum(1) if cut > 1 else sums[:, 0], grad_barycentrics, None, None


@kernel
def _project(first, end, vertices, focal, center, limits, points):
    """Pictures [first, end), to the bit as the reference does."""
    near, farthest = limits
    zero, behind = near - near, np.float32(-1)
    for picture in range(first, end):
        for vertex in range(vertices.shape[1]):
            x, y, z = vertices[picture, vertex, 0], vertices[picture, vertex, 1], vertices[picture, vertex, 2]
            seen = focal[picture] > 0 and z > near
            if not (seen and abs(x) < farthest and abs(y) < farthest and abs(z) < farthest):
                x, y, z = zero, zero, behind + zero
            points[picture, vertex, 0] = x / z * focal[picture] + center[picture, 0]
            points[picture, vertex, 1] = y / z * focal[picture] + center[picture, 1]
            points[picture, vertex, 2] = z


@kernel
def _project_backward(first, end, vertices, focal, points, grad_points, grad_vertices, grad_focal, grad_center):
    """Of pictures [first, end). What many vertices share is added up in float64."""
    for picture in range(first, end):
        longer, right, down = 0.0, 0.0, 0.0
        for vertex in range(vertices.shape[1]):
            z, grad = points[picture, vertex, 2], grad_vertices[picture, vertex]
            u, v = grad_points[picture, vertex, 0], grad_points[picture, vertex, 1]
            right, down = right + u, down + v
            if z < 0:
                grad[:] = 0
                continue
            x, y = vertices[picture, vertex, 0] / z, vertices[picture, vertex, 1] / z
            scale = focal[picture] / z
            longer += u * x + v * y
            grad[0], grad[1] = u * scale, v * scale
            grad[2] = grad_points[picture, vertex, 2] - (u * x + v * y) * scale
        grad_focal[picture] = longer
        grad_center[picture, 0], grad_center[picture, 1] = right, down


@helper
def _signed_edges(points, corners, x, y):
    """Twice the signed areas that a pixel's centre makes with the edge opposite to each corner."""
    a, b, c = corners
    ax, bx, cx = points[a, 0] - x, points[b, 0] - x, points[c, 0] - x
    ay, by, cy = points[a, 1] - y, points[b, 1] - y, points[c, 1] - y
    return bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx


@helper
def _exact_depth(points, corners, x, y, least):
    """To the bit what the reference compares."""
    first, second, third = _signed_edges(points, corners, x, y)
    first, second, third = max(abs(first), least), max(abs(second), least), max(abs(third), least)
    a, b, c = corners
    return (first + second + third) / (first / points[a, 2] + second / points[b, 2] + third / points[c, 2])


@helper
def _first_pixel(edge, limit, half):
    """The first pixel whose centre is at or after a position, in [0, limit]."""
    return np.int64(min(max(np.ceil(edge - half), half - half), limit))


@helper
def find_visible(points, triangles, limits, cull, rows, index, depth):
    """Fill `index (H, W)` within a band of rows; where triangles compete `depth (H, W)` keeps the nearest's."""
    real = points.dtype.type
    half, least = real(0.5), real(SMALLEST_WEIGHT)
    near, smallest_area, widest = limits[0], limits[1], limits[2]
    beyond = real(_BEYOND)
    width, end = real(index.shape[1]), real(rows[1])
    index[rows[0] : rows[1]] = -1
    depth[rows[0] : rows[1]] = _NO_DEPTH
    for number in range(triangles.shape[0]):
        a, b, c = triangles[number, 0], triangles[number, 1], triangles[number, 2]
        x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        if not (area < -smallest_area or (not cull and area > smallest_area)):
            continue
        top, left = min(y0, y1, y2), min(x0, x1, x2)
        bottom, right = max(y0, y1, y2), max(x0, x1, x2)
        nearest = min(points[a, 2], points[b, 2], points[c, 2])
        if not (nearest > near and right - left < widest and bottom - top < widest):
            continue
        first_row, end_row = _first_pixel(top, end, half), _first_pixel(bottom, end, half)
        first_row = max(first_row, rows[0])
        if first_row >= end_row or _first_pixel(left, width, half) >= _first_pixel(right, width, half):
            continue
        farthest = max(points[a, 2], points[b, 2], points[c, 2])
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        if y1 > y2:
            x1, y1, x2, y2 = x2, y2, x1, y1
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        long_slope = (x2 - x0) / (y2 - y0)
        upper_slope, lower_slope = (x1 - x0) / (y1 - y0), (x2 - x1) / (y2 - y1)
        for row in range(first_row, end_row):
            center = real(row) + half
            one = x0 + (center - y0) * long_slope
            other = x1 + (center - y1) * lower_slope if center >= y1 else x0 + (center - y0) * upper_slope
            first, last = _first_pixel(min(one, other), width, half), _first_pixel(max(one, other), width, half)
            for column in range(first, last):
                rival = index[row, column]
                if rival < 0:
                    index[row, column] = number
                    continue
                d, e, f = triangles[rival, 0], triangles[rival, 1], triangles[rival, 2]
                if nearest > beyond * max(points[d, 2], points[e, 2], points[f, 2]):
                    continue
                if beyond * farthest < min(points[d, 2], points[e, 2], points[f, 2]):
                    index[row, column], depth[row, column] = number, _NO_DEPTH
                    continue
                x = real(column) + half
                if depth[row, column] == _NO_DEPTH:
                    depth[row, column] = _exact_depth(points, (d, e, f), x, center, least)
                exact = _exact_depth(points, (a, b, c), x, center, least)
                if exact < depth[row, column]:
                    index[row, column], depth[row, column] = number, exact


@kernel
def _draw(first, end, cut, points, triangles, limits, cull, index, barycentrics, depth):
    """Bands [first, end) of all pictures, each cut into `cut`: the fields of `Fragments`."""
    real = points.dtype.type
    half, least, zero, one = real(0.5), real(SMALLEST_WEIGHT), real(0), real(1)
    height, width = index.shape[1:]
    for unit in range(first, end):
        image, band = unit // cut, unit % cut
        rows = height * band // cut, height * (band + 1) // cut
        place = points[image]
        find_visible(place, triangles, limits, cull, rows, index[image], depth[image])
        for row in range(rows[0], rows[1]):
            y = real(row) + half
            last = np.int64(-1)
            corners = np.uint32(0), np.uint32(0), np.uint32(0)
            nearness = zero, zero, zero
            for column in range(width):
                number = index[image, row, column]
                if number < 0:
                    for corner in range(3):
                        barycentrics[image, corner, row, column] = zero
                    continue
                if number != last:
                    last = number
                    corners = triangles[number, 0], triangles[number, 1], triangles[number, 2]
                    nearness = one / place[corners[0], 2], one / place[corners[1], 2], one / place[corners[2], 2]
                u, v, w = _signed_edges(place, corners, real(column) + half, y)
                u, v, w = max(abs(u), least), max(abs(v), least), max(abs(w), least)
                area = u + v + w
                u, v, w = u * nearness[0], v * nearness[1], w * nearness[2]
                scale = one / (u + v + w)
                barycentrics[image, 0, row, column] = u * scale
                barycentrics[image, 1, row, column] = v * scale
                barycentrics[image, 2, row, column] = w * scale
                depth[image, row, column] = area * scale


@kernel
def _draw_backward(first, end, cut, points, triangles, index, grad_barycentrics, grad_depth, sums):
    """Add up in `sums (N, cut, V, 3)` what barycentrics and depth pass back; either may be empty.

    With signed areas e, weights w = e / z and barycentrics b = w / sum(w), the depth is the interpolated z.
    """
    real = points.dtype.type
    half, least, zero, one = real(0.5), real(SMALLEST_WEIGHT), real(0), real(1)
    height, width = index.shape[1:]
    for unit in range(first, end):
        image, band = unit // cut, unit % cut
        place, total = points[image], sums[image, band]
        for row in range(height * band // cut, height * (band + 1) // cut):
            y = real(row) + half
            for column in range(width):
                number = index[image, row, column]
                if number < 0:
                    continue
                a, b, c = triangles[number, 0], triangles[number, 1], triangles[number, 2]
                x = real(column) + half
                ax, bx, cx = place[a, 0] - x, place[b, 0] - x, place[c, 0] - x
                ay, by, cy = place[a, 1] - y, place[b, 1] - y, place[c, 1] - y
                az, bz, cz = place[a, 2], place[b, 2], place[c, 2]
                u, v, w = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
                sign = one if u + v + w > zero else -one
                u, v, w = max(abs(u), least) / az, max(abs(v), least) / bz, max(abs(w), least) / cz
                scale = one / (u + v + w)
                u, v, w = u * scale, v * scale, w * scale
                grad_u, grad_v, grad_w, grad_z = zero, zero, zero, zero
                if grad_barycentrics.shape[0]:
                    grad_u = grad_barycentrics[image, 0, row, column]
                    grad_v = grad_barycentrics[image, 1, row, column]
                    grad_w = grad_barycentrics[image, 2, row, column]
                if grad_depth.shape[0]:
                    grad_z = grad_depth[image, row, column]
                    grad_u, grad_v, grad_w = grad_u + grad_z * az, grad_v + grad_z * bz, grad_w + grad_z * cz
                mean = u * grad_u + v * grad_v + w * grad_w
                grad_u, grad_v, grad_w = (grad_u - mean) / az, (grad_v - mean) / bz, (grad_w - mean) / cz
                total[a, 2] += u * (grad_z - grad_u)
                total[b, 2] += v * (grad_z - grad_v)
                total[c, 2] += w * (grad_z - grad_w)
                scale *= sign
                grad_u, grad_v, grad_w = grad_u * scale, grad_v * scale, grad_w * scale
                total[a, 0] += grad_w * by - grad_v * cy
                total[a, 1] += grad_v * cx - grad_w * bx
                total[b, 0] += grad_u * cy - grad_w * ay
                total[b, 1] += grad_w * ax - grad_u * cx
                total[c, 0] += grad_v * ay - grad_u * by
                total[c, 1] += grad_u * bx - grad_v * ax


@kernel
def _interpolate(first, end, cut, attributes, triangles, index, barycentrics, planes):
    """Bands [first, end) of all pictures, each cut into `cut`."""
    real = attributes.dtype.type
    zero = real(0)
    channels, height, width = planes.shape[1:]
    for unit in range(first, end):
        image, band = unit // cut, unit % cut
        values = attributes[image]
        for row in range(height * band // cut, height * (band + 1) // cut):
            for column in range(width):
                number = index[image, row, column]
                if number < 0:
                    for channel in range(channels):
                        planes[image, channel, row, column] = zero
                    continue
                a, b, c = triangles[number, 0], triangles[number, 1], triangles[number, 2]
                u = barycentrics[image, 0, row, column]
                v = barycentrics[image, 1, row, column]
                w = barycentrics[image, 2, row, column]
                for channel in range(channels):
                    planes[image, channel, row, column] = (
                        u * values[a, channel] + v * values[b, channel] + w * values[c, channel]
                    )


@kernel
def _interpolate_backward(
    first, end, cut, attributes, triangles, index, barycentrics, grad_planes, sums, grad_barycentrics
):
    """What planes pass back: to attributes in `sums (N, cut, V, C)`, and to the barycentrics."""
    real = attributes.dtype.type
    zero = real(0)
    channels, height, width = grad_planes.shape[1:]
    for unit in range(first, end):
        image, band = unit // cut, unit % cut
        values, total = attributes[image], sums[image, band]
        for row in range(height * band // cut, height * (band + 1) // cut):
            for column in range(width):
                number = index[image, row, column]
                grad_u, grad_v, grad_w = zero, zero, zero
                if number >= 0:
                    a, b, c = triangles[number, 0], triangles[number, 1], triangles[number, 2]
                    u = barycentrics[image, 0, row, column]
                    v = barycentrics[image, 1, row, column]
                    w = barycentrics[image, 2, row, column]
                    for channel in range(channels):
                        grad = grad_planes[image, channel, row, column]
                        grad_u += grad * values[a, channel]
                        grad_v += grad * values[b, channel]
                        grad_w += grad * values[c, channel]
                        total[a, channel] += grad * u
                        total[b, channel] += grad * v
                        total[c, channel] += grad * w
                grad_barycentrics[image, 0, row, column] = grad_u
                grad_barycentrics[image, 1, row, column] = grad_v
                grad_barycentrics[image, 2, row, column] = grad_w
