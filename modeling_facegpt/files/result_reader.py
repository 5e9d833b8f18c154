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
"""Reads faces back from the JSON and GLB files that were written of them: the same parameters, bit for bit."""

import json
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..camera import Camera
from ..face_parameters import FaceParameters, parameter_sizes, parameters_to_vector
from ..morphable_model import MorphableModel
from ..photograph import shown_path
from ..reconstruction import Reconstruction

READABLE_SUFFIXES = (".json", ".glb")

_LARGEST_FILE = 500_000_000  # bytes; one face takes less than one million
_MOST_FACES = 10_000
_LARGEST_SIDE = 10_000_000  # pixels
_FOCAL_RANGE = (1e-3, 1e9)  # pixels
_LARGEST_LOG_FOCAL = 10.0
_SMALLEST_TURN = 1e-6
_LARGEST_NUMBER = 1e6  # of parameters: whitened coefficients, activations, metres, radians
# What is met where a file has another form than ours.
_DAMAGES = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RuntimeError),
    *(RecursionError, MemoryError, struct.error),
)
_GLB_HEADER = struct.Struct("<4sIII4s")  # magic, version, length of the file; length and kind of the first chunk


class FaceFileError(ValueError):
    """A file that no face can be read from; the message is one sentence that names it."""


def read_result(path: str | Path, face_model: MorphableModel) -> Reconstruction:
    """The faces of a result file, posed and seen as when it was written.

    Args:
        path (`str` or `Path`): a `.json` of `describe_reconstruction`, or a `.glb` of `encode_mesh`.
        face_model (`MorphableModel`): the 3DMM of the faces.

    Raises:
        FaceFileError: if the file cannot be read, is none of ours, holds no face, or one of another 3DMM.
    """
    path = Path(path)
    name = shown_path(path)
    if path.suffix.lower() not in READABLE_SUFFIXES:
        raise FaceFileError(f"{name} is no file of faces: give a .json or .glb that FaceGPT wrote")
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise FaceFileError(f"{name} has more than {_LARGEST_FILE // 10**6} MB, so it holds no faces of ours")
        content = path.read_bytes()
    except OSError as error:
        raise FaceFileError(f"{name} cannot be read ({error.strerror})") from error
    except ValueError as error:
        if isinstance(error, FaceFileError):
            raise
        raise FaceFileError(f"{name} cannot be read ({error})") from error
    try:
        faces = _faces_of_glb(content) if path.suffix.lower() == ".glb" else _faces_of_json(content)
        return _gather(faces, face_model)
    except FaceFileError as error:
        raise FaceFileError(f"{name} {error}") from error
    except _DAMAGES as error:
        raise FaceFileError(f"{name} holds no faces that FaceGPT wrote, or is damaged") from error


def _faces_of_json(content: bytes) -> list[dict[str, Any]]:
    document = json.loads(content)
    return [{"size": document["size"], **face} for face in document["faces"]]


def _faces_of_glb(content: bytes) -> list[dict[str, Any]]:
    magic, _, _, length, kind = _GLB_HEADER.unpack_from(content)
    if magic != b"glTF" or kind != b"JSON":
        raise FaceFileError("is no binary glTF file")
    document = json.loads(content[_GLB_HEADER.size : _GLB_HEADER.size + length])
    return [document["nodes"][root]["extras"] for root in document["scenes"][document["scene"]]["nodes"]]


def _gather(faces: list[dict[str, Any]], face_model: MorphableModel) -> Reconstruction:
    if not faces:
        raise FaceFileError("holds no face")
    for face in faces:
        if face["face_model"] != face_model.config.face_model_id:
            raise FaceFileError(
                f"holds faces of the 3DMM {face['face_model']}, wanted those of {face_model.config.face_model_id}"
            )
    if len(faces) > _MOST_FACES:
        raise FaceFileError(f"holds {len(faces)} faces, at most {_MOST_FACES} are read")
    parameters = _read_parameters([face["parameters"] for face in faces], face_model)
    _check_sense(parameters)
    deviations = [known for face in faces if (known := face.get("standard_deviations")) is not None]
    width, height = (_checked(side, "size", 1, _LARGEST_SIDE) for side in faces[0]["camera"]["size"])
    focal = torch.tensor([_checked(face["camera"]["focal"], "focal length", *_FOCAL_RANGE) for face in faces])
    points = [
        [
            _checked(place, "principal point", -_LARGEST_SIDE, _LARGEST_SIDE)
            for place in face["camera"]["principal_point"]
        ]
        for face in faces
    ]
    likely = [_checked(face.get("probability", 1.0), "probability", 0, 1) for face in faces]
    return Reconstruction(
        size=(int(width), int(height)),
        camera=Camera(focal / parameters.log_focal[:, 0].exp(), torch.tensor(points).reshape(len(faces), 2)),
        parameters=parameters,
        standard_deviation=_read_deviations(deviations, face_model) if len(deviations) == len(faces) else None,
        probability=torch.tensor(likely),
    )


def _checked(value: Any, name: str, low: float, high: float) -> float:
    """A number between two, or the refusal of what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise FaceFileError(f"holds a {name} of {value!r:.40}, wanted a number from {low:g} to {high:g}")
    return float(value)


def _check_sense(parameters: FaceParameters) -> None:
    """Refuse poses and cameras that no face is seen in: all that follows would divide by zero."""
    if float(parameters.log_focal.abs().max()) > _LARGEST_LOG_FOCAL:
        raise FaceFileError("holds a log-focal offset that no camera has")
    first, second = parameters.rotation.unflatten(-1, (2, 3)).unbind(-2)
    if float(torch.linalg.cross(first, second).norm(dim=-1).min()) < _SMALLEST_TURN:
        raise FaceFileError("holds a rotation that is none: its two directions are one line, or nothing")
    if float(parameters.translation[:, 2].min()) <= 0:
        raise FaceFileError("holds a face that is not before the camera")


def _read_deviations(records: list[dict[str, list[float]]], face_model: MorphableModel) -> FaceParameters:
    deviations = _read_parameters(records, face_model)
    if float(parameters_to_vector(deviations).min()) < 0:
        raise FaceFileError("holds a standard deviation below 0")
    return deviations


def _read_parameters(records: list[dict[str, list[float]]], face_model: MorphableModel) -> FaceParameters:
    sizes = parameter_sizes(face_model.config)
    groups = [_read_group([record[name] for record in records], name, size) for name, size in sizes._asdict().items()]
    parameters = FaceParameters(*groups)
    numbers = parameters_to_vector(parameters)
    if not numbers.isfinite().all():
        raise FaceFileError("holds numbers that are not finite")
    if (largest := float(numbers.abs().max())) > _LARGEST_NUMBER:
        raise FaceFileError(f"holds the number {largest:g} as a parameter of a face, which no face has")
    return parameters


def _read_group(rows: list[list[float]], name: str, size: int) -> Tensor:
    values = torch.tensor(rows, dtype=torch.float32).reshape(len(rows), -1)
    if values.shape[1] != size:
        raise FaceFileError(f"holds {values.shape[1]} numbers of {name} per face, wanted {size}")
    return values
