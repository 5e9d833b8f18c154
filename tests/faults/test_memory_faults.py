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
"""What a process holds in memory does not grow with what it has done."""

import random

import numpy as np
import pytest
import torch
from harness import FIGURES
from PIL import Image

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor
from modeling_facegpt.chat_session import ChatSession

RECONSTRUCTIONS, TURNS = 500, 300
GROWTH = 24  # megabytes that the second half may add: what allocators keep, not what is kept per photograph


def resident() -> float:
    """Megabytes of memory that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def settle(name: str, held: list[float]) -> None:
    """Note the figures; what the second half adds must be little."""
    middle, end = np.median(held[len(held) // 3 : len(held) // 2]), np.median(held[-len(held) // 6 :])
    FIGURES.append(
        f"{name}: {len(held)}, resident {held[0]:.0f} MB at first, {middle:.0f} halfway, {end:.0f} at the end"
    )
    print(FIGURES[-1])
    assert end - middle < GROWTH, FIGURES[-1]


def photograph(number: int) -> Image.Image:
    chance = random.Random(number)
    size = chance.randint(60, 500), chance.randint(60, 500)
    return Image.effect_noise(size, 60).convert("RGB")


def test_reconstructions_leave_nothing_behind(
    eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    held = []
    for number in range(RECONSTRUCTIONS):
        eager_facegpt.reconstruct([photograph(number)], processor)
        held.append(resident())
    settle("reconstructions", held)


def test_a_long_chat_leaves_little_behind(chatty: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor):
    session, held = ChatSession(chatty, processor, photograph=photograph(0)), []
    for number in range(TURNS):
        session.say(("now make her smile", "who is this?", "make the nose broader")[number % 3])
        held.append(resident())
    settle("chat turns", held)


@pytest.fixture(autouse=True)
def _one_thread():

    torch.set_num_threads(1)
