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
"""The faces of one photograph as meshes that stand in one space, ready to be written to a file.

Axes are glTF's: right-handed, metres, +y up. One face alone stands at the origin and looks along +z, whatever its pose
in the photograph. Several stand and look as in the photograph: in the camera's frame with y up, z towards the viewer.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .face_parameters import FaceParameters, parameters_to_vector
from .morphable_model import MorphableModel
from .reconstruction import Reconstruction, true_camera
from .rotations import rotation_6d_to_matrix

# Degrees at full weight of the ARKit expressions by which eyes look somewhere: yaw, pitch of the left, the right eye.
_LOOKS = {
    "eyeLookOutLeft": (27, 0, 0, 0),
    "eyeLookInLeft": (-27, 0, 0, 0),
    "eyeLookUpLeft": (0, 20, 0, 0),
    "eyeLookDownLeft": (0, -20, 0, 0),
    "eyeLookInRight": (0, 0, 27, 0),
    "eyeLookOutRight": (0, 0, -27, 0),
    "eyeLookUpRight": (0, 0, 0, 20),
    "eyeLookDownRight": (0, 0, 0, -20),
}


class ScenePart(NamedTuple):
    """Triangles of one material, with vertices of their own: one for each pair of vertex and texture coordinate."""

    name: str  # skin (the mouth's inside and the tongue with it), eyes or teeth
    vertices: Tensor  # (P,) indices into the scene's vertices
    uv_coordinates: Tensor | None  # (P, 2) u to the right, v up; none where the 3DMM has no texture coordinates
    triangles: Tensor  # (F_part, 3) indices into `vertices`


class FaceScene(NamedTuple):
    """N meshes of one topology and where they stand."""

    neutral_vertices: Tensor  # (N, V, 3) model space, no expression, looking straight ahead
    vertices: Tensor  # (N, V, 3) model space, as they are to be shown
    albedo: Tensor  # (N, V, 3) linear RGB
    triangles: Tensor  # (F, 3)
    expression: Tensor  # (N, K) weights of the expressions in `vertices`
    expression_moves: Tensor  # (N, K, V, 3) what each expression at weight 1 adds to the neutral vertices
    rotation: Tensor  # (N, 3, 3) model space -> scene
    translation: Tensor  # (N, 3) metres
    parts: tuple[ScenePart, ...]  # that make up `triangles`, skin first


@torch.no_grad()
def build_scene(face_model: MorphableModel, reconstruction: Reconstruction, *, neutral: bool = False) -> FaceScene:
    """Place the faces of a photograph.

    Args:
        face_model (`MorphableModel`): the 3DMM.
        reconstruction (`Reconstruction`): N faces.
        neutral (`bool`): without expression, turn of the eyes, and turn of the head.

    Raises:
        ValueError: if a number is not finite.
    """
    parameters = reconstruction.parameters
    if not parameters_to_vector(parameters).isfinite().all():
        raise ValueError("got face parameters that are not finite; the checkpoint is damaged or diverged in training")
    resting = parameters._replace(
        expression=torch.zeros_like(parameters.expression), gaze=torch.zeros_like(parameters.gaze)
    )
    shown = resting if neutral else parameters
    mesh = face_model(shown)
    rotation, translation = _places(reconstruction, neutral)
    return FaceScene(
        neutral_vertices=face_model(resting).vertices,
        vertices=mesh.vertices,
        albedo=mesh.albedo,
        triangles=mesh.triangles,
        expression=shown.expression,
        expression_moves=_expression_moves(face_model, resting),
        rotation=rotation,
        translation=translation,
        parts=_parts(face_model),
    )


def _parts(face_model: MorphableModel) -> tuple[ScenePart, ...]:
    """The parts of a 3DMM that have triangles: eyes where they turn, teeth where a region says so, the rest skin."""
    triangles = face_model.get_buffer("triangles")
    vertices = len(face_model.get_buffer("template"))
    eyes = torch.zeros(vertices, dtype=torch.bool, device=triangles.device)
    eyes[face_model.get_buffer("eyeball_vertices").flatten()] = face_model.config.num_eyes > 0
    teeth = torch.zeros_like(eyes)
    for name in {"teeth", "gums"} & set(face_model.config.region_names or []):
        teeth = teeth | (face_model.region(name) > 0.5)
    in_eyes, in_teeth = eyes[triangles].all(1), teeth[triangles].all(1)
    masks = {"skin": ~in_eyes & ~in_teeth, "eyes": in_eyes, "teeth": in_teeth & ~in_eyes}
    return tuple(_part(face_model, name, mask) for name, mask in masks.items() if mask.any())


def _part(face_model: MorphableModel, name: str, mask: Tensor) -> ScenePart:
    corners = face_model.get_buffer("triangles")[mask]
    uv_coordinates = face_model.get_buffer("uv_coordinates")
    if len(uv_coordinates) == 0 or not uv_coordinates.any():
        vertices, triangles = corners.unique(return_inverse=True)
        return ScenePart(name, vertices, None, triangles)
    pairs = torch.stack((corners, face_model.get_buffer("uv_triangles")[mask]), dim=-1).flatten(0, 1)
    pairs, triangles = pairs.unique(dim=0, return_inverse=True)
    return ScenePart(name, pairs[:, 0], uv_coordinates[pairs[:, 1]], triangles.reshape(-1, 3))


def place_in_scene(vertices: Tensor, scene: FaceScene) -> Tensor:
    """Model-space vertices or, without their translation, directions `(N, V, 3)` in the scene's frame."""
    return vertices @ scene.rotation.mT + scene.translation[:, None]


def _expression_moves(face_model: MorphableModel, resting: FaceParameters) -> Tensor:
    """The 3DMM's expressions; those of ARKit by which the eyes look somewhere turn the eyeballs with the lids."""
    names = face_model.config.expression_names or []
    moves = face_model.expression_moves(resting.identity)  # (N, K, V, 3)
    if face_model.config.num_eyes != 2:
        return moves
    neutral = face_model.neutral(resting.identity)
    turns = []
    for name in names:
        gaze = torch.deg2rad(resting.gaze.new_tensor(_LOOKS.get(name, (0, 0, 0, 0))))
        turned = face_model.turn_eyes(neutral, resting.identity, gaze.expand_as(resting.gaze))
        turns.append(turned - neutral if gaze.any() else torch.zeros_like(neutral))
    return moves + torch.stack(turns, dim=1) if turns else moves


def _places(reconstruction: Reconstruction, neutral: bool) -> tuple[Tensor, Tensor]:
    """Rotation `(N, 3, 3)` and translation `(N, 3)` of each face."""
    parameters: FaceParameters = reconstruction.parameters
    faces = parameters.rotation.shape[0]
    upright = torch.eye(3, device=parameters.rotation.device).expand(faces, 3, 3)
    if faces == 1:
        return upright, torch.zeros_like(parameters.translation)
    # Each face corrected the focal length for itself. One camera for all moves them in depth, not on the picture.
    focal = true_camera(parameters, reconstruction.camera).focal  # (N,)
    depth = parameters.translation[:, 2] * focal.log().mean().exp() / focal
    translation = torch.stack((parameters.translation[:, 0], -parameters.translation[:, 1], -depth), dim=-1)
    return upright if neutral else rotation_6d_to_matrix(parameters.rotation), translation
