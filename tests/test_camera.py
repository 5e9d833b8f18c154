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
"""The pinhole camera: conventions, and crops that undo themselves."""

import pytest
import torch
from kornia.geometry.camera import project_points

from modeling_facegpt.camera import (
    Camera,
    crop_camera,
    default_focal,
    place_in_camera,
    project,
)

CAMERA = Camera(torch.tensor([100.0, 80.0]), torch.tensor([[32.0, 24.0], [10.0, 20.0]]))
UPRIGHT = torch.tensor([[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]])


def test_default_focal_follows_the_longer_side() -> None:
    assert default_focal(640, 480) == default_focal(480, 640) == 768


def test_the_optical_axis_meets_the_principal_point() -> None:
    points = torch.tensor([[[0.0, 0.0, 2.0]], [[0.0, 0.0, 0.5]]])
    torch.testing.assert_close(project(points, CAMERA)[:, 0], CAMERA.principal_point)


def test_right_and_down_are_positive() -> None:
    pixel = project(torch.tensor([[[0.1, 0.2, 1.0]]]), Camera(CAMERA.focal[:1], CAMERA.principal_point[:1]))
    torch.testing.assert_close(pixel, torch.tensor([[[42.0, 44.0]]]))


def camera_matrix(camera: Camera) -> torch.Tensor:
    """The intrinsics K `(N, 1, 3, 3)`, as kornia wants them."""
    matrix = torch.eye(3).repeat(len(camera.focal), 1, 1)
    matrix[:, :2, :2] *= camera.focal[:, None, None]
    matrix[:, :2, 2] = camera.principal_point
    return matrix[:, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_projects_as_kornia_does(dtype: torch.dtype) -> None:
    """Values and gradients, also of points behind the camera and in its plane."""
    camera = Camera(*(part.to(dtype) for part in CAMERA))
    points = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)
    points[:, 0, 2] = 0.0
    slopes = []
    for draw in (project, lambda points, camera: project_points(points, camera_matrix(camera))):
        given = points.clone().requires_grad_()
        seen = draw(given, camera)
        (slope,) = torch.autograd.grad(seen.sum(), given)
        slopes.append((seen, slope))
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs.to(dtype), rtol=1e-4, atol=1e-4)


def test_an_upright_face_looks_at_the_camera() -> None:
    above_and_in_front = torch.tensor([[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    placed = place_in_camera(above_and_in_front, UPRIGHT, torch.tensor([[0.0, 0.0, 5.0]]))
    torch.testing.assert_close(placed, torch.tensor([[[0.0, -1.0, 5.0], [0.0, 0.0, 4.0]]]))


def test_a_crop_sees_what_the_whole_picture_sees() -> None:
    points = torch.rand(2, 7, 3, generator=torch.Generator().manual_seed(1)) + 0.5
    affine = torch.tensor([[0.5, -3.0, 4.0], [2.0, 1.0, -7.0]])
    expected = project(points, CAMERA) * affine[:, None, :1] + affine[:, None, 1:]
    torch.testing.assert_close(project(points, crop_camera(CAMERA, affine)), expected)
