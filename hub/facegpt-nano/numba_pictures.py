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
"""From points and what they carry to finished planes, for Numba on the CPU, without barycentrics in between.

The same as `rasterize`, `interpolate`, the sRGB curve and normals of length 1 one after the other. The backward pass
works the weights of a pixel out again: that is faster than to write and read them.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .numba_color import encode_row, encoding_slope
from .numba_kernels import INDEX, allocate, array, bands, dtype_of, helper, kernel, run
from .numba_rasterizer import limits_of
from .numba_visibility import corners_of, find_visible, locate, pass_back
from .scanline import Settings
from .topology import Topology

_LEAST_SQUARE = 1e-12  # of an interpolated normal that has a direction


def draw(points: Tensor, values: Tensor, topology: Topology, settings: Settings) -> tuple[Tensor, ...]:
    """Pictures of meshes.

    Args:
        points (`torch.Tensor` of shape `(N, V, 3)`): of `pixel_points`.
        values (`torch.Tensor` of shape `(N, V, 6 + C)`): linear colour, normal, and attributes of any width.
        topology (`Topology`): of the mesh.
        settings (`Settings`): size of the pictures, and what is dropped.

    Returns:
        `tuple[torch.Tensor, ...]`: triangle index `(N, H, W)`, depth `(N, H, W)`, mask `(N, 1, H, W)`, sRGB image
        `(N, 3, H, W)`, unit normals `(N, 3, H, W)`, attributes `(N, C, H, W)`.
    """
    return _Draw.apply(points, values, topology, settings)


class _Draw(torch.autograd.Function):
    """Points and values -> index, depth, mask, image, normals, attributes."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, values: Tensor, topology: Topology, settings: Settings):
        count, size = points.shape[0], (settings.height, settings.width)
        real, cut = dtype_of(points), bands(count)
        planes = allocate(
            ((count, *size), INDEX),
            ((count, *size), real),
            *(((count, channels, *size), real) for channels in (1, 3, 3, values.shape[2] - 6)),
        )
        mesh = array(points), array(values), topology.compact
        run(_draw, count * cut, cut, mesh, limits_of(points, settings), settings.cull, tuple(planes))
        index, depth, mask, image, normals, attributes = (torch.from_numpy(plane) for plane in planes)
        ctx.mark_non_differentiable(index, mask)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(points, values, index, image)
        ctx.topology = topology
        return index, depth, mask, image, normals, attributes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Any, grad_depth: Tensor | None, __: Any, *grad_planes: Tensor | None):
        points, values, index, image = ctx.saved_tensors
        count, vertices, channels = values.shape
        cut = bands(count)
        sums = points.new_empty(count, cut, vertices, 3), values.new_empty(count, cut, vertices, channels)
        upstream = tuple(
            np.empty((0,) * dimensions, dtype=dtype_of(points)) if plane is None else array(plane)
            for dimensions, plane in zip((3, 4, 4, 4), (grad_depth, *grad_planes), strict=True)
        )
        mesh = array(points), array(values), ctx.topology.compact
        given = cut, mesh, array(index), array(image), upstream
        run(_draw_backward, count * cut, *given, tuple(total.numpy() for total in sums))
        return *(total.sum(1) if cut > 1 else total[:, 0] for total in sums), None, None


@kernel
def _draw(first, end, cut, mesh, limits, cull, planes):
    """Bands [first, end) of all pictures, each cut into `cut`."""
    index, depth, mask, image, normals, attributes = planes
    height, width = index.shape[1:]
    area = height * width
    for unit in range(first, end):
        picture, band = unit // cut, unit % cut
        rows = height * band // cut, height * (band + 1) // cut
        face = mesh[0][picture], mesh[1][picture], mesh[2]
        find_visible(face[0], face[2], limits, cull, rows, index[picture], depth[picture])
        flat = (
            index[picture].reshape(area),
            depth[picture].reshape(area),
            mask[picture].reshape(area),
            image[picture].reshape(3, area),
            normals[picture].reshape(3, area),
            attributes[picture].reshape(attributes.shape[1], area),
        )
        for row in range(rows[0], rows[1]):
            leftmost, rightmost = _draw_row(face, flat, row, width)
            for channel in range(3):
                encode_row(image[picture, channel, row, leftmost:rightmost])


@helper
def _draw_row(face, planes, row, width):
    """Fill a row of the planes, colours as they are; the first column that shows the face, and the one after it."""
    points, values, triangles = face
    index, depth, mask, image, normals, attributes = planes
    real = points.dtype.type
    leftmost, rightmost = width, 0
    for column in range(width):
        pixel = np.uint64(row * width + column)
        mask[pixel] = index[pixel] >= 0
        if index[pixel] < 0:
            for channel in range(3):
                image[channel, pixel] = normals[channel, pixel] = 0
            for channel in range(attributes.shape[0]):
                attributes[channel, pixel] = 0
            continue
        leftmost, rightmost = min(leftmost, column), column + 1
        corners = corners_of(triangles, index[pixel])
        shares, depth[pixel] = locate(points, corners, real(column + 0.5), real(row + 0.5))
        for channel in range(3):
            image[channel, pixel] = _mixed(values, corners, shares, channel)
        x, y, z = (
            _mixed(values, corners, shares, 3),
            _mixed(values, corners, shares, 4),
            _mixed(values, corners, shares, 5),
        )
        length = real(1) / np.sqrt(max(x * x + y * y + z * z, real(_LEAST_SQUARE)))
        normals[0, pixel], normals[1, pixel], normals[2, pixel] = x * length, y * length, z * length
        for channel in range(attributes.shape[0]):
            attributes[channel, pixel] = _mixed(values, corners, shares, 6 + channel)
    return leftmost, rightmost


