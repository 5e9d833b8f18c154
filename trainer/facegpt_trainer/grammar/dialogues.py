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
"""Dialogues as data: what is said, which faces stand in it, and what each of them refers to.

Every `<FACE>` of a dialogue has its parameters. In a user's turn it is given; in an answer it is to be decoded, fresh
or as a change of an earlier one.
"""

import random
import re
import zlib
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from modeling_facegpt.face_editing import FRESH
from modeling_facegpt.face_parameters import FaceParameters, parameters_to_vector
from modeling_facegpt.processing_facegpt import FACE_TOKEN

from .attributes import ShapeSpace, sample_portraits
from .wordings import Wordings

SPLITS = ("train", "held_out_wordings", "held_out_situations", "held_out_combinations")
HELD_OUT_PAIRS = 8  # one pair of properties in so many is never asked for together in training

Item = TypeVar("Item")


class Wanted(NamedTuple):
    """What a request for a face asks for, for judging the geometry."""

    shape: dict[str, int]  # measure -> 1 for high, -1 for low
    expression: str | None = None  # of EMOTIONS, ACTIONS or calm; None: not said
    turned: str | None = None  # "left", "right", "up" or "down"
    light: str | None = None  # "left", "right", "above" or "below" of the picture
    words: tuple[str, ...] = ()  # of PERSON_WORDS


class Edit(NamedTuple):
    """One change of a face, `amount` times the usual one."""

    kind: str  # shape, person, emotion, action, yaw, pitch, roll, gaze yaw, gaze pitch, light, brightness, straight
    name: str = ""  # the measure, expression, action or side
    amount: float = 1.0


class Dialogue(NamedTuple):
    """One dialogue, ending with an answer."""

    kind: str
    messages: list[dict[str, Any]]  # as chat templates read them
    faces: Tensor  # (F, P) of every <FACE> in reading order
    given: tuple[bool, ...]  # of every <FACE>: stands in a user's turn
    references: tuple[int, ...]  # of every <FACE> in an answer: index of the one that it changes, or FRESH
    wanted: Wanted | None = None  # of a first face made from words
    edits: tuple[Edit | None, ...] = ()  # of every later face of an answer; None: an undo
    typical: tuple[Tensor | None, ...] = ()  # (1, P) of every face of an answer: mean of all that fit; None: not known

    def typical_faces(self) -> Tensor:
        """The typical faces `(N, P)` of the N faces of answers, NaN where not known."""
        typical = self.typical or (None,) * len(self.references)
        unknown = torch.full((1, self.faces.shape[1]), torch.nan)
        return torch.cat([unknown[:0], *(unknown if face is None else face for face in typical)])

    def read_faces(self) -> Tensor:
        """The faces `(F, P)` that the model reads: NaN where no turn follows, which could ask about them.

        While it looks at a picture, the model does not know the faces yet that it has just found.
        """
        last = self.messages[-1]
        spoken = sum(str(part.get("text")).count(FACE_TOKEN) for part in last["content"])
        unread = torch.arange(len(self.faces)) >= len(self.faces) - spoken
        return torch.where(unread[:, None], torch.nan, self.faces)


class Source:
    """Everything that a grammar chooses from, seeded: words by split, people, and chance.

    Args:
        shapes (`ShapeSpace`): what words mean.
        seed (`int`): of everything that is chosen.
        split (`str`): one of `SPLITS`.
        portraits (`int`): people that are drawn at once; more are drawn when they are used up.
    """

    def __init__(self, shapes: ShapeSpace, seed: int, split: str = "train", portraits: int = 64):
        check_split(split)
        self.shapes, self.measurer = shapes, shapes.measurer
        self.split = split
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.portraits = portraits
        self.people: list[tuple[FaceParameters, Tensor]] = []
        self.witnessed: list[tuple[FaceParameters, Any]] = []  # people who were measured already

    def choose(self, items: Sequence[Item]) -> Item:
        return items[int(self.random.random() * len(items))]

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def word(self, wordings: Wordings, **blanks: str) -> str:
        """One wording of the split, filled in."""
        return fill(self.template(wordings), blanks)

    def template(self, wordings: Wordings) -> str:
        """One wording of the split, its blanks still empty."""
        held_out = self.split == "held_out_wordings"
        return self.choose(wordings.held_out if held_out else wordings.training)

    def portrait(self) -> FaceParameters:
        """The next random person `(1, ...)`, calm and looking at the camera."""
        return self.scored_portrait()[0]

    def scored_portrait(self) -> tuple[FaceParameters, Tensor]:
        """The next random person and the standard scores `(A,)` of the shape."""
        if not self.people:
            drawn = sample_portraits(self.generator, self.measurer, self.portraits)
            scores = self.measurer.identity_scores(drawn.identity)
            groups = zip(*(group.split(1) for group in drawn), strict=True)
            self.people.extend(zip((FaceParameters(*face) for face in groups), scores, strict=True))
        return self.people.pop()

    def may_join(self, properties: Sequence[str]) -> bool:
        """Whether the split may ask for these properties of a face together."""
        held_out = any(is_held_out(first, second) for first, second in combinations(properties, 2))
        return held_out == (self.split == "held_out_combinations")


