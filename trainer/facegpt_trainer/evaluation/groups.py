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
"""Several faces in one picture: whether each of them is found, once, also where another one covers a part of it."""

import torch
from torch import Tensor

from modeling_facegpt.camera import default_camera
from modeling_facegpt.face_parameters import vector_to_parameters
from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.processing_facegpt import FaceGPTProcessor
from modeling_facegpt.reconstruction import face_boxes, landmarks_in_photo

from ..pictures.data_engine import DataEngine
from .held_out import face_model_on_cpu, held_out_seed, on_cpu
from .reconstruction import RENDERED_SIDE, held_out_batches, to_images

FACES = (2, 3, 4)
SAME_FACE = 0.3  # of the face's side: how far apart the middles of what is found and of the face may lie


def evaluate_groups(
    model: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, *, pictures: int = 120, seed: int = 0
) -> dict[str, float]:
    """Faces found in held-out renders of two to four people, of which some stand in front of others.

    Args:
        model, processor: the checkpoint.
        pictures (`int`): of each number of faces.
        seed (`int`): from 0 on; another one draws other pictures.

    Returns:
        `dict`: shares in per cent. A face is found if the middle of one that is said to be there lies within
        `SAME_FACE` of its side; faces overlap if their boxes do.
    """
    face_model = face_model_on_cpu(model)
    engine = DataEngine(face_model, RENDERED_SIDE * model.config.render_size, held_out_seed(seed) + 2)
    seen: list[Tensor] = []
    overlapping: list[Tensor] = []
    wrong = said = 0
    for faces in FACES:
        for batch in held_out_batches(engine, pictures, faces=faces):
            images = to_images(batch.pictures)
            true = _true_boxes(face_model, batch.face_targets, engine.side).split(batch.counts.tolist())
            for boxes, reconstruction in zip(true, on_cpu(model.reconstruct(images, processor)), strict=True):
                points = landmarks_in_photo(face_model, reconstruction.parameters, reconstruction.camera)
                hits = _matches(boxes, face_boxes(points))
                seen.append(hits.any(1))
                overlapping.append(_overlaps(boxes))
                said += hits.shape[1]
                wrong += int((~hits.any(0)).sum())
    found, covered = torch.cat(seen).float(), torch.cat(overlapping)
    return {
        "faces": float(len(found)),
        "found, % of them": 100 * float(found.mean()),
        "faces that overlap": float(covered.sum()),
        "found, % of those": 100 * float(found[covered].mean()),
        "none where one was said to be, %": 100 * wrong / max(said, 1),
    }


def _true_boxes(face_model: MorphableModel, targets: Tensor, side: int) -> Tensor:
    """Boxes `(N, 4)` of the faces of whole photographs, in pixels."""
    parameters = vector_to_parameters(targets, face_model.config)
    camera = default_camera(len(targets), side, targets)
    return face_boxes(landmarks_in_photo(face_model, parameters, camera))


def _matches(boxes: Tensor, found: Tensor) -> Tensor:
    """Which of the boxes `(F, 4)` each of those found `(N, 4)` is taken for, `(F, N)` bool."""
    middles, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).amax(-1)
    distance = torch.cdist(middles, (found[:, :2] + found[:, 2:]) / 2)
    return distance < SAME_FACE * sides[:, None]


def _overlaps(boxes: Tensor) -> Tensor:
    """Which of the boxes `(F, 4)` share pixels with another one, `(F,)` bool."""
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (low < high).all(-1) & ~torch.eye(len(boxes), dtype=torch.bool)
    return shared.any(-1)
