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

from ..mesh import Topology
from ..scanline import SMALLEST_AREA, WIDEST, Settings
from ..seen_pixels import SharesGradient
from .numba_gradients import pass_back_planes, rows_of, three_channels, vertices_of
from .numba_kernels import INDEX, allocate, array, bands, contracted_helper, dtype_of, helper, kernel, pictures, run
from .numba_visibility import corners_of, find_visible, locate, pass_back


def can_draw(points: Tensor) -> bool:
    """Whether this backend draws such tensors."""
    return points.dtype in (torch.float32, torch.float64)


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
    return np.array([settings.near, SMALLEST_AREA, WIDEST], dtype=dtype_of(points))


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
        real, cut = dtype_of(points), bands(count)
        planes = allocate(
            ((count, height, width), INDEX), ((count, 3, height, width), real), ((count, height, width), real)
        )
        given = (array(points), topology.compact, limits_of(points, settings), settings.cull)
        run(_draw, count * cut, cut, *given, *planes)
        index, barycentrics, depth = (torch.from_numpy(plane) for plane in planes)
        ctx.mark_non_differentiable(index)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(points, index)
        ctx.topology = topology
        ctx.drawn = points.detach(), index.detach()
        return index, barycentrics, depth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Any, grad_barycentrics: Tensor | None, grad_depth: Tensor | None):
        points, index = ctx.saved_tensors
        if isinstance(grad_barycentrics, SharesGradient):
            through_depth = None if grad_depth is None else _pass_back(points, index, ctx.topology, None, grad_depth)
            to_points = grad_barycentrics.to_points
            return to_points if through_depth is None else to_points + through_depth, None, None
        return _pass_back(points, index, ctx.topology, grad_barycentrics, grad_depth), None, None


class _Interpolate(torch.autograd.Function):
    """Vertex attributes and fragments -> planes of pixels."""

    @staticmethod
    def forward(ctx: Any, attributes: Tensor, barycentrics: Tensor, index: Tensor, topology: Topology):
        count, _, channels = attributes.shape
        [planes] = allocate(((count, channels, *index.shape[1:]), dtype_of(attributes)))
        cut = bands(count)
        given = (array(attributes), topology.compact, array(index), array(barycentrics))
        run(_interpolate, count * cut, cut, *given, planes)
        points = _drawn_points(barycentrics, index, topology, attributes.shape[1])
        ctx.save_for_backward(attributes, barycentrics, index, *points)
        ctx.topology = topology
        return torch.from_numpy(planes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_planes: Tensor):
        attributes, barycentrics, index, *points = ctx.saved_tensors
        given = attributes, ctx.topology, index, barycentrics, grad_planes
        if not points:
            return *_pass_back_planes(*given), None, None
        to_points, to_attributes = pass_back_planes(points[0], *given)
        shares = SharesGradient(barycentrics, to_points, lambda: _pass_back_planes(*given)[1])
        return to_attributes, shares, None, None


def _drawn_points(barycentrics: Tensor, index: Tensor, topology: Topology, vertices: int) -> tuple[Tensor, ...]:
    """The so many points of which `rasterize` made these fragments, where it did and they have a gradient."""
    drawing: Any = barycentrics.grad_fn  # the context of `_Rasterize`, if it is
    if not isinstance(drawing, _Rasterize._backward_cls) or drawing.topology is not topology:
        return ()
    points, drawn = drawing.drawn
    same = drawn.data_ptr() == index.data_ptr() and drawn.shape == index.shape
    return (points,) if same and points.shape[1] == vertices else ()


def _pass_back(
    points: Tensor, index: Tensor, topology: Topology, grad_barycentrics: Tensor | None, grad_depth: Tensor | None
) -> Tensor:
    """What barycentrics and depth pass back to points `(N, V, 3)`."""
    count, vertices, _ = points.shape
    nothing = points.new_empty(0, 0, 0)
    upstream = (
        array(nothing[..., None] if grad_barycentrics is None else grad_barycentrics),
        array(nothing if grad_depth is None else grad_depth),
    )
    cut = bands(count)
    sums = points.new_empty(count, cut, vertices, 3)
    given = (array(points), topology.compact, array(index), *upstream)
    run(_draw_backward, count * cut, cut, *given, sums.numpy())
    return sums.sum(1) if cut > 1 else sums[:, 0]


def _pass_back_planes(
    attributes: Tensor, topology: Topology, index: Tensor, barycentrics: Tensor, grad_planes: Tensor
) -> tuple[Tensor, Tensor]:
    """What planes pass back to attributes `(N, V, C)` and to barycentrics."""
    count, vertices, channels = attributes.shape
    cut = bands(count)
    sums = attributes.new_empty(count, cut, vertices, channels)
    [grad_barycentrics] = allocate((barycentrics.shape, dtype_of(attributes)))
    given = (array(attributes), topology.compact, array(index), array(barycentrics), pictures(grad_planes))
    run(_interpolate_backward, count * cut, cut, *given, sums.numpy(), grad_barycentrics)
    return sums.sum(1) if cut > 1 else sums[:, 0], torch.from_numpy(grad_barycentrics)


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


