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
"""The faces of people: women and men, young and old, of all skins, hair and beards, told apart by their measures."""

import pytest
import torch

from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.person import sample_people
from modeling_facegpt.person_faces import (
    COLOUR_AXES,
    MIDDLE_LIGHTNESS,
    along_axes,
    draw_anybody,
    draw_code,
    hair_colour,
    knows_people,
    pigment_directions,
    skin_pigments,
)
from modeling_facegpt.person_measurements import PersonMeasurer
from modeling_facegpt.skin_reflectance import linear_to_lab
from tests.conftest import REPOSITORY


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def head() -> MorphableModel:
    model = MorphableModel.from_pretrained(REPOSITORY / "hub" / "anny-head", dtype=torch.float32)
    if not knows_people(model.config):
        pytest.skip("hub/anny-head was built before it knew people; build it with: facegpt convert-3dmm anny")
    return model


@pytest.fixture(scope="module")
def measurer(head: MorphableModel) -> PersonMeasurer:
    return PersonMeasurer(head)


def test_pigments_give_the_skin_that_is_asked_for():
    person = sample_people(generator(), 50)
    amounts = skin_pigments(person)
    middle = skin_pigments(person._replace(lightness=torch.full((50,), MIDDLE_LIGHTNESS), redness=0 * person.redness))
    assert middle[:, 0].abs().max() < 0.2
    assert torch.corrcoef(torch.stack((amounts[:, 0], person.lightness)))[0, 1] < -0.98
    assert pigment_directions()[0].max() < 0  # more melanin is darker in every channel


def test_hair_is_dark_fair_red_and_grey():
    darkness, redness, grey = torch.tensor([[1.0, 0.0, 0.5, 1.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    lab = linear_to_lab(hair_colour(darkness, redness, grey).exp())
    assert lab[0, 0] < 15 and lab[1, 0] > 50 and lab[3, 0] > 60
    assert lab[2, 1] > lab[1, 1] + 5 and lab[3, 1:].norm() < 6
    colours = torch.randn(4, 3, generator=generator())
    assert torch.allclose(along_axes(colours) @ torch.tensor(COLOUR_AXES), colours, atol=1e-5)


def test_a_3dmm_without_people_draws_coefficients(face_model: MorphableModel):
    code, person = draw_anybody(generator(), face_model, 500)
    assert person is None and abs(float(code.identity.std()) - 1) < 0.1
    assert code.albedo.shape == (500, face_model.config.num_albedo)


def test_coefficients_are_about_one_in_size_over_people(head: MorphableModel):
    code, _ = draw_anybody(generator(1), head, 2000)
    for group in code:
        size = group.square().mean(0).sqrt()
        assert size.min() > 0.7 and size.max() < 1.4
    shape = code.identity[:, : head.config.num_identity - len(head.config.offset_names)]
    assert shape.mean(0).abs().max() < 0.2


def test_measures_are_those_of_the_person(head: MorphableModel, measurer: PersonMeasurer):
    person = sample_people(generator(2), 1000)
    measures = measurer.measure(draw_code(generator(3), head, person))
    assert (measures.sex.sign() == 2 * person.sex - 1).float().mean() > 0.98
    assert (measures.age - person.age).abs().mean() < 4
    assert (measures.lightness - person.lightness).abs().mean() < 2
    assert 50 < measures.hue.median() < 60
    assert torch.corrcoef(torch.stack((measures.brows, person.brows)))[0, 1] > 0.99
    assert (measures.folds - person.folds).abs().max() < 1e-3


def test_no_skin_is_white_and_hair_does_not_follow_the_skin(head: MorphableModel, measurer: PersonMeasurer):
    person = sample_people(generator(4), 300)
    code = draw_code(generator(5), head, person)
    assert head.albedo(code.albedo)[:, head.region("skin") > 0.5].amax() < 1
    light, dark = (sample_people(generator(6), 1, {"lightness": value, "hair_reach": 0.1}) for value in (74.0, 28.0))
    dark = light._replace(lightness=dark.lightness)
    sides = [measurer.measure(draw_code(generator(7), head, person)).hair_lightness for person in (light, dark)]
    assert abs(float(sides[0] - sides[1])) < 3


def test_a_bald_man_and_a_woman_with_short_grey_hair_differ(head: MorphableModel, measurer: PersonMeasurer):
    bald = sample_people(generator(8), 20, {"sex": 1, "hair_reach": (-1.3, -0.8)})
    grey = sample_people(generator(9), 20, {"sex": 0, "grey": (0.8, 1.0)})
    first, second = (measurer.measure(draw_code(generator(10), head, person)) for person in (bald, grey))
    assert first.hair.max() < second.hair.min()
    volume = [
        head.neutral(draw_code(generator(11), head, person, 0.0).identity)[..., 1].amax(1) for person in (bald, grey)
    ]
    assert volume[1].mean() > volume[0].mean() + 0.01


def test_hair_and_beard_leave_the_measures_of_shape_alone(head: MorphableModel):
    measurer = FaceMeasurer(head)
    code, _ = draw_anybody(generator(12), head, 4)
    bare = code.identity.clone()
    bare[:, -len(head.config.offset_names) :] = 0
    torch.testing.assert_close(measurer.identity_scores(code.identity), measurer.identity_scores(bare))
    meshes = measurer.scores(head.neutral(code.identity))
    torch.testing.assert_close(meshes, measurer.identity_scores(code.identity), atol=2e-3, rtol=0)
