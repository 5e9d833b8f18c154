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
"""Words for who somebody is: woman and man, age, skin, hair, beard, brows, eyes, lips, folds.

Each word has two meanings that agree: what a person must be who is asked for, and how it is measured of a face.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from modeling_facegpt.person import Person
from modeling_facegpt.person_measurements import PersonMeasures

Wanted = dict[str, tuple[float, float]]  # field of `Person` to its lowest and highest value
MAN_ONLY: Wanted = {"sex": (1.0, 1.0)}


class PersonWord(NamedTuple):
    """One property of people."""

    group: str  # of words that exclude each other
    adjectives: tuple[str, ...]  # before a noun; () where there are none
    phrases: tuple[str, ...]  # behind `with`; () where there are none
    wanted: Wanted
    score: Callable[[PersonMeasures], Tensor]  # the higher, the more the word holds
    yes: float  # score from which on it holds
    no: float  # score below which it does not hold; between both it is not clear


def _window(values: Tensor, middle: float) -> Tensor:
    return -(values - middle).abs()


def _grey(measures: PersonMeasures) -> Tensor:
    return measures.hair_lightness - 2.5 * measures.hair_chroma


def _green(measures: PersonMeasures) -> Tensor:
    return measures.iris_greenness - measures.iris_yellowness.abs()


# What hardly anybody is at the same time.
RARELY_TOGETHER: tuple[set[str], ...] = (
    *({"young", other} for other in ("grey", "wrinkled", "bald")),
    *({"woman", other} for other in ("bald", "thick eyebrows")),
    *({"man", other} for other in ("lipstick", "thin eyebrows")),
    *({"elderly", other} for other in ("dark-haired", "red-haired", "freckled")),
    *({"dark", other} for other in ("blue-eyed", "green-eyed", "red-haired", "freckled")),
    *({"brown", other} for other in ("blue-eyed", "green-eyed", "red-haired", "freckled")),
    *({"tanned", other} for other in ("blue-eyed", "green-eyed", "red-haired", "freckled")),
    *({"middle-aged", other} for other in ("wrinkled",)),
    *({"wrinkled", other} for other in ("dark-haired", "red-haired", "freckled")),
    *({beard, other} for beard in ("bearded", "stubbly", "clean-shaven", "moustache") for other in ("lipstick",)),
)

PERSON_WORDS: dict[str, PersonWord] = {
    "woman": PersonWord("sex", (), (), {"sex": (0.0, 0.0)}, lambda m: -m.sex, 0.4, 0.0),
    "man": PersonWord("sex", (), (), {"sex": (1.0, 1.0)}, lambda m: m.sex, 0.4, 0.0),
    "young": PersonWord("age", ("young",), (), {"age": (18, 31)}, lambda m: -m.age, -32, -38),
    "middle-aged": PersonWord("age", ("middle-aged",), (), {"age": (42, 57)}, lambda m: _window(m.age, 49.5), -9, -14),
    "elderly": PersonWord("age", ("elderly", "old"), (), {"age": (66, 90)}, lambda m: m.age, 64, 59),
    "pale": PersonWord("skin", ("pale",), ("pale skin",), {"lightness": (69, 76)}, lambda m: m.lightness, 67, 64),
    "tanned": PersonWord(
        "skin", ("tanned",), ("tanned skin",), {"lightness": (48, 57)}, lambda m: _window(m.lightness, 52.5), -5, -8
    ),
    "brown": PersonWord(
        "skin",
        ("brown-skinned",),
        ("brown skin",),
        {"lightness": (36, 45)},
        lambda m: _window(m.lightness, 40.5),
        -5,
        -8,
    ),
    "dark": PersonWord(
        "skin", ("dark-skinned",), ("dark skin",), {"lightness": (25, 34)}, lambda m: -m.lightness, -35.5, -39
    ),
    "freckled": PersonWord(
        "freckles", ("freckled",), ("freckles",), {"freckles": (0.45, 1.0)}, lambda m: m.freckles, 0.25, 0.13
    ),
    "bearded": PersonWord(
        "beard", ("bearded",), ("a beard",), {"beard": (0.8, 1.0), **MAN_ONLY}, lambda m: m.beard, 0.7, 0.45
    ),
    "stubbly": PersonWord(
        "beard",
        ("stubbly", "unshaven"),
        ("stubble",),
        {"beard": (0.15, 0.4), "moustache": (0.15, 0.4), **MAN_ONLY},
        lambda m: _window(m.beard, 0.2),
        -0.14,
        -0.17,
    ),
    "clean-shaven": PersonWord(
        "beard",
        ("clean-shaven",),
        ("no beard",),
        {"beard": (0, 0), "moustache": (0, 0), **MAN_ONLY},
        lambda m: -torch.maximum(m.beard, m.moustache),
        -0.08,
        -0.12,
    ),
    "moustache": PersonWord(
        "beard",
        (),
        ("a moustache",),
        {"moustache": (0.8, 1.0), "beard": (0.0, 0.1), **MAN_ONLY},
        lambda m: m.moustache - m.beard,
        0.5,
        0.3,
    ),
    "bald": PersonWord(
        "hair", ("bald",), ("a bald head",), {"hair_reach": (-1.3, -0.8)}, lambda m: -m.hair, -0.3, -0.5
    ),
    "grey": PersonWord(
        "hair",
        ("grey-haired",),
        ("grey hair",),
        {"grey": (0.75, 1.0)},
        _grey,
        35,
        25,
    ),
    "red-haired": PersonWord(
        "hair",
        ("red-haired",),
        ("red hair",),
        {"hair_redness": (0.65, 1.0), "grey": (0.0, 0.1)},
        lambda m: m.hair_redness,
        9.5,
        8.0,
    ),
    "dark-haired": PersonWord(
        "hair",
        ("dark-haired",),
        ("dark hair",),
        {"hair_darkness": (0.7, 1.0), "hair_redness": (0.0, 0.3), "grey": (0.0, 0.3)},
        lambda m: -m.hair_lightness,
        -30.0,
        -37.0,
    ),
    "blue-eyed": PersonWord(
        "eyes", ("blue-eyed",), ("blue eyes",), {"iris_darkness": (0, 0.12)}, lambda m: -m.iris_yellowness, 8, 5
    ),
    "green-eyed": PersonWord("eyes", ("green-eyed",), ("green eyes",), {"iris_darkness": (0.24, 0.36)}, _green, 1, -2),
    "brown-eyed": PersonWord(
        "eyes", ("brown-eyed",), ("brown eyes",), {"iris_darkness": (0.65, 1)}, lambda m: -m.iris_lightness, -28, -34
    ),
    "lipstick": PersonWord("lips", (), ("lipstick",), {"lipstick": (0.5, 1.0)}, lambda m: m.lip_redness, 13.5, 11),
    "wrinkled": PersonWord("folds", ("wrinkled",), ("wrinkles",), {"folds": (0.75, 1.0)}, lambda m: m.folds, 0.7, 0.5),
    "thick eyebrows": PersonWord(
        "brows", (), ("thick eyebrows", "bushy eyebrows"), {"brows": (1.0, 2.5)}, lambda m: m.brows, 0.77, 0.7
    ),
    "thin eyebrows": PersonWord(
        "brows", (), ("thin eyebrows", "light eyebrows"), {"brows": (-2.5, -1.0)}, lambda m: -m.brows, -0.47, -0.54
    ),
}


def holds(word: PersonWord, person: Person) -> Tensor:
    """Whether N people are as a word wants them, `(N,)` bool."""
    fits = torch.ones(len(person.age), dtype=torch.bool)
    for name, (low, high) in word.wanted.items():
        values = person._asdict()[name]
        fits &= (values >= low) & (values <= high)
    return fits


def is_measured(word: PersonWord, measures: PersonMeasures) -> Tensor:
    """How much a word holds of N faces, `(N,)`; for words on beards, women count as clearly not."""
    score = word.score(measures)
    return (
        score - 1e3 * (measures.sex < 0) if word.wanted.get("sex") == (1.0, 1.0) and word.group == "beard" else score
    )


def wanted_of(words: tuple[str, ...]) -> Wanted:
    """What a person must be of whom all these words hold."""
    wanted: Wanted = {}
    for name in words:
        for field, (low, high) in PERSON_WORDS[name].wanted.items():
            known = wanted.get(field, (low, high))
            wanted[field] = (max(low, known[0]), min(high, known[1]))
    return wanted


@cache
def words_that_fit(words: tuple[str, ...]) -> tuple[str, ...]:
    """Words of other groups that people may have together with these; sex is a noun of its own."""
    groups = {PERSON_WORDS[name].group for name in words} | {"sex"}
    possible = []
    for name, word in PERSON_WORDS.items():
        if word.group not in groups and not any({name, other} <= pair for other in words for pair in RARELY_TOGETHER):
            ranges = wanted_of((*words, name))
            possible += [name] if all(low <= high for low, high in ranges.values()) else []
    return tuple(possible)


def middle_of(word: PersonWord) -> float:
    """The score half-way between clearly so and clearly not."""
    return (word.yes + word.no) / 2
