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
"""Edits of who somebody is: shaved or bearded, older or younger, with other skin, hair, eyes or lips.

Each has one exact target: the same face with named quantities of its albedo, its hair and beard, or the part of its
shape that follows from age changed, and nothing else.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from modeling_facegpt.configuration_facegpt import MorphableModelConfig
from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.person import DARKEST, LIGHTEST, OLDEST, YOUNGEST, sample_people, usual_folds
from modeling_facegpt.person_faces import (
    AXIS_NAMES,
    BROWN_IRIS,
    GREY_HAIR,
    IRIS_COLOURS,
    PIGMENT_NAMES,
    along_axes,
    person_features,
    skin_pigments,
)
from modeling_facegpt.person_measurements import PersonMeasures

YEARS = 10.0  # that one step makes somebody older
TONE = 9.0  # L* of one step of the skin
BLUE, GREEN, BROWN = IRIS_COLOURS[0], IRIS_COLOURS[1], IRIS_COLOURS[4]


class PersonEdit(NamedTuple):
    """How an edit is said, and what it does."""

    texts: tuple[str, ...]  # with blanks for pronouns; the last one is held out from training
    change: Callable[[FaceMeasurer, FaceParameters, float], FaceParameters]
    measure: str  # of `PersonMeasures`, which tells whether it is done
    degrees: bool = False  # whether there is more or less of it


def set_quantities(face: FaceParameters, config: MorphableModelConfig, values: Mapping[str, float]) -> FaceParameters:
    """The face with named quantities of its albedo, or millimetres of hair and beard, at these values."""
    albedo, identity = face.albedo.clone(), face.identity.clone()
    first = config.num_identity - len(config.offset_names)
    for name, value in values.items():
        if name in config.offset_names:
            index = config.offset_names.index(name)
            identity[:, first + index] = value / config.offset_scales[index]
        else:
            index = config.albedo_names.index(name)
            albedo[:, index] = (value - config.albedo_centres[index]) / config.albedo_scales[index]
    return face._replace(
        albedo=albedo,
        identity=identity if set(values) & set(config.offset_names) else face.identity,
    )


def _setting(values: Mapping[str, float]) -> Callable[[FaceMeasurer, FaceParameters, float], FaceParameters]:
    def change(measurer: FaceMeasurer, face: FaceParameters, amount: float) -> FaceParameters:
        return set_quantities(face, measurer.face_model.config, values)

    return change


def _colour(part: str, colour: tuple[float, ...], start: tuple[float, ...] = (0.0, 0.0, 0.0)) -> dict[str, float]:
    """Quantities that give a part one of the colours of `person_faces`."""
    places = along_axes(torch.tensor([colour]) - torch.tensor([start]))[0].tolist()
    return {f"{part}-{axis}": place for axis, place in zip(AXIS_NAMES, places, strict=True)}


def _measures(measurer: FaceMeasurer, face: FaceParameters) -> PersonMeasures:
    measures = measurer.measure_people(face.identity, face.albedo)
    if measures is None:
        raise ValueError("got an edit of a person, but this 3DMM does not know people; use one that does")
    return measures


def make_older(measurer: FaceMeasurer, face: FaceParameters, amount: float) -> FaceParameters:
    """`amount` steps of ten years: the shape that follows from age, folds, and the skin under the eyes."""
    face_model = measurer.face_model
    config, measures = face_model.config, _measures(measurer, face)
    before = measures.age.clamp(YOUNGEST, OLDEST)
    after = (before + YEARS * amount).clamp(YOUNGEST, OLDEST)
    sex = (measures.sex > 0).float()
    moved = _features(sex, after) - _features(sex, before)
    deeper = usual_folds(after) - usual_folds(before)
    folds = (measures.folds + deeper).clamp(0.0, 1.0)
    changed = set_quantities(face, config, {"folds-depth": float(folds[0]), "folds": float(folds[0])})
    index = config.albedo_names.index("under-eye-darkness")
    albedo = changed.albedo.clone()
    albedo[:, index] += 1.6 * deeper / config.albedo_scales[index]
    return changed._replace(identity=changed.identity + moved @ face_model.person_slopes, albedo=albedo)


def _features(sex: Tensor, age: Tensor) -> Tensor:
    anybody = sample_people(torch.Generator().manual_seed(0), len(age))
    return person_features(anybody._replace(sex=sex, age=age))


def darken_skin(measurer: FaceMeasurer, face: FaceParameters, amount: float) -> FaceParameters:
    """`amount` steps of L* less, by the pigments of people's skin."""
    config, lightness = measurer.face_model.config, _measures(measurer, face).lightness.clamp(DARKEST, LIGHTEST)
    anybody = sample_people(torch.Generator().manual_seed(0), len(lightness))
    plain = anybody._replace(redness=0 * lightness, yellowness=0 * lightness)
    target = (lightness - TONE * amount).clamp(DARKEST, LIGHTEST)
    pigments = skin_pigments(plain._replace(lightness=target)) - skin_pigments(plain._replace(lightness=lightness))
    albedo = face.albedo.clone()
    for column, name in enumerate(PIGMENT_NAMES):
        index = config.albedo_names.index(name)
        albedo[:, index] += pigments[:, column] / config.albedo_scales[index]
    return face._replace(albedo=albedo)


