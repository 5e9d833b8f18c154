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
A face is the work of one thread, which takes vertices and triangles in order: sums are the same at every run.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..camera import Camera
from ..mesh import Topology
from .numba_kernels import array, helper, kernel, run

_LARGEST = 1e6  # of coordinates, metres, and of albedos: others are no numbers of a face
_SHORTEST = 1e-24  # of a squared sum of normals that has a direction
# Each harmonic's factor, and what a white surface reflects of it, as in `shading`.
_BANDS = np.sqrt(np.array([1, 3, 3, 3, 15, 15, 5 / 4, 15, 15 / 4]) / (4 * math.pi))
_REFLECTED = np.array((1.0,) + (2 / 3,) * 3 + (1 / 4,) * 5)


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
        points, sums, good = (tensors[0].new_empty(count, vertices, 3) for _ in range(3))
        values = tensors[0].new_empty(count, vertices, 6)
        given = _frames(tensors), near, topology.compact
        run(_shade, count, *given, tuple(made.numpy() for made in (points, values, sums, good)))
        ctx.save_for_backward(*tensors, sums, good)
        ctx.near, ctx.topology = near, topology
        return points, values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_points: Tensor, grad_values: Tensor):
        *tensors, sums, good = ctx.saved_tensors
        count = len(sums)
        grad_vertices, grad_albedo = torch.empty_like(sums), torch.empty_like(sums)
        # What many vertices share is added up in float64: light, rotation, translation, camera.
        totals = tuple(np.zeros((count, *shape)) for shape in ((9, 3), (3, 3), (3,), (3,)))
        given = _frames(tensors), ctx.near, ctx.topology.compact
        upstream = array(sums), array(good), array(grad_points), array(grad_values)
        made = grad_vertices.numpy(), grad_albedo.numpy(), np.empty_like(sums.numpy())
        run(_shade_backward, count, *given, upstream, made, totals)
        lamp, turn, place, camera = (torch.from_numpy(total).to(sums.dtype) for total in totals)
        light = (lamp * _lamp_factors(sums.dtype)).flatten(1)
        return grad_vertices, grad_albedo, light, turn, place, camera[:, 0], camera[:, 1:], None, None


def _frames(tensors: list[Tensor]) -> tuple[np.ndarray, ...]:
    """Vertices, albedo, lamps, rotation, translation, focal length and principal point of each face."""
    vertices, albedo, light, *pose = tensors
    lamp = light.detach().view(-1, 9, 3) * _lamp_factors(light.dtype)
    return array(vertices), array(albedo), lamp.numpy(), *(array(tensor) for tensor in pose)


def _lamp_factors(dtype: torch.dtype) -> Tensor:
    """`(9, 1)`: light times these, times `_terms` of a normal, is what a white surface shows."""
    return torch.from_numpy(_BANDS * _REFLECTED).to(dtype)[:, None]


@helper
def _is_good(points, vertex):
    """Whether a vertex has three numbers of a face; false for NaN."""
    return (
        abs(points[vertex, 0]) < _LARGEST and abs(points[vertex, 1]) < _LARGEST and abs(points[vertex, 2]) < _LARGEST
    )


@helper
def _place(points, vertex, rotation, translation):
    """Camera space, where y and z point the other way than in the frame with y up."""
    x, y, z = _turn(rotation, points[vertex, 0], points[vertex, 1], points[vertex, 2])
    return translation[0] + x, translation[1] - y, translation[2] - z


@helper
def _is_drawn(place, near, focal):
    near_enough = abs(place[0]) < _LARGEST and abs(place[1]) < _LARGEST and abs(place[2]) < _LARGEST
    return focal > 0 and near_enough and place[2] > near


@helper
def _unit(sums, vertex):
    """A vertex's sum of normals at length 1, by what it was multiplied, and whether it has a direction."""
    x, y, z = sums[vertex, 0], sums[vertex, 1], sums[vertex, 2]
    squared = x * x + y * y + z * z
    scale = type(x)(1 / np.sqrt(max(squared, _SHORTEST)))
    return (x * scale, y * scale, z * scale), scale, squared > _SHORTEST


@helper
def _turn(rotation, x, y, z):
    return (
        rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z,
        rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z,
        rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z,
    )


@helper
def _terms(normal):
    """The nine harmonics at a unit vector, without their factors."""
    x, y, z = normal
    one = type(x)(1)
    return one, y, z, x, x * y, y * z, type(x)(3) * z * z - one, x * z, x * x - y * y


