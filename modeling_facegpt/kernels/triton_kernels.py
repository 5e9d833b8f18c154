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
"""Kernels of the Triton backend: one lane per triangle, per pixel or per vertex. `triton_rasterizer` launches them.

They repeat the reference's arithmetic operation by operation (launch them with `enable_fp_fusion=False`), so they see
the same triangle at every pixel. The only atomics are minima of integers, so every result is the same at every run.
"""

# Kernels are Python in syntax only: to Triton, `tl.max` is a number.
# pyright: reportArgumentType=false
try:
    import triton  # type: ignore[import-not-found]
    import triton.language as tl  # type: ignore[import-not-found]
except ImportError as error:
    raise ImportError("the Triton backend needs the package triton; choose another or `pip install triton`") from error

NOTHING = tl.constexpr(2**63 - 1)  # key of a pixel that no triangle covers
_SMALLEST_AREA = tl.constexpr(1e-9)
_SMALLEST_WEIGHT = tl.constexpr(1e-20)
_WIDEST = tl.constexpr(1e5)


@triton.jit
def _load_points(points, image, corners, triangle, mask, vertices, triangles):
    """x, y, z of the three corners of each lane's triangle; `points (3, N, V)`, `corners (3, F)`."""
    count = tl.num_programs(0).to(tl.int64) * vertices
    first = image * vertices
    a = first + tl.load(corners + triangle, mask=mask, other=0)
    b = first + tl.load(corners + triangles + triangle, mask=mask, other=0)
    c = first + tl.load(corners + 2 * triangles + triangle, mask=mask, other=0)
    x, y, z = points, points + count, points + 2 * count
    return (
        tl.load(x + a, mask=mask, other=0.0),
        tl.load(x + b, mask=mask, other=0.0),
        tl.load(x + c, mask=mask, other=0.0),
        tl.load(y + a, mask=mask, other=0.0),
        tl.load(y + b, mask=mask, other=0.0),
        tl.load(y + c, mask=mask, other=0.0),
        tl.load(z + a, mask=mask, other=1.0),
        tl.load(z + b, mask=mask, other=1.0),
        tl.load(z + c, mask=mask, other=1.0),
    )


@triton.jit
def _signed_edges(ax, bx, cx, ay, by, cy):
    """Twice the signed areas that the origin makes with the edge opposite to each corner."""
    return bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx


@triton.jit
def _weigh(edge_a, edge_b, edge_c, az, bz, cz):
    """Weights whose ratios are perspective-correct, their sum, and the depth."""
    a = tl.maximum(tl.abs(edge_a), _SMALLEST_WEIGHT)
    b = tl.maximum(tl.abs(edge_b), _SMALLEST_WEIGHT)
    c = tl.maximum(tl.abs(edge_c), _SMALLEST_WEIGHT)
    weight_a = tl.div_rn(a, az)
    weight_b = tl.div_rn(b, bz)
    weight_c = tl.div_rn(c, cz)
    total = weight_a + weight_b + weight_c
    return weight_a, weight_b, weight_c, total, tl.div_rn(a + b + c, total)


@triton.jit
def _first_pixel(edge, limit):
    """The first pixel whose centre is at or after a position, in [0, limit]."""
    return tl.minimum(tl.maximum(tl.ceil(edge - 0.5), 0.0), limit * 1.0).to(tl.int32)


@triton.jit
def _is_drawn(ax, bx, cx, ay, by, cy, nearest, near, cull: tl.constexpr):
    """Whether a triangle is large and narrow enough, before the camera and, with `cull`, seen from outside."""
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if cull:
        drawn = area < -_SMALLEST_AREA
    else:
        drawn = tl.abs(area) > _SMALLEST_AREA
    drawn = drawn & (nearest > near)
    drawn = drawn & (tl.maximum(tl.maximum(ax, bx), cx) - tl.minimum(tl.minimum(ax, bx), cx) < _WIDEST)
    return drawn & (tl.maximum(tl.maximum(ay, by), cy) - tl.minimum(tl.minimum(ay, by), cy) < _WIDEST)


