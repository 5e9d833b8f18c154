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
"""People are drawn from a distribution that makes sense, and impossible ones are refused by name."""

import pytest
import torch

from modeling_facegpt.person import RANGES, Person, check_person, sample_people


def draw(count: int = 4000, seed: int = 0, **wanted) -> Person:
    return sample_people(torch.Generator().manual_seed(seed), count, wanted)


def test_random_people_are_possible_and_of_both_sexes_and_all_ages():
    person = draw()
    check_person(person)
    assert 0.45 < person.sex.mean() < 0.55
    for values, (low, high) in ((person.age, RANGES["age"]), (person.lightness, RANGES["lightness"])):
        tenths = torch.histc(values, 10, low, high) / len(values)
        assert tenths.min() > 0.08 and tenths.max() < 0.12


def test_what_people_have_goes_together():
    person = draw()
    man, old, young = person.sex > 0, person.age > 70, person.age < 30
    assert person.beard[~man].max() == 0 and 0.15 < (person.beard[man] > 0.5).float().mean() < 0.5
    assert person.lipstick[man].max() == 0 and person.lipstick[~man].max() > 0.9
    assert person.folds[old].min() > person.folds[young].max()
    assert person.grey[old & man].mean() > 0.8 and person.grey[young].mean() < 0.05
    assert (person.hair_reach[man & old] < -0.4).float().mean() > 0.2 and person.hair_reach[~man].min() > -0.1
    assert person.brows[man].mean() > person.brows[~man].mean() + 1
    dark = person.lightness < 45
    assert (person.iris_darkness[dark] > 0.6).float().mean() > 0.95 and person.freckles[dark].mean() < 0.02


def test_the_colour_of_skin_says_nothing_of_sex_age_and_build():
    person = draw()
    for name in ("sex", "age", "build"):
        pair = torch.stack((person.lightness, person._asdict()[name]))
        assert torch.corrcoef(pair)[0, 1].abs() < 0.05, name


def test_what_is_wanted_is_kept_and_the_rest_follows():
    person = draw(200, sex=0.0, age=(65, 90), lightness=(25.0, 36.0))
    assert (person.sex == 0).all() and person.age.min() >= 65 and person.lightness.max() <= 36
    assert person.folds.mean() > 0.7 and person.beard.max() == 0
    bearded = draw(200, beard=(0.8, 1.0))
    assert (bearded.sex == 1).all() and bearded.age.min() > 19
    check_person(bearded)
    assert draw(300, lipstick=(0.5, 1.0)).sex.max() == 0


def test_the_same_seed_draws_the_same_people():
    for first, second in zip(draw(5, seed=3), draw(5, seed=3), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("name", "value"), [("age", 12.0), ("sex", 0.5), ("beard", 1.5), ("lightness", 95.0), ("folds", float("nan"))]
)
def test_impossible_people_are_refused_by_name(name, value):
    person = draw(3)
    with pytest.raises(ValueError, match=f"{name}={value:g}.*change {name}"):
        check_person(person._replace(**{name: torch.full((3,), value)}))
    with pytest.raises(ValueError, match=name):
        draw(1, **{name: value})


def test_wishes_that_are_none_are_refused():
    with pytest.raises(ValueError, match="'height'.*choose among them"):
        draw(1, height=1.8)
    with pytest.raises(ValueError, match="lower value first"):
        draw(1, age=(60, 30))
