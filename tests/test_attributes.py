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
import pytest
import torch
from facegpt_trainer.grammar.attributes import (
    ShapeSpace,
    act,
    brighten,
    express,
    face_camera,
    light_from,
    look,
    sample_portraits,
    turn,
)
from facegpt_trainer.grammar.face_words import ACTION_WORDS, EMOTION_WORDS, SHAPE_WORDS, shape_phrase, shape_phrases

from modeling_facegpt.face_measurements import (
    FaceMeasurer,
    measure_gaze,
    measure_light,
    measure_pose,
    strongest_emotion,
)
from modeling_facegpt.face_parameters import FaceParameters, select_faces
from modeling_facegpt.facial_expressions import ACTIONS, CALM, EMOTIONS


@pytest.fixture(scope="module")
def shapes(measurer: FaceMeasurer) -> ShapeSpace:
    return ShapeSpace(measurer)


@pytest.fixture
def faces(measurer: FaceMeasurer) -> FaceParameters:
    return sample_portraits(torch.Generator().manual_seed(3), measurer, 3)


def score(measurer: FaceMeasurer, face: FaceParameters, name: str) -> float:
    return float(measurer.scores(measurer.face_model.neutral(face.identity))[0, measurer.names.index(name)])


def test_all_measures_can_be_imposed_and_show_on_the_mesh(shapes: ShapeSpace, faces: FaceParameters):
    face = select_faces(faces, slice(1))
    for name in shapes.names:
        for wanted in (-2.0, 2.0):
            found = score(shapes.measurer, face._replace(identity=shapes.impose(face.identity, {name: wanted})), name)
            assert found == pytest.approx(wanted, abs=0.4), name


def test_several_measures_are_imposed_at_once_and_people_stay_people(shapes: ShapeSpace, faces: FaceParameters):
    face = select_faces(faces, slice(1, 2))
    wanted = {"nose width": 1.8, "chin length": -1.7, "masculinity": 1.2}
    identity = shapes.impose(face.identity, wanted)
    for name, value in wanted.items():
        assert score(shapes.measurer, face._replace(identity=identity), name) == pytest.approx(value, abs=0.4)
    assert (identity - face.identity).norm() < 5


def test_edits_of_shape_move_their_measure_and_nothing_but_identity(shapes: ShapeSpace, faces: FaceParameters):
    face = select_faces(faces, slice(1))
    for name in shapes.names:
        before = score(shapes.measurer, face, name)
        for steps in (-1.5, 1.5):
            changed = shapes.change(face, name, steps)
            assert score(shapes.measurer, changed, name) - before == pytest.approx(steps, abs=0.4), name
            for group in set(face._fields) - {"identity"}:
                assert getattr(changed, group) is getattr(face, group)


def test_expressions_are_the_strongest_on_the_mesh(measurer: FaceMeasurer, faces: FaceParameters):
    face = select_faces(faces, slice(1))
    for emotion in EMOTIONS:
        shown = express(face, measurer, emotion, 0.6)
        assert strongest_emotion(measurer.measure_activations(shown.identity, shown.expression)) == [emotion]
        assert shown.identity is face.identity
    calm = express(shown, measurer, CALM)
    assert not calm.expression.any()


def test_actions_leave_the_rest_of_the_expression(measurer: FaceMeasurer, faces: FaceParameters):
    smiling = express(select_faces(faces, slice(1)), measurer, "happy")
    winking = act(smiling, measurer, "closed eyes")
    names = measurer.face_model.config.expression_names
    smile, blink = names.index("mouthSmileLeft"), names.index("eyeBlinkLeft")
    assert winking.expression[0, smile] == smiling.expression[0, smile]
    assert winking.expression[0, blink] == 1.0 and smiling.expression[0, blink] < 0.5


def test_heads_eyes_and_light_turn_to_the_named_side(faces: FaceParameters):
    straight = face_camera(faces)
    for angle in measure_pose(straight):
        assert angle.abs().max() < 0.1
    torch.testing.assert_close(measure_pose(turn(straight, yaw=25)).yaw, torch.full((3,), 25.0), atol=0.05, rtol=0)
    torch.testing.assert_close(
        measure_pose(turn(straight, pitch=-20)).pitch, torch.full((3,), -20.0), atol=0.05, rtol=0
    )
    torch.testing.assert_close(measure_gaze(look(faces, -22, 5))[0], torch.full((3,), -22.0), atol=1e-3, rtol=0)
    assert measure_light(light_from(faces, "left").light).from_right.max() < -0.5
    assert measure_light(light_from(faces, "right").light).from_right.min() > 0.5
    assert measure_light(light_from(faces, "above").light).from_above.min() > 0.5
    assert measure_light(light_from(faces, "below").light).from_above.max() < -0.5
    torch.testing.assert_close(
        measure_light(light_from(faces, "left").light).brightness, measure_light(faces.light).brightness
    )
    assert (measure_light(brighten(faces, 1.3).light).brightness > measure_light(faces.light).brightness).all()


def test_every_measure_and_expression_has_words(measurer: FaceMeasurer):
    assert set(measurer.names) <= set(SHAPE_WORDS)
    assert set(EMOTION_WORDS) == {*EMOTIONS, CALM}
    assert set(ACTION_WORDS) == set(ACTIONS)
    assert 2 * len(measurer.names) >= 50


def test_phrases_agree_in_number_and_article():
    assert shape_phrase("nose width", 1) == "a broad nose"
    assert shape_phrase("nose tip height", 1) == "an upturned nose"
    assert shape_phrase("lip thickness", -1) == "thin lips"
    scores = torch.tensor([0.2, -2.0, 1.4])
    assert shape_phrases(["chin length", "nose width", "lip thickness"], scores) == ["a narrow nose", "full lips"]
