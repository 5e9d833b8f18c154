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
"""What a picture needs of its vertices, for Numba on the CPU, in one go: position, normal and colour.

The same as `place_in_camera`, `pixel_points`, `vertex_normals` and `shade` one after the other, forward and backward.
Sums over the triangles of a vertex go through the table of its corners, in a fixed order.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .camera import Camera
from .numba_kernels import array, helper, kernel, run
from .topology import Topology

_LARGEST = 1e6  # of coordinates, metres, and of albedos: others are no numbers of a face
_SHORTEST = 1e-24  # of a squared sum of normals that has a direction
_REFLECTED = np.array((1.0,) + (2 / 3,) * 3 + (1 / 4,) * 5)  # as in `shading`
_BAND_0, _BAND_1 = math.sqrt(1 / (4 * math.pi)), math.sqrt(3 / (4 * math.pi))
_BAND_2, _BAND_20 = math.sqrt(15 / (4 * math.pi)), math.sqrt(5 / (16 * math.pi))


def shade_points(
    vertices: Tensor,
    albedo: Tensor,
    light: Tensor,
    rotation: Tensor,
    translation: Tensor,
    camera: Camera,
    near: float,
    topology: Topology,
) -> tuple[Tensor, Tensor]:
    """Points of `pixel_points` `(N, V, 3)`, and linear colours and normals `(N, V, 6)`, normals with y up.

    Args:
        vertices (`torch.Tensor` of shape `(N, V, 3)`): model space, metres.
        albedo (`torch.Tensor` of shape `(N, V, 3)`): linear.
        light (`torch.Tensor` of shape `(N, 27)`): as in `shade`.
        rotation (`torch.Tensor` of shape `(N, 3, 3)`): from model space to the camera frame with y up.
        translation (`torch.Tensor` of shape `(N, 3)`): the model's origin in camera space, metres.
        camera (`Camera`): of N pictures.
        near (`float`): points at or before this depth are not drawn.
        topology (`Topology`): of the mesh.
    """
    return _ShadePoints.apply(vertices, albedo, light, rotation, translation, *camera, near, topology)


class _ShadePoints(torch.autograd.Function):
    """All of the above, in that order -> points, and colours with normals."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any):
        *tensors, near, topology = inputs
        count, vertices, _ = tensors[0].shape
        points = tensors[0].new_empty(count, vertices, 3)
        values = tensors[0].new_empty(count, vertices, 6)
        sums = tensors[0].new_empty(count, vertices, 3)
        given = (*(array(tensor) for tensor in tensors), near, topology.compact, *_tables(topology, vertices))
        run(_shade, count, *given, points.numpy(), values.numpy(), sums.numpy())
        ctx.save_for_backward(*tensors, sums)
        ctx.near, ctx.topology = near, topology
        return points, values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_points: Tensor, grad_values: Tensor):
        *tensors, sums = ctx.saved_tensors
        count, vertices, _ = tensors[0].shape
        gradients = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors]
        given = (*(array(tensor) for tensor in tensors), ctx.near, ctx.topology.compact)
        tables = _tables(ctx.topology, vertices)
        upstream = array(sums), array(grad_points), array(grad_values)
        run(_shade_backward, count, *given, *tables, *upstream, *(gradient.numpy() for gradient in gradients))
        return *gradients, None, None


