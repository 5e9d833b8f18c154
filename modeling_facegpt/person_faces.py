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
"""The face of a `Person` in the coefficients of a 3DMM, by the names that its config gives them."""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from .configuration_facegpt import MorphableModelConfig
from .morphable_model import MorphableModel
from .person import FULL_BEARD, STUBBLE, WOMAN, Person, sample_people, usual_folds
from .skin_reflectance import skin_of_lightness

MIDDLE_LIGHTNESS = 50.5  # L* of the skin where the coefficients of its pigments are 0
# Log linear reflectance of hair, dark to fair, of red hair, and of grey hair.
HAIR_DARKNESS = (0.0, 0.35, 0.6, 0.8, 1.0)
HAIR_COLOURS = (
    *((-0.75, -1.05, -1.60), (-1.45, -1.90, -2.60), (-2.45, -2.95, -3.55)),
    *((-3.50, -3.80, -4.15), (-4.50, -4.60, -4.70)),
)
RED_HAIR = (-1.55, -2.70, -3.90)
GREY_HAIR = (-0.85, -0.88, -0.97)
# Of the iris, blue over green and hazel to dark brown.
IRIS_DARKNESS = (0.0, 0.3, 0.5, 0.7, 1.0)
IRIS_COLOURS = (
    *((-2.50, -1.90, -1.45), (-2.40, -1.95, -2.00), (-2.15, -2.30, -3.20)),
    *((-2.60, -3.20, -4.00), (-3.50, -4.00, -4.50)),
)
BROWN_IRIS = (-2.60, -3.20, -4.00)
PIGMENT_NAMES = ("skin-tone", "skin-redness", "skin-yellowness")
# Axes of log colours: all channels; red against blue; green against both.
AXIS_NAMES = ("lightness", "warmth", "greenness")
COLOUR_AXES = ((1.0, 1.0, 1.0), (0.5, 0.0, -0.5), (-0.25, 0.5, -0.25))
SIDE_HAIR_FROM, SIDE_HAIR_TO = 15.0, 21.0  # millimetres: from there on hair hangs over the ears
BEARD_FROM = STUBBLE + 0.1  # share of the skin from which on a beard has a colour of its own and is no shade
DARKER_BROWS = 0.25  # how far brows are from the hair's colour to the darkest


class FaceCode(NamedTuple):
    """Identity and albedo of N faces."""

    identity: Tensor  # (N, num_identity)
    albedo: Tensor  # (N, num_albedo)


def knows_people(config: MorphableModelConfig) -> bool:
    """Whether a 3DMM tells how faces follow from a `Person`."""
    return config.num_person_features > 0 and bool(config.albedo_names)


def person_features(person: Person) -> Tensor:
    """What the shape of a face follows from, `(N, 6)`, each about 0 to 1 in size."""
    sex = 2 * person.sex - 1
    age = (person.age - 54) / 20
    return torch.stack((sex, age, sex * age, age.square() - 1, person.build, sex * person.build), dim=-1)


def draw_code(
    generator: torch.Generator, face_model: MorphableModel, person: Person, spread: float | Tensor = 1.0
) -> FaceCode:
    """Faces of N people: what their record does not say is drawn.

    Args:
        generator (`torch.Generator`): the only source of chance.
        face_model (`MorphableModel`): one that knows people.
        person (`Person`): N of them.
        spread (`float` or `torch.Tensor` of shape `(N, 1)`): of what is drawn; 0 gives the mean face of such people.
    """
    config, count = face_model.config, len(person.age)
    noise = spread * torch.randn(count, config.num_identity, generator=generator)
    identity = person_features(person) @ face_model.person_slopes + noise @ face_model.person_spread.T
    offsets = person_offsets(person)
    for index, (name, scale) in enumerate(zip(config.offset_names, config.offset_scales, strict=True)):
        identity[:, config.num_identity - len(config.offset_names) + index] = offsets[name] / scale
    own = spread * torch.randn(count, config.num_albedo, generator=generator)
    return FaceCode(identity, _coefficients(config, person_quantities(person), own))


