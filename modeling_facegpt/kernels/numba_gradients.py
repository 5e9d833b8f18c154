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
"""What planes pass back to the points and attributes of triangles, one triangle after another, for Numba on the CPU.

Over the screen a plane's value is p = n / s, where s sums e / z over a triangle's corners, e being the signed areas
that a pixel makes with the edges, and n sums the same times the corners' values; s and n are linear. A corner that
moves takes its share e / E of the surface along, E being the triangle's signed area. So with barycentrics b, gradients
g of the planes, and q = sum of g p, a pixel passes z b (q ds - sum of g dn) / E back to the place of each corner, and
b (q - sum of g times the corner's values) / z to its depth. Only b g and b q change between the pixels of a triangle:
their sums are all that is taken from pixels. Values count from those of the first corner, so that nothing cancels.
"""

import numpy as np
from torch import Tensor

from ..mesh import Topology
from .numba_kernels import array, bands, contracted_helper, helper, kernel, pictures, portion, run

NO_PIXEL = -1


def pass_back_planes(
    points: Tensor, attributes: Tensor, topology: Topology, index: Tensor, barycentrics: Tensor, grad_planes: Tensor
) -> tuple[Tensor, Tensor]:
    """What the planes of `interpolate` pass back to points `(N, V, 3)` and attributes `(N, V, C)` at fixed visibility.

    Args:
        points (`torch.Tensor` of shape `(N, V, 3)`): pixels and metres, as given to `rasterize`.
        attributes (`torch.Tensor` of shape `(N, V, C)`): as given to `interpolate`.
        topology (`Topology`): of the mesh.
        index (`torch.Tensor` of shape `(N, H, W)`): int64, of `rasterize`.
        barycentrics (`torch.Tensor` of shape `(N, 3, H, W)`): of `rasterize`.
        grad_planes (`torch.Tensor` of shape `(N, C, H, W)`): gradients of the planes.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: gradients of points and attributes.
    """
    count, vertices, channels = attributes.shape
    cut = bands(count)
    sums = points.new_empty(count, cut, vertices, 3), points.new_empty(count, cut, vertices, channels)
    step, lists = portion(count * cut), pixel_lists(topology, index, cut)
    mesh = array(points), array(attributes), topology.compact
    given = array(index), array(barycentrics), pictures(grad_planes)
    run(_pass_back, count * cut, cut, step, mesh, *given, lists, tuple(total.numpy() for total in sums))
    to_points, to_attributes = (total.sum(1) if cut > 1 else total[:, 0] for total in sums)
    return to_points, to_attributes


