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
"""Rotations: proper matrices, and angles with the signs that people are promised."""

import math

import torch
from torch import Tensor

from modeling_facegpt.rotations import (
    matrix_to_rotation_6d,
    matrix_to_yaw_pitch_roll,
    rotation_6d_to_matrix,
    rotation_about_axis,
    rotation_between,
    yaw_pitch_roll_to_matrix,
)


def random_6d(count: int = 50) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_six_numbers_make_proper_rotations() -> None:
    matrix = rotation_6d_to_matrix(random_6d())
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64).expand_as(matrix))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(50, dtype=torch.float64))


def test_the_6d_form_keeps_the_matrix() -> None:
    matrix = rotation_6d_to_matrix(random_6d())
    torch.testing.assert_close(rotation_6d_to_matrix(matrix_to_rotation_6d(matrix)), matrix)


def test_the_6d_form_is_differentiable() -> None:
    assert torch.autograd.gradcheck(rotation_6d_to_matrix, random_6d(2).requires_grad_())


def test_rotation_about_z_takes_x_to_y() -> None:
    quarter = rotation_about_axis(torch.tensor(math.pi / 2), 2)
    torch.testing.assert_close(quarter @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0)


def test_angles_come_back() -> None:
    angles = torch.rand(3, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    found = matrix_to_yaw_pitch_roll(yaw_pitch_roll_to_matrix(*angles))
    torch.testing.assert_close(torch.stack(found), angles)


def test_angles_have_the_promised_signs() -> None:
    zero, small = torch.tensor(0.0), torch.tensor(0.3)
    nose, crown = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 0.0])
    assert (yaw_pitch_roll_to_matrix(small, zero, zero) @ nose)[0] > 0  # to the subject's left, which is +x
    assert (yaw_pitch_roll_to_matrix(zero, small, zero) @ nose)[1] > 0  # up
    assert (yaw_pitch_roll_to_matrix(zero, zero, small) @ crown)[0] > 0  # towards the left shoulder


def test_rotation_between_takes_one_vector_to_the_other() -> None:
    source, target = torch.nn.functional.normalize(random_6d().view(2, 50, 3), dim=-1)
    turned = (rotation_between(source, target) @ source[..., None])[..., 0]
    torch.testing.assert_close(turned, target)
