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
"""The heads that people may have, of anny, and what each named change does to the average one."""

import re

import torch
from torch import Tensor

from ..person import Person, usual_folds
from .source import AnnyHead

PHENOTYPES = "gender age muscle weight height proportions cupsize firmness african asian caucasian".split()
FACE_CHANGES = re.compile(r"^(?:[lr]-)?(cheek|chin|ear|eyebrows|eye|forehead|head|mouth|neck|nose)-")
# They move or tilt the head as a whole, which is the pose's business, or push one side of it away.
POSE_CHANGES = re.compile(r"^(head-angle|head-trans|neck-trans|(nose|mouth)-trans-out)")
CHANGE_SPREAD = 0.2
# Shares of the common spread: less where changes look like a caricature, and so much in each part of the face that
# people differ there as much as those of ICT-FaceKit, a model of real scans, do. The first match counts.
CHANGE_SHARES = {
    "ear": 0.9,
    "head": 0.5,
    "neck": 0.5,
    "eye-epicanthus": 0.7,
    "eye-trans-out": 0.7,
    "nose-greek": 0.6,
    "chin-cleft": 0.5,
    "nose": 0.82,
    "cheek": 1.35,
    "eye": 1.15,
    "forehead": 1.15,
    "chin": 1.2,
}
ASYMMETRY = 0.25
# anny's heads differ in size by 7 %, people's by 4 %: the power by which each is scaled towards the mean size.
SIZE_EVENNESS = 0.5
# Where the average of the changes lies. At 0, nose and mouth sit 2 to 4 mm lower, the lips are 5 mm higher and the
# eyes 2 mm narrower than anthropometry says of adults (nose height 51 mm, mouth to chin 47 mm, lips 18 mm).
CHANGE_CENTRES = {
    "nose-trans-up": 0.5,
    "mouth-trans-up": 0.35,
    "mouth-scale-vert-incr": -0.4,
    "mouth-upperlip-height-incr": -0.5,
    "chin-height-incr": 0.13,
    "eye-scale-incr": 0.6,
    "eye-trans-out": 0.1,
}
# What anny's own sex, age and weight leave out: changes of men against women (halved either way), of people of 78
# against those of 28, and per standard deviation of build.
OF_MEN = {
    "chin-width-incr": 0.22,
    "chin-bones-incr": 0.25,
    "chin-prominent-incr": 0.15,
    "chin-height-incr": 0.12,
    "eyebrows-trans-forward": 0.30,
    "eyebrows-trans-up": -0.28,
    "eyebrows-angle-up": -0.20,
    "eye-scale-incr": -0.22,
    "eye-height2-incr": -0.15,
    "forehead-nubian-incr": -0.20,
    "nose-scale-horiz-incr": 0.18,
    "nose-scale-vert-incr": 0.15,
    "nose-scale-depth-incr": 0.15,
    "nose-hump-incr": 0.15,
    "nose-point-up": -0.20,
    "mouth-upperlip-volume-incr": -0.22,
    "mouth-lowerlip-volume-incr": -0.22,
    "mouth-upperlip-height-incr": -0.20,
    "mouth-lowerlip-height-incr": -0.15,
    "mouth-scale-horiz-incr": 0.10,
    "cheek-volume-incr": -0.18,
    "cheek-inner-incr": -0.15,
    "neck-scale-horiz-incr": 0.16,
    "neck-scale-depth-incr": 0.14,
    "head-fat-incr": 0.06,
    "head-scale-horiz-incr": 0.05,
}
OF_THE_OLD = {
    "head-age-incr": 0.75,
    "eye-bag-incr": 0.65,
    "eye-bag-out": 0.35,
    "eye-bag-height-incr": 0.25,
    "eye-eyefold-up": -0.55,
    "eye-eyefold-angle-up": -0.5,
    "eye-corner2-up": -0.25,
    "eye-scale-incr": -0.30,
    "eyebrows-trans-up": -0.20,
    "cheek-volume-incr": -0.45,
    "cheek-trans-up": -0.45,
    "cheek-inner-incr": -0.35,
    "mouth-laugh-lines-out": 0.6,
    "mouth-upperlip-volume-incr": -0.45,
    "mouth-lowerlip-volume-incr": -0.35,
    "mouth-upperlip-height-incr": -0.25,
    "mouth-lowerlip-height-incr": -0.25,
    "mouth-angles-up": -0.35,
    "mouth-trans-up": -0.12,
    "chin-jaw-drop-incr": 0.30,
    "neck-double-incr": 0.45,
    "ear-scale-vert-incr": 0.45,
    "ear-lobe-incr": 0.40,
    "nose-scale-vert-incr": 0.25,
    "nose-point-up": -0.35,
    "nose-volume-incr": 0.20,
    "forehead-temple-incr": -0.30,
}
OF_THE_HEAVY = {
    "head-fat-incr": 0.20,
    "cheek-volume-incr": 0.22,
    "neck-double-incr": 0.22,
    "neck-scale-horiz-incr": 0.15,
    "chin-width-incr": 0.06,
}


def face_changes(head: AnnyHead) -> list[str]:
    """anny's names of the local changes that alter the face and not the pose, in its own order."""
    labels = head.source.local_change_labels
    return [name for name in labels if FACE_CHANGES.match(name) and not POSE_CHANGES.match(_unsided(name))]