def pixel_lists(topology: Topology, index: Tensor, cut: int) -> tuple[np.ndarray, ...]:
    """Room for each call of a kernel on pictures `index` `(N, H, W)`, each cut into `cut` bands: the newest pixel of
    each triangle, triangles as they come, and the pixel before each one."""
    units, triangles = len(index) * cut, len(topology.compact)
    parts = max(1, -(-units // portion(units)))
    lengths = triangles, triangles + 1, index.shape[1] * index.shape[2]
    return tuple(np.empty((parts, length), dtype=np.int32) for length in lengths)


@kernel
def _pass_back(first, end, cut, step, mesh, index, barycentrics, grad_planes, lists, sums):
    """Of bands [first, end) of all pictures, each cut into `cut`; add up in `sums` `(N, cut, V, ...)`."""
    points, attributes, triangles = mesh
    height, width = index.shape[1:]
    channels = attributes.shape[2]
    area = np.uint64(height * width)
    # This call's own of `pixel_lists`.
    newest, order, before = lists[0][first // step], lists[1][first // step], lists[2][first // step]
    newest[:] = NO_PIXEL
    corners = triangles.reshape(-1)
    for unit in range(first, end):
        picture, band = unit // cut, unit % cut
        pixels = height * band // cut * width, height * (band + 1) // cut * width
        found = _list_pixels(index[picture].reshape(-1), pixels, newest, order, before)
        place, values = points[picture].reshape(-1), attributes[picture].reshape(-1)
        totals = sums[0][picture, band].reshape(-1), sums[1][picture, band].reshape(-1)
        totals[0][:], totals[1][:] = 0, 0
        begin = picture * grad_planes[1]
        shares, grads = barycentrics[picture].reshape(-1), grad_planes[0][begin : begin + channels * height * width]
        for entry in range(found):
            number = np.uint64(order[entry])
            last = newest[number]
            newest[number] = NO_PIXEL
            vertices = vertices_of(corners, number)
            for channel in range(0, channels, 3):
                three = three_channels(channel, channels)
                slopes = slopes_of(values, vertices, three, channels)
                derivatives = derivatives_of(place, vertices, slopes)
                found_sums = _sum_pixels(shares, grads, area, three, slopes, last, before)
                add_to_values(totals[1], vertices, three, channels, found_sums)
                add_to_points(totals[0], vertices, slopes, derivatives, found_sums)


@helper
def _list_pixels(numbers, pixels, newest, order, before):
    """Link the pixels of each triangle that is seen; how many there are."""
    found = 0
    for number_of_pixel in range(pixels[0], pixels[1]):
        pixel = np.uint64(number_of_pixel)
        if numbers[pixel] < 0:
            continue
        number = np.uint64(numbers[pixel])
        last = newest[number]
        order[np.uint64(found)] = number
        found += last < 0
        before[pixel] = last
        newest[number] = number_of_pixel
    return found


@helper
def vertices_of(corners, number):
    """The vertices of a triangle, of the flat list of all corners."""
    at = np.uint64(number) * np.uint64(3)
    return corners[at], corners[at + np.uint64(1)], corners[at + np.uint64(2)]


@helper
def three_channels(first, channels):
    """The numbers of three channels from `first` on; behind the last channel the last one's again."""
    last = channels - 1
    return np.uint64(first), np.uint64(min(first + 1, last)), np.uint64(min(first + 2, last))


@contracted_helper
def slopes_of(values, vertices, three, channels):
    """By how much three values differ between the first corner and the second, and the third; 0 where one repeats."""
    a, b, c = rows_of(vertices, channels)
    real = values.dtype.type
    k, m, n = three
    with_m, with_n = real(m > k), real(n > m)
    u, v, w = values[a + k], values[a + m], values[a + n]
    second = values[b + k] - u, (values[b + m] - v) * with_m, (values[b + n] - w) * with_n
    third = values[c + k] - u, (values[c + m] - v) * with_m, (values[c + n] - w) * with_n
    return second, third


@helper
def rows_of(vertices, columns):
    """Where the rows of vertices begin in a table."""
    columns = np.uint64(columns)
    return np.uint64(vertices[0]) * columns, np.uint64(vertices[1]) * columns, np.uint64(vertices[2]) * columns


@contracted_helper
def _sum_pixels(shares, grads, area, three, slopes, pixel, before):
    """For each corner: the sums of b g for three channels, and that of b q."""
    second, third = slopes
    real = grads.dtype.type
    nothing = real(0), real(0), real(0), real(0)
    of_a, of_b, of_c = nothing, nothing, nothing
    k, m, n = three[0] * area, three[1] * area, three[2] * area
    while pixel >= 0:
        at = np.uint64(pixel)
        u, v, w = shares[at], shares[area + at], shares[area + area + at]
        f, g, h = grads[k + at], grads[m + at], grads[n + at]
        q = f * (v * second[0] + w * third[0])
        q += g * (v * second[1] + w * third[1])
        q += h * (v * second[2] + w * third[2])
        of_a = of_a[0] + u * f, of_a[1] + u * g, of_a[2] + u * h, of_a[3] + u * q
        of_b = of_b[0] + v * f, of_b[1] + v * g, of_b[2] + v * h, of_b[3] + v * q
        of_c = of_c[0] + w * f, of_c[1] + w * g, of_c[2] + w * h, of_c[3] + w * q
        pixel = before[at]
    return of_a, of_b, of_c


@helper
def add_to_values(total, vertices, three, channels, sums):
    a, b, c = rows_of(vertices, channels)
    for channel in range(3):
        at = three[channel]
        if channel == 0 or at > three[channel - 1]:
            total[a + at] += sums[0][channel]
            total[b + at] += sums[1][channel]
            total[c + at] += sums[2][channel]


@contracted_helper
def derivatives_of(points, vertices, slopes):
    """Of a triangle: z / E and 1 / z of its corners, and the derivatives of s and of n along x and along y."""
    second, third = slopes
    one, two = np.uint64(1), np.uint64(2)
    a, b, c = rows_of(vertices, 3)
    x, y, za, zb, zc = points[a], points[a + one], points[a + two], points[b + two], points[c + two]
    bx, by, cx, cy = points[b] - x, points[b + one] - y, points[c] - x, points[c + one] - y
    near_a, near_b, near_c = type(x)(1) / za, type(x)(1) / zb, type(x)(1) / zc
    scale = type(x)(1) / (bx * cy - by * cx)
    # Those of e / z of the second corner and the third.
    to_b, to_c = (cy * near_b, -cx * near_b), (-by * near_c, bx * near_c)
    right = (by - cy) * near_a + to_b[0] + to_c[0], _mixed(second, third, to_b[0], to_c[0])
    down = (cx - bx) * near_a + to_b[1] + to_c[1], _mixed(second, third, to_b[1], to_c[1])
    return (za * scale, zb * scale, zc * scale), (near_a, near_b, near_c), right, down


@contracted_helper
def add_to_points(total, vertices, slopes, derivatives, sums):
    scales, near, right, down = derivatives
    two = np.uint64(2)
    a, b, c = rows_of(vertices, 3)
    _add_place(total, a, scales[0], right, down, sums[0])
    _add_place(total, b, scales[1], right, down, sums[1])
    _add_place(total, c, scales[2], right, down, sums[2])
    total[a + two] += near[0] * sums[0][3]
    total[b + two] += near[1] * (sums[1][3] - _product(slopes[0], sums[1]))
    total[c + two] += near[2] * (sums[2][3] - _product(slopes[1], sums[2]))


@contracted_helper
def _mixed(second, third, of_b, of_c):
    return (
        second[0] * of_b + third[0] * of_c,
        second[1] * of_b + third[1] * of_c,
        second[2] * of_b + third[2] * of_c,
    )


@contracted_helper
def _product(slopes, sums):
    return slopes[0] * sums[0] + slopes[1] * sums[1] + slopes[2] * sums[2]


@contracted_helper
def _add_place(total, at, scale, right, down, sums):
    """Add what one corner's x and y get; `right` and `down` are the derivatives of s and of n."""
    total[at] += scale * (right[0] * sums[3] - _product(right[1], sums))
    total[at + np.uint64(1)] += scale * (down[0] * sums[3] - _product(down[1], sums))