SHAVEN = {"beard": 0.0, "moustache": 0.0, "stubble": 0.0, "beard-volume": 0.0}
BEARDED = {"beard": 1.0, "moustache": 1.0, "stubble": 1.0, "beard-volume": 5.0}
BALD = {"hair-reach": -1.2, "side-hair": 0.0, "hair-volume": 0.2, "side-hair-volume": 0.2}
GREY = _colour("hair", GREY_HAIR) | _colour("beard", GREY_HAIR)
# Texts hold blanks for the person; comparatives take degrees. The last text of each is held out from training.
PERSON_EDITS: dict[str, PersonEdit] = {
    "shave": PersonEdit(
        ("Shave {object}.", "Take the beard off.", "Make {object} clean-shaven.", "{Pronoun} should have no beard."),
        _setting(SHAVEN),
        "beard",
    ),
    "beard": PersonEdit(
        (
            "Give {object} a beard.",
            "Make {object} bearded.",
            "{Pronoun} should have a beard.",
            "Now give {object} a beard.",
        ),
        _setting(BEARDED),
        "beard",
    ),
    "older": PersonEdit(
        (
            "Make {object} ten years older.",
            "{Pronoun} should be ten years older.",
            "Now make {object} ten years older.",
        ),
        make_older,
        "age",
        True,
    ),
    "younger": PersonEdit(
        (
            "Make {object} ten years younger.",
            "{Pronoun} should be ten years younger.",
            "Now make {object} ten years younger.",
        ),
        lambda measurer, face, amount: make_older(measurer, face, -amount),
        "age",
        True,
    ),
    "darker skin": PersonEdit(
        ("Darker skin.", "Make the skin darker.", "Give {object} darker skin.", "{Pronoun} should have darker skin."),
        darken_skin,
        "lightness",
        True,
    ),
    "lighter skin": PersonEdit(
        (
            "Lighter skin.",
            "Make the skin lighter.",
            "Give {object} lighter skin.",
            "{Pronoun} should have lighter skin.",
        ),
        lambda measurer, face, amount: darken_skin(measurer, face, -amount),
        "lightness",
        True,
    ),
    "bald": PersonEdit(
        ("Make {object} bald.", "{Pronoun} should be bald.", "Now make {object} bald."),
        _setting(BALD),
        "hair",
    ),
    "grey hair": PersonEdit(
        ("Give {object} grey hair.", "Make the hair grey.", "{Pronoun} should have grey hair."),
        _setting(GREY),
        "hair_lightness",
    ),
    "blue eyes": PersonEdit(
        ("Give {object} blue eyes.", "Make the eyes blue.", "{Pronoun} should have blue eyes."),
        _setting(_colour("iris", BLUE, BROWN_IRIS)),
        "iris_yellowness",
    ),
    "green eyes": PersonEdit(
        ("Give {object} green eyes.", "Make the eyes green.", "{Pronoun} should have green eyes."),
        _setting(_colour("iris", GREEN, BROWN_IRIS)),
        "iris_greenness",
    ),
    "brown eyes": PersonEdit(
        ("Give {object} brown eyes.", "Make the eyes brown.", "{Pronoun} should have brown eyes."),
        _setting(_colour("iris", BROWN, BROWN_IRIS)),
        "iris_lightness",
    ),
    "lipstick": PersonEdit(
        ("Give {object} lipstick.", "Put lipstick on {object}.", "{Pronoun} should wear lipstick."),
        _setting({"lipstick": 0.85, "lipstick-depth": 0.5}),
        "lip_redness",
    ),
    "no lipstick": PersonEdit(
        ("Take the lipstick off.", "{Pronoun} should wear no lipstick.", "Take off the lipstick."),
        _setting({"lipstick": 0.0}),
        "lip_redness",
    ),
    "freckles": PersonEdit(
        ("Give {object} freckles.", "{Pronoun} should have freckles.", "Make {object} freckled."),
        _setting({"freckles": 0.8}),
        "freckles",
    ),
}


def change_person(measurer: FaceMeasurer, face: FaceParameters, name: str, amount: float) -> FaceParameters:
    """The face `(1, ...)` after one of `PERSON_EDITS`."""
    return PERSON_EDITS[name].change(measurer, face, amount)


def person_edit_is_present(
    measurer: FaceMeasurer, before: FaceParameters, after: FaceParameters, name: str, amount: float
) -> bool:
    """Whether at least half of what one of `PERSON_EDITS` would change has changed; where it would change nothing,
    whether nothing has."""
    wanted = change_person(measurer, before, name, amount)
    was, is_, should = (
        float(_measures(measurer, face)._asdict()[PERSON_EDITS[name].measure]) for face in (before, after, wanted)
    )
    return abs(is_ - should) <= abs(should - was) / 2
