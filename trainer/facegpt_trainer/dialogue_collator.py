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
"""Batches of dialogues of all kinds: with pictures of faces or shapes, with words alone, with faces given and made.

As for `FaceCollator`, the data set of a run is the numbers 0, 1, 2 …; what they show follows from the seed alone.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modeling_facegpt.camera import default_picture_cameras
from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.processing_facegpt import FaceGPTProcessor

from .answer_tokens import answer_mask
from .collator import FaceCollator, split_draws
from .grammar.dialogues import Dialogue
from .grammar.text_dialogues import REQUESTS, TEXT_DIALOGUES, TextGrammar
from .pictures.data_engine import PictureBatch
from .pictures.picture_dialogues import PictureGrammar
from .pictures.shape_pictures import ShapeGrammar

LANDMARKS = 468
# Dialogues without pictures: requests for faces, what is answered in words alone, and those that go on about faces.
ANSWERS = ("unknown word", "declined", "no face yet", "small talk")
TEXT_KINDS = {
    "descriptions": ("explicit",),
    "edits": ("one edit",),
    "questions": ("question given", "describe given"),
    "requests": REQUESTS,
    "answers": ANSWERS,
    "faces": tuple(kind for kind in TEXT_DIALOGUES if kind not in REQUESTS + ANSWERS),
}
ALIKE = 4  # draws without pictures are cut from so many at once, by length: less padding
INTERLEAVED = 4  # so many of these come in turns, that not all draws in a row are of one kind


class Rows(NamedTuple):
    """Dialogues, their pictures, and what is known of the faces of their answers."""

    dialogues: list[Dialogue]
    pictures: Tensor  # (K, 3, S, S) one for each dialogue that begins with a picture
    picture_cameras: Tensor  # (N, 3)
    face_landmarks: Tensor  # (N, 468, 2)
    face_images: Tensor  # (N, 3, S, S)


class DialogueCollator:
    """Lays out batches for a model that reads and makes faces.

    All rows of a draw are of one kind, and those without pictures of about one length: they would be padded to the
    longest of all kinds else.

    Args:
        looks (`FaceCollator`): draws renders and cuts photographs, and asks for their faces.
        measurer (`FaceMeasurer`): of the same 3DMM.
        shares (`Mapping[str, float]`): of the batches, for some of `DIALOGUE_KINDS`.
        split (`str`): of the grammars.
    """

    def __init__(
        self,
        looks: FaceCollator,
        measurer: FaceMeasurer,
        shares: Mapping[str, float],
        split: str = "train",
    ):
        engine = looks.engine
        self.looks, self.processor, self.shares = looks, looks.processor, dict(shares)
        self.pictures = PictureGrammar(engine, measurer, engine.seed, split)
        self.texts = TextGrammar(measurer, engine.seed, split)
        self.shapes = ShapeGrammar(self.texts.shapes, engine.parameter_count, engine.side, engine.seed, split)
        self._sorted: dict[tuple[int, int], list[Dialogue]] = {}  # the newest groups

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Model inputs for rows of `{"picture": number}`."""
        torch.set_num_threads(1)  # dialogues are drawn beside the model, not instead of it
        draws = split_draws(examples, self.looks.draw_size)
        return lay_out(self.processor, join_rows([self._draw(*draw) for draw in draws]))

    def kind_of(self, number: int, rows: int) -> str:
        """Of which kind the draw of `rows` rows is that begins with number `number`."""
        return self._kind_of_group(_turn(number, rows)[0])

    def _kind_of_group(self, group: int) -> str:
        chance = random.Random(f"kind {self.looks.engine.seed} {group}")
        return chance.choices(list(self.shares), list(self.shares.values()))[0]

    def _draw(self, number: int, rows: int) -> Rows:
        group, part = _turn(number, rows)
        kind = self.kind_of(number, rows)
        if kind == "looks":
            return self._looks(number, rows)
        if kind == "pictures":
            return picture_rows(*self.pictures.batch(number, rows))
        if kind == "shapes":
            pictures, dialogues = self.shapes.batch(number, rows)
            return faceless_rows(dialogues, self.looks.engine.side)._replace(pictures=pictures)
        if (group, rows) not in self._sorted:
            if len(self._sorted) == INTERLEAVED:
                del self._sorted[next(iter(self._sorted))]
            self._sorted[group, rows] = self._sort(group, rows)
        alike = self._sorted[group, rows][part * rows : (part + 1) * rows]
        return faceless_rows(alike, self.looks.engine.side)

    def _sort(self, group: int, rows: int) -> list[Dialogue]:
        """The dialogues of a group of draws, from short to long."""
        kind, number, count = self._kind_of_group(group), group * ALIKE * rows, ALIKE * rows
        if kind == "found":
            dialogues = self.pictures.found_batch(number, count)
        else:
            dialogues = self.texts.batch(number, count, TEXT_KINDS[kind])
        return sorted(dialogues, key=_length)

    def _looks(self, number: int, count: int) -> Rows:
        batch = self.looks.draw(number, count)
        faces = torch.split(batch.face_targets, batch.counts.tolist())
        dialogues = [
            self.looks.look(bool(close), targets) for close, targets in zip(batch.close_up, faces, strict=True)
        ]
        return Rows(dialogues, batch.pictures, batch.picture_cameras, batch.face_landmarks, batch.face_images)


