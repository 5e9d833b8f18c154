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
"""Whether faces from words are as the words say, measured on their meshes, differ, and are people.

Whoever makes faces is judged alike: what is given is a function from requests to faces.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from modeling_facegpt.face_measurements import (
    PRESENT,
    FaceMeasurer,
    measure_light,
    measure_pose,
    strongest_emotion,
)
from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.facial_expressions import CALM, EMOTIONS
from modeling_facegpt.flow_head import likely_squared_radius
from modeling_facegpt.person_faces import draw_anybody

from ..grammar.dialogues import Dialogue, Wanted
from ..grammar.person_words import PERSON_WORDS, is_measured, middle_of
from ..grammar.text_dialogues import TextGrammar
from .held_out import held_out_seed

MakeFaces = Callable[[list[list[dict]], int], FaceParameters]  # (dialogues, count) -> count faces for each
BETWEEN_NOISES = 1_000_000  # more than there are requests: two seeds share no noise
REQUESTS_TOGETHER = 25
RANDOM_PEOPLE = 256
# Least signs of actions on the mesh: millimetres, or share of the lids' opening or the mouth's width.
LEAST_SIGNS = {
    "open mouth": ("mouth_opening", 8.0),
    "raised brows": ("brow_raise", 1.5),
    "lowered brows": ("brow_raise", -2.0),
    "pursed lips": ("mouth_narrowing", 0.06),
    "puffed cheeks": ("cheek_puff", 1.5),
}
CLOSED_EYE, OPEN_EYE = 0.45, 0.3
LEAST_TURN, LEAST_SIDE_LIGHT = 12.0, 0.3


class Judgement(NamedTuple):
    """Of N faces: which of the properties that each was to have are there."""

    shape: list[list[bool]]  # one value per named measure
    expression: list[bool | None]  # None: none was named
    other: list[list[bool]]  # pose and light
    people: list[list[bool]]  # one value per word on who it is

    def complete(self) -> list[bool]:
        """Whether everything is there that was named."""
        rows = zip(self.shape, self.expression, self.other, self.people, strict=True)
        return [
            all(shape) and expression is not False and all(other) and all(people)
            for shape, expression, other, people in rows
        ]


@torch.no_grad()
def judge_faces(measurer: FaceMeasurer, faces: FaceParameters, wanted: Sequence[Wanted]) -> Judgement:
    """Measure N faces against what N requests named, on their meshes."""
    model = measurer.face_model
    neutral = model.neutral(faces.identity)
    vertices = neutral + (faces.expression @ model.expression_basis.flatten(1)).unflatten(-1, (-1, 3))
    scores, shown = measurer.scores(neutral), measurer.measure_expression(vertices, neutral)
    emotions, pose, light = strongest_emotion(shown), measure_pose(faces), measure_light(faces.light)
    people = _judge_people(measurer, faces, wanted)
    shape, expression, other = [], [], []
    for row, asked in enumerate(wanted):
        shape.append([bool(sign * scores[row, measurer.names.index(n)] > PRESENT) for n, sign in asked.shape.items()])
        signs = {name: values[row] for name, values in shown._asdict().items()}
        expression.append(None if asked.expression is None else shows(asked.expression, emotions[row], signs))
        sided = {"left": -light.from_right[row], "right": light.from_right[row]}
        sided |= {"above": light.from_above[row], "below": -light.from_above[row]}
        turned = {"left": pose.yaw[row], "right": -pose.yaw[row], "up": pose.pitch[row], "down": -pose.pitch[row]}
        found = [bool(turned[asked.turned] > LEAST_TURN)] if asked.turned else []
        other.append(found + ([bool(sided[asked.light] > LEAST_SIDE_LIGHT)] if asked.light else []))
    return Judgement(shape, expression, other, people)


def _judge_people(measurer: FaceMeasurer, faces: FaceParameters, wanted: Sequence[Wanted]) -> list[list[bool]]:
    """Which of the named words on people hold of N faces: at least half-way from clearly not to clearly so."""
    measures = measurer.measure_people(faces.identity, faces.albedo)
    if measures is None:
        return [[False for _ in asked.words] for asked in wanted]
    names = {name for asked in wanted for name in asked.words}
    held = {name: is_measured(PERSON_WORDS[name], measures) > middle_of(PERSON_WORDS[name]) for name in names}
    return [[bool(held[name][row]) for name in asked.words] for row, asked in enumerate(wanted)]


def shows(expression: str, emotion: str | None, signs: dict[str, Tensor]) -> bool:
    """Whether a face shows what was asked for.

    Args:
        expression (`str`): one of EMOTIONS, ACTIONS, or calm.
        emotion (`str`, *optional*): the strongest one on the mesh.
        signs (`dict`): the fields of `ExpressionMeasures` of this face.
    """
    if expression in EMOTIONS or expression == CALM:
        return emotion == (None if expression == CALM else expression)
    if expression in LEAST_SIGNS:
        name, least = LEAST_SIGNS[expression]
        return bool(signs[name] * (1 if least > 0 else -1) > abs(least))
    left, right = signs["eyes_closed"].tolist()
    if expression == "closed eyes":
        return min(left, right) > CLOSED_EYE
    closed, opened = (left, right) if expression == "left wink" else (right, left)
    return closed > CLOSED_EYE and opened < OPEN_EYE


def evaluate_requests(
    make_faces: MakeFaces,
    measurer: FaceMeasurer,
    kind: str,
    split: str,
    *,
    requests: int = 200,
    samples: int = 8,
    seed: int = 0,
) -> dict[str, float]:
    """Ask for faces in words that training never used in this way, several for each request.

    Args:
        make_faces (`MakeFaces`): who is judged.
        measurer (`FaceMeasurer`): of the 3DMM.
        kind (`str`): `explicit` or `speculative`.
        split (`str`): of the grammar.
        requests, samples (`int`): how many requests, and faces for each.
        seed (`int`): from 0 on; another one draws other requests.

    Returns:
        `dict`: shares in per cent.
    """
    dialogues = TextGrammar(measurer, held_out_seed(seed), split).batch(0, requests, (kind,))
    judged, spreads, likely = [], [], []
    for start in tqdm(range(0, requests, REQUESTS_TOGETHER), desc=split.replace("_", " "), unit="batch", disable=None):
        part = dialogues[start : start + REQUESTS_TOGETHER]
        faces = make_faces([dialogue.messages[:1] for dialogue in part], samples)
        wanted = [_wanted(dialogue) for dialogue in part for _ in range(samples)]
        judged.append(judge_faces(measurer, faces, wanted))
        likely.append(is_likely(faces.identity))
        spreads += [
            identity_spread(measurer, faces.identity[row : row + samples])
            for row in range(0, len(wanted), samples)
            if samples > 1
        ]
    return _figures(judged, torch.cat(likely)) | _diversity(measurer, spreads)


def _wanted(dialogue: Dialogue) -> Wanted:
    if dialogue.wanted is None:
        raise ValueError(f"got a dialogue of kind {dialogue.kind!r}, which asks for no face; give a request for one")
    return dialogue.wanted


def _figures(judged: Sequence[Judgement], likely: Tensor) -> dict[str, float]:
    shape = [found for part in judged for row in part.shape for found in row]
    expression = [found for part in judged for found in part.expression if found is not None]
    other = [found for part in judged for row in part.other for found in row]
    people = [found for part in judged for row in part.people for found in row]
    parts = {
        "named shapes present, %": shape,
        "named expressions present, %": expression,
        "named poses and lights present, %": other,
        "named properties of people present, %": people,
        "all that was named present, %": [found for part in judged for found in part.complete()],
        "within the 99 % ball of people, %": likely.tolist(),
    }
    return {name: share(found) for name, found in parts.items() if found}


def _diversity(measurer: FaceMeasurer, spreads: list[float]) -> dict[str, float]:
    if not spreads:
        return {}
    generator = torch.Generator().manual_seed(0)
    people, _ = draw_anybody(generator, measurer.face_model, RANDOM_PEOPLE)
    chance = identity_spread(measurer, people.identity)
    return {"difference between samples, % of that of random people": 100 * sum(spreads) / len(spreads) / chance}


@torch.no_grad()
def identity_spread(measurer: FaceMeasurer, identity: Tensor) -> float:
    """Mean distance in metres between the same points of the faces of every two of N people `(N, K)`."""
    face = measurer.face_model.region("face") > 0.5
    vertices = measurer.face_model.neutral(identity)[:, face]
    first, second = torch.triu_indices(len(identity), len(identity), 1)[:, :2048]
    return float((vertices[first] - vertices[second]).norm(dim=-1).mean())


def is_likely(identity: Tensor) -> Tensor:
    """Which of N people `(N, K)` lie within the ball that holds 99 % of all people."""
    return identity.square().sum(-1) <= likely_squared_radius(identity.shape[-1])


def share(found: Sequence[bool]) -> float:
    """Per cent that are true; NaN of nothing."""
    return 100 * sum(found) / len(found) if found else float("nan")
