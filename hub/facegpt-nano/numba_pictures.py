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

from .numba_kernels import array, bands, helper, kernel, run
from .numba_rasterizer import find_visible, limits_of
from .scanline import SMALLEST_WEIGHT, Settings
from .topology import Topology

_LEAST_SQUARE = 1e-12  # of an interpolated normal that has a direction
_LINEAR_UP_TO = 0.0031308  # of the sRGB curve
# x ** (2 / 3) between the fourth root of that and 1, to 6e-4; each of Halley's steps triples the digits.
_GUESS = (0.09129671, 1.43069907, -0.98339098, 0.64723861, -0.18591603)


def draw(points: Tensor, values: Tensor, topology: Topology, settings: Settings) -> tuple[Tensor, ...]:
    """Pictures of meshes.

    Args:
        points (`torch.Tensor` of shape `(N, V, 3)`): of `pixel_points`.
        values (`torch.Tensor` of shape `(N, V, 6 + C)`): linear colour, normal, and attributes of any width.
        topology (`Topology`): of the mesh.
        settings (`Settings`): size of the pictures, and what is dropped.

    Returns:
        `tuple[torch.Tensor, ...]`: triangle index `(N, H, W)`, depth `(N, H, W)`, sRGB image `(N, 3, H, W)`, unit
        normals `(N, 3, H, W)`, attributes `(N, C, H, W)`.
    """
    return _Draw.apply(points, values, topology, settings)


