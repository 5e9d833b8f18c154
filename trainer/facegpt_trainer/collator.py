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
"""From picture numbers to model inputs: the collator draws what a batch of numbers stands for.

The data set of a run is the numbers 0, 1, 2 …; what number 7 shows follows from the seed alone. So any worker of any
process can draw any batch, and a resumed run goes on with exactly the pictures that it would have seen. Numbers are
drawn some at a time; batches of those draws are the same for one process and for several.
"""

from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor

from modeling_facegpt.face_editing import FRESH
from modeling_facegpt.processing_facegpt import FaceGPTProcessor

from .answer_tokens import answer_mask
from .grammar.dialogues import Dialogue
from .pictures.data_engine import DataEngine, PictureBatch
from .pictures.face_sampler import chance
from .pictures.photographs import PhotographSource, cut_photographs, mirror_landmark_order

PHOTOGRAPH_CLOSE_UP_SHARE = 0.7
PHOTOGRAPH_FACELESS_SHARE = 0.3  # of the others
CLOSE_UP_FACELESS_SHARE = 0.12  # the second look must be able to say that the first was wrong


class FaceCollator:
    """Draws renders and cuts photographs, and lays out the dialogue about them.

    Args:
        processor (`FaceGPTProcessor`): makes the model's inputs.
        engine (`DataEngine`): draws pictures with known faces.
        photographs (`PhotographSource`, *optional*): real pictures to mix in.
        photograph_share (`float`): of each batch, in [0, 1].
        use_landmarks (`bool`): whether the photographs' landmarks are given to the losses.
        use_images (`bool`): whether the photographs themselves are compared with renders.
        draw_size (`int`, *optional*): numbers that are drawn together. Default: those of a batch.
    """

    def __init__(
        self,
        processor: FaceGPTProcessor,
        engine: DataEngine,
        photographs: PhotographSource | None = None,
        *,
        photograph_share: float = 0.0,
        use_landmarks: bool = True,
        use_images: bool = True,
        draw_size: int | None = None,
    ):
        self.draw_size = draw_size
        self.processor = processor
        self.engine = engine
        self.photographs = photographs
        self.photograph_share = photograph_share if photographs is not None else 0.0
        self.use_landmarks, self.use_images = use_landmarks, use_images
        self.mirrored = mirror_landmark_order(engine.face_model)

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Model inputs for rows of `{"picture": number}`."""
        torch.set_num_threads(1)  # pictures are drawn beside the model, not instead of it
        return self.lay_out(join_batches([self.draw(*draw) for draw in split_draws(examples, self.draw_size)]))

    def draw(self, number: int, pictures: int) -> PictureBatch:
        """The `number`-th batch: renders, then photographs."""
        photographs = round(pictures * self.photograph_share)
        parts = []
        if photographs < pictures:
            parts.append(self.engine.batch(number, pictures - photographs))
        if photographs:
            parts.append(self.cut(number, photographs))
        return join_batches(parts)

    @torch.no_grad()
    def cut(self, number: int, pictures: int) -> PictureBatch:
        """Photographs as a batch: one face each, whose parameters are not known, or a piece without a face."""
        generator = torch.Generator().manual_seed(self.engine.seed * 1_000_003 + number + 500_009)
        source = cast(PhotographSource, self.photographs)  # without one, none are asked for
        folder = source.pick(number // (self.draw_size or pictures), pictures, generator)
        index = torch.arange(pictures)
        close_up = chance(generator, PHOTOGRAPH_CLOSE_UP_SHARE, pictures)
        share = torch.where(close_up, CLOSE_UP_FACELESS_SHARE, PHOTOGRAPH_FACELESS_SHARE)
        faceless = torch.rand(pictures, generator=generator) < share
        cuts = cut_photographs(folder, index, close_up, faceless, generator, self.engine.side, self.mirrored)
        unknown = float("nan")
        parameters = torch.full((pictures, self.engine.parameter_count), unknown)
        shown = self.use_images & close_up[:, None, None, None]
        landmarks = cuts.landmarks if self.use_landmarks else torch.full_like(cuts.landmarks, unknown)
        return PictureBatch(
            pictures=cuts.pictures,
            close_up=close_up,
            counts=(~faceless).long(),
            picture_cameras=cuts.picture_cameras[~faceless],
            face_targets=parameters[~faceless],
            face_landmarks=landmarks[~faceless],
            face_images=torch.where(shown, cuts.originals, unknown)[~faceless],
            landmarks_seen=torch.full((int((~faceless).sum()), 68), unknown),
            glasses=torch.full((int((~faceless).sum()),), unknown),
        )

    def lay_out(self, batch: PictureBatch) -> dict[str, Tensor]:
        """Token ids, labels on the answers only, pixel values and face targets."""
        kinds = [(bool(close), int(faces)) for close, faces in zip(batch.close_up, batch.counts, strict=True)]
        messages = [self._dialogue(*kind) for kind in kinds]
        inputs = self.processor(pictures=batch.pictures, messages=messages)
        labels = torch.where(answer_mask(self.processor, messages, inputs["input_ids"]), inputs["input_ids"], -100)
        return {
            **inputs,
            "labels": labels,
            # Logits are wanted only where some row has a label: one position before it.
            "logits_to_keep": (labels != -100).any(0).nonzero()[:, 0] - 1,
            "picture_cameras": batch.picture_cameras,
            "face_targets": batch.face_targets,
            "face_landmarks": batch.face_landmarks,
            "face_images": batch.face_images,
        }

    def _dialogue(self, close_up: bool, faces: int) -> list[dict[str, Any]]:
        answer = [{"type": "text", "text": self.processor.face_token * faces}]
        return [*self.processor.reconstruct_messages(close_up), {"role": "assistant", "content": answer}]

    def look(self, close_up: bool, faces: Tensor) -> Dialogue:
        """The dialogue of one picture with faces `(N, P)`."""
        messages = self._dialogue(close_up, len(faces))
        return Dialogue("look", messages, faces, (False,) * len(faces), (FRESH,) * len(faces))


def split_draws(examples: list[dict[str, Any]], draw_size: int | None) -> list[tuple[int, int]]:
    """First number and length of each draw of a batch; a draw that the batch holds a part of counts as one of its own.

    Args:
        examples (`list`): rows of `{"picture": number}`, numbers in order.
        draw_size (`int` or `None`): numbers from a multiple of this to the next are one draw; `None`: all of them are.
    """
    numbers = [int(example["picture"]) for example in examples]
    draws = groupby(numbers, key=lambda number: 0 if draw_size is None else number // draw_size)
    return [(next(draw), 1 + sum(1 for _ in draw)) for _, draw in draws]


def join_batches(parts: list[PictureBatch]) -> PictureBatch:
    """Several batches as one."""
    return PictureBatch(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
