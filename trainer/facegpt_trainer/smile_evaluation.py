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
"""Smiles of real people: asked in words, and measured on the reconstructed mesh, against the same people at rest."""

from pathlib import Path

import torch
from tqdm import tqdm

from modeling_facegpt.face_parameters import select_faces
from modeling_facegpt.photograph import read_photograph
from modeling_facegpt.reconstruction import face_boxes, landmarks_in_photo

from . import wordings
from .attributes import default_picture_camera
from .dialogue_evaluation import Talker, answer_dialogues
from .request_evaluation import share

NEUTRAL, SMILING = "_03.jpg", "_08.jpg"  # ends of the file names of the Face Research Lab London Set
SMILE_WORDS = ("Happy.", "Smiling.", "Laughing.", "Amused.")
RAISED_CORNERS = 2.0  # millimetres


@torch.no_grad()
def evaluate_smiles(talker: Talker, folder: Path) -> dict[str, float]:
    """Photographs of people who smile, and of the same people at rest.

    Args:
        talker (`Talker`): the checkpoint.
        folder (`Path`): holds `*_03.jpg` (neutral) and `*_08.jpg` (smiling).

    Returns:
        `dict`: shares in per cent of the photographs.

    Raises:
        ValueError: if the folder holds no such photographs.
    """
    paths = sorted(path for path in folder.glob("*.jpg") if path.name.endswith((NEUTRAL, SMILING)))
    if not paths:
        raise ValueError(f"got {folder}, which holds no photographs *{NEUTRAL} and *{SMILING}; give one that does")
    told, measured = [], []
    for path in tqdm(paths, desc="photographs"):
        smiling = path.name.endswith(SMILING)
        said, raised = _look(talker, path)
        told.append((said in SMILE_WORDS) == smiling)
        measured.append((raised > RAISED_CORNERS) == smiling)
    return {
        "photographs": float(len(paths)),
        "smile or none told in words, %": share(told),
        "smile or none measured on the mesh, %": share(measured),
    }


def _look(talker: Talker, path: Path) -> tuple[str, float]:
    """What is said about the expression of the likeliest face, and by how much its mouth's corners are raised."""
    model, processor = talker.model, talker.processor
    image = read_photograph(path).image
    found = model.reconstruct([image], processor)[0]
    if not len(found.probability):
        return "", 0.0
    best = found.probability.argmax()
    box = face_boxes(landmarks_in_photo(model.face_model, found.parameters, found.camera))[best]
    face = select_faces(found.parameters, best[None])
    picture = processor.frame_face(image, box).picture[None]
    content = [{"type": "image"}, {"type": "text", "text": wordings.ASK_EXPRESSION.training[0]}]
    nothing = torch.cat(tuple(face), dim=-1)[:0]
    messages = [[{"role": "user", "content": content}]]
    answer = answer_dialogues(talker, messages, picture, nothing, default_picture_camera())[0]
    shown = talker.measurer.measure_activations(face.identity, face.expression)
    return answer.text, float(shown.corner_raise)