class _Draw(torch.autograd.Function):
    """Points and values -> index, depth, image, normals, attributes."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, values: Tensor, topology: Topology, settings: Settings):
        count, size = points.shape[0], (settings.height, settings.width)
        index = torch.empty(count, *size, dtype=torch.int64)
        depth = points.new_empty(count, *size)
        image, normals = points.new_empty(2, count, 3, *size)
        attributes = points.new_empty(count, values.shape[2] - 6, *size)
        planes = [array(plane) for plane in (index, depth, image, normals, attributes)]
        cut = bands(count)
        given = (array(points), array(values), topology.compact, limits_of(points, settings), settings.cull)
        run(_draw, count * cut, cut, *given, *planes)
        ctx.mark_non_differentiable(index)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(points, values, index, image)
        ctx.topology = topology
        return index, depth, image, normals, attributes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Any, *upstream: Tensor | None):
        points, values, index, image = ctx.saved_tensors
        count, vertices, channels = values.shape
        cut = bands(count)
        grad_points = points.new_zeros(count, cut, vertices, 3)
        grad_values = values.new_zeros(count, cut, vertices, channels)
        given = array(points), array(values), ctx.topology.compact, array(index), array(image)
        shapes = (0, 0, 0), *[(0, 0, 0, 0)] * 3
        given += tuple(
            array(points.new_empty(shape) if plane is None else plane)
            for shape, plane in zip(shapes, upstream, strict=True)
        )
        run(_draw_backward, count * cut, cut, *given, grad_points.numpy(), grad_values.numpy())
        if cut == 1:
            return grad_points[:, 0], grad_values[:, 0], None, None
        return grad_points.sum(1), grad_values.sum(1), None, None


@helper
def _encode_row(row):
    """The sRGB curve over a row of pixels `(W,)`, limited to [0, 1], without a call or a branch."""
    real = row.dtype.type
    zero, one, two = real(0), real(1), real(2)
    knee, slope, gain, offset = real(_LINEAR_UP_TO), real(12.92), real(1.055), real(0.055)
    p, q, r, s, t = real(_GUESS[0]), real(_GUESS[1]), real(_GUESS[2]), real(_GUESS[3]), real(_GUESS[4])
    for column in range(row.shape[0]):
        x = row[column]
        x = x if x > zero else zero
        x = x if x < one else one
        high = x if x > knee else knee
        root = np.sqrt(high)
        fourth = np.sqrt(root)
        cubic = p + fourth * (q + fourth * (r + fourth * (s + fourth * t)))  # about the cube root of `root`
        cube = cubic * cubic * cubic
        cubic = cubic * (cube + two * root) / (two * cube + root)
        cube = cubic * cubic * cubic
        cubic = cubic * (cube + two * root) / (two * cube + root)
        curve = gain * fourth * cubic - offset  # x ** (5 / 12) is x ** (1 / 4) times x ** (1 / 6)
        row[column] = slope * x if x <= knee else curve


@kernel
def _draw(first, end, cut, points, values, triangles, limits, cull, index, depth, image, normals, attributes):
    """Bands [first, end) of all pictures, each cut into `cut`."""
    real = points.dtype.type
    half, least, zero, one = real(0.5), real(SMALLEST_WEIGHT), real(0), real(1)
    least_square = real(_LEAST_SQUARE)
    height, width = index.shape[1:]
    extra = attributes.shape[1]
    for unit in range(first, end):
        picture, band = unit // cut, unit % cut
        rows = height * band // cut, height * (band + 1) // cut
        place, carried = points[picture], values[picture]
        find_visible(place, triangles, limits, cull, rows, index[picture], depth[picture])
        for row in range(rows[0], rows[1]):
            y = real(row) + half
            leftmost, rightmost = width, 0
            for column in range(width):
                number = index[picture, row, column]
                if number < 0:
                    for channel in range(3):
                        image[picture, channel, row, column] = zero
                        normals[picture, channel, row, column] = zero
                    for channel in range(extra):
                        attributes[picture, channel, row, column] = zero
                    continue
                leftmost, rightmost = min(leftmost, column), column + 1
                a, b, c = triangles[number, 0], triangles[number, 1], triangles[number, 2]
                x = real(column) + half
                ax, bx, cx = place[a, 0] - x, place[b, 0] - x, place[c, 0] - x
                ay, by, cy = place[a, 1] - y, place[b, 1] - y, place[c, 1] - y
                u, v, w = abs(bx * cy - by * cx), abs(cx * ay - cy * ax), abs(ax * by - ay * bx)
                u, v, w = max(u, least), max(v, least), max(w, least)
                area = u + v + w
                u, v, w = u / place[a, 2], v / place[b, 2], w / place[c, 2]
                scale = one / (u + v + w)
                u, v, w = u * scale, v * scale, w * scale
                depth[picture, row, column] = area * scale
                for channel in range(3):
                    image[picture, channel, row, column] = (
                        u * carried[a, channel] + v * carried[b, channel] + w * carried[c, channel]
                    )
                nx = u * carried[a, 3] + v * carried[b, 3] + w * carried[c, 3]
                ny = u * carried[a, 4] + v * carried[b, 4] + w * carried[c, 4]
                nz = u * carried[a, 5] + v * carried[b, 5] + w * carried[c, 5]
                length = one / np.sqrt(max(nx * nx + ny * ny + nz * nz, least_square))
                normals[picture, 0, row, column] = nx * length
                normals[picture, 1, row, column] = ny * length
                normals[picture, 2, row, column] = nz * length
                for channel in range(extra):
                    at = 6 + channel
                    attributes[picture, channel, row, column] = (
                        u * carried[a, at] + v * carried[b, at] + w * carried[c, at]
                    )
            for channel in range(3):
                _encode_row(image[picture, channel, row, leftmost:rightmost])


@kernel
def _draw_backward(
    first,
    end,
    cut,
    points,
    values,
    triangles,
    index,
    image,
    grad_depth,
    grad_image,
    grad_normals,
    grad_attributes,
    grad_points,
    grad_values,
):
    """Add up in `grad_points` and `grad_values` `(N, cut, V, ...)` what the planes pass back; each may be empty.

    With signed areas e, weights w = e / z and barycentrics b = w / sum(w), the depth is the interpolated z.
    """
    real = points.dtype.type
    half, least, zero, one = real(0.5), real(SMALLEST_WEIGHT), real(0), real(1)
    knee, offset, exponent = real(_LINEAR_UP_TO), real(0.055), real(1 / 2.4)
    least_square, slope = real(_LEAST_SQUARE), real(12.92)
    height, width = index.shape[1:]
    grad_normal = np.zeros(3, dtype=points.dtype)
    normal = np.zeros(3, dtype=points.dtype)
    for unit in range(first, end):
        picture, band = unit // cut, unit % cut
        place, carried = points[picture], values[picture]
        moved, changed = grad_points[picture, band], grad_values[picture, band]
        for row in range(height * band // cut, height * (band + 1) // cut):
            y = real(row) + half
            for column in range(width):
                number = index[picture, row, column]
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
                if grad_image.shape[0]:
                    for channel in range(3):
                        grad = grad_image[picture, channel, row, column]
                        if grad == zero:
                            continue
                        p, q, r = carried[a, channel], carried[b, channel], carried[c, channel]
                        linear = u * p + v * q + w * r
                        if linear > knee:
                            encoded = image[picture, channel, row, column]
                            grad *= exponent * (encoded + offset) / linear if linear <= one else zero
                        else:
                            grad *= slope if linear >= zero else zero
                        grad_u, grad_v, grad_w = grad_u + grad * p, grad_v + grad * q, grad_w + grad * r
                        changed[a, channel] += grad * u
                        changed[b, channel] += grad * v
                        changed[c, channel] += grad * w
                if grad_normals.shape[0]:
                    for axis in range(3):
                        grad_normal[axis] = grad_normals[picture, axis, row, column]
                        normal[axis] = u * carried[a, 3 + axis] + v * carried[b, 3 + axis] + w * carried[c, 3 + axis]
                    square = normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]
                    along = normal[0] * grad_normal[0] + normal[1] * grad_normal[1] + normal[2] * grad_normal[2]
                    along = along / square if square > least_square else zero
                    length = one / np.sqrt(max(square, least_square))
                    for axis in range(3):
                        grad = length * (grad_normal[axis] - along * normal[axis])
                        grad_u += grad * carried[a, 3 + axis]
                        grad_v += grad * carried[b, 3 + axis]
                        grad_w += grad * carried[c, 3 + axis]
                        changed[a, 3 + axis] += grad * u
                        changed[b, 3 + axis] += grad * v
                        changed[c, 3 + axis] += grad * w
                if grad_attributes.shape[0]:
                    for at in range(6, carried.shape[1]):
                        grad = grad_attributes[picture, at - 6, row, column]
                        grad_u += grad * carried[a, at]
                        grad_v += grad * carried[b, at]
                        grad_w += grad * carried[c, at]
                        changed[a, at] += grad * u
                        changed[b, at] += grad * v
                        changed[c, at] += grad * w
                if grad_depth.shape[0]:
                    grad_z = grad_depth[picture, row, column]
                    grad_u, grad_v, grad_w = grad_u + grad_z * az, grad_v + grad_z * bz, grad_w + grad_z * cz
                mean = u * grad_u + v * grad_v + w * grad_w
                grad_u, grad_v, grad_w = (grad_u - mean) / az, (grad_v - mean) / bz, (grad_w - mean) / cz
                moved[a, 2] += u * (grad_z - grad_u)
                moved[b, 2] += v * (grad_z - grad_v)
                moved[c, 2] += w * (grad_z - grad_w)
                scale *= sign
                grad_u, grad_v, grad_w = grad_u * scale, grad_v * scale, grad_w * scale
                moved[a, 0] += grad_w * by - grad_v * cy
                moved[a, 1] += grad_v * cx - grad_w * bx
                moved[b, 0] += grad_u * cy - grad_w * ay
                moved[b, 1] += grad_w * ax - grad_u * cx
                moved[c, 0] += grad_v * ay - grad_u * by
                moved[c, 1] += grad_u * bx - grad_v * ax
