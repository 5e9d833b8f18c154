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
"""What a look at a photograph gives: its faces, in the camera and the pixels of that photograph."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .camera import Camera, place_in_camera, project
from .face_parameters import FaceParameters, select_faces
from .morphable_model import MorphableModel
from .rotations import matrix_to_yaw_pitch_roll, rotation_6d_to_matrix

# Mean square difference of two poses over their variance. Looks at crops of one face that are a quarter of its size
# apart differ by less than 0.5 in nine of ten cases, faces of different people by more than 1.4.
POSES_DIFFER = 1.0
SURELY_ONE_FACE = 0.8  # intersection over union; of two people so near each other, one hides the other

_ANGLE_DECIMALS = 3


class Reconstruction(NamedTuple):
    """The N faces of one photograph, from left to right."""

    size: tuple[int, int]  # width and height of the photograph in pixels
    camera: Camera  # of the photograph, once per face; the true focal length is focal * exp(log_focal)
    parameters: FaceParameters  # N faces, posed in the camera of the photograph
    standard_deviation: FaceParameters | None  # of each number, in its own unit; None of faces from words
    probability: Tensor  # (N,) that there is a face, against the end of the list
    left_out: int = 0  # faces that were found beside the N, more than the checkpoint gives of one photograph


def to_device(faces: Reconstruction, device: torch.device) -> Reconstruction:
    """The record with its tensors on a device."""

    def move(part: Any) -> Any:
        if isinstance(part, Tensor):
            return part.to(device)
        return type(part)(*map(move, part)) if hasattr(part, "_fields") else part

    return move(faces)


def select_reconstruction(faces: Reconstruction, index: Tensor) -> Reconstruction:
    """The faces at `index` `(K,)`, in its order."""
    index = index.to(faces.probability.device)
    unsure = faces.standard_deviation
    return Reconstruction(
        size=faces.size,
        camera=Camera(*(group[index] for group in faces.camera)),
        parameters=select_faces(faces.parameters, index),
        standard_deviation=None if unsure is None else select_faces(unsure, index),
        probability=faces.probability[index],
        left_out=faces.left_out,
    )


def true_camera(parameters: FaceParameters, camera: Camera) -> Camera:
    """The camera with each face's own correction of the focal length."""
    return Camera(camera.focal * parameters.log_focal[:, 0].exp(), camera.principal_point)


def landmarks_in_photo(
    face_model: MorphableModel, parameters: FaceParameters, camera: Camera, kind: str = "68"
) -> Tensor:
    """Landmarks in pixels `(N, L, 2)`, x right and y down, pixel centres at .5.

    Args:
        face_model (`MorphableModel`): the 3DMM.
        parameters (`FaceParameters`): N faces.
        camera (`Camera`): N cameras, before the faces' own focal corrections.
        kind (`str`): `"68"` (iBUG), `"468"` (MediaPipe) or `"7"` (NoW).
    """
    with torch.autocast(camera.focal.device.type, enabled=False):
        points = face_model.landmarks(face_model.shape(parameters), kind)
        placed = place_in_camera(points, parameters.rotation, parameters.translation)
        return project(placed, true_camera(parameters, camera))


def face_boxes(landmarks: Tensor, enlargement: float = 1.2) -> Tensor:
    """Boxes `(N, 4)` (left, top, right, bottom) around landmarks `(N, L, 2)`, both sides times `enlargement`."""
    low, high = landmarks.amin(1), landmarks.amax(1)
    centre, half = (low + high) / 2, (high - low) * (enlargement / 2)
    return torch.cat((centre - half, centre + half), dim=-1)


def poses_agree(parameters: FaceParameters, deviation: FaceParameters) -> Tensor:
    """Which of N faces are posed and placed as each other, as far as the looks at them can tell: `(N, N)` bool.

    Two looks at one face err alike and differ by less than they are unsure; two people side by side do not.

    Args:
        parameters (`FaceParameters`): N faces in one photograph.
        deviation (`FaceParameters`): standard deviation of each number.
    """
    pose, unsure = (torch.cat((faces.rotation, faces.translation), dim=-1) for faces in (parameters, deviation))
    variance = unsure[:, None].square() + unsure[None].square()
    difference = (pose[:, None] - pose[None]).square() / variance.clamp(min=1e-12)
    return difference.mean(-1) < POSES_DIFFER


def distinct_faces(boxes: Tensor, probability: Tensor, overlap: float = 0.5, *, alike: Tensor | None = None) -> Tensor:
    """Which of N detections are faces of their own, `(N,)` bool: of two that share more than `overlap` of their united
    area, the likelier one.

    Args:
        boxes (`torch.Tensor` of shape `(N, 4)`): left, top, right, bottom.
        probability (`torch.Tensor` of shape `(N,)`): of each.
        overlap (`float`): intersection over union, in [0, 1].
        alike (`torch.Tensor` of shape `(N, N)`, *optional*): which detections may be of one face at all, such as
            `poses_agree` tells; others are kept apart, unless nearly all of their area is shared. Default: all.
    """
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    united = area[:, None] + area[None] - shared
    same = shared > overlap * united
    if alike is not None:
        same = same & (alike | (shared > SURELY_ONE_FACE * united))
    kept = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for face in probability.argsort(descending=True, stable=True):
        kept[face] = not (same[face] & kept).any()
    return kept


@torch.no_grad()
def describe_pose(reconstruction: Reconstruction) -> list[dict]:
    """Head pose and camera of each face."""
    parameters = reconstruction.parameters
    angles = torch.stack(matrix_to_yaw_pitch_roll(rotation_6d_to_matrix(parameters.rotation)), dim=-1)
    degrees = angles * (180 / math.pi)
    camera = true_camera(parameters, reconstruction.camera)
    return [
        {
            **dict(zip(("yaw", "pitch", "roll"), rounded_numbers(degrees[face], _ANGLE_DECIMALS), strict=True)),
            "translation": exact_numbers(parameters.translation[face]),
            "camera": {
                "focal": float(camera.focal[face]),
                "principal_point": exact_numbers(camera.principal_point[face]),
                "size": list(reconstruction.size),
            },
        }
        for face in range(len(reconstruction.probability))
    ]


def numbers_by_name(parameters: FaceParameters | None, face: int) -> dict[str, list[float]] | None:
    """The numbers of one of N faces as plain values, group by group."""
    if parameters is None:
        return None
    return {
        name: exact_numbers(numbers)
        for name, numbers in select_faces(parameters, slice(face, face + 1))._asdict().items()
    }


def rounded_numbers(values: Tensor, decimals: int) -> list:
    """As plain values of so many decimals, in the shape of the tensor."""
    return np.round(values.cpu().double().numpy(), decimals).tolist()


def exact_numbers(values: Tensor) -> list[float]:
    """The shortest decimals that give the same float32 back."""
    return [float(str(value)) for value in values.float().flatten().cpu().numpy()]