def draw_anybody(
    generator: torch.Generator, face_model: MorphableModel, faces: int, spread: float | Tensor = 1.0
) -> tuple[FaceCode, Person | None]:
    """Random people and their faces; where the 3DMM does not know people, coefficients ~ N(0, 1) and `None`.

    Args:
        generator (`torch.Generator`): the only source of chance.
        face_model (`MorphableModel`): any.
        faces (`int`): how many.
        spread (`float` or `torch.Tensor` of shape `(N, 1)`): of what is drawn around the mean identity.
    """
    config = face_model.config
    if knows_people(config):
        person = sample_people(generator, faces)
        return draw_code(generator, face_model, person, spread), person
    identity = spread * torch.randn(faces, config.num_identity, generator=generator)
    return FaceCode(identity, torch.randn(faces, config.num_albedo, generator=generator)), None


def _coefficients(config: MorphableModelConfig, quantities: Mapping[str, Tensor], own: Tensor) -> Tensor:
    """Albedo coefficients `(N, num_albedo)` of named quantities; those that have none keep their value in `own`."""
    columns = []
    for index, name in enumerate(config.albedo_names):
        centre, scale = config.albedo_centres[index], config.albedo_scales[index]
        columns.append((quantities[name] - centre) / scale if name in quantities else own[:, index])
    return torch.stack(columns, dim=-1)


def person_offsets(person: Person) -> dict[str, Tensor]:
    """Millimetres by which hair and beard stand off, and depth of folds, `(N,)` each."""
    bearded = ((person.beard - STUBBLE) / (FULL_BEARD - STUBBLE)).clamp(0, 1)
    sides = _side_hair(person)
    return {
        "hair-volume": person.hair_length.clamp(max=28.0) * ((person.hair_reach + 1.0) / 0.6).clamp(0.1, 1.0),
        "side-hair-volume": torch.where(sides > 0, 14.0 * sides, 0.25 * person.hair_length),
        "beard-volume": 5.0 * bearded,
        "folds-depth": person.folds,
    }


def _side_hair(person: Person) -> Tensor:
    """How far hair hangs over the ears, `(N,)` in [0, 1]."""
    return ((person.hair_length - SIDE_HAIR_FROM) / (SIDE_HAIR_TO - SIDE_HAIR_FROM)).clamp(0, 1)


def person_quantities(person: Person) -> dict[str, Tensor]:
    """What the named albedo coefficients of N people stand for, `(N,)` each."""
    return _skin_quantities(person) | _hair_quantities(person) | _colour_quantities(person)


def _skin_quantities(person: Person) -> dict[str, Tensor]:
    """What is painted on skin, eyes and teeth."""
    woman, old = (person.sex == WOMAN).float(), usual_folds(person.age)
    return {
        "lip-redness": 0.55 * woman - 0.35 - 0.5 * old + 0.2 * person.redness,
        "lip-darkness": 0.3 - 0.8 * ((person.lightness - 30) / 40).clamp(0, 1),
        "lipstick": person.lipstick,
        "lipstick-depth": person.lipstick_depth,
        "cheek-redness": 0.25 * person.redness + 0.7 * (person.eye_make_up > 0),
        "nose-redness": 0.25 * person.redness + 0.7 * old * (1 - woman),
        "under-eye-darkness": 1.6 * old - 0.5 * person.eye_make_up,
        "lid-darkness": 1.8 * person.eye_make_up + 0.4 * old,
        "lash-darkness": 2.2 * person.eye_make_up + 0.6 * woman - 1.0 * old,
        "sclera-yellowness": old,
        "teeth-yellowness": old,
        "freckles": person.freckles,
        "age-spots": person.age_spots,
        "folds": person.folds,
    }


def _hair_quantities(person: Person) -> dict[str, Tensor]:
    """How much hair there is where."""
    dark_hair = (1 - person.grey) * person.hair_darkness
    # Even a shaven chin is a little darker where the hair is dark.
    shadow = 0.2 * person.sex * dark_hair * ((person.age - 17) / 6).clamp(0, 1)
    stubble = (person.beard / STUBBLE).clamp(max=1) * (0.5 + 0.5 * dark_hair)
    return {
        "stubble": torch.maximum(shadow, stubble),
        "beard": ((person.beard - BEARD_FROM) / (FULL_BEARD - BEARD_FROM)).clamp(0, 1),
        "moustache": ((person.moustache - BEARD_FROM) / (FULL_BEARD - BEARD_FROM)).clamp(0, 1),
        "hair-reach": person.hair_reach,
        "side-hair": _side_hair(person) * (person.hair_reach > -0.6),
        "brows": 0.62 + 0.17 * person.brows,
    }


