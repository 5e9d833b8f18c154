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
from ..reconstruction import Reconstruction

READABLE_SUFFIXES = (".json", ".glb")

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
    if path.suffix.lower() not in READABLE_SUFFIXES:
        raise FaceFileError(f"{path} is no file of faces: give a .json or .glb that FaceGPT wrote")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FaceFileError(f"{path} cannot be read ({error.strerror})") from error
    try:
        faces = _faces_of_glb(content) if path.suffix.lower() == ".glb" else _faces_of_json(content)
        return _gather(faces, face_model)
    except FaceFileError as error:
        raise FaceFileError(f"{path} {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error, RecursionError) as error:
        raise FaceFileError(f"{path} holds no faces that FaceGPT wrote, or is damaged") from error


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
    parameters = _read_parameters([face["parameters"] for face in faces], face_model)
    deviations = [known for face in faces if (known := face.get("standard_deviations")) is not None]
    width, height = faces[0]["camera"]["size"]
    focal = torch.tensor([float(face["camera"]["focal"]) for face in faces])
    return Reconstruction(
        size=(int(width), int(height)),
        camera=Camera(
            focal / parameters.log_focal[:, 0].exp(),
            torch.tensor([face["camera"]["principal_point"] for face in faces], dtype=torch.float32),
        ),
        parameters=parameters,
        standard_deviation=_read_parameters(deviations, face_model) if len(deviations) == len(faces) else None,
        probability=torch.tensor([float(face.get("probability", 1.0)) for face in faces]),
    )


def _read_parameters(records: list[dict[str, list[float]]], face_model: MorphableModel) -> FaceParameters:
    sizes = parameter_sizes(face_model.config)
    groups = [_read_group([record[name] for record in records], name, size) for name, size in sizes._asdict().items()]
    parameters = FaceParameters(*groups)
    if not parameters_to_vector(parameters).isfinite().all():
        raise FaceFileError("holds numbers that are not finite")
    return parameters


def _read_group(rows: list[list[float]], name: str, size: int) -> Tensor:
    values = torch.tensor(rows, dtype=torch.float32).reshape(len(rows), -1)
    if values.shape[1] != size:
        raise FaceFileError(f"holds {values.shape[1]} numbers of {name} per face, wanted {size}")
    return values