@triton.jit
def _from_top_to_bottom(ax, bx, cx, ay, by, cy):
    """x and y of the corners, sorted by y: every crossing of an edge is computed from its upper end."""
    swap = ay > by
    x0, x1 = tl.where(swap, bx, ax), tl.where(swap, ax, bx)
    y0, y1 = tl.where(swap, by, ay), tl.where(swap, ay, by)
    swap = y1 > cy
    x1, x2 = tl.where(swap, cx, x1), tl.where(swap, x1, cx)
    y1, y2 = tl.where(swap, cy, y1), tl.where(swap, y1, cy)
    swap = y0 > y1
    x0, x1 = tl.where(swap, x1, x0), tl.where(swap, x0, x1)
    y0, y1 = tl.where(swap, y1, y0), tl.where(swap, y0, y1)
    return x0, x1, x2, y0, y1, y2


@triton.jit
def _key(depth, triangle):
    """A number that is smaller the nearer a triangle is, and at the same depth the smaller its own number."""
    bits = depth.to(tl.int32, bitcast=True)
    bits = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # in the order of floats, negative ones too
    return (bits.to(tl.int64) << 32) | triangle.to(tl.int64)


@triton.jit
def find_visible(
    points,
    corners,
    bias,
    keys,
    vertices,
    triangles,
    height,
    width,
    near,
    cull: tl.constexpr,
    biased: tl.constexpr,
    block: tl.constexpr,
):
    """Lower each pixel's key (depth, triangle) to that of the nearest triangle. One lane per triangle of a picture."""
    image = tl.program_id(0).to(tl.int64)
    triangle = tl.program_id(1) * block + tl.arange(0, block)
    drawn = triangle < triangles
    ax, bx, cx, ay, by, cy, az, bz, cz = _load_points(points, image, corners, triangle, drawn, vertices, triangles)
    drawn = drawn & _is_drawn(ax, bx, cx, ay, by, cy, tl.minimum(tl.minimum(az, bz), cz), near, cull)
    x0, x1, x2, y0, y1, y2 = _from_top_to_bottom(ax, bx, cx, ay, by, cy)
    long_slope = tl.div_rn(x2 - x0, y2 - y0)
    upper_slope = tl.div_rn(x1 - x0, y1 - y0)
    lower_slope = tl.div_rn(x2 - x1, y2 - y1)
    row = _first_pixel(tl.where(drawn, y0, 0.0), height)
    last_row = _first_pixel(tl.where(drawn, y2, 0.0), height)
    offset = tl.zeros((block,), tl.float32)
    if biased:
        offset = tl.load(bias + triangle, mask=drawn, other=0.0)
    for _ in range(0, tl.max(last_row - row)):
        center = row + 0.5
        one = x0 + (center - y0) * long_slope
        upper, lower = x0 + (center - y0) * upper_slope, x1 + (center - y1) * lower_slope
        other = tl.where(center >= y1, lower, upper)
        inside = row < last_row
        column = _first_pixel(tl.where(inside, tl.minimum(one, other), 0.0), width)
        end = _first_pixel(tl.where(inside, tl.maximum(one, other), 0.0), width)
        for _ in range(0, tl.max(end - column)):
            x, y = column + 0.5, center
            edge_a, edge_b, edge_c = _signed_edges(ax - x, bx - x, cx - x, ay - y, by - y, cy - y)
            _a, _b, _c, _total, depth = _weigh(edge_a, edge_b, edge_c, az, bz, cz)
            pixel = (image * height + row) * width + column
            tl.atomic_min(keys + pixel, _key(depth - offset, triangle), mask=column < end)
            column += 1
        row += 1


