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
"""Which face words mean: by place, size, expression or shape, only where the picture leaves no doubt."""

from typing import NamedTuple

from facegpt_trainer.grammar.face_words import EMOTION_WORDS
from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.facial_expressions import CALM

from .dialogues import Source
from .face_questions import Truth

NOBODY = "Nobody here is like that."
CLEARLY_LARGER = 1.25
CLEAR_SEX = 0.7  # standard scores of the shape
RELATED = ({"happy", "amused"}, {"surprised", "afraid"}, {"angry", "disgusted", "in pain"}, {"tired", "in pain"})


class Seen(NamedTuple):
    """One face of a picture, and what is true of it."""

    face: FaceParameters  # (1, ...)
    truth: Truth
    across: float  # of the midpoint between the eyes, from the left of the picture, in picture sides
    size: float  # apparent; only ratios mean something
    hidden: dict[str, bool]  # parts of which it is clear
    glasses: bool | None  # None: not known


class Reference(NamedTuple):
    """Words, and the faces that they mean, from left to right."""

    words: str
    rows: tuple[int, ...]


def references_to(people: list[Seen]) -> list[Reference]:
    """All ways to name exactly one of several faces; never empty."""
    last = len(people) - 1
    found = [Reference(f"{who} on the left", (0,)) for who in ("the one", "the person", "the face")]
    found += [Reference(f"{who} on the right", (last,)) for who in ("the one", "the person", "the face")]
    if last == 2:
        found += [Reference("the one in the middle", (1,)), Reference("the person in the middle", (1,))]
    sizes = sorted(range(len(people)), key=lambda row: people[row].size)
    if people[sizes[-1]].size > CLEARLY_LARGER * people[sizes[-2]].size:
        found += [Reference("the largest face", (sizes[-1],)), Reference("the nearest person", (sizes[-1],))]
    if CLEARLY_LARGER * people[sizes[0]].size < people[sizes[1]].size:
        found += [Reference("the smallest face", (sizes[0],))]
    return found + _by_expression(people) + _by_shape(people)


def several_or_none(source: Source, people: list[Seen]) -> Reference | None:
    """Words that fit no face, or more than one; `None` where nothing of the kind is clear."""
    emotions = [seen.truth.emotion for seen in people]
    if None in emotions:
        return None
    absent = [e for e in EMOTION_WORDS if all(_unlike(e, shown) for shown in emotions) and e != CALM]
    several = [e for e in set(emotions) if emotions.count(e) > 1 and _clear(e, emotions)]
    if several and source.chance(0.5):
        emotion = source.choose(sorted(several, key=str))
        rows = tuple(row for row, shown in enumerate(emotions) if shown == emotion)
        return Reference(f"everyone who is {EMOTION_WORDS[str(emotion)][0]}", rows)
    return Reference(f"the one who is {EMOTION_WORDS[source.choose(absent)][0]}", ()) if absent else None


def _by_expression(people: list[Seen]) -> list[Reference]:
    emotions = [seen.truth.emotion for seen in people]
    if None in emotions:
        return []
    return [
        Reference(f"the {who} who is {word}", (row,))
        for row, emotion in enumerate(emotions)
        if emotions.count(emotion) == 1 and _clear(emotion, emotions)
        for who in ("one", "person")
        for word in EMOTION_WORDS[str(emotion)]
    ]


def _by_shape(people: list[Seen]) -> list[Reference]:
    """`the woman on the left`, where the shape of every face says man or woman."""
    scores = [seen.truth.masculinity for seen in people]
    if any(score is None or abs(score) < CLEAR_SEX for score in scores):
        return []
    found = []
    for word, sign in (("man", 1), ("woman", -1)):
        rows = [row for row, score in enumerate(scores) if sign * (score or 0.0) > 0]
        if len(rows) == 1:
            found.append(Reference(f"the {word}", (rows[0],)))
        elif rows:
            found.append(Reference(f"the {word} on the left", (rows[0],)))
            found.append(Reference(f"the {word} on the right", (rows[-1],)))
    return found


def _clear(emotion: str | None, emotions: list[str | None]) -> bool:
    """Whether nobody shows anything that could be taken for this expression."""
    return all(shown == emotion or _unlike(emotion, shown) for shown in emotions)


def _unlike(emotion: str | None, other: str | None) -> bool:
    return emotion != other and not any({emotion, other} <= group for group in RELATED)
