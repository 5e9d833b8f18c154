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
"""Which tokens of a dialogue are answers: those alone are learned."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from modeling_facegpt.processing_facegpt import FaceGPTProcessor


def answer_mask(processor: FaceGPTProcessor, dialogues: Sequence[list[dict[str, Any]]], input_ids: Tensor) -> Tensor:
    """Where the answers stand, their ends included: `(B, T)` bool, for rows that are padded on the left.

    Counted from the end of each row: only pictures, which come before all answers, take more tokens in `input_ids`
    than in the text.
    """
    texts = [processor.apply_chat_template(messages) for messages in dialogues]
    tokens = processor.tokenizer(texts, return_offsets_mapping=True, add_special_tokens=False)
    mask = torch.zeros_like(input_ids, dtype=torch.bool)
    for row, (messages, text) in enumerate(zip(dialogues, texts, strict=True)):
        starts = torch.tensor([start for start, _ in tokens["offset_mapping"][row]])
        found = torch.zeros(len(starts), dtype=torch.bool)
        for begin, end in _answer_spans(processor, messages, text):
            found |= (starts >= begin) & (starts < end)
        length = min(len(found), mask.shape[1])
        mask[row, mask.shape[1] - length :] = found[len(found) - length :]
    return mask


def _answer_spans(processor: FaceGPTProcessor, messages: list[dict[str, Any]], text: str) -> list[tuple[int, int]]:
    """Characters from which to which each answer goes in a dialogue's text.

    Raises:
        ValueError: if the chat template writes a turn otherwise when more turns follow.
    """
    spans = []
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = processor.apply_chat_template(messages[:turn], add_generation_prompt=True)
        after = text if turn == len(messages) - 1 else processor.apply_chat_template(messages[: turn + 1])
        if not (text.startswith(before) and text.startswith(after)):
            raise ValueError(
                "got a chat template that writes earlier turns otherwise once more follow; "
                "give one that only adds turns at the end"
            )
        spans.append((len(before), len(after)))
    return spans
