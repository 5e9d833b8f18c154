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
"""How long drawing takes: `python -m tests.benchmarks.render --backend numba --mesh head --batch 8 --threads 1`.

The last line is the median in milliseconds per picture and nothing else; with `--memory` it is the process's peak in
MB above what it held before it drew. Forward and backward: from vertices in camera space and vertex colours to the
picture and back, gradients given; with `--step` from a mesh, pose and light to the masked photometric loss and back to
all of them. With `--device cuda` CUDA events take the time: `--device cuda --backend triton --batch 256`.
"""

import argparse
import math
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modeling_facegpt import Camera, FaceParameters, Mesh, MorphableModel, render_mesh
from modeling_facegpt.backends import CANDIDATES, REFERENCE, availability, use_backend
from modeling_facegpt.camera import place_in_camera
from modeling_facegpt.group_renderer import render_group
from modeling_facegpt.losses import masked_photometric_loss
from modeling_facegpt.rasterizer import interpolate, pixel_points, rasterize
from modeling_facegpt.silhouettes import blend_silhouettes

HEAD = Path(__file__).parents[2] / "hub/anny-head"
SIDE = 224
GEODESIC = 23  # 20 * 23^2 = 10,580 triangles
BACKENDS = (REFERENCE, *CANDIDATES)
SECONDS, FEWEST = 2.0, 7  # of measuring, and of runs


def geodesic(frequency: int) -> tuple[Tensor, Tensor]:
    """Unit sphere of `20 * frequency ** 2` triangles: an icosahedron's faces, cut up evenly and blown up."""
    golden = (1 + math.sqrt(5)) / 2
    corners = [(0.0, s, t * golden) for s in (-1.0, 1.0) for t in (-1.0, 1.0)]
    solid = torch.tensor([corner[k:] + corner[:k] for k in range(3) for corner in corners], dtype=torch.float64)
    near = torch.cdist(solid, solid) < 2.1
    faces = [(a, b, c) for a in range(12) for b in range(a) for c in range(b) if near[a, b] & near[b, c] & near[c, a]]
    grid = [(i, j) for i in range(frequency + 1) for j in range(frequency + 1 - i)]
    number = {place: index for index, place in enumerate(grid)}
    cells = [(number[i, j], number[i + 1, j], number[i, j + 1]) for i, j in grid if i + j < frequency]
    cells += [(number[i + 1, j], number[i + 1, j + 1], number[i, j + 1]) for i, j in grid if i + j < frequency - 1]
    i, j = torch.tensor(grid, dtype=torch.float64).T[..., None] / frequency
    patches = torch.cat([(1 - i - j) * solid[a] + i * solid[b] + j * solid[c] for a, b, c in faces])
    triangles = torch.cat([torch.tensor(cells) + k * len(grid) for k in range(len(faces))])
    _, joined = torch.unique((patches * 1e6).round(), dim=0, return_inverse=True)
    points = torch.zeros(int(joined.max()) + 1, 3, dtype=torch.float64)
    points[joined] = patches
    triangles = joined[triangles]
    a, b, c = points[triangles].unbind(1)
    inwards = (torch.linalg.cross(b - a, c - a) * a).sum(-1) < 0
    triangles[inwards] = triangles[inwards].flip(1)
    return (points / points.norm(dim=-1, keepdim=True)).float(), triangles


def mesh_named(name: str, batch: int, frequency: int = GEODESIC) -> Mesh:
    """A batch of heads or of spheres of a head's size, in random colours."""
    if name == "head":
        model = MorphableModel.from_pretrained(HEAD)
        vertices, triangles = model.get_buffer("template"), model.get_buffer("triangles")
        vertices = vertices - (vertices.amax(0) + vertices.amin(0)) / 2
    else:
        vertices, triangles = geodesic(frequency)
        vertices = vertices * 0.113
    colors = torch.rand(batch, len(vertices), 3, generator=torch.Generator().manual_seed(0))
    return Mesh(vertices.expand(batch, -1, -1).contiguous(), 0.2 + 0.6 * colors, triangles)


def pose(batch: int, side: int) -> tuple[FaceParameters, Camera]:
    """Heads turned up to about 40 degrees that fill most of the picture, lit from ahead and the left."""
    generator = torch.Generator().manual_seed(1)
    upright = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    light = torch.zeros(batch, 27)
    light[:, :3], light[:, 6:9], light[:, 9:12] = 3.0, 0.8, 0.5
    empty = torch.zeros(batch, 0)
    parameters = FaceParameters(
        identity=empty,
        albedo=empty,
        expression=empty,
        light=light,
        rotation=upright + 0.35 * torch.randn(batch, 6, generator=generator),
        translation=torch.tensor([0.0, 0.0, 0.645]) + 0.005 * torch.randn(batch, 3, generator=generator),
        log_focal=torch.zeros(batch, 1),
        gaze=empty,
    )
    return parameters, Camera(torch.full((batch,), 2.3 * side), torch.full((batch, 2), side / 2))


def on_device(record: Any, device: torch.device | str) -> Any:
    """A record of tensors, on a device."""
    return type(record)(*(tensor.to(device) for tensor in record))


