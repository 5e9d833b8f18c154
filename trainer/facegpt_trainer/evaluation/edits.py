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
"""Whether edits do what they ask for, leave the rest alone, and are undone exactly."""

import itertools
from collections import defaultdict

import torch
from torch import Tensor
from tqdm import tqdm

from modeling_facegpt.camera import default_picture_cameras
from modeling_facegpt.face_measurements import (
    FaceMeasurer,
    measure_gaze,
    measure_light,
    measure_pose,
    strongest_emotion,
)
from modeling_facegpt.face_parameters import FaceParameters, vector_to_parameters

from ..grammar.attributes import EDIT_STEP
from ..grammar.dialogues import Dialogue, Edit
from ..grammar.person_edits import person_edit_is_present
from ..grammar.text_dialogues import TextGrammar
from .dialogues import BATCH, SPLIT, Answer, Talker, answer_dialogues
from .held_out import held_out_seed
from .requests import share, shows

KINDS, OTHER_KINDS = (
    {"shape": "shape", "person": "person", "emotion": "expression", "action": "expression"},
    "pose, gaze or light",
)
HALF_A_STEP = 0.5  # of the change that an edit asks for: less does not count as done


def evaluate_edits(talker: Talker, *, edits: int = 200, seed: int = 0) -> dict[str, float]:
    """One edit of a given face, then an undo of it, in held-out wordings."""
    texts = TextGrammar(talker.measurer, held_out_seed(seed), SPLIT)
    found: dict[str, list[bool]] = defaultdict(list)
    moved: list[float] = []
    done = found["answered with one face"]
    with tqdm(total=edits, desc="edits", disable=None) as progress:
        for number in itertools.count():
            if len(done) >= edits:
                break
            dialogues = [d for d in texts.batch(number, 2 * BATCH, ("edit",)) if d.given[0]]
            _judge_edits(talker, dialogues, found, moved)
            progress.update(min(len(done), edits) - progress.n)
    figures = {f"{name}, %": share(values) for name, values in found.items()}
    return figures | {"neutral face moved by edits of expression, mm": sum(moved) / max(len(moved), 1)}


def _judge_edits(
    talker: Talker,
    dialogues: list[Dialogue],
    found: dict[str, list[bool]],
    moved: list[float],
) -> None:
    cameras, nothing = default_picture_cameras(len(dialogues)), torch.zeros(0, 3, 1, 1)
    before = torch.cat([dialogue.faces[:1] for dialogue in dialogues])
    asked = [dialogue.messages[:1] for dialogue in dialogues]
    answers = answer_dialogues(talker, asked, nothing, before, cameras)
    sound = [row for row, answer in enumerate(answers) if len(answer.faces.identity) == 1]
    found["answered with one face"] += [row in sound for row in range(len(answers))]
    for row in sound:
        start, after = _face(before[row : row + 1], talker), answers[row].faces
        edit = dialogues[row].edits[0]
        if edit is None:
            continue
        found["refers to the given face"].append(answers[row].references == (0,))
        present = edit_is_present(talker.measurer, start, after, edit)
        for name in ("asked change present", f"asked change of {KINDS.get(edit.kind, OTHER_KINDS)} present"):
            found[name].append(present)
        if edit.kind in ("emotion", "action"):
            neutral = [talker.measurer.face_model.neutral(face.identity) for face in (start, after)]
            moved.append(1000 * float((neutral[1] - neutral[0]).norm(dim=-1).mean()))
    found["undone exactly"] += _undo(talker, [dialogues[row] for row in sound], [answers[r] for r in sound])


def _undo(
    talker: Talker,
    dialogues: list[Dialogue],
    answers: list[Answer],
) -> list[bool]:
    """Whether `Undo.` after each answer gives the first face back, number for number."""
    if not dialogues:
        return []
    undo = {"role": "user", "content": [{"type": "text", "text": "Undo."}]}
    messages = [[*dialogue.messages[:2], undo] for dialogue in dialogues]
    pairs = [
        torch.cat((dialogue.faces[:1], torch.cat(tuple(answer.faces), dim=-1)))
        for dialogue, answer in zip(dialogues, answers, strict=True)
    ]
    cameras = default_picture_cameras(len(dialogues))
    undone = answer_dialogues(talker, messages, torch.zeros(0, 3, 1, 1), torch.cat(pairs), cameras)
    return [
        len(answer.faces.identity) == 1 and torch.equal(torch.cat(tuple(answer.faces), dim=-1), dialogue.faces[:1])
        for dialogue, answer in zip(dialogues, undone, strict=True)
    ]


def _face(vector: Tensor, talker: Talker) -> FaceParameters:
    return vector_to_parameters(vector, talker.model.config.face_model_config)


def edit_is_present(measurer: FaceMeasurer, before: FaceParameters, after: FaceParameters, edit: Edit) -> bool:
    """Whether what an edit asks for is there, on the mesh: the expression, or at least half of the change."""
    model = measurer.face_model
    neutral = model.neutral(after.identity)
    if edit.kind == "shape":
        index = measurer.names.index(edit.name)
        change = measurer.scores(neutral)[0, index] - measurer.scores(model.neutral(before.identity))[0, index]
        return bool(change / (EDIT_STEP * edit.amount) > HALF_A_STEP)
    if edit.kind == "person":
        return person_edit_is_present(measurer, before, after, edit.name, edit.amount)
    if edit.kind in ("emotion", "action"):
        moved = (after.expression @ model.expression_basis.flatten(1)).unflatten(-1, (-1, 3))
        shown = measurer.measure_expression(neutral + moved, neutral)
        signs = {name: values[0] for name, values in shown._asdict().items()}
        return shows(edit.name, strongest_emotion(shown)[0], signs)
    return _state_is_changed(before, after, edit)


def _state_is_changed(before: FaceParameters, after: FaceParameters, edit: Edit) -> bool:
    """Pose, gaze and light."""
    was, now = measure_pose(before), measure_pose(after)
    lit = measure_light(after.light)
    match edit.kind:
        case "straight":
            return all(float(angle.abs()) < 8 for angle in now[:2])
        case "yaw" | "pitch" | "roll":
            turned = getattr(now, edit.kind) - getattr(was, edit.kind)
            return bool(turned * edit.amount > 5)
        case "gaze yaw" | "gaze pitch":
            return bool(measure_gaze(after)[edit.kind == "gaze pitch"] * edit.amount > 8)
        case "light":
            sides = {"left": -lit.from_right, "right": lit.from_right}
            sides |= {"above": lit.from_above, "below": -lit.from_above}
            return bool(sides[edit.name] > 0.3)
    return bool((lit.brightness / measure_light(before.light).brightness).log() * edit.amount > 0.1)
