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
"""Rewards against answers whose worth is known."""

import math

import pytest
import torch
from facegpt_trainer.grammar.dialogues import Wanted
from facegpt_trainer.grammar.text_dialogues import TextGrammar
from facegpt_trainer.policy import rewards
from torch import Tensor

from modeling_facegpt import FaceParameters, MorphableModel
from modeling_facegpt.camera import Camera, default_picture_cameras
from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.face_parameters import select_faces, vector_to_parameters
from modeling_facegpt.reconstruction import landmarks_in_photo
from modeling_facegpt.renderer import render_mesh

FACE, END = 7, 2
TOKENS = rewards.AnswerTokens(FACE, (END,))
SIDE = 64


@pytest.mark.parametrize(
    ("answer", "reward"),
    [([FACE, END], 1.0), ([END], 1.0), ([FACE, FACE, END], 1.0), ([FACE], 0.0), ([9, FACE, END], 0.0), ([], 0.0)],
)
def test_an_answer_is_faces_and_nothing_else(answer: list[int], reward: float):
    assert rewards.format_reward([answer], tokens=TOKENS) == [reward]


def test_one_face_per_request():
    answers = [[FACE, END], [FACE, FACE, END], [END], [END]]
    assert rewards.face_count_reward(answers, [1, 1, 1, 0], tokens=TOKENS) == [1.0, 0.0, 0.0, 1.0]


def test_what_was_named_must_be_on_the_mesh(measurer: FaceMeasurer):
    dialogues = TextGrammar(measurer, seed=3).batch(0, 24, ("explicit",))
    config = measurer.face_model.config
    true = [vector_to_parameters(dialogue.faces[:1], config) for dialogue in dialogues]
    wanted = [dialogue.wanted for dialogue in dialogues]
    found = rewards.attribute_reward(true, wanted, measurer=measurer)
    others = rewards.attribute_reward(true[1:] + true[:1], wanted, measurer=measurer)
    assert sum(found) / len(found) > 0.9 > 0.6 > sum(others) / len(others)  # type: ignore[arg-type]
    none = [select_faces(face, slice(0)) for face in true[:2]]
    assert rewards.attribute_reward(none, [wanted[0], None], measurer=measurer) == [0.0, None]
    assert rewards.attribute_reward(true[:1], [Wanted({})], measurer=measurer) == [None]


def test_half_of_what_was_named_is_half_a_reward(measurer: FaceMeasurer):
    dialogues = TextGrammar(measurer, seed=3).batch(0, 40, ("explicit",))
    dialogue = next(d for d in dialogues if d.wanted and len(d.wanted.shape) == 1 and d.wanted.expression is None)
    face = vector_to_parameters(dialogue.faces[:1], measurer.face_model.config)
    [(name, sign)] = dialogue.wanted.shape.items()
    other = next(other for other in measurer.names if other != name)
    score = measurer.identity_scores(face.identity)[0, measurer.names.index(other)]
    absent = Wanted({name: sign, other: -1 if score > 0 else 1})
    assert rewards.attribute_reward([face], [absent], measurer=measurer) == [0.5]


def test_caricatures_are_no_likely_people(face_parameters: FaceParameters):
    one = select_faces(face_parameters, slice(0, 1))
    far = one._replace(identity=torch.full_like(one.identity, 9.0))
    none = select_faces(one, slice(0))
    wanted = [Wanted({}), Wanted({}), Wanted({}), None]
    assert rewards.likely_person_reward([one, far, none, one], wanted) == [
        1.0,
        pytest.approx(16.81 / 486, rel=0.02),
        0.0,
        None,
    ]


def seen(parameters: FaceParameters, face_model: MorphableModel) -> tuple[Tensor, Tensor, Tensor]:
    """The camera of a picture of one face, its landmarks in picture sides, and its picture."""
    camera = default_picture_cameras()
    landmarks = landmarks_in_photo(face_model, parameters, Camera(camera[:, 0], camera[:, 1:]), "468")[0]
    pixels = SIDE * camera
    render = render_mesh(face_model(parameters), parameters, Camera(pixels[:, 0], pixels[:, 1:]), (SIDE, SIDE))
    return camera[0], landmarks, render.image[0]


def test_landmarks_agree_by_their_distance(face_parameters: FaceParameters, face_model: MorphableModel):
    face = select_faces(face_parameters, slice(0, 1))
    camera, landmarks, _ = seen(face, face_model)
    size = (landmarks.amax(0) - landmarks.amin(0)).prod().sqrt()
    moved = landmarks + torch.tensor([0.1, 0.0]) * size
    found = rewards.landmark_reward(
        [face, face, select_faces(face, slice(0)), face],
        [landmarks, moved, landmarks, None],
        [camera] * 4,
        face_model=face_model,
    )
    assert found == [pytest.approx(1.0), pytest.approx(math.exp(-0.1 / rewards.LANDMARK_ERROR), rel=1e-3), 0.0, None]


def test_renders_agree_with_their_own_picture(face_parameters: FaceParameters, face_model: MorphableModel):
    face, other = (select_faces(face_parameters, slice(row, row + 1)) for row in (0, 1))
    camera, _, picture = seen(face, face_model)
    aside = face._replace(translation=face.translation + torch.tensor([[2.0, 0.0, 0.0]]))
    behind = face._replace(translation=-face.translation)
    found = rewards.photometric_reward(
        [face, other, aside, behind, select_faces(face, slice(0)), face],
        [picture] * 5 + [None],
        [camera] * 6,
        face_model=face_model,
    )
    assert found[0] == pytest.approx(1.0, abs=1e-3) and 0 < (found[1] or 0.0) < 0.9
    assert found[2:] == [0.0, 0.0, 0.0, None]
