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
import math

import pytest
import torch

from modeling_facegpt import MorphableModel
from modeling_facegpt.face_measurements import (
    SHAPE_MEASURES,
    FaceMeasurer,
    measure_gaze,
    measure_light,
    measure_pose,
    strongest_emotion,
)
from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.facial_expressions import ACTIONS, EMOTIONS
from modeling_facegpt.rotations import matrix_to_rotation_6d, viewing_rotation, yaw_pitch_roll_to_matrix

# Named directions of the default 3DMM and what they must do: measure, and its sign when the slider goes up.
KNOWN_DIRECTIONS = {
    "nose-width": ("nose width", 1),
    "nose-height": ("nose length", 1),
    "nose-depth": ("nose depth", 1),
    "nose-point-up": ("nose tip height", 1),
    "nose-hump": ("nose convexity", 1),
    "nose-width1": ("nose bridge width", 1),
    "mouth-width": ("mouth width", 1),
    "mouth-lowerlip-height": ("lower lip thickness", 1),
    "mouth-upperlip-height": ("upper lip thickness", 1),
    "eye-scale": ("eye size", 1),
    "eye-trans-out": ("eye distance", 1),
    "eyebrows-trans-forward": ("eye depth", 1),
    "eyebrows-trans-up": ("brow height", 1),
    "head-width": ("face length", -1),
    "head-height": ("face length", 1),
    "head-fat": ("jaw width", 1),
    "chin-height": ("chin length", 1),
    "chin-prominent": ("chin depth", 1),
    "chin-width": ("chin width", 1),
    "forehead-temple": ("forehead width", 1),
    "cheek-volume": ("cheek width", 1),
    "ear-scale": ("ear length", 1),
    "ear-wing": ("ear span", 1),
    "age": ("age", 1),
    "masculine": ("masculinity", 1),
}


def test_each_named_direction_moves_its_measure_the_right_way(measurer: FaceMeasurer):
    model = measurer.face_model
    average = measurer.scores(model.template[None])
    for direction, (measure, sign) in KNOWN_DIRECTIONS.items():
        moved = measurer.scores(model.neutral(model.direction(direction)[None]))
        change = (moved - average)[0, measurer.names.index(measure)]
        # In standard deviations of people of both sexes and all ages.
        assert sign * float(change) > 0.15, (direction, measure, float(change))


def test_average_people_have_scores_of_mean_zero_and_deviation_one(measurer: FaceMeasurer):
    identity = torch.randn(2000, measurer.face_model.config.num_identity, generator=torch.Generator().manual_seed(9))
    scores = measurer.identity_scores(identity)
    assert scores.mean(0).abs().max() < 0.1
    assert (scores.std(0) - 1).abs().max() < 0.1


def test_coefficients_and_meshes_give_the_same_scores(measurer: FaceMeasurer):
    identity = torch.randn(4, measurer.face_model.config.num_identity, generator=torch.Generator().manual_seed(2))
    by_mesh = measurer.scores(measurer.face_model.neutral(identity))
    torch.testing.assert_close(by_mesh, measurer.identity_scores(identity), atol=1e-3, rtol=0)


def test_lengths_are_those_of_people(measurer: FaceMeasurer):
    lengths = dict(
        zip(measurer.names, measurer.millimetres(measurer.face_model.template[None])[0].tolist(), strict=True)
    )
    for name, low, high in (("nose width", 30, 46), ("mouth width", 42, 60), ("eye distance", 27, 38)):
        assert low < lengths[name] < high, (name, lengths[name])
    assert math.isnan(lengths["age"])


def test_a_larger_head_has_longer_measures_and_the_same_scores(measurer: FaceMeasurer):
    vertices = measurer.face_model.neutral(torch.ones(1, measurer.face_model.config.num_identity))
    shares = slice(0, len(measurer.names) - 2)
    assert torch.allclose(measurer.scores(1.1 * vertices)[:, shares], measurer.scores(vertices)[:, shares], atol=1e-3)
    assert (measurer.millimetres(1.1 * vertices)[0, 0] / measurer.millimetres(vertices)[0, 0]) == pytest.approx(1.1)


