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
"""Rotations: the continuous 6D form, and yaw, pitch, roll for people."""

import torch
import torch.nn.functional as F
from torch import Tensor


def rotation_6d_to_matrix(rotation: Tensor) -> Tensor:
    """Rotation matrix of six numbers by Gram-Schmidt (Zhou et al. 2019, "On the Continuity of Rotation
    Representations in Neural Networks", equation 15).

    Args:
        rotation (`torch.Tensor` of shape `(..., 6)`): the first two columns of the matrix, of any length, not
            parallel.

    Returns:
        `torch.Tensor` of shape `(..., 3, 3)`: proper rotation matrices.
    """
    first = F.normalize(rotation[..., :3], dim=-1)
    second = rotation[..., 3:]
    second = F.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack((first, second, torch.linalg.cross(first, second)), dim=-1)


def matrix_to_rotation_6d(matrix: Tensor) -> Tensor:
    """The first two columns of rotation matrices `(..., 3, 3)`, as six numbers `(..., 6)`."""
    return torch.cat((matrix[..., :, 0], matrix[..., :, 1]), dim=-1)


def rotation_about_axis(angle: Tensor, axis: int) -> Tensor:
    """Right-handed rotation matrices `(..., 3, 3)` by `angle` (radians, `(...)`) about axis 0 (x), 1 (y) or 2 (z)."""
    cosine, sine, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = {
        0: (one, zero, zero, zero, cosine, -sine, zero, sine, cosine),
        1: (cosine, zero, sine, zero, one, zero, -sine, zero, cosine),
        2: (cosine, -sine, zero, sine, cosine, zero, zero, zero, one),
    }[axis]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def yaw_pitch_roll_to_matrix(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Head rotation in a frame with x to the subject's left, y up, z towards the viewer.

    The angles (radians, `(...)`) turn about the head's own y, then x, then z axis. Positive yaw: the subject turns to
    their left; positive pitch: looks up; positive roll: tilts towards their left shoulder.
    """
    return rotation_about_axis(yaw, 1) @ rotation_about_axis(-pitch, 0) @ rotation_about_axis(-roll, 2)


def matrix_to_yaw_pitch_roll(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse of `yaw_pitch_roll_to_matrix`: yaw and roll in (-pi, pi], pitch in [-pi/2, pi/2], each `(...)`."""
    yaw = torch.atan2(matrix[..., 0, 2], matrix[..., 2, 2])
    pitch = torch.asin(matrix[..., 1, 2].clamp(-1.0, 1.0))
    roll = torch.atan2(-matrix[..., 1, 0], matrix[..., 1, 1])
    return yaw, pitch, roll


def rotation_between(source: Tensor, target: Tensor) -> Tensor:
    """The smallest rotation `(..., 3, 3)` that turns unit vector `source` into unit vector `target`, both `(..., 3)`.

    Rodrigues' formula; not defined for opposite vectors.
    """
    axis = torch.linalg.cross(source, target)
    cosine = (source * target).sum(-1)
    zero = torch.zeros_like(cosine)
    x, y, z = axis.unbind(-1)
    skew = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))
    identity = torch.eye(3, dtype=source.dtype, device=source.device)
    return identity + skew + skew @ skew / (1 + cosine)[..., None, None]


def viewing_rotation(translation: Tensor) -> Tensor:
    """The rotation `(N, 3, 3)` that turns the viewer's axis to the ray from faces to the camera.

    Args:
        translation (`torch.Tensor` of shape `(N, 3)`): of faces in camera space, x right, y down, z forward.
    """
    towards_camera = F.normalize(translation * translation.new_tensor([-1.0, 1.0, 1.0]), dim=-1)
    axis = translation.new_tensor([0.0, 0.0, 1.0]).expand_as(towards_camera)
    return rotation_between(axis, towards_camera)
