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
works the weights of a pixel out again: that is faster than to write and read them. It goes triangle by triangle, as
`numba_gradients` explains, through the pixels that a loss looks at.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..mesh import Topology
from ..scanline import Settings
from .numba_color import encode_row, encoding_slope
from .numba_gradients import (
    NO_PIXEL,
    add_to_points,
    add_to_values,
    derivatives_of,
    pixel_lists,
    rows_of,
    slopes_of,
    three_channels,
    vertices_of,
)
from .numba_kernels import INDEX, allocate, array, bands, contracted_helper, dtype_of, helper, kernel, portion, run
from .numba_rasterizer import limits_of
from .numba_visibility import corners_of, find_visible, locate, positive_edges, signed_edges

_LEAST_SQUARE = 1e-12  # of an interpolated normal that has a direction
_PLAIN, _COLOR, _NORMAL = range(3)  # what a plane shows of what it mixes


def draw(
    points: Tensor, values: Tensor, attributes: Tensor, topology: Topology, settings: Settings
) -> tuple[Tensor, ...]:
    """Pictures of meshes.

    Args:
        points (`torch.Tensor` of shape `(N, V, 3)`): of `pixel_points`.
        values (`torch.Tensor` of shape `(N, V, 6)`): linear colour and normal.
        attributes (`torch.Tensor` of shape `(N, V, C)`): of any width.
        topology (`Topology`): of the mesh.
        settings (`Settings`): size of the pictures, and what is dropped.

    Returns:
        `tuple[torch.Tensor, ...]`: triangle index `(N, H, W)`, depth `(N, H, W)`, mask `(N, 1, H, W)`, sRGB image
        `(N, 3, H, W)`, unit normals `(N, 3, H, W)`, attributes `(N, C, H, W)`.
    """
    return _Draw.apply(points, values, attributes, topology, settings)


