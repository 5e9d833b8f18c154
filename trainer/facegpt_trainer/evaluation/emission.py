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
"""Emission: whether the model says `<FACE>` where a face is asked for, and nowhere else. Nothing is constrained."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.processing_facegpt import FaceGPTProcessor


class Question(NamedTuple):
    """A dialogue that ends with the user's turn."""

    messages: list[dict[str, Any]]
    pictures: Tensor  # (K, 3, S, S) sRGB in [0, 1], one per image of the dialogue; K may be 0
    wants_face: bool


class Emission(NamedTuple):
    """Shares in [0, 1]; NaN where there was no question of the kind."""

    requests: int
    answered: float  # of the requests for a face, those answered with at least one
    others: int
    silent: float  # of the other questions, those answered without one


@torch.no_grad()
def count_answered_faces(
    model: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    questions: Sequence[Question],
    *,
    batch_size: int = 8,
    max_new_tokens: int = 64,
) -> Tensor:
    """How many `<FACE>` the greedy answer to each question holds: `(len(questions),)` int64."""
    counts = [torch.zeros(0, dtype=torch.int64)]
    for start in range(0, len(questions), batch_size):
        batch = questions[start : start + batch_size]
        pictures = torch.cat([question.pictures for question in batch])
        inputs = processor(
            pictures=pictures if len(pictures) else None, messages=[question.messages for question in batch]
        ).to(model.device)
        answers = model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
        said = answers[:, inputs["input_ids"].shape[1] :] == model.config.face_token_id
        counts.append(said.sum(-1).cpu())
    return torch.cat(counts)


def measure_emission(
    model: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    questions: Sequence[Question],
    *,
    batch_size: int = 8,
    max_new_tokens: int = 64,
) -> Emission:
    """Ask all `questions` and count; see `Emission`."""
    counts = count_answered_faces(model, processor, questions, batch_size=batch_size, max_new_tokens=max_new_tokens)
    wanted = torch.tensor([question.wants_face for question in questions], dtype=torch.bool)
    answered, silent = (counts[wanted] > 0).double().mean(), (counts[~wanted] == 0).double().mean()
    return Emission(int(wanted.sum()), float(answered), int((~wanted).sum()), float(silent))
