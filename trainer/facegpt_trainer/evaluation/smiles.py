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

from modeling_facegpt.chat_session import ChatSession
from modeling_facegpt.face_parameters import select_faces
from modeling_facegpt.photograph import read_photograph

from ..grammar import wordings
from .dialogues import Talker
from .requests import share

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
        ValueError: if the folder holds no such photographs, or the checkpoint was not trained on dialogues.
    """
    if talker.model.face_encoder is None:
        raise ValueError("got a checkpoint that was not trained on dialogues, and so tells nothing; give one that was")
    paths = sorted(path for path in folder.glob("*.jpg") if path.name.endswith((NEUTRAL, SMILING)))
    if not paths:
        raise ValueError(f"got {folder}, which holds no photographs *{NEUTRAL} and *{SMILING}; give one that does")
    told, measured = [], []
    for path in tqdm(paths, desc="photographs", disable=None):
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
    """What a chat says of the expression, and by how much the mouth's corners of the likeliest face are raised."""
    model, processor = talker.model, talker.processor
    photograph = read_photograph(path)
    session = ChatSession(model, processor, photograph=photograph.image, focal=photograph.focal)
    if session.faces is None:
        return "", 0.0
    face = select_faces(session.faces.parameters, session.faces.probability.argmax()[None])
    shown = talker.measurer.measure_activations(face.identity.cpu(), face.expression.cpu())
    return session.say(wordings.ASK_EXPRESSION.training[0]).text, float(shown.corner_raise)
