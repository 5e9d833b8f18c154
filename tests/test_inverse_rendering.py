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
"""Analysis by synthesis: pose from a silhouette, light and albedo from a picture, by gradient descent alone."""

import math

import torch
from conftest import sphere
from test_renderer import scene
from torch import Tensor

from modeling_facegpt.camera import Camera
from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.mesh import Mesh
from modeling_facegpt.renderer import render_mesh
from modeling_facegpt.rotations import matrix_to_rotation_6d, rotation_6d_to_matrix, yaw_pitch_roll_to_matrix


def lopsided_head(side: int) -> tuple[Mesh, FaceParameters, Camera]:
    """A head-sized ball with a nose, an ear on one side and a tuft: every turn of it changes its outline."""
    unit, triangles = sphere(20, 26)
    bumps = torch.tensor([[0.0, -0.1, 1.0], [0.95, 0.1, 0.0], [-0.3, 1.0, 0.2]])
    height = torch.tensor([0.5, 0.35, 0.4])
    nearness = unit @ torch.nn.functional.normalize(bumps, dim=1).T  # (V, 3)
    radius = 1 + (height * (12 * (nearness - 1)).exp()).sum(1, keepdim=True)
    vertices = (unit * radius * torch.tensor([0.075, 0.1, 0.085]))[None]
    _, parameters, camera = scene(1, side, dtype=torch.float32)
    return Mesh(vertices, torch.full_like(vertices, 0.5), triangles), parameters, camera


def turn(degrees: tuple[float, float, float]) -> Tensor:
    return matrix_to_rotation_6d(yaw_pitch_roll_to_matrix(*(torch.tensor([math.radians(d)]) for d in degrees)))


def angle_between(one: Tensor, other: Tensor) -> float:
    """Degrees by which two rotations `(1, 6)` differ."""
    between = rotation_6d_to_matrix(one) @ rotation_6d_to_matrix(other).mT
    return math.degrees(math.acos(((between.diagonal(dim1=1, dim2=2).sum() - 1) / 2).clamp(-1, 1).item()))


def test_pose_is_found_from_a_silhouette() -> None:
    """From 12 degrees and 3.7 centimetres off to below half a degree and 1 millimetre."""
    side = 48
    mesh, parameters, camera = lopsided_head(side)
    true_rotation, true_translation = turn((60.0, 5.0, 10.0)), torch.tensor([[0.01, -0.005, 0.6]])
    rotation, translation = turn((52.0, 11.0, 16.0)), true_translation + torch.tensor([[0.02, -0.01, 0.03]])
    assert angle_between(rotation, true_rotation) > 12 and (translation - true_translation).norm() > 0.037

    def mask(rotation: Tensor, translation: Tensor) -> Tensor:
        posed = parameters._replace(rotation=rotation, translation=translation)
        return render_mesh(mesh, posed, camera, (side, side), silhouettes=True).mask

    target = mask(true_rotation, true_translation)
    rotation, translation = rotation.requires_grad_(), translation.requires_grad_()
    optimizer = torch.optim.Adam([{"params": [rotation], "lr": 1e-2}, {"params": [translation], "lr": 4e-3}])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 120)
    for _ in range(120):
        optimizer.zero_grad()
        (mask(rotation, translation) - target).square().mean().backward()
        optimizer.step()
        schedule.step()
    assert angle_between(rotation.detach(), true_rotation) < 0.5
    assert (translation.detach() - true_translation).norm() < 1e-3


def test_light_and_albedo_are_found_from_an_image() -> None:
    """Light of 27 numbers and the strengths of six skin patterns, from a picture under a coloured lamp."""
    side = 48
    mesh, parameters, camera = lopsided_head(side)
    unit = torch.nn.functional.normalize(mesh.vertices[0], dim=1)
    generator = torch.Generator().manual_seed(4)
    waves = torch.sin(unit @ (6 * torch.randn(3, 6, generator=generator)))  # (V, 6), finer than light can be
    basis = 0.15 * waves.T[:, :, None] * torch.tensor([1.0, 0.8, 0.6])
    mean = torch.tensor([0.55, 0.35, 0.28]).log()
    true_albedo = torch.randn(6, generator=generator)
    true_light = parameters.light.clone()
    true_light[:, 3:] = 0.25 * torch.randn(1, 24, generator=generator)
    true_light[:, 9:12] += torch.tensor([0.9, 0.7, 0.5])

    def image(albedo: Tensor, light: Tensor) -> tuple[Tensor, Tensor]:
        colors = (mean + torch.tensordot(albedo, basis, dims=1)).exp()[None]
        render = render_mesh(mesh._replace(albedo=colors), parameters._replace(light=light), camera, (side, side))
        return render.image, render.mask

    target, mask = image(true_albedo, true_light)
    albedo, light = torch.zeros(6, requires_grad=True), parameters.light.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([albedo, light], max_iter=80, history_size=30, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = 100 * ((image(albedo, light)[0] - target).square() * mask).mean()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    error = ((image(albedo, light)[0] - target).abs() * mask).max()
    assert error < 5e-3
    assert (albedo - true_albedo).abs().max() < 0.01
    assert (light - true_light).abs().max() < 0.05
