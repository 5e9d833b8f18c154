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
"""Dialogues about drawn pictures with faces, and without: look, refer, ask, describe, and then edit.

The data engine draws first, and what is said is measured on what it drew: who stands where, what each face shows,
what is drawn over it.

Most dialogues begin as chats on a photograph do: a look has found the faces, and they are given with the first words.
What those say of faces can be learned without drawing them, from the faces alone.
"""

import random
from typing import NamedTuple

import torch

from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.face_parameters import FaceParameters, select_faces, vector_to_parameters
from modeling_facegpt.processing_facegpt import RECONSTRUCT_ALL, RECONSTRUCT_NAMED, RECONSTRUCT_ONE

from ..grammar import wordings
from ..grammar.attributes import ShapeSpace
from ..grammar.dialogues import SPLITS, Dialogue, Edit, Script, Source, capital, check_split
from ..grammar.face_edits import continue_edits, edit_request
from ..grammar.face_questions import NO_JUDGEMENT, NO_NAMES, clear_question, describe, tell_truths
from ..grammar.face_references import NOBODY, Seen, references_to, several_or_none
from .data_engine import DataEngine, PictureBatch

NO_FACE = "There is no face in this picture."
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five")
NAMED_EDITS = {
    "smile": Edit("emotion", "happy"),
    "laugh": Edit("emotion", "amused"),
    "look sad": Edit("emotion", "sad"),
    "look angry": Edit("emotion", "angry"),
    "look surprised": Edit("emotion", "surprised"),
    "open the mouth": Edit("action", "open mouth"),
    "close the eyes": Edit("action", "closed eyes"),
    "turn to the left": Edit("yaw", amount=1.0),
    "turn to the right": Edit("yaw", amount=-1.0),
}
PARTS = {"mouth": slice(48, 68), "nose": slice(27, 36), "eyes": slice(36, 48)}
# Expressions are found fainter than they are, by as much as this; and faintly what nobody does, up to this deviation.
FAINTEST, STRAY = 0.35, 0.1
HIDDEN, VISIBLE = 0.25, 0.85  # share of a part's landmarks that is seen: below, hidden; above, visible


class _Kind(NamedTuple):
    """How often a kind of dialogue comes, and which pictures it wants: share of close-ups, and numbers of faces; and
    how often the faces are given."""

    share: float
    close_up: float
    counts: tuple[int, ...]
    found: float = 0.75


PICTURE_KINDS = {
    "reconstruct": _Kind(0.38, 0.6, (0, 1, 1, 1, 1, 1, 2, 3), 0.3),
    "refer": _Kind(0.16, 0.0, (2, 2, 3, 3, 4, 5)),
    "question": _Kind(0.2, 0.8, (1,)),
    "describe": _Kind(0.06, 0.9, (1,)),
    "edit": _Kind(0.1, 0.7, (1, 1, 1, 2, 3)),
    "presence": _Kind(0.06, 0.5, (0, 0, 1, 2, 3)),
    "declined": _Kind(0.04, 0.7, (1,)),
}

FOUND_KINDS = ("reconstruct", "refer", "question", "describe", "edit", "presence")