def _unsided(name: str) -> str:
    return re.sub(r"^[lr]-", "", name)


def shapes_of(head: AnnyHead, phenotypes: Tensor, changes: dict[str, Tensor]) -> Tensor:
    """Vertices `(N, V, 3)` of people, the origin midway between their eyes (the mean of the eyeballs' vertices).

    Args:
        phenotypes (`torch.Tensor` of shape `(N, 11)`): in [0, 1], in the order of `PHENOTYPES`.
        changes (`dict[str, torch.Tensor]`): value `(N,)` in [-1, 1] of each of anny's local changes, 0 if missing.
    """
    weights = head.source.get_phenotype_blendshape_coefficients(
        **dict(zip(PHENOTYPES, phenotypes.double().unbind(1), strict=True)),
        local_changes={name: value.double() for name, value in changes.items()},
    )
    moved = weights.float() @ head.blendshapes.flatten(1)
    vertices = head.vertices + moved.unflatten(1, (-1, 3))
    eyes = torch.stack([vertices[:, head.parts[name]].mean(1) for name in ("left_eye", "right_eye")])
    return vertices - eyes.mean(0)[:, None]


def sample_phenotypes(person: Person, generator: torch.Generator) -> Tensor:
    """Phenotypes `(N, 11)` of people: as their sex, age and build say, and any mixture of the heads that anny has."""
    count = len(person.age)
    uniform = torch.rand(count, 3, generator=generator)
    normal = torch.randn(count, 5, generator=generator)
    middling = (0.5 + 0.17 * normal[:, :4]).clamp(0.05, 0.95)  # muscle, weight, height, proportions
    sexed = (2 * person.sex - 1)[:, None] * torch.tensor([0.15, 0.0, 0.12, 0.0])
    built = person.build[:, None] * torch.tensor([0.0, 0.16, 0.0, 0.0])
    # anny's gender runs from male to female. A few people of either sex have a face between both.
    gender = (0.06 + 0.09 * normal[:, 4].abs()).clamp(max=0.4)
    gender = torch.where(person.sex > 0, gender, 1 - gender)
    ancestry = uniform.clamp_min(1e-6).log().neg().pow(1.5)  # spiky: mostly one, often two
    return torch.cat(
        (
            gender[:, None],
            anny_age(person.age)[:, None],
            (middling + sexed + built).clamp(0.02, 0.98),
            torch.full((count, 2), 0.5),
            ancestry / ancestry.sum(1, keepdim=True),
        ),
        dim=1,
    )


def anny_age(years: Tensor) -> Tensor:
    """anny's age: 0.61 at 18, 2/3 at 25, 1 at 90."""
    return torch.where(years < 25, 0.667 - 0.008 * (25 - years), 0.667 + 0.333 * (years - 25) / 65)


def sample_changes(names: list[str], count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """A random value `(count,)` for each change; left and right differ a little."""
    changes, shared = {}, {}
    for name in names:
        unsided = _unsided(name)
        spread = CHANGE_SPREAD * next((s for part, s in CHANGE_SHARES.items() if unsided.startswith(part)), 1.0)
        if unsided not in shared:
            shared[unsided] = torch.randn(count, generator=generator)
        own = torch.randn(count, generator=generator) if name != unsided else torch.zeros(count)
        value = (shared[unsided] + ASYMMETRY * own) * spread
        changes[name] = (CHANGE_CENTRES.get(unsided, 0.0) + value).clamp(-0.9, 0.9)
    return changes


def person_changes(names: list[str], person: Person) -> dict[str, Tensor]:
    """What sex, age and build add to each change, `(N,)`."""
    sides = 2 * person.sex - 1
    old = usual_folds(person.age)
    added = {}
    for name in names:
        unsided = _unsided(name)
        added[name] = (
            sides * OF_MEN.get(unsided, 0.0)
            + old * OF_THE_OLD.get(unsided, 0.0)
            + person.build * OF_THE_HEAVY.get(unsided, 0.0)
        )
    return added


def average_changes(names: list[str]) -> dict[str, float]:
    """The changes of the adult from whom the named directions start."""
    return {name: CHANGE_CENTRES.get(_unsided(name), 0.0) for name in names}


def shape_people(head: AnnyHead, person: Person, generator: torch.Generator) -> Tensor:
    """Vertices `(N, V, 3)` of random heads that such people may have."""
    names = face_changes(head)
    drawn, added = sample_changes(names, len(person.age), generator), person_changes(names, person)
    changes = {name: (drawn[name] + added[name]).clamp(-0.95, 0.95) for name in names}
    people = shapes_of(head, sample_phenotypes(person, generator), changes)
    size = people.square().mean((1, 2)).sqrt()
    return people * (size.mean() / size).pow(SIZE_EVENNESS)[:, None, None]


def average_phenotypes() -> Tensor:
    """Phenotypes `(1, 11)` of the adult from whom the named changes start."""
    return torch.tensor([[0.5, 0.72, 0.5, 0.5, 0.5, 0.6, 0.5, 0.5, 1 / 3, 1 / 3, 1 / 3]])