def check_split(split: str) -> None:
    """Refuse a split that there is not."""
    if split not in SPLITS:
        raise ValueError(f"got split={split!r}, but there are {list(SPLITS)}; choose one of them")


def is_held_out(first: str, second: str) -> bool:
    """Whether training never asks for two properties of one face together; a fixed rule."""
    return zlib.crc32("|".join(sorted((first, second))).encode()) % HELD_OUT_PAIRS == 0


def fill(template: str, blanks: Mapping[str, str]) -> str:
    """A template with its blanks filled in, without doubled spaces; a blank that begins with a capital gets one."""

    def replace(blank: re.Match[str]) -> str:
        name = blank.group(1)
        return blanks[name] if name in blanks else capital(blanks[name[0].lower() + name[1:]])

    return capital(" ".join(re.sub(r"\{(\w+)\}", replace, template).split()))


def capital(sentence: str) -> str:
    """With a capital letter at the beginning; `<FACE>` stays as it is."""
    return sentence[:1].upper() + sentence[1:]


class Script:
    """Writes a dialogue down, turn by turn.

    Args:
        kind (`str`): of the dialogue.
        picture (`bool`): the first question begins with one.
        found (sequence of `FaceParameters`): the faces that a look at the picture has found; they are given, and stand
            before the words of the first question.
    """

    def __init__(self, kind: str, picture: bool = False, found: Sequence[FaceParameters] = ()):
        self.kind = kind
        self.found = found
        self.messages: list[dict[str, Any]] = []
        self.faces: list[Tensor] = []
        self.given: list[bool] = []
        self.references: list[int] = []
        self.edits: list[Edit | None] = []
        self.typical: list[Tensor | None] = []
        self.wanted: Wanted | None = None
        self.picture = picture

    def ask(self, text: str, *given: FaceParameters) -> None:
        """A user's turn with one `<FACE>` in its text for each given face."""
        if not self.messages:
            text = " ".join([*[FACE_TOKEN] * len(self.found), text])
            given = (*self.found, *given)
        content: list[dict[str, Any]] = [{"type": "text", "text": text}]
        if self.picture and not self.messages:
            content.insert(0, {"type": "image"})
        self.messages.append({"role": "user", "content": content})
        self._add(given, True)

    def say(self, text: str) -> None:
        """An answer in words."""
        self.messages.append({"role": "assistant", "content": [{"type": "text", "text": text}]})

    def show(self, face: FaceParameters, reference: int = FRESH, typical: FaceParameters | None = None) -> int:
        """An answer that is a face, one of those of which `typical` is the mean; gives its index among the dialogue's
        faces."""
        self.say(FACE_TOKEN)
        self.references.append(reference)
        self.typical.append(None if typical is None else parameters_to_vector(typical))
        return self._add([face], False)

    def show_all(self, faces: Sequence[FaceParameters]) -> list[int]:
        """An answer of fresh faces; gives their indices."""
        self.say(FACE_TOKEN * len(faces))
        self.references.extend([FRESH] * len(faces))
        self.typical.extend([None] * len(faces))
        last = self._add(faces, False)
        return list(range(last + 1 - len(faces), last + 1))

    def show_again(self, indices: Sequence[int]) -> None:
        """An answer of earlier faces of the dialogue as they are."""
        self.say(FACE_TOKEN * len(indices))
        self.references.extend(indices)
        self.typical.extend([None] * len(indices))
        self.faces.extend(self.faces[index] for index in indices)
        self.given.extend([False] * len(indices))

    def _add(self, faces: Sequence[FaceParameters], given: bool) -> int:
        self.faces.extend(parameters_to_vector(face) for face in faces)
        self.given.extend([given] * len(faces))
        return len(self.faces) - 1

    def finish(self, parameter_count: int) -> Dialogue:
        """The dialogue as it stands."""
        return Dialogue(
            kind=self.kind,
            messages=self.messages,
            faces=torch.cat(self.faces) if self.faces else torch.zeros(0, parameter_count),
            given=tuple(self.given),
            references=tuple(self.references),
            wanted=self.wanted,
            edits=tuple(self.edits),
            typical=tuple(self.typical),
        )
