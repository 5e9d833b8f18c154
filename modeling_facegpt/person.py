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
"""Who a face belongs to: a record of what people differ in, and a joint distribution of it that makes sense.

The 3DMM's builder, the data engine and the grammar all draw people here. The shape of a face and the colour of its
skin do not depend on each other: no groups of people are named or drawn.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .skin_reflectance import DARKEST, LIGHTEST

WOMAN, MAN = 0.0, 1.0
YOUNGEST, OLDEST = 18.0, 90.0
CANDIDATES = 256  # people from whom one is chosen that fits what is wanted
BALD = -1.0  # reach of the hair: nothing of it above the ears; 0 is the usual hairline, 1 a fringe down to the brows
STUBBLE, FULL_BEARD = 0.25, 0.8


class Person(NamedTuple):
    """N people. Shares go from 0 to 1; what is in standard deviations is 0 for the average of the sex and age."""

    sex: Tensor  # (N,) 0 woman, 1 man
    age: Tensor  # (N,) years
    build: Tensor  # (N,) slim to heavy, standard deviations
    lightness: Tensor  # (N,) L* of the bare skin
    redness: Tensor  # (N,) blood in the skin, standard deviations
    yellowness: Tensor  # (N,) carotene in the skin, standard deviations
    hair_reach: Tensor  # (N,) -1 bald, -0.5 a bare crown, 0 the usual hairline, 1 a fringe
    hair_length: Tensor  # (N,) millimetres by which it stands off
    hair_darkness: Tensor  # (N,) white blond to black
    hair_redness: Tensor  # (N,) share of red pigment
    grey: Tensor  # (N,) share of grey hair
    beard: Tensor  # (N,) share of chin and jaw that hair hides: 0.25 stubble, 0.8 and more a full beard
    moustache: Tensor  # (N,) the same above the lips
    brows: Tensor  # (N,) density of the eyebrows, standard deviations of all people
    iris_darkness: Tensor  # (N,) blue over green and hazel to dark brown
    lipstick: Tensor  # (N,) share of the lips' colour that it hides
    lipstick_depth: Tensor  # (N,) rose to dark red
    eye_make_up: Tensor  # (N,) on lashes and lids
    folds: Tensor  # (N,) depth of the lines around mouth and eyes and across the forehead
    freckles: Tensor  # (N,)
    age_spots: Tensor  # (N,)
    glasses: Tensor  # (N,) 1 for people who wear them


RANGES: dict[str, tuple[float, float]] = dict.fromkeys(Person._fields, (0.0, 1.0)) | {
    "age": (YOUNGEST, OLDEST),
    "build": (-2.5, 2.5),
    "lightness": (DARKEST, LIGHTEST),
    "redness": (-2.5, 2.5),
    "yellowness": (-2.5, 2.5),
    "hair_reach": (-1.3, 1.0),
    "hair_length": (0.0, 40.0),
    "brows": (-2.5, 2.5),
}


def check_person(person: Person) -> None:
    """Refuse people that there are not, by the name of the field.

    Raises:
        ValueError: if a value is outside of `RANGES` or no number, or `sex` or `glasses` is neither 0 nor 1.
    """
    for name, values in person._asdict().items():
        _check_values(name, values)


def _check_values(name: str, values: Tensor) -> None:
    low, high = RANGES[name]
    impossible = ~((values >= low) & (values <= high))  # true for NaN, too
    if name in ("sex", "glasses"):
        impossible |= (values != 0) & (values != 1)
        wanted = "0 or 1"
    else:
        wanted = f"{low:g} to {high:g}"
    if impossible.any():
        raise ValueError(
            f"got a person with {name}={float(values[impossible][0]):g}, but it is {wanted}; change {name}"
        )


def sample_people(
    generator: torch.Generator, count: int, wanted: Mapping[str, float | tuple[float, float]] | None = None
) -> Person:
    """Draw `count` people, all that is not wanted given what is.

    Args:
        generator (`torch.Generator`): the only source of chance.
        count (`int`): how many.
        wanted (`Mapping`, *optional*): field of `Person` to its value, or to its lowest and highest value.

    Raises:
        ValueError: if a field is none of `Person`'s, or a value is impossible.
    """
    ranges = {name: _wanted_range(name, value) for name, value in (wanted or {}).items()}
    if not ranges:
        return _sample(generator, count)
    candidates = _sample(generator, count * CANDIDATES)
    misfit = torch.zeros(count * CANDIDATES)
    for name, (low, high) in ranges.items():
        values, (lowest, highest) = candidates._asdict()[name], RANGES[name]
        outside = (low - values).clamp(min=0) + (values - high).clamp(min=0)
        misfit = misfit + (outside / (0.05 * (highest - lowest))).square()
    weights = (-misfit / 2).unflatten(0, (count, CANDIDATES)).softmax(1)
    chosen = torch.multinomial(weights, 1, generator=generator)[:, 0] + CANDIDATES * torch.arange(count)
    fitting = {
        name: values[chosen].clamp(*ranges[name]) if name in ranges else values[chosen]
        for name, values in candidates._asdict().items()
    }
    return Person(**fitting)


def _wanted_range(name: str, value: float | tuple[float, float]) -> tuple[float, float]:
    if name not in RANGES:
        raise ValueError(f"got {name!r} wanted of a person, but there are {list(RANGES)}; choose among them")
    low, high = value if isinstance(value, tuple) else (value, value)
    _check_values(name, torch.tensor([low, high]))
    if low > high:
        raise ValueError(f"got {name} from {low:g} to {high:g}; give the lower value first")
    return low, high


def usual_folds(age: Tensor) -> Tensor:
    """Mean depth of folds `(N,)` at an age."""
    return ((age - 28) / 50).clamp(0.0, 1.0)


def usual_grey(age: Tensor) -> Tensor:
    """Mean share of grey hair `(N,)` at an age, of people who do not dye it."""
    return ((age - 52) / 7).sigmoid()


def _sample(generator: torch.Generator, count: int) -> Person:
    draw = _Chance(generator, count)
    sex = draw.happens(0.5)
    man = sex > 0
    age = draw.uniform(YOUNGEST, OLDEST)
    lightness = draw.uniform(DARKEST, LIGHTEST)
    light = ((lightness - 61) / 3).sigmoid()
    growth = ((age - 15) / 8).clamp(0, 1)  # of a young man's beard
    bald, reach = _sample_hairline(draw, man, age)
    darkness, red, iris = _sample_pigments(draw, light)
    dyed = ~man & (age > 35) & (draw.uniform(0, 1) < 0.4 - 0.3 * ((age - 70) / 15).clamp(0, 1))
    grey = ((age - draw.normal(52, 8)) / 6).sigmoid() * (~dyed)
    beard, moustache = _sample_beard(draw, man)
    folds = (usual_folds(age) + draw.normal(0, 0.07)).clamp(0, 1)
    length = torch.where(man, draw.uniform(3, 14), draw.uniform(14, 34))
    lipstick, depth, eye_make_up = _sample_make_up(draw, man, age)
    return Person(
        sex=sex,
        age=age,
        build=draw.normal(0, 1).clamp(-2.5, 2.5),
        lightness=lightness,
        redness=draw.normal(0, 1).clamp(-2.5, 2.5),
        yellowness=draw.normal(0, 1).clamp(-2.5, 2.5),
        hair_reach=reach,
        hair_length=length * torch.where(bald, 0.15, 1.0),
        hair_darkness=darkness,
        hair_redness=red,
        grey=grey,
        beard=beard * growth,
        moustache=moustache * growth,
        brows=(torch.where(man, 0.75, -0.75) + 0.6 * draw.normal(0, 1) - 0.5 * usual_folds(age)).clamp(-2.5, 2.5),
        iris_darkness=iris,
        lipstick=lipstick,
        lipstick_depth=depth,
        eye_make_up=eye_make_up,
        folds=folds,
        freckles=(draw.happens(0.3) * light * (1 - 0.6 * usual_folds(age))) * draw.uniform(0.3, 1.0),
        age_spots=(((age - 58) / 25).clamp(0, 1) * draw.uniform(0.0, 1.3)).clamp(0, 1),
        glasses=(draw.uniform(0, 1) < 0.12 + 0.3 * usual_folds(age)).float(),
    )


def _sample_make_up(draw: "_Chance", man: Tensor, age: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lipstick, its depth, and what is on lashes and lids: most women wear some."""
    painted = (~man & (draw.uniform(0, 1) < 0.6)).float()
    eyes = (~man).float() * draw.happens(0.65) * draw.uniform(0.3, 1.0) * (1 - 0.4 * usual_folds(age))
    return painted * draw.uniform(0.4, 1.0), draw.uniform(0, 1), eyes