def test_every_emotion_is_the_strongest_on_its_own_mesh(measurer: FaceMeasurer):
    model = measurer.face_model
    identity = torch.randn(len(EMOTIONS), model.config.num_identity, generator=torch.Generator().manual_seed(4))
    neutral = model.neutral(identity)
    for strength in (0.5, 1.0):
        moved = torch.einsum("nk,kvc->nvc", strength * measurer.emotion_activations, model.expression_basis)
        assert strongest_emotion(measurer.measure_expression(neutral + moved, neutral)) == list(EMOTIONS)
    assert strongest_emotion(measurer.measure_expression(neutral, neutral)) == [None] * len(EMOTIONS)


def test_expression_measures_agree_between_coefficients_and_meshes(measurer: FaceMeasurer):
    model = measurer.face_model
    generator = torch.Generator().manual_seed(5)
    identity = torch.randn(3, model.config.num_identity, generator=generator)
    expression = torch.rand(3, model.config.num_expression, generator=generator)
    neutral = model.neutral(identity)
    vertices = neutral + torch.einsum("nk,kvc->nvc", expression, model.expression_basis)
    for mesh, coefficient in zip(
        measurer.measure_expression(vertices, neutral), measurer.measure_activations(identity, expression), strict=True
    ):
        torch.testing.assert_close(mesh, coefficient, atol=1e-2, rtol=1e-2)


def test_actions_move_what_they_name(measurer: FaceMeasurer):
    actions = list(ACTIONS)
    identity = torch.zeros(len(actions), measurer.face_model.config.num_identity)
    measures = measurer.measure_activations(identity, measurer.action_activations)

    def of(name: str, action: str) -> torch.Tensor:
        return getattr(measures, name)[actions.index(action)]

    assert of("mouth_opening", "open mouth") > 15
    assert of("eyes_closed", "closed eyes").min() > 0.6
    assert of("eyes_closed", "left wink")[0] > 0.6 > 0.2 > of("eyes_closed", "left wink")[1]
    assert of("eyes_closed", "right wink")[1] > 0.6 > 0.2 > of("eyes_closed", "right wink")[0]
    assert of("brow_raise", "raised brows") > 2 > -2 > of("brow_raise", "lowered brows")
    assert of("mouth_narrowing", "pursed lips") > 0.1
    assert of("cheek_puff", "puffed cheeks") > 3


def test_smiles_raise_and_sadness_lowers_the_corners_of_the_mouth(measurer: FaceMeasurer):
    identity = torch.zeros(len(EMOTIONS), measurer.face_model.config.num_identity)
    raised = measurer.measure_activations(identity, measurer.emotion_activations).corner_raise
    emotions = list(EMOTIONS)
    assert raised[emotions.index("happy")] > 5
    assert raised[emotions.index("sad")] < -3


def test_pose_gaze_and_light_are_read_as_they_were_set(face_parameters: FaceParameters):
    yaw, pitch, roll = torch.tensor([[0.5, 0.0, -0.2], [0.1, -0.3, 0.0], [0.0, 0.2, 0.4]])
    rotation = viewing_rotation(face_parameters.translation) @ yaw_pitch_roll_to_matrix(yaw, pitch, roll)
    face = face_parameters._replace(
        rotation=matrix_to_rotation_6d(rotation), gaze=torch.tensor([[0.3, -0.1, 0.3, -0.1]]).expand(3, 4)
    )
    for angle, wanted in zip(measure_pose(face), (yaw, pitch, roll), strict=True):
        torch.testing.assert_close(angle, torch.rad2deg(wanted), atol=1e-2, rtol=0)
    torch.testing.assert_close(measure_gaze(face)[0], torch.full((3,), math.degrees(0.3)))
    torch.testing.assert_close(measure_gaze(face)[1], torch.full((3,), math.degrees(-0.1)))
    light = torch.zeros(1, 9, 3)
    light[:, 0], light[:, 3], light[:, 1] = 3.5449, 1.0, -0.5
    measured = measure_light(light.flatten(1))
    assert measured.from_right > 0.2 and measured.from_above < -0.1
    assert measured.brightness == pytest.approx(1.0)


def test_a_model_without_ears_has_no_measures_of_ears(face_model: MorphableModel):
    names = FaceMeasurer(face_model).names
    assert set(names) < set(SHAPE_MEASURES)
    assert not any(name.startswith("ear ") for name in names)