class PictureGrammar:
    """Draws batches of pictures with a dialogue about each.

    Args:
        engine (`DataEngine`): draws the pictures.
        measurer (`FaceMeasurer`): of the engine's 3DMM.
        seed (`int`): of the whole stream.
        split (`str`): one of `SPLITS`.
    """

    def __init__(self, engine: DataEngine, measurer: FaceMeasurer, seed: int = 0, split: str = "train"):
        check_split(split)
        self.engine, self.measurer = engine, measurer
        self.shapes = ShapeSpace(measurer)
        self.seed, self.split = seed, split

    @torch.no_grad()
    def batch(
        self, number: int, pictures: int, kinds: tuple[str, ...] | None = None, *, found: bool = True
    ) -> tuple[PictureBatch, list[Dialogue]]:
        """The `number`-th batch of the stream: a pure function of seed, split, number and what is asked for.

        Args:
            number (`int`): of the batch.
            pictures (`int`): how many, each with one dialogue.
            kinds (`tuple`, *optional*): keys of `PICTURE_KINDS`; default all, by their shares.
            found (`bool`): in most dialogues, the faces are given.
        """
        plan = self._plan(f"pictures {self.seed} {SPLITS.index(self.split)} {number}", pictures, kinds)
        batch = self.engine.compose(plan.source.generator, plan.close_up, plan.counts)
        seen = self._look(batch.picture_cameras, batch.face_targets)
        hidden = [_hidden_parts(parts) for parts in batch.landmarks_seen]
        for row, (parts, glasses) in enumerate(zip(hidden, batch.glasses.tolist(), strict=True)):
            seen[row] = seen[row]._replace(hidden=parts, glasses=bool(glasses))
        return batch, self._write(plan._replace(counts=batch.counts), seen, picture=True, found=found)

    @torch.no_grad()
    def found_batch(self, number: int, dialogues: int, kinds: tuple[str, ...] | None = None) -> list[Dialogue]:
        """As `batch`, of faces that were found in pictures which are not drawn."""
        plan = self._plan(f"found {self.seed} {SPLITS.index(self.split)} {number}", dialogues, kinds or FOUND_KINDS)
        imagined = self.engine.imagine(plan.source.generator, plan.close_up, plan.counts)
        return self._write(plan, self._look(*imagined), picture=False, found=True)

    def _plan(self, seed: str, pictures: int, kinds: tuple[str, ...] | None) -> "_Plan":
        source = Source(self.shapes, random.Random(seed).getrandbits(62), self.split, portraits=1)
        names = kinds or tuple(PICTURE_KINDS)
        chosen = source.random.choices(names, [PICTURE_KINDS[name].share for name in names], k=pictures)
        close_up = torch.tensor([source.chance(PICTURE_KINDS[name].close_up) for name in chosen])
        counts = torch.tensor([source.choose(PICTURE_KINDS[name].counts) for name in chosen])
        # A close-up is of one face; a reconstruction of one may also find none.
        return _Plan(source, chosen, close_up, torch.where(close_up, counts.clamp(max=1), counts))

    def _write(self, plan: "_Plan", seen: list[Seen], *, picture: bool, found: bool) -> list[Dialogue]:
        """A dialogue about each picture, or about the faces that were found in it."""
        dialogues = []
        starts = (plan.counts.cumsum(0) - plan.counts).tolist()
        for name, close, start, count in zip(plan.kinds, plan.close_up, starts, plan.counts.tolist(), strict=True):
            people = seen[start : start + count]
            known = found and (not picture or plan.source.chance(PICTURE_KINDS[name].found))
            given = [_as_found(plan.source, one.face) for one in people] if known else []
            # Of several faces, one may hide the others.
            script = Script("reconstruct" if name == "refer" and count == 1 else name, picture, given)
            _write(plan.source, script, bool(close), people)
            dialogues.append(script.finish(self.engine.parameter_count))
        return dialogues

    def _look(self, cameras: torch.Tensor, vectors: torch.Tensor) -> list[Seen]:
        """What is true of faces `(N, P)` before cameras `(N, 3)`."""
        faces = vector_to_parameters(vectors, self.measurer.face_model.config)
        focal = cameras[:, 0] * faces.log_focal[:, 0].exp()
        depth = faces.translation[:, 2]
        across = (cameras[:, 1] + focal * faces.translation[:, 0] / depth).tolist()
        sizes = (focal / depth).tolist()
        return [
            Seen(
                face=select_faces(faces, slice(row, row + 1)),
                truth=truth,
                across=across[row],
                size=sizes[row],
                hidden=dict.fromkeys(PARTS, False),
                glasses=None,
            )
            for row, truth in enumerate(tell_truths(self.measurer, faces))
        ]


class _Plan(NamedTuple):
    """What is to be said and drawn."""

    source: Source
    kinds: list[str]
    close_up: torch.Tensor  # (B,) bool
    counts: torch.Tensor  # (B,) faces


def _as_found(source: Source, face: FaceParameters) -> FaceParameters:
    """A face as a look gives it."""
    stray = torch.randn(face.expression.shape, generator=source.generator).abs() * source.random.uniform(0, STRAY)
    faint = face.expression * source.random.uniform(FAINTEST, 1.0)
    return face._replace(expression=(faint + stray).clamp(max=1.0))


def _hidden_parts(landmarks_seen: torch.Tensor) -> dict[str, bool]:
    """Which parts are hidden, as far as that is clear."""
    shares = {name: float(landmarks_seen[part].mean()) for name, part in PARTS.items()}
    return {name: share < HIDDEN for name, share in shares.items() if not HIDDEN <= share <= VISIBLE}


