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
"""Closing eyes take the lids off each person's own shape; 3DMMs of before know nothing of it."""

from typing import Any

import pytest
import torch

from modeling_facegpt import MorphableModel, MorphableModelConfig


@pytest.fixture
def closing_model(face_model):
    settings = face_model.config.to_dict() | {"closing_names": ["eyeBlinkLeft", "jawOpen"]}
    model = MorphableModel(MorphableModelConfig(**settings))
    state = face_model.state_dict()
    weights = torch.zeros(2, face_model.config.num_vertices)
    weights[0, :10], weights[1, 20:30] = 1.0, 0.5
    model.load_state_dict(state | {"closing_weights": weights})
    return model


def faces_with(face_parameters, **activations: float):
    names = ["browInnerUp", "eyeBlinkLeft", "jawOpen", "mouthSmileLeft", "mouthSmileRight"]
    expression = torch.zeros_like(face_parameters.expression)
    for name, value in activations.items():
        expression[:, names.index(name)] = value
    return face_parameters._replace(expression=expression, gaze=torch.zeros_like(face_parameters.gaze))


def test_closed_lids_of_everybody_lie_on_the_eyeball(closing_model, face_parameters):
    closed = closing_model.shape(faces_with(face_parameters, eyeBlinkLeft=1.0))
    moved = closing_model.template + closing_model.expression_basis[1]
    eye = torch.einsum("nk,kc->nc", face_parameters.identity, closing_model.eye_centre_basis[:, 0])
    torch.testing.assert_close(closed[:, :10], moved[:10] + eye[:, None], atol=1e-6, rtol=0)
    linear = closing_model.neutral(face_parameters.identity) + closing_model.expression_basis[1]
    torch.testing.assert_close(closed[:, 30:], linear[:, 30:], atol=1e-6, rtol=0)


def test_half_closed_lids_have_lost_three_quarters_of_their_own_shape(closing_model, face_parameters):
    face_parameters = face_parameters._replace(identity=face_parameters.identity.abs())
    half = closing_model.shape(faces_with(face_parameters, eyeBlinkLeft=0.5))
    own = closing_model.neutral(face_parameters.identity) - closing_model.template
    eye = torch.einsum("nk,kc->nc", face_parameters.identity, closing_model.eye_centre_basis[:, 0])[:, None]
    expected = closing_model.template + 0.5 * closing_model.expression_basis[1] + 0.25 * own + 0.75 * eye
    torch.testing.assert_close(half[:, :10], expected[:, :10], atol=1e-6, rtol=0)


def test_expression_moves_say_what_full_activation_does(closing_model, face_parameters):
    moves = closing_model.expression_moves(face_parameters.identity)
    for index, name in ((1, "eyeBlinkLeft"), (2, "jawOpen"), (3, "mouthSmileLeft")):
        shown = closing_model.shape(faces_with(face_parameters, **{name: 1.0}))
        neutral = closing_model.neutral(face_parameters.identity)
        torch.testing.assert_close(moves[:, index], shown - neutral, atol=1e-6, rtol=0)


def test_a_3dmm_without_closing_lids_still_loads(face_model, tmp_path):
    state = {name: value for name, value in face_model.state_dict().items() if name != "closing_weights"}
    face_model.save_pretrained(tmp_path, state_dict=state)
    result: Any = MorphableModel.from_pretrained(tmp_path, output_loading_info=True)
    loaded, report = result
    assert not report["missing_keys"] and loaded.closing_weights.shape == (0, face_model.config.num_vertices)
    torch.testing.assert_close(loaded.template, face_model.template)


def test_closing_names_must_be_expressions_one_per_eye(face_model):
    settings = face_model.config.to_dict()
    with pytest.raises(ValueError, match="closing_names"):
        MorphableModelConfig(**(settings | {"closing_names": ["wink", "jawOpen"]}))
