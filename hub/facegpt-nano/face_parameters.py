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
"""The parameters of a face. This file alone knows how they lie side by side in one vector."""

from typing import NamedTuple

import torch
from torch import Tensor

from .configuration_facegpt import MorphableModelConfig


class FaceParameters(NamedTuple):
    """Everything that the renderer needs to draw N faces. Camera axes are OpenCV's: x right, y down, z forward."""

    identity: Tensor  # (N, num_identity) each ~ N(0, 1) over people
    albedo: Tensor  # (N, num_albedo) each ~ N(0, 1) over people
    expression: Tensor  # (N, num_expression) in the range that the 3DMM's config gives
    light: Tensor  # (N, 27) spherical-harmonics radiance, 9 coefficients x RGB, see shading.py
    rotation: Tensor  # (N, 6) model space -> camera frame with y up and z towards the viewer
    translation: Tensor  # (N, 3) metres, of the model's origin, in camera space
    log_focal: Tensor  # (N, 1) the true focal length is the given one times exp of this
    gaze: Tensor  # (N, 2 * num_eyes) yaw, pitch of the subject's left, then right eye, radians, head frame


class ParameterSizes(NamedTuple):
    """How many numbers each group of `FaceParameters` holds."""

    identity: int
    albedo: int
    expression: int
    light: int
    rotation: int
    translation: int
    log_focal: int
    gaze: int


def parameter_sizes(config: MorphableModelConfig) -> ParameterSizes:
    """The sizes of the groups that a 3DMM has."""
    return ParameterSizes(
        identity=config.num_identity,
        albedo=config.num_albedo,
        expression=config.num_expression,
        light=27,
        rotation=6,
        translation=3,
        log_focal=1,
        gaze=2 * config.num_eyes,
    )


def vector_to_parameters(vector: Tensor, config: MorphableModelConfig) -> FaceParameters:
    """Split `(..., P)` vectors into the groups.

    Raises:
        ValueError: if the last dimension is not the size that `config` asks for.
    """
    sizes = parameter_sizes(config)
    if vector.shape[-1] != sum(sizes):
        raise ValueError(
            f"got face vectors of {vector.shape[-1]} numbers, but this 3DMM has {sum(sizes)}; "
            "use the 3DMM that the vectors were made with"
        )
    return FaceParameters(*vector.split(list(sizes), dim=-1))


def parameters_to_vector(parameters: FaceParameters) -> Tensor:
    """Join the groups into one `(..., P)` vector, in the order of the record's fields."""
    return torch.cat(tuple(parameters), dim=-1)


def select_faces(parameters: FaceParameters, index: Tensor | slice) -> FaceParameters:
    """The faces at `index` of the first dimension."""
    return FaceParameters(*(group[index] for group in parameters))


def rows_where(known: Tensor) -> Tensor | slice:
    """Where `known` `(N,)` is true, to index with; all rows are a slice, which copies nothing, forward or backward."""
    rows = known.nonzero()[:, 0]
    return slice(None) if len(rows) == len(known) else rows


def concatenate_faces(faces: list[FaceParameters]) -> FaceParameters:
    """Several records joined along the first dimension."""
    return FaceParameters(*(torch.cat(groups) for groups in zip(*faces, strict=True)))