def _write(source: Source, script: Script, close_up: bool, people: list[Seen]) -> None:
    match script.kind:
        case "reconstruct":
            _reconstruct(source, script, close_up, people)
        case "refer":
            _refer(source, script, people)
        case "question":
            for _ in range(source.choose((1, 1, 2))):
                question, answer = picture_question(source, people[0])
                script.ask(question)
                script.say(answer)
        case "describe":
            script.ask(source.word(wordings.DESCRIBE_PICTURE))
            script.say(describe(source.shapes.names, people[0].truth, most=1))
        case "edit":
            _edit(source, script, close_up, people)
        case "presence":
            _presence(source, script, people)
        case "declined":
            who = source.chance(0.6)
            script.ask(source.word(wordings.WHO if who else wordings.JUDGE, object="them"))
            script.say(NO_NAMES if who else NO_JUDGEMENT)


def _reconstruct(source: Source, script: Script, close_up: bool, people: list[Seen]) -> list[int]:
    """All faces, or the one in the middle; half of the time in the words that `reconstruct` uses."""
    exact, others = (
        (RECONSTRUCT_ONE, wordings.RECONSTRUCT_ONE) if close_up else (RECONSTRUCT_ALL, wordings.RECONSTRUCT_ALL)
    )
    script.ask(exact if source.chance(0.6) else source.word(others))
    if not script.found:
        return script.show_all([seen.face for seen in people])
    indices = list(range(len(people)))
    script.show_again(indices)
    return indices


def _refer(source: Source, script: Script, people: list[Seen]) -> None:
    """One of several by words; now and then all or none of them fit."""
    reference = several_or_none(source, people) if source.chance(0.2) else None
    reference = reference or source.choose(references_to(people))
    question = source.word(wordings.REFER, who=reference.words)
    script.ask(question)
    if script.found and reference.rows:
        script.show_again(reference.rows)
    elif reference.rows or not script.found and question == RECONSTRUCT_NAMED.format(reference.words):
        # `reconstruct` asks in these words, and reads faces alone: no face is an empty answer.
        script.show_all([people[row].face for row in reference.rows])
    else:
        script.say(NOBODY)


def picture_question(source: Source, seen: Seen) -> tuple[str, str]:
    """A question on the one face of a picture, and the answer."""
    drawn = seen.glasses is not None
    if drawn and seen.hidden and source.chance(0.25):
        part, hidden = source.choose([(part, hides) for part, hides in seen.hidden.items()])
        verb = "are" if part == "eyes" else "is"
        asked = source.word(wordings.ASK_HIDDEN, part=part, verb=verb)
        return asked, f"The {part} {verb} hidden." if hidden else f"The {part} {verb} visible."
    if drawn and source.chance(0.1):
        answer = "Yes, there are glasses." if seen.glasses else "No, there are no glasses."
        return source.word(wordings.ASK_GLASSES), answer
    for _ in range(20):
        asked, answer = clear_question(source, seen.truth, shape_share=0.15)
        if not _about_hidden(asked, seen):
            return asked, answer
    return source.word(wordings.ASK_PRESENCE), "Yes, there is a face."


def _about_hidden(question: str, seen: Seen) -> bool:
    """Whether a question is on a part that cannot be seen well."""
    return any(part in question and seen.hidden.get(part, True) for part in PARTS)


def _edit(source: Source, script: Script, close_up: bool, people: list[Seen]) -> None:
    """Reconstruct, where no faces are given, then edit: the one face, or one that words name."""
    indices = list(range(len(people))) if script.found else _reconstruct(source, script, close_up, people)
    request = edit_request(source)
    if len(people) == 1:
        script.ask(request.text)
        row = 0
    else:
        reference = source.choose(references_to(people))
        verb = source.choose(tuple(NAMED_EDITS))
        request = request._replace(edit=NAMED_EDITS[verb])
        script.ask(source.word(wordings.EDIT_ONE, who=reference.words, verb=verb))
        row = reference.rows[0]
    face = script.found[row] if script.found else people[row].face
    continue_edits(source, script, indices[row], face, request)


def _presence(source: Source, script: Script, people: list[Seen]) -> None:
    kind = source.choose(("count", "presence", "describe") if not people else ("count", "presence"))
    if kind == "count":
        script.ask(source.word(wordings.COUNT_FACES))
        several = "face" if len(people) == 1 else "faces"
        script.say(f"{capital(NUMBER_WORDS[len(people)])} {several}." if people else NO_FACE)
    elif kind == "presence":
        script.ask(source.word(wordings.ASK_PRESENCE))
        script.say("Yes, there is a face." if people else NO_FACE)
    else:
        script.ask(source.word(wordings.DESCRIBE_PICTURE))
        script.say(NO_FACE)
