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
"""What a picture costs at least: bytes and operations, counted, over how fast this machine moves and computes."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from modeling_facegpt.camera import place_in_camera
from modeling_facegpt.mesh import Mesh, topology_of
from modeling_facegpt.rasterizer import NEAR, pixel_points
from modeling_facegpt.scanline import Settings, chunk_triangles, cover_pixels
from tests.benchmarks.render import pose

# Operations, counted in the reference's formulas: forward per triangle that is looked at, that faces the camera, per
# row of one, per pixel of one, hidden or not; backward per pixel that shows one, and per triangle that faces the
# camera.
PER_TRIANGLE, PER_FRONT, PER_ROW, PER_PIXEL, PER_PIXEL_BACK, PER_FRONT_BACK = 8, 60, 20, 45, 30, 130
# Bytes that are moved once at least: per pixel the colours and their gradient, triangle number and depth; per vertex
# position, colour and their gradients; per triangle its corners.
BYTES_PER_PIXEL, BYTES_PER_VERTEX, BYTES_PER_TRIANGLE = 36, 48, 12


class Cost(NamedTuple):
    """Of one picture, forward and backward."""

    operations: float
    bytes: float


class Machine(NamedTuple):
    """What one thread reaches here."""

    operations: float  # per second, float32, of a product of matrices
    bytes: float  # per second, of a copy that does not fit in a cache


def count(mesh: Mesh, side: int) -> Cost:
    """Operations and bytes of the forward and backward passes of one picture of the batch, on average."""
    pictures, vertices, _ = mesh.vertices.shape
    parameters, camera = pose(pictures, side)
    points = pixel_points(place_in_camera(mesh.vertices, parameters.rotation, parameters.translation), camera)
    topology = topology_of(mesh.triangles)
    columns = points.movedim(-1, 0).flatten(1)
    triangles = chunk_triangles(topology, vertices, pictures)
    seen, _, cover = cover_pixels(columns, triangles, Settings(side, side, NEAR, True))
    row = cover.pixel.div(side, rounding_mode="floor")
    rows = torch.unique(cover.triangle * (side * pictures) + row).numel()
    operations = PER_TRIANGLE * triangles.number.numel() + (PER_FRONT + PER_FRONT_BACK) * seen.number.numel()
    operations += PER_ROW * rows
    operations += PER_PIXEL * cover.pixel.numel() + PER_PIXEL_BACK * torch.unique(cover.pixel).numel()
    faces = len(mesh.triangles)
    moved = BYTES_PER_PIXEL * side * side + BYTES_PER_VERTEX * vertices + BYTES_PER_TRIANGLE * faces
    return Cost(operations / pictures, float(moved))


def machine() -> Machine:
    """Measure one thread."""
    left, right = torch.rand(2, 512, 512)
    source, target = torch.rand(2, 2**24)
    return Machine(2 * 512**3 / _fastest(lambda: left @ right), 8 * 2**24 / _fastest(lambda: target.copy_(source)))


def least_milliseconds(cost: Cost, machine: Machine) -> float:
    """Where neither arithmetic nor memory waits for anything, one after the other."""
    return 1e3 * (cost.operations / machine.operations + cost.bytes / machine.bytes)


def _fastest(task: Callable[[], object]) -> float:
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
