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
"""Which triangle each pixel sees and where on it, as parts of Numba's kernels: the same to the bit as the reference.

Numbers that address memory are turned into ones without a sign: of others Numba asks whether they count from the end.
"""

import numpy as np

from ..scanline import SMALLEST_WEIGHT
from .numba_kernels import helper

_NO_DEPTH = 0.0  # as yet: what is drawn lies beyond it
_BEYOND = 1 + 1e-4  # a triangle whose corners are that much farther is behind, whatever the rounding


@helper
def find_visible(points, triangles, limits, cull, rows, index, depth):
    """Fill `index (H, W)` within a band of rows; where triangles compete `depth (H, W)` keeps the nearest's."""
    index[rows[0] : rows[1]] = -1
    depth[rows[0] : rows[1]] = _NO_DEPTH
    width, flat_index, flat_depth = index.shape[1], index.reshape(-1), depth.reshape(-1)
    for number in range(triangles.shape[0]):
        corners = corners_of(triangles, number)
        x, y = _column(points, corners, 0), _column(points, corners, 1)
        area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
        if not (area < -limits[1] or (not cull and area > limits[1])):
            continue
        z = _column(points, corners, 2)
        extent = max(x[0], x[1], x[2]) - min(x[0], x[1], x[2]), max(y[0], y[1], y[2]) - min(y[0], y[1], y[2])
        if min(z[0], z[1], z[2]) > limits[0] and extent[0] < limits[2] and extent[1] < limits[2]:
            _cover(points, triangles, number, x, y, z, rows, width, flat_index, flat_depth)


@helper
def corners_of(triangles, number):
    """The vertices of a triangle whose number is not negative."""
    number = np.uint64(number)
    return triangles[number, 0], triangles[number, 1], triangles[number, 2]


@helper
def _column(points, corners, axis):
    return points[corners[0], axis], points[corners[1], axis], points[corners[2], axis]


@helper
def relative_corners(points, corners, x, y):
    """x and y of a triangle's corners from a pixel's centre, and their z."""
    a, b, c = corners
    xs = points[a, 0] - x, points[b, 0] - x, points[c, 0] - x
    ys = points[a, 1] - y, points[b, 1] - y, points[c, 1] - y
    return xs, ys, (points[a, 2], points[b, 2], points[c, 2])


@helper
def signed_edges(xs, ys):
    """Twice the signed areas that the pixel's centre makes with the edge opposite to each corner."""
    return xs[1] * ys[2] - ys[1] * xs[2], xs[2] * ys[0] - ys[2] * xs[0], xs[0] * ys[1] - ys[0] * xs[1]


@helper
def positive_edges(edges):
    """Without signs: the centre is inside, so where they differ it is by rounding, on an edge."""
    least = type(edges[0])(SMALLEST_WEIGHT)
    return max(abs(edges[0]), least), max(abs(edges[1]), least), max(abs(edges[2]), least)


@helper
def locate(points, corners, x, y):
    """Perspective-correct weights of a triangle's corners at a pixel's centre, and the depth there."""
    xs, ys, zs = relative_corners(points, corners, x, y)
    u, v, w = positive_edges(signed_edges(xs, ys))
    area = u + v + w
    u, v, w = u / zs[0], v / zs[1], w / zs[2]
    scale = type(x)(1) / (u + v + w)
    return (u * scale, v * scale, w * scale), area * scale


@helper
def _exact_depth(points, corners, x, y):
    """To the bit what the reference compares."""
    xs, ys, zs = relative_corners(points, corners, x, y)
    u, v, w = positive_edges(signed_edges(xs, ys))
    return (u + v + w) / (u / zs[0] + v / zs[1] + w / zs[2])


@helper
def _first_pixel(edge, limit):
    """The first pixel whose centre is at or after a position, in [0, limit]."""
    real = type(edge)
    return np.int64(min(max(np.ceil(edge - real(0.5)), real(0)), limit))


@helper
def _sorted_by_height(x, y):
    """x and y of three corners from top to bottom, without branches."""
    (x0, x1, x2), (y0, y1, y2) = x, y
    swap = y0 > y1
    x0, x1, y0, y1 = x1 if swap else x0, x0 if swap else x1, y1 if swap else y0, y0 if swap else y1
    swap = y1 > y2
    x1, x2, y1, y2 = x2 if swap else x1, x1 if swap else x2, y2 if swap else y1, y1 if swap else y2
    swap = y0 > y1
    x0, x1, y0, y1 = x1 if swap else x0, x0 if swap else x1, y1 if swap else y0, y0 if swap else y1
    return (x0, x1, x2), (y0, y1, y2)


