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

from collections.abc import Sequence

import torch

from ..gltf import GENERATOR
from ..morphable_model import MorphableModel
from ..reconstruction import (
    Reconstruction,
    describe_pose,
    exact_numbers,
    face_boxes,
    landmarks_in_photo,
    numbers_by_name,
    rounded_numbers,
)

_PIXEL_DECIMALS = 2


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
    weights = [exact_numbers(face) for face in reconstruction.parameters.expression]
    faces = [
        {
            "box": rounded_numbers(boxes[face], _PIXEL_DECIMALS),
            "probability": float(reconstruction.probability[face]),
            **poses[face],
            "landmarks_68": rounded_numbers(landmarks["68"][face], _PIXEL_DECIMALS),
            "landmarks_468": rounded_numbers(landmarks["468"][face], _PIXEL_DECIMALS),
            "arkit_weights": dict(zip(config.expression_names or [], weights[face], strict=True)),
            "parameters": numbers_by_name(reconstruction.parameters, face),
            "standard_deviations": numbers_by_name(reconstruction.standard_deviation, face),  # null where not known
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
