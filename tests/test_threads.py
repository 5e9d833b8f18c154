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
"""One model in several threads: each call gives what it gives alone, bit for bit, in either mode."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conftest import train_encoder
from PIL import Image
from torch import Tensor

from modeling_facegpt import ChatSession, FaceChatPipeline, FaceGPTForConditionalGeneration, FaceGPTProcessor
from modeling_facegpt.face_parameters import parameters_to_vector

THREADS = 8
WORDS = ("Make her smile.", "What about an old man with a broad nose, who laughs?", "Who is on the left?")
Call = Callable[[], Any]


class Talker(NamedTuple):
    model: FaceGPTForConditionalGeneration
    processor: FaceGPTProcessor
    chat: FaceChatPipeline
    faces: Tensor  # (3, P) to be given


@pytest.fixture
def one_intra_op_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def talker(
    chatty: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    face_parameters: Any,
    one_intra_op_thread: None,
) -> Talker:
    train_encoder(chatty)
    chat = FaceChatPipeline(model=chatty, processor=processor, batch_size=1)
    return Talker(chatty, processor, chat, parameters_to_vector(face_parameters))


def photographs(count: int) -> list[Image.Image]:
    noise = np.random.default_rng(0)
    return [
        Image.fromarray(noise.integers(0, 255, (90 + 20 * number, 120, 3), dtype=np.uint8)) for number in range(count)
    ]


def values(answer: Any) -> list[Any]:
    """All tensors and words of an answer, in order."""
    if isinstance(answer, Tensor | str):
        return [answer]
    parts = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, list | tuple) else ()
    return [value for part in parts for value in values(part)]


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) if isinstance(a, Tensor) else a == b
        for a, b in zip(one, other, strict=True)
    )


def mixed_calls(talker: Talker) -> list[Call]:
    """Calls of each kind, of several lengths."""
    images = photographs(3)
    return [call for number in range(3) for call in _calls(talker, images[number], number)]


def _calls(talker: Talker, image: Image.Image, number: int) -> list[Call]:
    model, processor, chat, faces = talker
    words = WORDS[number]
    text = " ".join(["<FACE>"] * (number + 1)) + " " + words
    inputs = processor(messages=[{"role": "user", "content": [{"type": "text", "text": text}]}])
    settings = {"max_new_tokens": 4 + number, "return_dict_in_generate": True, "do_sample": False, "min_faces": 2}

    def talk() -> list[Any]:
        session = ChatSession(model, processor, photograph=image, max_new_tokens=3, min_faces=1, seed=number)
        return [session.say(words), session.say(WORDS[number - 1])]

    return [
        lambda: model.reconstruct([image], processor),
        lambda: model.imagine(words, processor, count=2, steps=3, seed=number),
        lambda: model.generate(**inputs, given_faces=faces[: number + 1], **settings),
        lambda: model(**inputs, given_faces=faces[: number + 1]),
        talk,
        lambda: chat(image, words, max_new_tokens=4, seed=number),
    ]


def run_together(calls: list[Call], each: int) -> list[tuple[int, list[Any]]]:
    """What `each` calls of every thread gave, drawn at random, with the call's number."""

    def work(seed: int) -> list[tuple[int, list[Any]]]:
        chosen = random.Random(seed).choices(range(len(calls)), k=each)
        return [(number, values(calls[number]())) for number in chosen]

    with ThreadPoolExecutor(THREADS) as pool:
        return [answer for answers in pool.map(work, range(THREADS)) for answer in answers]


def check_calls(calls: list[Call], each: int) -> None:
    alone = [values(call()) for call in calls]
    assert all(alone)
    together = run_together(calls, each)
    assert len(together) == THREADS * each
    assert [number for number, answer in together if not same(answer, alone[number])] == []


def test_calls_in_threads_give_what_they_give_alone(talker: Talker) -> None:
    check_calls(mixed_calls(talker), each=6)


@pytest.mark.slow
def test_fifty_calls_in_each_of_eight_threads_give_what_they_give_alone(talker: Talker) -> None:
    check_calls(mixed_calls(talker), each=50)


@pytest.mark.slow
def test_the_published_checkpoint_serves_eight_threads(one_intra_op_thread: None) -> None:
    from conftest import REPOSITORY

    folder = REPOSITORY / "hub" / "facegpt-nano"
    model = FaceGPTForConditionalGeneration.from_pretrained(folder).eval()
    processor = FaceGPTProcessor.from_pretrained(folder)
    faces = parameters_to_vector(model.imagine(["an old man", "a woman", "a boy"], processor, seed=0))
    chat = FaceChatPipeline(model=model, processor=processor, batch_size=1)
    check_calls(mixed_calls(Talker(model, processor, chat, faces)), each=50)