def _tables(topology: Topology, vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """`VertexCorners` with an entry for each of so many vertices."""
    first, corner = (column.numpy() for column in topology.vertex_corners)
    return np.pad(first, (0, vertices + 1 - len(first)), mode="edge"), corner


@helper
def _is_good(point):
    """Whether a vertex has three numbers of a face; false for NaN."""
    return abs(point[0]) < _LARGEST and abs(point[1]) < _LARGEST and abs(point[2]) < _LARGEST


@helper
def _good_vertices(vertices):
    """The vertices `(V, 3)` of one face, bad ones at the origin."""
    good = np.zeros_like(vertices)
    for vertex in range(vertices.shape[0]):
        if _is_good(vertices[vertex]):
            for axis in range(3):
                good[vertex, axis] = vertices[vertex, axis]
    return good


@helper
def _area_normals(vertices, triangles):
    """Twice area times normal `(F, 3)` of the triangles."""
    normals = np.empty((triangles.shape[0], 3), dtype=vertices.dtype)
    for number in range(triangles.shape[0]):
        a, b, c = triangles[number, 0], triangles[number, 1], triangles[number, 2]
        px, py, pz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        qx, qy, qz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        normals[number, 0] = py * qz - pz * qy
        normals[number, 1] = pz * qx - px * qz
        normals[number, 2] = px * qy - py * qx
    return normals


@helper
def _place(vertex, rotation, translation):
    """Camera space, where y and z point the other way than in the frame with y up."""
    x, y, z = vertex[0], vertex[1], vertex[2]
    return (
        translation[0] + (rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z),
        translation[1] - (rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z),
        translation[2] - (rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z),
    )


@helper
def _is_drawn(vertex, place, near, focal):
    return focal > 0 and _is_good(vertex) and _is_good(place) and place[2] > near


@helper
def _unit(total):
    """One over the length of a sum of normals `(3,)`, and whether it has a direction."""
    squared = total[0] * total[0] + total[1] * total[1] + total[2] * total[2]
    return total.dtype.type(1 / np.sqrt(max(squared, _SHORTEST))), squared > _SHORTEST


@helper
def _turn(rotation, x, y, z):
    return (
        rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z,
        rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z,
        rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z,
    )


@helper
def _harmonics(x, y, z, bands):
    """The nine harmonics at a unit vector, into `bands (9,)`."""
    bands[0] = _BAND_0
    bands[1], bands[2], bands[3] = _BAND_1 * y, _BAND_1 * z, _BAND_1 * x
    bands[4], bands[5], bands[7] = _BAND_2 * x * y, _BAND_2 * y * z, _BAND_2 * x * z
    bands[6], bands[8] = _BAND_20 * (3 * z * z - 1), _BAND_2 / 2 * (x * x - y * y)


@helper
def _reflected(light):
    """What a white surface sends back of the light `(27,)`, `(9, 3)`."""
    reflected = np.empty((9, 3), dtype=light.dtype)
    for band in range(9):
        for channel in range(3):
            reflected[band, channel] = _REFLECTED[band] * light[3 * band + channel]
    return reflected


@kernel
def _shade(
    first,
    end,
    vertices,
    albedo,
    light,
    rotation,
    translation,
    focal,
    center,
    near,
    triangles,
    firsts,
    corners,
    points,
    values,
    sums,
):
    """Faces [first, end)."""
    bands = np.empty(9, dtype=vertices.dtype)
    for face in range(first, end):
        good = _good_vertices(vertices[face])
        weighted = _area_normals(good, triangles)
        reflected = _reflected(light[face])
        for vertex in range(vertices.shape[1]):
            place = _place(good[vertex], rotation[face], translation[face])
            if _is_drawn(vertices[face, vertex], place, near, focal[face]):
                points[face, vertex, 0] = place[0] / place[2] * focal[face] + center[face, 0]
                points[face, vertex, 1] = place[1] / place[2] * focal[face] + center[face, 1]
                points[face, vertex, 2] = place[2]
            else:
                points[face, vertex, 0], points[face, vertex, 1] = center[face, 0], center[face, 1]
                points[face, vertex, 2] = -1
            total = sums[face, vertex]
            total[:] = 0
            for at in range(firsts[vertex], firsts[vertex + 1]):
                number = corners[at] // 3
                for axis in range(3):
                    total[axis] += weighted[number, axis]
            scale, _ = _unit(total)
            x, y, z = _turn(rotation[face], total[0] * scale, total[1] * scale, total[2] * scale)
            _harmonics(x, y, z, bands)
            for channel in range(3):
                shown = bands[0] * reflected[0, channel]
                for band in range(1, 9):
                    shown += bands[band] * reflected[band, channel]
                skin = albedo[face, vertex, channel]
                values[face, vertex, channel] = shown * (skin if abs(skin) < _LARGEST else 0)
            values[face, vertex, 3], values[face, vertex, 4], values[face, vertex, 5] = x, y, z


@kernel
def _shade_backward(
    first,
    end,
    vertices,
    albedo,
    light,
    rotation,
    translation,
    focal,
    center,
    near,
    triangles,
    firsts,
    corners,
    sums,
    grad_points,
    grad_values,
    grad_vertices,
    grad_albedo,
    grad_light,
    grad_rotation,
    grad_translation,
    grad_focal,
    grad_center,
):
    """Of faces [first, end). What many vertices share is added up in float64."""
    bands = np.empty(9, dtype=vertices.dtype)
    grad_bands = np.empty(9, dtype=vertices.dtype)
    grad_sums = np.empty((vertices.shape[1], 3), dtype=vertices.dtype)
    grad_weighted = np.empty((triangles.shape[0], 3), dtype=vertices.dtype)
    for face in range(first, end):
        good, turn = _good_vertices(vertices[face]), rotation[face]
        reflected = _reflected(light[face])
        total_light, total_turn = np.zeros((9, 3)), np.zeros((3, 3))
        total_place, total_camera = np.zeros(3), np.zeros(3)
        for vertex in range(vertices.shape[1]):
            scale, has_direction = _unit(sums[face, vertex])
            nx, ny, nz = sums[face, vertex, 0] * scale, sums[face, vertex, 1] * scale, sums[face, vertex, 2] * scale
            x, y, z = _turn(turn, nx, ny, nz)
            _harmonics(x, y, z, bands)
            grad_bands[:] = 0
            for channel in range(3):
                skin, grad = albedo[face, vertex, channel], grad_values[face, vertex, channel]
                is_skin = abs(skin) < _LARGEST
                shown = vertices.dtype.type(0)
                lit = grad * skin if is_skin else shown
                for band in range(9):
                    shown += bands[band] * reflected[band, channel]
                    grad_bands[band] += lit * reflected[band, channel]
                    total_light[band, channel] += lit * bands[band]
                grad_albedo[face, vertex, channel] = grad * shown if is_skin else 0
            g = grad_bands
            gx = _BAND_1 * g[3] + _BAND_2 * (y * g[4] + z * g[7] + x * g[8]) + grad_values[face, vertex, 3]
            gy = _BAND_1 * g[1] + _BAND_2 * (x * g[4] + z * g[5] - y * g[8]) + grad_values[face, vertex, 4]
            gz = _BAND_1 * g[2] + _BAND_2 * (y * g[5] + x * g[7]) + grad_values[face, vertex, 5]
            gz += 6 * _BAND_20 * z * g[6]
            for column, normal in enumerate((nx, ny, nz)):
                total_turn[0, column] += gx * normal
                total_turn[1, column] += gy * normal
                total_turn[2, column] += gz * normal
            mx = turn[0, 0] * gx + turn[1, 0] * gy + turn[2, 0] * gz
            my = turn[0, 1] * gx + turn[1, 1] * gy + turn[2, 1] * gz
            mz = turn[0, 2] * gx + turn[1, 2] * gy + turn[2, 2] * gz
            along = mx * nx + my * ny + mz * nz if has_direction else 0
            grad_sums[vertex, 0] = scale * (mx - along * nx)
            grad_sums[vertex, 1] = scale * (my - along * ny)
            grad_sums[vertex, 2] = scale * (mz - along * nz)
        for number in range(triangles.shape[0]):
            a, b, c = triangles[number, 0], triangles[number, 1], triangles[number, 2]
            for axis in range(3):
                grad_weighted[number, axis] = grad_sums[a, axis] + grad_sums[b, axis] + grad_sums[c, axis]
        for vertex in range(vertices.shape[1]):
            grad = grad_vertices[face, vertex]
            grad[:] = 0
            if not _is_good(vertices[face, vertex]):
                continue
            for at in range(firsts[vertex], firsts[vertex + 1]):
                number, corner = corners[at] // 3, corners[at] % 3
                # The triangle's a x b + b x c + c x a is linear in each corner.
                b, c = triangles[number, (corner + 1) % 3], triangles[number, (corner + 2) % 3]
                ex, ey, ez = good[b, 0] - good[c, 0], good[b, 1] - good[c, 1], good[b, 2] - good[c, 2]
                gx, gy, gz = grad_weighted[number, 0], grad_weighted[number, 1], grad_weighted[number, 2]
                grad[0] += ey * gz - ez * gy
                grad[1] += ez * gx - ex * gz
                grad[2] += ex * gy - ey * gx
            place = _place(good[vertex], turn, translation[face])
            if not _is_drawn(vertices[face, vertex], place, near, focal[face]):
                continue
            u, v = grad_points[face, vertex, 0], grad_points[face, vertex, 1]
            over = focal[face] / place[2]
            px, py = u * over, v * over
            pz = grad_points[face, vertex, 2] - (px * place[0] + py * place[1]) / place[2]
            total_camera[0] += (u * place[0] + v * place[1]) / place[2]
            total_camera[1] += u
            total_camera[2] += v
            total_place[0] += px
            total_place[1] += py
            total_place[2] += pz
            for axis in range(3):
                grad[axis] += turn[0, axis] * px - turn[1, axis] * py - turn[2, axis] * pz
                total_turn[0, axis] += px * good[vertex, axis]
                total_turn[1, axis] -= py * good[vertex, axis]
                total_turn[2, axis] -= pz * good[vertex, axis]
        for band in range(9):
            for channel in range(3):
                grad_light[face, 3 * band + channel] = _REFLECTED[band] * total_light[band, channel]
        grad_rotation[face] = total_turn
        grad_translation[face] = total_place
        grad_focal[face] = total_camera[0]
        grad_center[face] = total_camera[1:]