@helper
def _cover(points, triangles, number, x, y, z, rows, columns, index, depth):
    """Give a triangle the pixels that it covers, but where another one is in front."""
    real = type(x[0])
    width = real(columns)
    if _first_pixel(min(x[0], x[1], x[2]), width) >= _first_pixel(max(x[0], x[1], x[2]), width):
        return
    (x0, x1, x2), (y0, y1, y2) = _sorted_by_height(x, y)
    end = real(rows[1])
    first_row, end_row = max(_first_pixel(y0, end), rows[0]), _first_pixel(y2, end)
    long_slope = (x2 - x0) / (y2 - y0)
    upper_slope, lower_slope = (x1 - x0) / (y1 - y0), (x2 - x1) / (y2 - y1)
    for row in range(first_row, end_row):
        center = real(row) + real(0.5)
        one = x0 + (center - y0) * long_slope
        upper, lower = x0 + (center - y0) * upper_slope, x1 + (center - y1) * lower_slope
        other = lower if center >= y1 else upper
        first, last = _first_pixel(min(one, other), width), _first_pixel(max(one, other), width)
        start = np.uint64(row * columns + first)
        if first >= last or _fill_short(index, number, start, np.uint64(last - first)):
            continue
        for column in range(first, last):
            at = np.uint64(row * columns + column)
            rival = index[at]
            if rival < 0 or _is_nearer(points, triangles, (number, rival), z, (row, column, at), depth):
                index[at] = number


@helper
def _fill_short(index, number, first, length):
    """Fill a run of up to four free pixels; false where it is longer or not free.

    Most runs are that short. A loop's end would be guessed wrong at every other one, so all four are written, the last
    pixel more than once.
    """
    one, two = np.uint64(1), np.uint64(2)
    last = first + (length - one)
    second, third = min(first + one, last), min(first + two, last)
    free = index[first] & index[second] & index[third] & index[last]
    if free >= 0 or length > np.uint64(4):
        return False
    index[first] = index[second] = index[third] = index[last] = number
    return True


@helper
def _is_nearer(points, triangles, numbers, z, pixel, depth):
    """Whether a triangle is in front of its rival at a pixel, whose depth is then up to date where it is needed."""
    real = type(z[0])
    rival = corners_of(triangles, numbers[1])
    others = _column(points, rival, 2)
    if min(z[0], z[1], z[2]) > real(_BEYOND) * max(others[0], others[1], others[2]):
        return False
    if real(_BEYOND) * max(z[0], z[1], z[2]) < min(others[0], others[1], others[2]):
        depth[pixel[2]] = real(_NO_DEPTH)
        return True
    x, y = real(pixel[1]) + real(0.5), real(pixel[0]) + real(0.5)
    if depth[pixel[2]] == _NO_DEPTH:
        depth[pixel[2]] = _exact_depth(points, rival, x, y)
    exact = _exact_depth(points, corners_of(triangles, numbers[0]), x, y)
    if not exact < depth[pixel[2]]:
        return False
    depth[pixel[2]] = exact
    return True


@helper
def pass_back(points, corners, x, y, grad_shares, grad_depth, sums):
    """Add to `sums (V, 3)` what a pixel's weights and depth pass back to the corners of its triangle.

    With signed areas e, weights w = e / z and shares b = w / sum(w), the depth is the interpolated z.
    """
    real = type(x)
    a, b, c = corners
    (ax, bx, cx), (ay, by, cy), (az, bz, cz) = relative_corners(points, corners, x, y)
    edges = signed_edges((ax, bx, cx), (ay, by, cy))
    u, v, w = positive_edges(edges)
    near_a, near_b, near_c = real(1) / az, real(1) / bz, real(1) / cz
    u, v, w = u * near_a, v * near_b, w * near_c
    scale = real(1) / (u + v + w)
    u, v, w = u * scale, v * scale, w * scale
    grad_u, grad_v, grad_w = grad_shares
    grad_u, grad_v, grad_w = grad_u + grad_depth * az, grad_v + grad_depth * bz, grad_w + grad_depth * cz
    mean = u * grad_u + v * grad_v + w * grad_w
    grad_u, grad_v, grad_w = (grad_u - mean) * near_a, (grad_v - mean) * near_b, (grad_w - mean) * near_c
    deep_a, deep_b, deep_c = u * (grad_depth - grad_u), v * (grad_depth - grad_v), w * (grad_depth - grad_w)
    scale = scale if edges[0] + edges[1] + edges[2] > real(0) else -scale
    grad_u, grad_v, grad_w = grad_u * scale, grad_v * scale, grad_w * scale
    _add(sums, a, grad_w * by - grad_v * cy, grad_v * cx - grad_w * bx, deep_a)
    _add(sums, b, grad_u * cy - grad_w * ay, grad_w * ax - grad_u * cx, deep_b)
    _add(sums, c, grad_v * ay - grad_u * by, grad_u * bx - grad_v * ax, deep_c)


@helper
def _add(sums, vertex, x, y, z):
    sums[vertex, 0] += x
    sums[vertex, 1] += y
    sums[vertex, 2] += z