@helper
def _mixed(values, corners, shares, channel):
    a, b, c = corners
    return shares[0] * values[a, channel] + shares[1] * values[b, channel] + shares[2] * values[c, channel]


@kernel
def _draw_backward(first, end, cut, mesh, index, image, upstream, sums):
    """Sum in `sums` `(N, cut, V, ...)` what the planes pass back to points and values; planes may be empty."""
    height, width = index.shape[1:]
    area = height * width
    has_depth, has_image = upstream[0].shape[0] > 0, upstream[1].shape[0] > 0
    has_normals, has_attributes = upstream[2].shape[0] > 0, upstream[3].shape[0] > 0
    given = has_image, has_normals, upstream[3].shape[1] if has_attributes else 0, has_depth
    for unit in range(first, end):
        picture, band = unit // cut, unit % cut
        face = mesh[0][picture], mesh[1][picture], mesh[2]
        seen = index[picture].reshape(area), image[picture].reshape(3 * area)
        grads = (
            upstream[0][picture : picture + has_depth].reshape(-1),
            upstream[1][picture : picture + has_image].reshape(-1),
            upstream[2][picture : picture + has_normals].reshape(-1),
            upstream[3][picture : picture + has_attributes].reshape(-1),
        )
        totals = sums[0][picture, band], sums[1][picture, band]
        totals[0][:], totals[1][:] = 0, 0
        for row in range(height * band // cut, height * (band + 1) // cut):
            for column in range(width):
                if seen[0][np.uint64(row * width + column)] >= 0:
                    _pixel_backward(face, seen, grads, given, (row, column), (height, width), totals)


@helper
def _pixel_backward(face, seen, grads, given, place, size, totals):
    """Of one covered pixel."""
    points, values, triangles = face
    real = points.dtype.type
    area, pixel = np.uint64(size[0] * size[1]), np.uint64(place[0] * size[1] + place[1])
    corners = corners_of(triangles, seen[0][pixel])
    x, y = real(place[1] + 0.5), real(place[0] + 0.5)
    shares, _ = locate(points, corners, x, y)
    passed, grad_depth = (real(0), real(0), real(0)), real(0)
    if given[0]:
        passed = _color_backward(values, corners, shares, passed, (seen[1], grads[1], pixel, area), totals[1])
    if given[1]:
        passed = _normal_backward(values, corners, shares, passed, (grads[2], pixel, area), totals[1])
    for channel in range(given[2]):
        grad = grads[3][np.uint64(channel) * area + pixel]
        passed = _mixed_backward(values, corners, shares, grad, 6 + channel, passed, totals[1])
    if given[3]:
        grad_depth = grads[0][pixel]
    pass_back(points, corners, x, y, passed, grad_depth, totals[0])


@helper
def _color_backward(values, corners, shares, passed, planes, total):
    image, grads, pixel, area = planes
    for channel in range(3):
        at = np.uint64(channel) * area + pixel
        slope = encoding_slope(_mixed(values, corners, shares, channel), image[at])
        passed = _mixed_backward(values, corners, shares, grads[at] * slope, channel, passed, total)
    return passed


@helper
def _normal_backward(values, corners, shares, passed, planes, total):
    """Of a mixed normal that is scaled to length 1."""
    grads, pixel, area = planes
    real = type(shares[0])
    x, y, z = (
        _mixed(values, corners, shares, 3),
        _mixed(values, corners, shares, 4),
        _mixed(values, corners, shares, 5),
    )
    p, q, r = grads[pixel], grads[area + pixel], grads[area + area + pixel]
    square = x * x + y * y + z * z
    along = (x * p + y * q + z * r) / square if square > real(_LEAST_SQUARE) else real(0)
    length = real(1) / np.sqrt(max(square, real(_LEAST_SQUARE)))
    passed = _mixed_backward(values, corners, shares, length * (p - along * x), 3, passed, total)
    passed = _mixed_backward(values, corners, shares, length * (q - along * y), 4, passed, total)
    return _mixed_backward(values, corners, shares, length * (r - along * z), 5, passed, total)


@helper
def _mixed_backward(values, corners, shares, grad, channel, passed, total):
    """Add what a mixed value passes back to the vertices' `total (V, C)` and to the gradients of the shares."""
    a, b, c = corners
    first, second, third = values[a, channel], values[b, channel], values[c, channel]
    total[a, channel] += grad * shares[0]
    total[b, channel] += grad * shares[1]
    total[c, channel] += grad * shares[2]
    return passed[0] + grad * first, passed[1] + grad * second, passed[2] + grad * third
