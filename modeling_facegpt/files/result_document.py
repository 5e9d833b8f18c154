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
"""The numbers of one photograph's faces as plain values: what the JSON beside each mesh holds.

Pixels are those of the upright photograph: x right, y down, pixel centres at .5. Angles are degrees, lengths metres.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..face_parameters import FaceParameters, select_faces
from ..morphable_model import MorphableModel
from ..reconstruction import Reconstruction, face_boxes, landmarks_in_photo, true_camera
from ..rotations import matrix_to_yaw_pitch_roll, rotation_6d_to_matrix
from .result_files import GENERATOR

_PIXEL_DECIMALS = 2
_ANGLE_DECIMALS = 3


@torch.no_grad()
def describe_reconstruction(
    face_model: MorphableModel,
    reconstruction: Reconstruction,
    *,
    photo: str | None,
    model: str,
    notes: Sequence[str] = (),
) -> dict:
    """Everything that is known about the faces of one photograph, or of words.

    Args:
        face_model (`MorphableModel`): the 3DMM.
        reconstruction (`Reconstruction`): N faces, none is fine.
        photo (`str` or `None`): name of the photograph, where there is one.
        model (`str`): name of the checkpoint.
        notes (sequence of `str`): sentences on what may surprise people in these numbers.

    Returns:
        `dict` of plain values: `generator`, `photo`, `size`, `faces` (from left to right), `faces_left_out`, `notes`,
        `model`, `face_model`, `licence`.
    """
    config = face_model.config
    landmarks = {
        kind: landmarks_in_photo(face_model, reconstruction.parameters, reconstruction.camera, kind)
        for kind in ("68", "468")
    }
    boxes = face_boxes(landmarks["68"]) if len(reconstruction.probability) else torch.zeros(0, 4)
    poses = describe_pose(reconstruction)
    faces = [
        {
            "box": _rounded(boxes[face], _PIXEL_DECIMALS),
            "probability": float(reconstruction.probability[face]),
            **poses[face],
            "landmarks_68": _rounded(landmarks["68"][face], _PIXEL_DECIMALS),
            "landmarks_468": _rounded(landmarks["468"][face], _PIXEL_DECIMALS),
            "arkit_weights": dict(
                zip(config.expression_names or [], _exact(reconstruction.parameters.expression[face]), strict=True)
            ),
            "parameters": _by_name(reconstruction.parameters, face),
            "standard_deviations": _by_name(reconstruction.standard_deviation, face),  # null where not known
            "model": model,
            "face_model": config.face_model_id,
        }
        for face in range(len(reconstruction.probability))
    ]
    return {
        "generator": GENERATOR,
        "photo": photo,
        "size": list(reconstruction.size),
        "faces": faces,
        "faces_left_out": reconstruction.left_out,  # more faces of the photograph than the checkpoint gives
        "notes": list(notes),
        "model": model,
        "face_model": config.face_model_id,
        "licence": f"The shape and colour of the faces come from {config.face_model_id}, {config.licence}.",
    }


@torch.no_grad()
def describe_pose(reconstruction: Reconstruction) -> list[dict]:
    """Head pose and camera of each face."""
    parameters = reconstruction.parameters
    angles = torch.stack(matrix_to_yaw_pitch_roll(rotation_6d_to_matrix(parameters.rotation)), dim=-1)
    degrees = angles * (180 / math.pi)
    camera = true_camera(parameters, reconstruction.camera)
    return [
        {
            **dict(zip(("yaw", "pitch", "roll"), _rounded(degrees[face], _ANGLE_DECIMALS), strict=True)),
            "translation": _exact(parameters.translation[face]),
            "camera": {
                "focal": float(camera.focal[face]),
                "principal_point": _exact(camera.principal_point[face]),
                "size": list(reconstruction.size),
            },
        }
        for face in range(len(reconstruction.probability))
    ]


def describe_nodes(face_model: MorphableModel, reconstruction: Reconstruction) -> list[dict]:
    """What the node of each face in a scene file says of it: pose, camera, and the parameters to read it back from."""
    return [
        {
            **pose,
            "parameters": _by_name(reconstruction.parameters, face),
            "face_model": face_model.config.face_model_id,
        }
        for face, pose in enumerate(describe_pose(reconstruction))
    ]


def _by_name(parameters: FaceParameters | None, face: int) -> dict[str, list[float]] | None:
    if parameters is None:
        return None
    return {
        name: _exact(numbers) for name, numbers in select_faces(parameters, slice(face, face + 1))._asdict().items()
    }


def _rounded(values: Tensor, decimals: int) -> list:
    return np.round(values.cpu().double().numpy(), decimals).tolist()


def _exact(values: Tensor) -> list[float]:
    """The shortest decimals that give the same float32 back."""
    return [float(str(value)) for value in values.float().flatten().cpu().numpy()]