def _colour_quantities(person: Person) -> dict[str, Tensor]:
    """Colours along their axes."""
    beard = hair_colour(0.9 * person.hair_darkness, person.hair_redness, (1.15 * person.grey).clamp(max=1))
    brows = torch.lerp(
        hair_colour(person.hair_darkness.clamp(min=0.35), person.hair_redness, 0.55 * person.grey),
        torch.tensor(HAIR_COLOURS[-1]),
        DARKER_BROWS,
    )
    iris = _between(person.iris_darkness, IRIS_DARKNESS, IRIS_COLOURS) - torch.tensor(BROWN_IRIS)
    hair = hair_colour(person.hair_darkness, person.hair_redness, person.grey)
    pigments = dict(
        zip(("skin-tone", "skin-redness", "skin-yellowness"), skin_pigments(person).unbind(-1), strict=True)
    )
    colours = {"hair": hair, "beard": beard, "brow": brows, "iris": iris}
    return pigments | {
        f"{part}-{axis}": value
        for part, colour in colours.items()
        for axis, value in zip(AXIS_NAMES, along_axes(colour).unbind(-1), strict=True)
    }


def along_axes(colour: Tensor) -> Tensor:
    """How far log colours `(N, 3)` lie along each of `COLOUR_AXES`, `(N, 3)`."""
    return torch.linalg.solve(torch.tensor(COLOUR_AXES).T, colour.T).T


def hair_colour(darkness: Tensor, redness: Tensor, grey: Tensor) -> Tensor:
    """Log linear reflectance `(N, 3)` of hair."""
    natural = _between(darkness, HAIR_DARKNESS, HAIR_COLOURS)
    natural = torch.lerp(natural, torch.tensor(RED_HAIR).expand_as(natural), (redness[:, None] - 0.15).clamp(0, 1))
    return torch.lerp(natural.exp(), torch.tensor(GREY_HAIR).exp().expand_as(natural), grey[:, None]).log()


def skin_pigments(person: Person) -> Tensor:
    """Amounts `(N, 3)` of `pigment_directions` that give the skin of N people, 0 for the middle."""
    wanted = skin_of_lightness(person.lightness, person.redness, person.yellowness).log()
    return torch.linalg.solve(pigment_directions().T, (wanted - middle_skin()).T).T


@cache
def middle_skin() -> Tensor:
    """Log linear reflectance `(3,)` of the skin whose coefficients are 0."""
    return _skin(MIDDLE_LIGHTNESS, 0.0, 0.0)


@cache
def pigment_directions() -> Tensor:
    """Change `(3, 3)` of log reflectance by 10 less L*, and by one deviation more of blood and of carotene."""
    middle = middle_skin()
    return torch.stack(
        (
            _skin(MIDDLE_LIGHTNESS - 10, 0.0, 0.0) - middle,
            _skin(MIDDLE_LIGHTNESS, 1.0, 0.0) - middle,
            _skin(MIDDLE_LIGHTNESS, 0.0, 1.0) - middle,
        )
    )


def _skin(lightness: float, redness: float, yellowness: float) -> Tensor:
    return skin_of_lightness(*(torch.tensor([value]) for value in (lightness, redness, yellowness)))[0].log()


def _between(place: Tensor, places: tuple[float, ...], colours: tuple[tuple[float, ...], ...]) -> Tensor:
    """Colours `(N, 3)` at places `(N,)` along a row of colours."""
    steps, table = torch.tensor(places), torch.tensor(colours)
    right = torch.searchsorted(steps, place.contiguous()).clamp(1, len(steps) - 1)
    share = ((place - steps[right - 1]) / (steps[right] - steps[right - 1])).clamp(0, 1)
    return torch.lerp(table[right - 1], table[right], share[:, None])