class _Draw(torch.autograd.Function):
    """Points, values and attributes -> index, depth, mask, image, normals, attributes."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, values: Tensor, attributes: Tensor, topology: Topology, settings: Settings):
        count, size = points.shape[0], (settings.height, settings.width)
        real, cut = dtype_of(points), bands(count)
        planes = allocate(
            ((count, *size), INDEX),
            ((count, *size), real),
            *(((count, channels, *size), real) for channels in (1, 3, 3, attributes.shape[2])),
        )
        mesh = array(points), array(values), _rows(attributes), topology.compact
        run(_draw, count * cut, cut, mesh, limits_of(points, settings), settings.cull, tuple(planes))
        index, depth, mask, image, normals, carried = (torch.from_numpy(plane) for plane in planes)
        ctx.mark_non_differentiable(index, mask)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(points, values, attributes, index, image)
        ctx.topology = topology
        return index, depth, mask, image, normals, carried

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Any, grad_depth: Tensor | None, __: Any, *grad_planes: Tensor | None):
        points, values, attributes, index, image = ctx.saved_tensors
        count, vertices, channels = attributes.shape
        cut = bands(count)
        channels = 0 if grad_planes[2] is None else channels
        sums = tuple(points.new_empty(count, cut, vertices, columns) for columns in (3, 6, channels))
        upstream = tuple(
            np.empty((0,) * dimensions, dtype=dtype_of(points)) if plane is None else array(plane)
            for dimensions, plane in zip((3, 4, 4, 4), (grad_depth, *grad_planes), strict=True)
        )
        mesh = array(points), array(values), _rows(attributes), ctx.topology.compact
        given = cut, portion(count * cut), mesh, array(index), array(image), upstream
        lists = pixel_lists(ctx.topology, index, cut)
        run(_draw_backward, count * cut, *given, lists, tuple(total.numpy() for total in sums))
        to_points, to_values, to_attributes = (total.sum(1) if cut > 1 else total[:, 0] for total in sums)
        return to_points, to_values, None if grad_planes[2] is None else to_attributes, None, None


def _rows(attributes: Tensor) -> np.ndarray:
    """Attributes of each picture, or `(1, V, C)` where all pictures have the same."""
    return array(attributes[:1] if attributes.stride(0) == 0 else attributes)


@kernel
def _draw(first, end, cut, mesh, limits, cull, planes):
    """Bands [first, end) of all pictures, each cut into `cut`."""
    index, depth, mask, image, normals, attributes = planes
    height, width = index.shape[1:]
    area = height * width
    for unit in range(first, end):
        picture, band = unit // cut, unit % cut
        rows = height * band // cut, height * (band + 1) // cut
        face = mesh[0][picture], mesh[1][picture], mesh[2][min(picture, len(mesh[2]) - 1)], mesh[3]
        find_visible(face[0], face[3], limits, cull, rows, index[picture], depth[picture])
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
    points, values, more, triangles = face
    index, depth, mask, image, normals, attributes = planes
    real = points.dtype.type
    start, end, channels = row * width, (row + 1) * width, attributes.shape[0]
    flat, flat_more = values.reshape(-1), more.reshape(-1)
    image[:, start:end] = 0
    normals[:, start:end] = 0
    attributes[:, start:end] = 0
    leftmost, rightmost = width, 0
    for column in range(width):
        pixel = np.uint64(start + column)
        mask[pixel] = index[pixel] >= 0
        if index[pixel] < 0:
            continue
        leftmost, rightmost = min(leftmost, column), column + 1
        corners = corners_of(triangles, index[pixel])
        shares, depth[pixel] = locate(points, corners, real(column + 0.5), real(row + 0.5))
        rows = rows_of(corners, 6)
        for channel in range(3):
            image[channel, pixel] = _mixed(flat, rows, shares, channel)
        x, y, z = _mixed(flat, rows, shares, 3), _mixed(flat, rows, shares, 4), _mixed(flat, rows, shares, 5)
        length = real(1) / np.sqrt(max(x * x + y * y + z * z, real(_LEAST_SQUARE)))
        normals[0, pixel], normals[1, pixel], normals[2, pixel] = x * length, y * length, z * length
        rows = rows_of(corners, channels)
        for channel in range(channels):
            attributes[channel, pixel] = _mixed(flat_more, rows, shares, channel)
    return leftmost, rightmost


@contracted_helper
def _mixed(values, rows, shares, channel):
    a, b, c = rows
    at = np.uint64(channel)
    return shares[0] * values[a + at] + shares[1] * values[b + at] + shares[2] * values[c + at]


@kernel
def _draw_backward(first, end, cut, step, mesh, index, image, upstream, lists, sums):
    """Sum in `sums` `(N, cut, V, ...)` what the planes pass back to points and values; planes may be empty."""
    height, width = index.shape[1:]
    area = height * width
    corners = mesh[3].reshape(-1)
    has_depth, has_image = upstream[0].shape[0] > 0, upstream[1].shape[0] > 0
    has_normals, has_attributes = upstream[2].shape[0] > 0, upstream[3].shape[0] > 0
    counts = 1 * has_depth, 3 * has_image, 3 * has_normals, upstream[3].shape[1] if has_attributes else 0
    newest, order, before = lists[0][first // step], lists[1][first // step], lists[2][first // step]
    newest[:] = NO_PIXEL
    for unit in range(first, end):
        picture, band = unit // cut, unit % cut
        pixels = height * band // cut * width, height * (band + 1) // cut * width
        numbers, encoded = index[picture].reshape(area), image[picture].reshape(3 * area)
        grads = (
            upstream[0][picture : picture + has_depth].reshape(-1),
            upstream[1][picture : picture + has_image].reshape(-1),
            upstream[2][picture : picture + has_normals].reshape(-1),
            upstream[3][picture : picture + has_attributes].reshape(-1),
        )
        found = _list_touched(numbers, grads, counts, pixels, newest, order, before)
        place, values = mesh[0][picture].reshape(-1), mesh[1][picture].reshape(-1)
        more = mesh[2][min(picture, len(mesh[2]) - 1)].reshape(-1)
        totals = (
            sums[0][picture, band].reshape(-1),
            sums[1][picture, band].reshape(-1),
            sums[2][picture, band].reshape(-1),
        )
        totals[0][:], totals[1][:], totals[2][:] = 0, 0, 0
        for entry in range(found):
            number = np.uint64(order[entry])
            linked = newest[number], before, width, np.uint64(area)
            newest[number] = NO_PIXEL
            of_mesh = place, vertices_of(corners, number)
            of_values = totals[0], totals[1]
            if counts[1] > 0:
                three = three_channels(0, 3)
                _pass_back(of_mesh, (values, 6, three), (_COLOR, grads[1], three, encoded), linked, of_values)
            if counts[2] > 0:
                given = _NORMAL, grads[2], three_channels(0, 3), encoded
                _pass_back(of_mesh, (values, 6, three_channels(3, 6)), given, linked, of_values)
            for channel in range(0, counts[3], 3):
                three = three_channels(channel, counts[3])
                given = _PLAIN, grads[3], three, encoded
                _pass_back(of_mesh, (more, counts[3], three), given, linked, (totals[0], totals[2]))
            if counts[0] > 0:  # a depth is the mean of the corners' depths
                given = _PLAIN, grads[0], three_channels(0, 1), encoded
                _pass_back(of_mesh, (place, 3, three_channels(2, 3)), given, linked, (totals[0], totals[0]))


@helper
def _list_touched(numbers, grads, counts, pixels, newest, order, before):
    """Link the pixels of each triangle to which anything is passed back, since a loss may look at few; how many
    triangles have any."""
    found, area = 0, np.uint64(numbers.shape[0])
    for number_of_pixel in range(pixels[0], pixels[1]):
        pixel = np.uint64(number_of_pixel)
        if numbers[pixel] < 0 or not _is_touched(grads, counts, area, pixel):
            continue
        number = np.uint64(numbers[pixel])
        last = newest[number]
        order[np.uint64(found)] = number
        found += last < 0
        before[pixel] = last
        newest[number] = number_of_pixel
    return found


@helper
def _is_touched(grads, counts, area, pixel):
    one = _is_any(grads[1], counts[1], area, pixel) or _is_any(grads[3], counts[3], area, pixel)
    return one or _is_any(grads[0], counts[0], area, pixel) or _is_any(grads[2], counts[2], area, pixel)


@helper
def _is_any(planes, count, area, pixel):
    for channel in range(count):
        if planes[np.uint64(channel) * area + pixel] != 0:
            return True
    return False


@helper
def _pass_back(of_mesh, table, given, linked, totals):
    """What three planes pass back over one triangle, to its points and to a table of values."""
    points, vertices = of_mesh
    values, channels, three = table
    slopes = slopes_of(values, vertices, three, channels)
    first = values[np.uint64(vertices[0]) * np.uint64(channels) + three[0]]
    second = values[np.uint64(vertices[0]) * np.uint64(channels) + three[1]]
    third = values[np.uint64(vertices[0]) * np.uint64(channels) + three[2]]
    sums = _sum_pixels(points, vertices, (first, second, third), slopes, given, linked)
    add_to_values(totals[1], vertices, three, channels, sums)
    add_to_points(totals[0], vertices, slopes, derivatives_of(points, vertices, slopes), sums)


@contracted_helper
def _sum_pixels(points, vertices, start, slopes, given, linked):
    """For each corner: the sums of b g for three planes, and that of b q, as in `numba_gradients`."""
    pixel, before, width, area = linked
    second, third = slopes
    kind, grads, three, encoded = given
    real, one, two = points.dtype.type, np.uint64(1), np.uint64(2)
    a, b, c = rows_of(vertices, 3)
    near = real(1) / points[a + two], real(1) / points[b + two], real(1) / points[c + two]
    nothing = real(0), real(0), real(0), real(0)
    of_a, of_b, of_c = nothing, nothing, nothing
    k, m, n = three[0] * area, three[1] * area, three[2] * area
    row = pixel // width
    row_start = row * width
    while pixel >= 0:
        at = np.uint64(pixel)
        while pixel < row_start:  # a division for each pixel would take longer
            row, row_start = row - 1, row_start - width
        x, y = real(pixel - row_start) + real(0.5), real(row) + real(0.5)
        xs = points[a] - x, points[b] - x, points[c] - x
        ys = points[a + one] - y, points[b + one] - y, points[c + one] - y
        u, v, w = positive_edges(signed_edges(xs, ys))
        u, v, w = u * near[0], v * near[1], w * near[2]
        scale = real(1) / (u + v + w)
        u, v, w = u * scale, v * scale, w * scale
        f, g, h = grads[k + at], grads[m + at], grads[n + at]
        if kind != _PLAIN:
            p = start[0] + (v * second[0] + w * third[0])
            q = start[1] + (v * second[1] + w * third[1])
            r = start[2] + (v * second[2] + w * third[2])
            if kind == _COLOR:
                f, g, h = (
                    f * encoding_slope(p, encoded[k + at]),
                    g * encoding_slope(q, encoded[m + at]),
                    h * encoding_slope(r, encoded[n + at]),
                )
            else:
                f, g, h = _across((p, q, r), (f, g, h))
        q = f * (v * second[0] + w * third[0])
        q += g * (v * second[1] + w * third[1])
        q += h * (v * second[2] + w * third[2])
        of_a = of_a[0] + u * f, of_a[1] + u * g, of_a[2] + u * h, of_a[3] + u * q
        of_b = of_b[0] + v * f, of_b[1] + v * g, of_b[2] + v * h, of_b[3] + v * q
        of_c = of_c[0] + w * f, of_c[1] + w * g, of_c[2] + w * h, of_c[3] + w * q
        pixel = before[at]
    return of_a, of_b, of_c


@helper
def _across(normal, grads):
    """What a mixed normal that is scaled to length 1 passes back to itself."""
    x, y, z = normal
    p, q, r = grads
    real = type(x)
    square = x * x + y * y + z * z
    along = (x * p + y * q + z * r) / square if square > real(_LEAST_SQUARE) else real(0)
    length = real(1) / np.sqrt(max(square, real(_LEAST_SQUARE)))
    return length * (p - along * x), length * (q - along * y), length * (r - along * z)
