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
"""How faces are supervised: which targets there are, and the loss terms that each kind of target gives.

True parameters (of renders), landmarks (of photographs, by a machine) and the photograph itself can be mixed within a
batch: NaN says that a target is not known for a face. Every term is averaged per face first, then over the faces that
have it, so that a large face counts no more than a small one.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .camera import Camera, default_picture_cameras, place_in_camera, project
from .face_head import encode
from .face_parameters import FaceParameters, rows_where, vector_to_parameters
from .image_supervision import ImageComparison, appearance_terms, image_terms
from .losses import code_likelihood_loss, code_loss, light_colour_loss, point_loss, prior_loss
from .mesh import Mesh
from .morphable_model import MorphableModel
from .output_facegpt import LossTerm
from .reconstruction import true_camera

MILLIMETRES_OF_SHAPE_UNIT = 5.0  # a shape error of this size counts one
SUPERVISED_LANDMARKS = "468"
SMALLEST_FACE = 0.1  # of the picture's side; smaller ones would drown the others in relative errors
TYPICAL_LANDMARK_ERROR = 0.1  # of the face's size; far larger ones are not learned from any faster


class FaceTargets(NamedTuple):
    """What is known about the N faces of a batch; shapes as in `FaceGPTForConditionalGeneration.forward`."""

    picture_cameras: Tensor | None  # (N, 3)
    parameters: Tensor | None  # (N, P)
    landmarks: Tensor | None  # (N, 468, 2)
    images: Tensor | None  # (N, 3, S, S)
    references: Tensor | None = None  # (N,)
    typical: Tensor | None = None  # (N, P)

    def checked(self, faces: int, like: Tensor) -> "FaceTargets":
        """The same in float32, with a camera for each of `faces`; raises `ValueError` where numbers differ."""
        for name, value in zip(self._fields, self, strict=True):
            if value is not None and value.shape[0] != faces:
                raise ValueError(
                    f"got {value.shape[0]} rows of face {name} for {faces} <FACE> tokens in the answers; "
                    "give one row per <FACE>, in reading order"
                )
        exact = FaceTargets(*(_in_float32(value) for value in self))
        if exact.picture_cameras is not None:
            return exact
        return exact._replace(picture_cameras=default_picture_cameras(faces, like))

    @property
    def are_given(self) -> bool:
        """Whether anything is known, but for the cameras."""
        return any(value is not None for value in self[1:])

    def select(self, index: Tensor | slice) -> "FaceTargets":
        """What is known about the faces at `index`."""
        return FaceTargets(*(None if value is None else value[index] for value in self))


def _in_float32(value: Tensor | None) -> Tensor | None:
    return value.float() if value is not None and value.is_floating_point() else value


def face_loss_terms(
    face_model: MorphableModel,
    code: Tensor,
    log_variance: Tensor,
    parameters: FaceParameters,
    targets: FaceTargets,
    comparison: ImageComparison,
) -> dict[str, LossTerm]:
    """Each loss term by name, averaged over the faces that have its target; none where there are no targets.

    The terms of `image_supervision` are computed where they have a weight, the others always.
    """
    if targets.parameters is None and targets.landmarks is None and targets.images is None:
        return {}
    cameras = Camera(targets.picture_cameras[:, 0], targets.picture_cameras[:, 1:])
    mesh = face_model(parameters)
    terms = {"prior_" + name: group for name, group in _by_group(prior_loss(code), face_model).items()}
    terms["light_colour"] = LossTerm.of(light_colour_loss(parameters.light))
    terms |= appearance_terms(face_model, mesh, parameters.light, comparison.weights)
    if targets.parameters is not None or targets.landmarks is not None:
        points = _landmarks_in_picture(face_model, mesh.vertices, parameters, cameras)
    if targets.parameters is not None:
        terms |= _label_terms(face_model, code, log_variance, mesh, points, targets, cameras)
    if targets.landmarks is not None:
        terms["landmarks"] = _relative_point_loss(points, targets.landmarks)
    if targets.images is not None:
        terms |= image_terms(face_model, mesh, parameters, targets.images, cameras, comparison)
    return terms


def _label_terms(
    face_model: MorphableModel,
    code: Tensor,
    log_variance: Tensor,
    mesh: Mesh,
    points: Tensor,
    targets: FaceTargets,
    cameras: Camera,
) -> dict[str, LossTerm]:
    """Of faces whose true parameters are known; `points` are the landmarks of all faces in their pictures."""
    index = rows_where(targets.parameters.isfinite().all(-1))
    true = vector_to_parameters(targets.parameters[index].float(), face_model.config)
    chosen = Camera(cameras.focal[index], cameras.principal_point[index])
    with torch.no_grad():
        true_vertices = face_model.shape(true)
        true_points = _landmarks_in_picture(face_model, true_vertices, true, chosen)
        true_code = encode(true, targets.picture_cameras[index], face_model.config)
    region = (face_model.region("face") > 0).nonzero()[:, 0]
    errors = point_loss(mesh.vertices[index].index_select(1, region), true_vertices.index_select(1, region))
    # Else the many components that nobody can see would outvote the few that count.
    visibility = face_model.component_visibility.to(code)
    groups = _by_group(code_loss(code[index], true_code) * visibility, face_model)
    terms = {"code_" + name: group for name, group in groups.items()}
    terms["code_likelihood"] = LossTerm.of(code_likelihood_loss(code[index], log_variance[index], true_code))
    terms["label_shape"] = LossTerm.of(errors * (1000 / MILLIMETRES_OF_SHAPE_UNIT))
    terms["label_landmarks"] = _relative_point_loss(points[index], true_points)
    return terms


def _landmarks_in_picture(
    face_model: MorphableModel, vertices: Tensor, parameters: FaceParameters, cameras: Camera
) -> Tensor:
    """Projected landmarks `(N, 468, 2)` in units of the picture's side."""
    points = face_model.landmarks(vertices, SUPERVISED_LANDMARKS)
    placed = place_in_camera(points, parameters.rotation, parameters.translation)
    return project(placed, true_camera(parameters, cameras))


def _relative_point_loss(points: Tensor, target: Tensor) -> LossTerm:
    """Mean distance over the size of the face, averaged over the faces whose landmarks are known.

    Faces that are far off count by the logarithm of their error: a few of them, nearly behind the camera or placed
    on somebody else, would otherwise take the whole step for themselves.
    """
    known = target.isfinite().flatten(1).all(1)
    filled = torch.where(known[:, None, None], target, points.detach())
    size = (filled.amax(1) - filled.amin(1)).prod(-1).sqrt().clamp(min=SMALLEST_FACE)
    relative = point_loss(points, target).mean(1) / size
    robust = TYPICAL_LANDMARK_ERROR * (relative / TYPICAL_LANDMARK_ERROR).log1p()
    return LossTerm(robust.sum(), known.sum().to(robust))


def _by_group(values: Tensor, face_model: MorphableModel) -> dict[str, LossTerm]:
    groups = vector_to_parameters(values, face_model.config)
    return {name: LossTerm.of(group) for name, group in zip(groups._fields, groups, strict=True)}