@triton.jit
def write_fragments(
    points, corners, keys, index, barycentrics, depths, vertices, triangles, height, width, block: tl.constexpr
):
    """Fields of `Fragments` from the keys. One lane per pixel."""
    image = tl.program_id(0).to(tl.int64)
    area = height * width
    pixel = tl.program_id(1) * block + tl.arange(0, block)
    inside = pixel < area
    key = tl.load(keys + image * area + pixel, mask=inside, other=NOTHING)
    covered = inside & (key != NOTHING)
    triangle = tl.where(covered, key & 0xFFFFFFFF, 0)
    ax, bx, cx, ay, by, cy, az, bz, cz = _load_points(points, image, corners, triangle, covered, vertices, triangles)
    x, y = pixel % width + 0.5, pixel // width + 0.5
    edge_a, edge_b, edge_c = _signed_edges(ax - x, bx - x, cx - x, ay - y, by - y, cy - y)
    a, b, c, total, depth = _weigh(edge_a, edge_b, edge_c, az, bz, cz)
    tl.store(index + image * area + pixel, tl.where(covered, triangle, -1), mask=inside)
    tl.store(depths + image * area + pixel, tl.where(covered, depth, 0.0), mask=inside)
    plane = barycentrics + image * 3 * area + pixel
    tl.store(plane, tl.where(covered, tl.div_rn(a, total), 0.0), mask=inside)
    tl.store(plane + area, tl.where(covered, tl.div_rn(b, total), 0.0), mask=inside)
    tl.store(plane + 2 * area, tl.where(covered, tl.div_rn(c, total), 0.0), mask=inside)


@triton.jit
def _pass_back(ax, bx, cx, ay, by, cy, az, bz, cz, grad_a, grad_b, grad_c, depth_slope):
    """What a pixel passes back to the x, y and z of its triangle's corners, whose x and y are from its centre."""
    edge_a, edge_b, edge_c = _signed_edges(ax, bx, cx, ay, by, cy)
    a, b, c, total, _depth = _weigh(edge_a, edge_b, edge_c, az, bz, cz)
    a, b, c = tl.div_rn(a, total), tl.div_rn(b, total), tl.div_rn(c, total)
    mean = a * grad_a + b * grad_b + c * grad_c
    slope_a = tl.div_rn(grad_a - mean, az)
    slope_b = tl.div_rn(grad_b - mean, bz)
    slope_c = tl.div_rn(grad_c - mean, cz)
    doubled_area = edge_a + edge_b + edge_c
    sign = tl.where(doubled_area > 0, 1.0, tl.where(doubled_area < 0, -1.0, 0.0))
    scale = tl.div_rn(sign, total)
    edge_a, edge_b, edge_c = scale * slope_a, scale * slope_b, scale * slope_c
    return (
        edge_c * by - edge_b * cy,
        edge_a * cy - edge_c * ay,
        edge_b * ay - edge_a * by,
        edge_b * cx - edge_c * bx,
        edge_c * ax - edge_a * cx,
        edge_a * bx - edge_b * ax,
        a * (depth_slope - slope_a),
        b * (depth_slope - slope_b),
        c * (depth_slope - slope_c),
    )


@triton.jit
def _store_corners(corner, plane, ax, bx, cx, ay, by, cy, az, bz, cz, mask):
    """x, y and z of three corners beside each other into three planes."""
    tl.store(corner, ax, mask=mask)
    tl.store(corner + 1, bx, mask=mask)
    tl.store(corner + 2, cx, mask=mask)
    tl.store(corner + plane, ay, mask=mask)
    tl.store(corner + plane + 1, by, mask=mask)
    tl.store(corner + plane + 2, cy, mask=mask)
    tl.store(corner + 2 * plane, az, mask=mask)
    tl.store(corner + 2 * plane + 1, bz, mask=mask)
    tl.store(corner + 2 * plane + 2, cz, mask=mask)