@kernel
def _draw(first, end, cut, points, triangles, limits, cull, index, barycentrics, depth):
    """Bands [first, end) of all pictures, each cut into `cut`: the fields of `Fragments`."""
    height, width = index.shape[1:]
    for unit in range(first, end):
        picture, band = unit // cut, unit % cut
        rows = height * band // cut, height * (band + 1) // cut
        place = points[picture]
        find_visible(place, triangles, limits, cull, rows, index[picture], depth[picture])
        numbers, deep = index[picture].reshape(-1), depth[picture].reshape(-1)
        shares = barycentrics[picture].reshape(3, height * width)
        for row in range(rows[0], rows[1]):
            y = points.dtype.type(row + 0.5)
            for column in range(width):
                pixel = np.uint64(row * width + column)
                if numbers[pixel] < 0:
                    shares[0, pixel] = shares[1, pixel] = shares[2, pixel] = 0
                    continue
                corners = corners_of(triangles, numbers[pixel])
                share, deep[pixel] = locate(place, corners, points.dtype.type(column + 0.5), y)
                shares[0, pixel], shares[1, pixel], shares[2, pixel] = share


@kernel
def _draw_backward(first, end, cut, points, triangles, index, grad_barycentrics, grad_depth, sums):
    """Sum in `sums (N, cut, V, 3)` what barycentrics and depth pass back; either may be empty."""
    real = points.dtype.type
    height, width = index.shape[1:]
    area = np.uint64(height * width)
    has_shares, has_depth = grad_barycentrics.shape[0] > 0, grad_depth.shape[0] > 0
    for unit in range(first, end):
        picture, band = unit // cut, unit % cut
        numbers, place, total = index[picture].reshape(-1), points[picture], sums[picture, band]
        total[:] = 0
        given = grad_barycentrics[picture : picture + has_shares].reshape(-1)
        given_depth = grad_depth[picture : picture + has_depth].reshape(-1)
        for row in range(height * band // cut, height * (band + 1) // cut):
            for column in range(width):
                pixel = np.uint64(row * width + column)
                if numbers[pixel] < 0:
                    continue
                shares, depth = (real(0), real(0), real(0)), real(0)
                if has_shares:
                    shares = given[pixel], given[area + pixel], given[area + area + pixel]
                if has_depth:
                    depth = given_depth[pixel]
                corners = corners_of(triangles, numbers[pixel])
                pass_back(place, corners, real(column + 0.5), real(row + 0.5), shares, depth, total)


@kernel
def _interpolate(first, end, cut, attributes, triangles, index, barycentrics, planes):
    """Bands [first, end) of all pictures, each cut into `cut`."""
    channels, height, width = planes.shape[1:]
    corners = triangles.reshape(-1)
    for unit in range(first, end):
        picture, band = unit // cut, unit % cut
        pixels = height * band // cut * width, height * (band + 1) // cut * width
        values, numbers = attributes[picture].reshape(-1), index[picture].reshape(-1)
        shares, plane = barycentrics[picture].reshape(-1), planes[picture].reshape(-1)
        for channel in range(0, channels, 3):  # a loop over channels for each pixel would take twice the time
            three = three_channels(channel, channels)
            _mix_three(values, corners, numbers, shares, pixels, three, channels, plane)


@helper
def _mix_three(values, corners, numbers, shares, pixels, three, channels, plane):
    """Fill three planes."""
    area = np.uint64(numbers.shape[0])
    k, m, n = three[0] * area, three[1] * area, three[2] * area
    for number_of_pixel in range(pixels[0], pixels[1]):
        pixel = np.uint64(number_of_pixel)
        if numbers[pixel] < 0:
            plane[k + pixel] = plane[m + pixel] = plane[n + pixel] = 0
            continue
        rows = rows_of(vertices_of(corners, numbers[pixel]), channels)
        weights = shares[pixel], shares[area + pixel], shares[area + area + pixel]
        plane[k + pixel] = _mixed(values, rows, weights, three[0])
        plane[m + pixel] = _mixed(values, rows, weights, three[1])
        plane[n + pixel] = _mixed(values, rows, weights, three[2])


@contracted_helper
def _mixed(values, rows, weights, channel):
    a, b, c = rows
    return weights[0] * values[a + channel] + weights[1] * values[b + channel] + weights[2] * values[c + channel]


@kernel
def _interpolate_backward(
    first, end, cut, attributes, triangles, index, barycentrics, grad_planes, sums, grad_barycentrics
):
    """What planes pass back: to attributes in `sums (N, cut, V, C)`, and to the barycentrics."""
    zero = attributes.dtype.type(0)
    channels, (height, width) = attributes.shape[2], index.shape[1:]
    area = height * width
    for unit in range(first, end):
        picture, band = unit // cut, unit % cut
        values, total, numbers = attributes[picture], sums[picture, band], index[picture].reshape(-1)
        total[:] = 0
        shares, grad_shares = (
            barycentrics[picture].reshape(3, height * width),
            grad_barycentrics[picture].reshape(3, height * width),
        )
        begin = picture * grad_planes[1]
        grads = grad_planes[0][begin : begin + channels * area].reshape(channels, area)
        for row_pixel in range(height * band // cut * width, height * (band + 1) // cut * width):
            pixel = np.uint64(row_pixel)
            grad_u, grad_v, grad_w = zero, zero, zero
            if numbers[pixel] >= 0:
                a, b, c = corners_of(triangles, numbers[pixel])
                u, v, w = shares[0, pixel], shares[1, pixel], shares[2, pixel]
                for channel in range(channels):
                    grad = grads[channel, pixel]
                    grad_u += grad * values[a, channel]
                    grad_v += grad * values[b, channel]
                    grad_w += grad * values[c, channel]
                    total[a, channel] += grad * u
                    total[b, channel] += grad * v
                    total[c, channel] += grad * w
            grad_shares[0, pixel], grad_shares[1, pixel], grad_shares[2, pixel] = grad_u, grad_v, grad_w
