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
"""The pinhole camera, and crops of its picture. Axes are OpenCV's: x right, y down, z forward.

Pixel (row r, column c) has its centre at (c + 0.5, r + 0.5), so a picture of width W spans x from 0 to W.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .rotations import rotation_6d_to_matrix

DEFAULT_FOCAL = 1.2  # in longer sides of a picture that does not tell its focal length

_NEAREST = 1e-8  # metres; what is nearer to the camera's plane keeps a finite position there, with a finite gradient


class Camera(NamedTuple):
    """One pinhole camera with square pixels per face."""

    focal: Tensor  # (N,) pixels
    principal_point: Tensor  # (N, 2) pixels, x and y


def default_focal(width: int, height: int) -> float:
    """The focal length in pixels that is assumed where a picture does not tell its own."""
    return DEFAULT_FOCAL * max(width, height)


def default_camera(faces: int, side: float, like: Tensor) -> Camera:
    """The camera `(faces,)` of a square picture of which nothing is known; dtype and device are those of `like`."""
    return Camera(like.new_full((faces,), DEFAULT_FOCAL * side), like.new_full((faces, 2), side / 2))


def default_picture_cameras(faces: int = 1, like: Tensor | None = None) -> Tensor:
    """The same in picture sides: focal length and principal point `(faces, 3)`, float32 on the device of `like`."""
    device = None if like is None else like.device
    return torch.tensor([DEFAULT_FOCAL, 0.5, 0.5], dtype=torch.float32, device=device).expand(faces, 3)


def place_in_camera(vertices: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """Model space to camera space.

    Args:
        vertices (`torch.Tensor` of shape `(N, V, 3)`): model space, metres.
        rotation (`torch.Tensor` of shape `(N, 6)`): model space to the camera frame with y up and z to the viewer.
        translation (`torch.Tensor` of shape `(N, 3)`): the model's origin in camera space, metres.

    Returns:
        `torch.Tensor` of shape `(N, V, 3)`: camera space, metres.
    """
    up_to_down = rotation.new_tensor([[1.0], [-1.0], [-1.0]])
    matrix = up_to_down * rotation_6d_to_matrix(rotation)  # (N, 3, 3)
    return vertices @ matrix.mT + translation[..., None, :]


def project(points: Tensor, camera: Camera) -> Tensor:
    """Pixel positions `(N, V, 2)` of camera-space points `(N, V, 3)`. Points with z <= 0 have none: keep them out."""
    depth = points[..., 2:]
    depth = torch.where(depth.abs() > _NEAREST, depth, 1.0)
    return points[..., :2] / depth * camera.focal[:, None, None] + camera.principal_point[:, None]


def crop_camera(camera: Camera, affine: Tensor) -> Camera:
    """The camera of a crop, whose pixels are `scale * pixel + offset` of the whole picture's.

    Args:
        camera (`Camera`): of the whole picture.
        affine (`torch.Tensor` of shape `(N, 3)`): scale, then offset in x and y in pixels of the crop.
    """
    return Camera(
        focal=camera.focal * affine[:, 0],
        principal_point=camera.principal_point * affine[:, :1] + affine[:, 1:],
    )