@helper
def _shown(terms, lamp, channel):
    """What a white surface shows."""
    first = terms[0] * lamp[0, channel] + terms[1] * lamp[1, channel] + terms[2] * lamp[2, channel]
    second = terms[3] * lamp[3, channel] + terms[4] * lamp[4, channel] + terms[5] * lamp[5, channel]
    return first + second + (terms[6] * lamp[6, channel] + terms[7] * lamp[7, channel] + terms[8] * lamp[8, channel])


@kernel
def _shade(first, end, frames, near, triangles, made):
    """Faces [first, end)."""
    for face in range(first, end):
        points, values, sums, good = made[0][face], made[1][face], made[2][face], made[3][face]
        _sum_normals(frames[0][face], triangles, good, sums)
        albedo, lamp, rotation, translation = frames[1][face], frames[2][face], frames[3][face], frames[4][face]
        focal, center = frames[5][face], frames[6][face]
        for vertex in range(points.shape[0]):
            x, y, z = _place(good, vertex, rotation, translation)
            if _is_good(frames[0][face], vertex) and _is_drawn((x, y, z), near, focal):
                points[vertex, 0], points[vertex, 1] = x / z * focal + center[0], y / z * focal + center[1]
                points[vertex, 2] = z
            else:
                points[vertex, 0], points[vertex, 1], points[vertex, 2] = center[0], center[1], -1
            unit, _, _ = _unit(sums, vertex)
            normal = _turn(rotation, unit[0], unit[1], unit[2])
            terms = _terms(normal)
            for channel in range(3):
                skin = albedo[vertex, channel]
                values[vertex, channel] = _shown(terms, lamp, channel) * (skin if abs(skin) < _LARGEST else 0)
            values[vertex, 3], values[vertex, 4], values[vertex, 5] = normal


@helper
def _sum_normals(vertices, triangles, good, sums):
    """Bad vertices at the origin in `good (V, 3)`, and in `sums` the triangles' normals times twice their area."""
    sums[:] = 0
    for vertex in range(vertices.shape[0]):
        is_good = _is_good(vertices, vertex)
        for axis in range(3):
            good[vertex, axis] = vertices[vertex, axis] if is_good else 0
    for number in range(triangles.shape[0]):
        a, b, c = triangles[number, 0], triangles[number, 1], triangles[number, 2]
        first, second = _difference(good, b, a), _difference(good, c, a)
        normal = _cross(first, second)
        for vertex in (a, b, c):
            _add(sums, vertex, normal)


@helper
def _difference(points, end, start):
    return points[end, 0] - points[start, 0], points[end, 1] - points[start, 1], points[end, 2] - points[start, 2]


@helper
def _cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@helper
def _add(sums, row, addend):
    sums[row, 0] += addend[0]
    sums[row, 1] += addend[1]
    sums[row, 2] += addend[2]


@kernel
def _shade_backward(first, end, frames, near, triangles, upstream, made, totals):
    """Of faces [first, end), in `made` to vertices and albedo; `totals` is what many vertices share."""
    for face in range(first, end):
        vertices, albedo, lamp, rotation = frames[0][face], frames[1][face], frames[2][face], frames[3][face]
        sums, good, grad_points, grad_values = (
            upstream[0][face],
            upstream[1][face],
            upstream[2][face],
            upstream[3][face],
        )
        grad_vertices, grad_albedo, grad_sums = made[0][face], made[1][face], made[2][face]
        total_lamp, total_turn, total_place, total_camera = (
            totals[0][face],
            totals[1][face],
            totals[2][face],
            totals[3][face],
        )
        grad_albedo[:], grad_sums[:], grad_vertices[:] = 0, 0, 0
        for vertex in range(vertices.shape[0]):
            if _is_any(grad_values, vertex):
                grads = grad_values, grad_albedo, grad_sums
                _light_backward(albedo, lamp, rotation, sums, vertex, grads, total_lamp, total_turn)
        for number in range(triangles.shape[0]):
            _normal_backward(good, triangles, number, grad_sums, grad_vertices)
        for vertex in range(vertices.shape[0]):
            if not _is_good(vertices, vertex):
                grad_vertices[vertex, 0], grad_vertices[vertex, 1], grad_vertices[vertex, 2] = 0, 0, 0
                continue
            place = _place(good, vertex, rotation, frames[4][face])
            if _is_drawn(place, near, frames[5][face]):
                grads = grad_points, grad_vertices
                passed = _place_backward(
                    good, rotation, vertex, place, frames[5][face], grads, total_turn, total_camera
                )
                _add_place(total_place, passed)


@helper
def _is_any(grad_values, vertex):
    """Whether anything is passed back to a vertex: about half are not seen."""
    for channel in range(6):
        if grad_values[vertex, channel] != 0:
            return True
    return False