def _turn(number: int, rows: int) -> tuple[int, int]:
    """Of the draw of `rows` rows that begins with `number`: its group, and which of the group's draws it is."""
    block, turn = divmod(number // rows, ALIKE * INTERLEAVED)
    return block * INTERLEAVED + turn % INTERLEAVED, turn // INTERLEAVED


def _length(dialogue: Dialogue) -> int:
    """In characters."""
    return sum(len(part.get("text", "")) for message in dialogue.messages for part in message["content"])


def picture_rows(batch: PictureBatch, dialogues: list[Dialogue]) -> Rows:
    """Dialogues about pictures with faces. Of edited faces no picture is there; they are seen by the same camera."""
    cameras = torch.split(batch.picture_cameras, batch.counts.tolist())
    decoded = [len(dialogue.references) for dialogue in dialogues]
    known = [
        camera[:1].expand(count, 3) if len(camera) else default_picture_cameras(count)
        for camera, count in zip(cameras, decoded, strict=True)
    ]
    return Rows(dialogues, batch.pictures, torch.cat(known), *_unknown(sum(decoded), batch.pictures.shape[-1]))


def faceless_rows(dialogues: list[Dialogue], side: int) -> Rows:
    """Dialogues without pictures of faces."""
    decoded = sum(len(dialogue.references) for dialogue in dialogues)
    return Rows(dialogues, torch.zeros(0, 3, side, side), default_picture_cameras(decoded), *_unknown(decoded, side))


def _unknown(faces: int, side: int) -> tuple[Tensor, Tensor]:
    """Landmarks and images of faces of which neither is known."""
    return torch.full((faces, LANDMARKS, 2), torch.nan), torch.full((faces, 3, side, side), torch.nan)


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Several draws as one batch."""
    dialogues = [dialogue for part in parts for dialogue in part.dialogues]
    return Rows(dialogues, *(torch.cat(columns) for columns in zip(*(part[1:] for part in parts), strict=True)))


def lay_out(processor: FaceGPTProcessor, rows: Rows) -> dict[str, Tensor]:
    """Token ids, labels on all answers, pixel values, and the faces of questions and answers."""
    messages = [dialogue.messages for dialogue in rows.dialogues]
    pictures = rows.pictures if len(rows.pictures) else None
    inputs = processor(pictures=pictures, messages=messages)
    labels = torch.where(answer_mask(processor, messages, inputs["input_ids"]), inputs["input_ids"], -100)
    faces = torch.cat([dialogue.faces for dialogue in rows.dialogues])
    given = torch.tensor([given for dialogue in rows.dialogues for given in dialogue.given], dtype=torch.bool)
    references = [reference for dialogue in rows.dialogues for reference in dialogue.references]
    return {
        **inputs,
        "labels": labels,
        # Logits are wanted only where some row has a label: one position before it.
        "logits_to_keep": (labels != -100).any(0).nonzero()[:, 0] - 1,
        "picture_cameras": rows.picture_cameras,
        "given_faces": torch.cat([dialogue.read_faces() for dialogue in rows.dialogues]),
        "face_references": torch.tensor(references, dtype=torch.int64),
        "face_targets": faces[~given],
        "typical_faces": torch.cat([dialogue.typical_faces() for dialogue in rows.dialogues]),
        "face_landmarks": rows.face_landmarks,
        "face_images": rows.face_images,
    }
