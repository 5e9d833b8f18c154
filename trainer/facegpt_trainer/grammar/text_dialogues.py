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
"""The grammar of dialogues without pictures: a seeded stream in which every word and every face is true."""

import random

from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.face_parameters import parameter_sizes

from .attributes import ShapeSpace
from .dialogues import SPLITS, Dialogue, Source, check_split
from .face_edits import edit_before_face_dialogue, edit_dialogue, one_edit_dialogue
from .face_prompts import explicit_dialogue, speculative_dialogue
from .face_questions import (
    compare_dialogue,
    declined_dialogue,
    describe_given_dialogue,
    question_given_dialogue,
    small_talk_dialogue,
    unknown_dialogue,
)

TEXT_DIALOGUES = {
    "explicit": explicit_dialogue,
    "speculative": speculative_dialogue,
    "edit": edit_dialogue,
    "one edit": one_edit_dialogue,
    "describe given": describe_given_dialogue,
    "question given": question_given_dialogue,
    "compare": compare_dialogue,
    "unknown word": unknown_dialogue,
    "declined": declined_dialogue,
    "no face yet": edit_before_face_dialogue,
    "small talk": small_talk_dialogue,
}
REQUESTS = ("explicit", "speculative")  # kinds that ask for a face
TEXT_SHARES = {
    "explicit": 0.3,
    "speculative": 0.17,
    "edit": 0.18,
    "one edit": 0.05,
    "describe given": 0.05,
    "question given": 0.07,
    "compare": 0.04,
    "unknown word": 0.04,
    "declined": 0.04,
    "no face yet": 0.03,
    "small talk": 0.03,
}


class TextGrammar:
    """Draws batches of dialogues without pictures.

    Args:
        measurer (`FaceMeasurer`): of the 3DMM.
        seed (`int`): of the whole stream.
        split (`str`): one of `SPLITS`; the others hold what training never says.
    """

    def __init__(self, measurer: FaceMeasurer, seed: int = 0, split: str = "train"):
        check_split(split)
        self.shapes = ShapeSpace(measurer)
        self.seed, self.split = seed, split
        self.parameter_count = sum(parameter_sizes(measurer.face_model.config))

    def batch(self, number: int, dialogues: int, kinds: tuple[str, ...] | None = None) -> list[Dialogue]:
        """The `number`-th batch of the stream: a pure function of seed, split, number and what is asked for.

        Args:
            number (`int`): of the batch.
            dialogues (`int`): how many.
            kinds (`tuple`, *optional*): keys of `TEXT_DIALOGUES`; default all, by their shares.
        """
        source = Source(self.shapes, self._seed(number), self.split, portraits=max(16, 3 * dialogues // 4))
        names = kinds or tuple(TEXT_SHARES)
        weights = [TEXT_SHARES[name] for name in names]
        chosen = source.random.choices(names, weights, k=dialogues)
        return [TEXT_DIALOGUES[name](source).finish(self.parameter_count) for name in chosen]

    def _seed(self, number: int) -> int:
        return random.Random(f"{self.seed} {SPLITS.index(self.split)} {number}").getrandbits(62)
