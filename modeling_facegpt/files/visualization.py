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
"""Draws reconstructed faces for people: over their photograph, and alone in a studio."""

import math
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..camera import Camera, crop_camera
from ..face_parameters import FaceParameters, select_faces
from ..mesh import Mesh
from ..morphable_model import MorphableModel
from ..reconstruction import Reconstruction
from ..renderer import render_mesh
from ..rotations import matrix_to_rotation_6d, rotation_6d_to_matrix, yaw_pitch_roll_to_matrix
from ..shading import spherical_harmonics

_SUPERSAMPLING = 2
_NOT_LAID_OVER = ("scalp", "ears", "neck")  # hair and collar are no part of the 3DMM: the photograph's stay
_FILLED = 0.86  # share of a studio picture's side that a head takes
_LENS = 4.0  # focal length of the studio's camera over the picture's side
_AMBIENT, _KEY_LIGHT, _KEY_DIRECTION = 0.6, 2.2, (-0.45, 0.5, 0.74)
_WALL = (0.97, 0.87)  # sRGB grey at the top and at the bottom


class Window(NamedTuple):
    """The part of a photograph that is shown, and how large."""

    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels of the photograph
    size: tuple[int, int]  # width and height of its picture


@torch.no_grad()
def draw_overlay(
    image: Image.Image, window: Window, face_model: MorphableModel, reconstruction: Reconstruction
) -> Image.Image:
    """Lay the faces over their photograph in its light, nearer ones over farther ones, without scalp, ears and neck.

    Args:
        image (`PIL.Image.Image`): the photograph, RGB and upright.
        window (`Window`): the part of it to draw.
        face_model (`MorphableModel`): the 3DMM.
        reconstruction (`Reconstruction`): of that photograph.
    """
    width, height = (side * _SUPERSAMPLING for side in window.size)
    left, top, right, _ = window.box
    scale = width / (right - left)
    opacity = _opacity(face_model)  # (1, V, 1)
    picture = _to_tensor(image.resize((width, height), Image.Resampling.LANCZOS, box=window.box)).to(opacity)
    nearest = opacity.new_full((1, 1, height, width), torch.inf)
    affine = opacity.new_tensor([[scale, -left * scale, -top * scale]])
    for face in range(len(reconstruction.probability)):
        chosen = slice(face, face + 1)
        parameters = select_faces(reconstruction.parameters, chosen)
        camera = crop_camera(Camera(*(group[chosen] for group in reconstruction.camera)), affine)
        render = render_mesh(face_model(parameters), parameters, camera, (height, width), attributes=opacity)
        in_front = render.mask * (render.depth < nearest)
        share = in_front * render.attributes  # type: ignore[operator]
        picture = share * render.image + (1 - share) * picture
        nearest = torch.where(in_front > 0, render.depth, nearest)
    return _to_image(picture).reduce(_SUPERSAMPLING)


@torch.no_grad()
def draw_in_studio(
    face_model: MorphableModel, parameters: FaceParameters, side: int, *, yaw: float = 0.0, neutral: bool = False
) -> Image.Image:
    """One face in soft light before a plain wall, as large as fits.

    Args:
        face_model (`MorphableModel`): the 3DMM.
        parameters (`FaceParameters`): one face; its own pose, light and camera are not used.
        side (`int`): of the picture, pixels.
        yaw (`float`): radians by which the head is turned to its left.
        neutral (`bool`): without expression and turn of the eyes.
    """
    if neutral:
        parameters = parameters._replace(
            expression=torch.zeros_like(parameters.expression), gaze=torch.zeros_like(parameters.gaze)
        )
    fine = side * _SUPERSAMPLING
    mesh = face_model(parameters)
    like = mesh.vertices
    camera = Camera(like.new_tensor([_LENS * fine]), like.new_tensor([[fine / 2, fine / 2]]))
    render = render_mesh(mesh, _posed_for_studio(mesh, parameters, yaw), camera, (fine, fine))
    return _to_image(render.mask * render.image + (1 - render.mask) * _wall(fine, like)).reduce(_SUPERSAMPLING)


@torch.no_grad()
def draw_as_seen(face_model: MorphableModel, reconstruction: Reconstruction, face: int, side: int) -> Image.Image:
    """One face in its own pose, light and camera, before a plain wall: as a photograph would show it.

    Args:
        face_model (`MorphableModel`): the 3DMM.
        reconstruction (`Reconstruction`): the faces; of the photograph, the square in its middle is drawn.
        face (`int`): which of them.
        side (`int`): of the picture, pixels.
    """
    chosen = slice(face, face + 1)
    parameters = select_faces(reconstruction.parameters, chosen)
    fine = side * _SUPERSAMPLING
    width, height = reconstruction.size
    scale = fine / max(width, height)
    offset = ((fine - width * scale) / 2, (fine - height * scale) / 2)
    affine = parameters.identity.new_tensor([[scale, *offset]])
    camera = crop_camera(Camera(*(group[chosen] for group in reconstruction.camera)), affine)
    render = render_mesh(face_model(parameters), parameters, camera, (fine, fine))
    return _to_image(render.mask * render.image + (1 - render.mask) * _wall(fine, render.image)).reduce(_SUPERSAMPLING)


def _wall(side: int, like: Tensor) -> Tensor:
    """Grey that darkens towards the floor, `(side, 1)`."""
    return torch.linspace(*_WALL, side).to(like)[:, None]


def _posed_for_studio(mesh: Mesh, parameters: FaceParameters, yaw: float) -> FaceParameters:
    zero = mesh.vertices.new_zeros(1)
    rotation = matrix_to_rotation_6d(yaw_pitch_roll_to_matrix(zero + yaw, zero, zero))
    turned = mesh.vertices @ rotation_6d_to_matrix(rotation).mT  # (1, V, 3) y up, z towards the viewer
    low, high = turned.amin(1), turned.amax(1)
    centre, extent = (low + high) / 2, (high - low)[:, :2].amax(1, keepdim=True)
    distance = _LENS * extent / _FILLED
    return parameters._replace(
        light=_studio_light(mesh.vertices),
        rotation=rotation,
        translation=torch.cat((-centre[:, :1], centre[:, 1:2], centre[:, 2:] + distance), dim=-1),
        log_focal=torch.zeros_like(parameters.log_focal),
    )


def _studio_light(like: Tensor) -> Tensor:
    """Even light plus one lamp above the viewer's left shoulder: `(1, 27)`."""
    lamp = _KEY_LIGHT * spherical_harmonics(like.new_tensor(_KEY_DIRECTION))  # (9,)
    even = _AMBIENT * math.sqrt(4 * math.pi) * (torch.arange(9) == 0)
    return (lamp + even.to(like))[:, None].expand(9, 3).reshape(1, 27)


def _opacity(face_model: MorphableModel) -> Tensor:
    """How much each vertex covers the photograph, `(1, V, 1)`."""
    opacity = torch.ones_like(face_model.get_buffer("template")[:, 0])
    for name in _NOT_LAID_OVER:
        if name in (face_model.config.region_names or []):
            opacity = opacity * (1 - face_model.region(name))
    return opacity[None, :, None]


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None] / 255


def _to_image(picture: Tensor) -> Image.Image:
    pixels = (picture[0].clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