def drawing_task(mesh: Mesh, side: int, silhouettes: bool, backward: bool = True) -> Callable[[], object]:
    """Camera-space vertices and colours -> picture (and mask) -> gradients to both, on the mesh's device."""
    parameters, camera = (on_device(record, mesh.vertices.device) for record in pose(len(mesh.vertices), side))
    vertices = place_in_camera(mesh.vertices, parameters.rotation, parameters.translation).requires_grad_(backward)
    colors = mesh.albedo.clone().requires_grad_(backward)
    upstream = torch.randn(len(vertices), 3 + silhouettes, side, side, generator=torch.Generator().manual_seed(2))
    upstream = upstream.to(vertices.device)

    def run() -> object:
        fragments = rasterize(vertices, mesh.triangles, camera, (side, side))
        planes = interpolate(colors, mesh.triangles, fragments)
        if silhouettes:
            mask = (fragments.triangle_index >= 0).to(planes.dtype)[:, None]
            rows = torch.cat((colors, torch.ones_like(colors[..., :1])), dim=-1)
            points = pixel_points(vertices, camera)
            planes = blend_silhouettes(torch.cat((planes, mask), dim=1), rows, points, mesh.triangles, fragments)
        return torch.autograd.grad(planes, (vertices, colors), upstream) if backward else planes

    return run


def group_task(faces: int, side: int) -> Callable[[], object]:
    """Heads side by side in one picture -> picture -> gradients to vertices and albedo."""
    mesh = mesh_named("head", faces)
    parameters, _ = pose(faces, side)
    place = torch.linspace(-0.1, 0.1, faces) if faces > 1 else torch.zeros(1)
    away = torch.stack((place, torch.zeros(faces), 0.5 + place), dim=-1)
    parameters = parameters._replace(translation=parameters.translation + away)
    camera = Camera(torch.tensor([2.3 * side]), torch.full((1, 2), side / 2))
    vertices, albedo = mesh.vertices.clone().requires_grad_(), mesh.albedo.clone().requires_grad_()
    owner = torch.zeros(faces, dtype=torch.int64)

    def run() -> object:
        group = Mesh(vertices, albedo, mesh.triangles)
        picture = render_group(group, parameters, camera, owner, (side, side)).render.image
        return torch.autograd.grad(picture.sum(), (vertices, albedo))

    return run


def step_task(mesh: Mesh, side: int, silhouettes: bool) -> Callable[[], object]:
    """Vertices, albedo, light, pose -> picture -> masked photometric loss -> gradients to all of them."""
    parameters, camera = (on_device(record, mesh.vertices.device) for record in pose(len(mesh.vertices), side))
    target = torch.rand(len(mesh.vertices), 3, side, side, generator=torch.Generator().manual_seed(2))
    target = target.to(mesh.vertices.device)
    learned = ("light", "rotation", "translation", "log_focal")
    free = [mesh.vertices, mesh.albedo, *(getattr(parameters, name) for name in learned)]
    free = [tensor.clone().requires_grad_() for tensor in free]

    def run() -> object:
        changed = parameters._replace(**dict(zip(learned, free[2:], strict=True)))
        moved = Mesh(free[0], free[1], mesh.triangles)
        render = render_mesh(moved, changed, camera, (side, side), silhouettes=silhouettes)
        loss = masked_photometric_loss(render.image, target, render.mask).mean()
        return torch.autograd.grad(loss, free)

    return run


def measure(task: Callable[[], object], least: float = SECONDS) -> list[float]:
    """Seconds of runs in a row, as many as take `least` seconds, after one that warms up."""
    task()
    seconds, began = [], time.perf_counter()
    while len(seconds) < FEWEST or time.perf_counter() - began < least:
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return seconds


def measure_on_gpu(task: Callable[[], object]) -> list[float]:
    """Seconds of runs in a row by CUDA events, after three that warm up."""
    for _ in range(3):
        task()
    seconds, began = [], time.perf_counter()
    while len(seconds) < FEWEST or time.perf_counter() - began < SECONDS:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        task()
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) / 1e3)
    return seconds


def peak_memory(task: Callable[[], object]) -> float:
    """MB that a task's first runs add to the largest size that the process has had."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        task()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=BACKENDS, default=REFERENCE)
    parser.add_argument("--mesh", choices=("head", "sphere"), default="head")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--silhouettes", action="store_true")
    parser.add_argument("--step", action="store_true", help="the whole training step")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    if min(arguments.batch, arguments.threads) < 1:
        parser.error("batch and threads are at least 1")
    if arguments.device == "cuda" and (arguments.memory or not torch.cuda.is_available()):
        parser.error("memory is measured on the CPU" if arguments.memory else "PyTorch sees no CUDA device")
    usable, reason = availability(arguments.backend, arguments.device)
    if not usable:
        parser.error(f"{arguments.backend} cannot draw here: {reason}")
    torch.set_num_threads(arguments.threads)
    mesh = on_device(mesh_named(arguments.mesh, arguments.batch), arguments.device)
    task = (step_task if arguments.step else drawing_task)(mesh, SIDE, arguments.silhouettes)
    with use_backend(arguments.backend):
        if arguments.memory:
            print(f"{peak_memory(task):.0f}")
            return
        seconds = measure(task) if arguments.device == "cpu" else measure_on_gpu(task)
    print(f"{len(seconds)} runs, fastest {min(seconds) / arguments.batch * 1e3:.3f} ms per picture")
    print(f"{statistics.median(seconds) / arguments.batch * 1e3:.4g}")


if __name__ == "__main__":
    main()