@triton.jit
def sum_point_gradients(
    points,
    corners,
    index,
    boxes,
    grad_barycentrics,
    grad_depth,
    sums,
    vertices,
    triangles,
    height,
    width,
    block: tl.constexpr,
):
    """What a triangle's pixels pass back to its corners, into `sums (N, 3, 3 * F)`. One lane per triangle."""
    image = tl.program_id(0).to(tl.int64)
    area = height * width
    triangle = tl.program_id(1) * block + tl.arange(0, block)
    mask = triangle < triangles
    ax, bx, cx, ay, by, cy, az, bz, cz = _load_points(points, image, corners, triangle, mask, vertices, triangles)
    box = boxes + image * 4 * triangles + triangle
    row = tl.load(box, mask=mask, other=0)
    last_row = tl.load(box + triangles, mask=mask, other=-1)
    first_column = tl.load(box + 2 * triangles, mask=mask, other=0)
    last_column = tl.load(box + 3 * triangles, mask=mask, other=-1)
    sum_ax = tl.zeros((block,), tl.float32)
    sum_bx, sum_cx, sum_ay, sum_by, sum_cy = sum_ax, sum_ax, sum_ax, sum_ax, sum_ax
    sum_az, sum_bz, sum_cz = sum_ax, sum_ax, sum_ax
    columns = tl.max(last_column - first_column + 1)
    for _ in range(0, tl.max(last_row - row + 1)):
        for step in range(0, columns):
            column = first_column + step
            pixel = row * width + column
            inside = mask & (row <= last_row) & (column <= last_column)
            own = inside & (tl.load(index + image * area + pixel, mask=inside, other=-1) == triangle)
            plane = grad_barycentrics + image * 3 * area + pixel
            depth_slope = tl.load(grad_depth + image * area + pixel, mask=own, other=0.0)
            grad_a = tl.load(plane, mask=own, other=0.0) + depth_slope * az
            grad_b = tl.load(plane + area, mask=own, other=0.0) + depth_slope * bz
            grad_c = tl.load(plane + 2 * area, mask=own, other=0.0) + depth_slope * cz
            x, y = column + 0.5, row + 0.5
            gax, gbx, gcx, gay, gby, gcy, gaz, gbz, gcz = _pass_back(
                ax - x, bx - x, cx - x, ay - y, by - y, cy - y, az, bz, cz, grad_a, grad_b, grad_c, depth_slope
            )
            sum_ax += tl.where(own, gax, 0.0)
            sum_bx += tl.where(own, gbx, 0.0)
            sum_cx += tl.where(own, gcx, 0.0)
            sum_ay += tl.where(own, gay, 0.0)
            sum_by += tl.where(own, gby, 0.0)
            sum_cy += tl.where(own, gcy, 0.0)
            sum_az += tl.where(own, gaz, 0.0)
            sum_bz += tl.where(own, gbz, 0.0)
            sum_cz += tl.where(own, gcz, 0.0)
        row += 1
    corner = sums + image * 9 * triangles + 3 * triangle
    _store_corners(corner, 3 * triangles, sum_ax, sum_bx, sum_cx, sum_ay, sum_by, sum_cy, sum_az, sum_bz, sum_cz, mask)


@triton.jit
def carry_attributes(
    attributes, corners, index, barycentrics, planes, vertices, triangles, channels, area, block: tl.constexpr
):
    """Weighted sums of the corners' attributes `(N, V, C)`. One lane per pixel."""
    image = tl.program_id(0).to(tl.int64)
    pixel = tl.program_id(1) * block + tl.arange(0, block)
    inside = pixel < area
    triangle = tl.load(index + image * area + pixel, mask=inside, other=-1)
    covered = triangle >= 0
    plane = barycentrics + image * 3 * area + pixel
    weight_a = tl.load(plane, mask=covered, other=0.0)
    weight_b = tl.load(plane + area, mask=covered, other=0.0)
    weight_c = tl.load(plane + 2 * area, mask=covered, other=0.0)
    first = attributes + image * vertices * channels
    a = first + tl.load(corners + triangle, mask=covered, other=0) * channels
    b = first + tl.load(corners + triangles + triangle, mask=covered, other=0) * channels
    c = first + tl.load(corners + 2 * triangles + triangle, mask=covered, other=0) * channels
    for channel in range(0, channels):
        value = weight_a * tl.load(a + channel, mask=covered, other=0.0)
        value += weight_b * tl.load(b + channel, mask=covered, other=0.0)
        value += weight_c * tl.load(c + channel, mask=covered, other=0.0)
        tl.store(planes + (image * channels + channel) * area + pixel, value, mask=inside)