@helper
def _light_backward(albedo, lamp, rotation, sums, vertex, grads, total_lamp, total_turn):
    """From colour and normal of a vertex to its albedo and its sum of normals; light and rotation add up."""
    grad_values, grad_albedo, grad_sums = grads
    unit, scale, has_direction = _unit(sums, vertex)
    terms = _terms(_turn(rotation, unit[0], unit[1], unit[2]))
    gx, gy, gz = grad_values[vertex, 3], grad_values[vertex, 4], grad_values[vertex, 5]
    for channel in range(3):
        skin, grad = albedo[vertex, channel], grad_values[vertex, channel]
        if not abs(skin) < _LARGEST:
            continue
        grad_albedo[vertex, channel] = grad * _shown(terms, lamp, channel)
        x, y, z = _terms_backward(terms, lamp, channel, grad * skin, total_lamp)
        gx, gy, gz = gx + x, gy + y, gz + z
    for axis in range(3):
        total_turn[0, axis] += gx * unit[axis]
        total_turn[1, axis] += gy * unit[axis]
        total_turn[2, axis] += gz * unit[axis]
    x = rotation[0, 0] * gx + rotation[1, 0] * gy + rotation[2, 0] * gz
    y = rotation[0, 1] * gx + rotation[1, 1] * gy + rotation[2, 1] * gz
    z = rotation[0, 2] * gx + rotation[1, 2] * gy + rotation[2, 2] * gz
    along = x * unit[0] + y * unit[1] + z * unit[2] if has_direction else type(x)(0)
    grad_sums[vertex, 0] = scale * (x - along * unit[0])
    grad_sums[vertex, 1] = scale * (y - along * unit[1])
    grad_sums[vertex, 2] = scale * (z - along * unit[2])


@helper
def _terms_backward(terms, lamp, channel, lit, total_lamp):
    """What one colour passes back to the normal; its lamp adds up."""
    _, y, z, x, xy, yz, zz, xz, xx = terms
    for band, term in enumerate((type(x)(1), y, z, x, xy, yz, zz, xz, xx)):
        total_lamp[band, channel] += lit * term
    two, six = type(x)(2), type(x)(6)
    gx = lamp[3, channel] + y * lamp[4, channel] + z * lamp[7, channel] + two * x * lamp[8, channel]
    gy = lamp[1, channel] + x * lamp[4, channel] + z * lamp[5, channel] - two * y * lamp[8, channel]
    gz = lamp[2, channel] + y * lamp[5, channel] + x * lamp[7, channel] + six * z * lamp[6, channel]
    return lit * gx, lit * gy, lit * gz


@helper
def _normal_backward(good, triangles, number, grad_sums, grad_vertices):
    """From the sums of normals to a triangle's corners: a x b + b x c + c x a is linear in each."""
    a, b, c = triangles[number, 0], triangles[number, 1], triangles[number, 2]
    x = grad_sums[a, 0] + grad_sums[b, 0] + grad_sums[c, 0]
    y = grad_sums[a, 1] + grad_sums[b, 1] + grad_sums[c, 1]
    z = grad_sums[a, 2] + grad_sums[b, 2] + grad_sums[c, 2]
    if x == 0 and y == 0 and z == 0:
        return
    _add(grad_vertices, a, _cross(_difference(good, b, c), (x, y, z)))
    _add(grad_vertices, b, _cross(_difference(good, c, a), (x, y, z)))
    _add(grad_vertices, c, _cross(_difference(good, a, b), (x, y, z)))


@helper
def _place_backward(good, rotation, vertex, place, focal, grads, total_turn, total_camera):
    """From a vertex's point to the vertex, and to its place in camera space, which is returned."""
    grad_points, grad_vertices = grads
    u, v, deep = grad_points[vertex, 0], grad_points[vertex, 1], grad_points[vertex, 2]
    if u == 0 and v == 0 and deep == 0:
        return u, v, deep
    over = focal / place[2]
    x, y = u * over, v * over
    z = deep - (x * place[0] + y * place[1]) / place[2]
    total_camera[0] += (u * place[0] + v * place[1]) / place[2]
    total_camera[1] += u
    total_camera[2] += v
    for axis in range(3):
        grad_vertices[vertex, axis] += rotation[0, axis] * x - rotation[1, axis] * y - rotation[2, axis] * z
        total_turn[0, axis] += x * good[vertex, axis]
        total_turn[1, axis] -= y * good[vertex, axis]
        total_turn[2, axis] -= z * good[vertex, axis]
    return x, y, z


@helper
def _add_place(total, addend):
    total[0] += addend[0]
    total[1] += addend[1]
    total[2] += addend[2]