class _Chance:
    """Numbers `(N,)` for N people."""

    def __init__(self, generator: torch.Generator, count: int):
        self.generator, self.count = generator, count

    def uniform(self, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(self.count, generator=self.generator)

    def normal(self, mean: float, deviation: float) -> Tensor:
        return mean + deviation * torch.randn(self.count, generator=self.generator)

    def happens(self, probability: float) -> Tensor:
        return (torch.rand(self.count, generator=self.generator) < probability).float()


def _sample_hairline(draw: _Chance, man: Tensor, age: Tensor) -> tuple[Tensor, Tensor]:
    """Who is bald, and how far hair reaches: men lose it with age, a few shave it, many women wear a fringe."""
    loss = ((age - 25) / 50).clamp(0, 1.2) * draw.uniform(-0.5, 1.0).clamp(min=0)
    shaven = (draw.happens(0.07) > 0) & (age < 70)
    of_men = torch.where(shaven, -1.25, draw.normal(0.03, 0.05) - loss)
    fringe = draw.happens(0.45) * draw.uniform(0.3, 0.85)
    of_women = draw.normal(0.10, 0.05).clamp(min=0.04) + fringe
    reach = torch.where(man, of_men, of_women).clamp(-1.25, 1.0)
    return reach < -0.6, reach


def _sample_pigments(draw: _Chance, light: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Darkness and redness of the hair, darkness of the iris; fair hair and eyes come with light skin only."""
    fair = (draw.uniform(0, 1) < 0.65 * light).float()
    darkness = fair * draw.uniform(0.15, 0.75) + (1 - fair) * draw.uniform(0.75, 1.0)
    ginger = (draw.uniform(0, 1) < 0.1 * light).float()
    red = ginger * draw.uniform(0.6, 1.0) + (1 - ginger) * draw.uniform(0.0, 0.25)
    pale_eyes = (draw.uniform(0, 1) < 0.65 * light).float()
    iris = pale_eyes * draw.uniform(0.0, 0.5) + (1 - pale_eyes) * draw.uniform(0.65, 1.0)
    return darkness * (1 - 0.4 * ginger), red, iris


def _sample_beard(draw: _Chance, man: Tensor) -> tuple[Tensor, Tensor]:
    """How much beard and moustache hide: two fifths of men are shaven, a quarter unshaven, the others bearded."""
    kind = draw.uniform(0, 1)
    full, stubble = draw.uniform(0.7, 1.0), draw.uniform(0.12, 0.4)
    beard = torch.where(kind < 0.42, 0.0, torch.where(kind < 0.67, stubble, torch.where(kind < 0.75, 0.0, full)))
    moustache = torch.where((kind >= 0.67) & (kind < 0.75), full, torch.where(kind > 0.94, 0.0, beard))
    return beard * man, moustache * man