@triton.jit
def write_barycentric_gradients(
    attributes,
    corners,
    index,
    grad_planes,
    grad_barycentrics,
    vertices,
    triangles,
    channels,
    area,
    block: tl.constexpr,
):
    """What the planes pass back to the barycentrics. One lane per pixel."""
    image = tl.program_id(0).to(tl.int64)
    pixel = tl.program_id(1) * block + tl.arange(0, block)
    inside = pixel < area
    triangle = tl.load(index + image * area + pixel, mask=inside, other=-1)
    covered = triangle >= 0
    first = attributes + image * vertices * channels
    a = first + tl.load(corners + triangle, mask=covered, other=0) * channels
    b = first + tl.load(corners + triangles + triangle, mask=covered, other=0) * channels
    c = first + tl.load(corners + 2 * triangles + triangle, mask=covered, other=0) * channels
    sum_a = tl.zeros((block,), tl.float32)
    sum_b, sum_c = sum_a, sum_a
    for channel in range(0, channels):
        gradient = tl.load(grad_planes + (image * channels + channel) * area + pixel, mask=covered, other=0.0)
        sum_a += gradient * tl.load(a + channel, mask=covered, other=0.0)
        sum_b += gradient * tl.load(b + channel, mask=covered, other=0.0)
        sum_c += gradient * tl.load(c + channel, mask=covered, other=0.0)
    plane = grad_barycentrics + image * 3 * area + pixel
    tl.store(plane, sum_a, mask=inside)
    tl.store(plane + area, sum_b, mask=inside)
    tl.store(plane + 2 * area, sum_c, mask=inside)


@triton.jit
def sum_attribute_gradients(
    index, boxes, barycentrics, grad_planes, sums, triangles, channels, height, width, block: tl.constexpr
):
    """What a triangle's pixels pass back to its corners, into `sums (N, C, 3 * F)`. One lane per triangle."""
    image = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(2)
    area = height * width
    triangle = tl.program_id(1) * block + tl.arange(0, block)
    mask = triangle < triangles
    box = boxes + image * 4 * triangles + triangle
    row = tl.load(box, mask=mask, other=0)
    last_row = tl.load(box + triangles, mask=mask, other=-1)
    first_column = tl.load(box + 2 * triangles, mask=mask, other=0)
    last_column = tl.load(box + 3 * triangles, mask=mask, other=-1)
    sum_a = tl.zeros((block,), tl.float32)
    sum_b, sum_c = sum_a, sum_a
    columns = tl.max(last_column - first_column + 1)
    for _ in range(0, tl.max(last_row - row + 1)):
        for step in range(0, columns):
            column = first_column + step
            pixel = row * width + column
            inside = mask & (row <= last_row) & (column <= last_column)
            own = inside & (tl.load(index + image * area + pixel, mask=inside, other=-1) == triangle)
            gradient = tl.load(grad_planes + (image * channels + channel) * area + pixel, mask=own, other=0.0)
            plane = barycentrics + image * 3 * area + pixel
            sum_a += gradient * tl.load(plane, mask=own, other=0.0)
            sum_b += gradient * tl.load(plane + area, mask=own, other=0.0)
            sum_c += gradient * tl.load(plane + 2 * area, mask=own, other=0.0)
        row += 1
    corner = sums + (image * channels + channel) * 3 * triangles + 3 * triangle
    tl.store(corner, sum_a, mask=mask)
    tl.store(corner + 1, sum_b, mask=mask)
    tl.store(corner + 2, sum_c, mask=mask)


@triton.jit
def sum_corners(sums, first, corner, gradients, vertices, triangles, channels, block: tl.constexpr):
    """Sums `(N, C, 3 * F)` of corners to gradients `(N, C, V)` of their vertices. One lane per vertex."""
    plane = tl.program_id(0).to(tl.int64) * channels + tl.program_id(2)
    vertex = tl.program_id(1) * block + tl.arange(0, block)
    mask = vertex < vertices
    entry = tl.load(first + vertex, mask=mask, other=0)
    end = tl.load(first + vertex + 1, mask=mask, other=0)
    total = tl.zeros((block,), tl.float32)
    for _ in range(0, tl.max(end - entry)):
        more = mask & (entry < end)
        at = tl.load(corner + entry, mask=more, other=0)
        total += tl.load(sums + plane * 3 * triangles + at, mask=more, other=0.0)
        entry += 1
    tl.store(gradients + plane * vertices + vertex, total, mask=mask)
