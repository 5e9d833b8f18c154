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
"""The harness sees what it must see: refusals, crashes, hangs and losses, and goes on after each."""

import os
import random
import signal
import time

import pytest
from harness import FIGURES, LostError, kill_at_random, mutate, try_each


def attempt(case: str) -> None:
    """Ends as it is told."""
    if case == "refuse":
        raise ValueError("got this, wanted that; do so")
    if case == "babble":
        raise ValueError("two\nlines")
    if case == "break":
        raise KeyError("x")
    if case == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if case == "hang":
        time.sleep(60)
    if case == "lose":
        raise LostError("a file is gone")


def test_every_ending_is_counted():
    cases = ["fine", "refuse", "die", "fine", "hang", "break", "lose", "babble", "refuse", "die"]
    counts = try_each(cases, attempt, seconds=2)
    assert (counts.tried, counts.refused) == (10, 2)
    assert [len(counts.crashed), len(counts.hung), len(counts.lost)] == [4, 1, 1]
    assert "case 2, 'die'" in counts.crashed[0] and "KeyError" in counts.crashed[1]
    with pytest.raises(AssertionError, match="crashed 4, hung 1, lost 1"):
        counts.settle("endings")
    FIGURES.pop()
    both = try_each(["fine"], attempt, seconds=2) + try_each(["refuse"], attempt, seconds=2)
    assert both == (2, 1, [], [], [])


def test_a_child_is_killed_while_it_works():
    assert kill_at_random(lambda: time.sleep(60), longest=0.1, chance=random.Random(0))
    assert not kill_at_random(lambda: None, longest=60, chance=random.Random(0))


def test_mutations_repeat_by_their_seed():
    content = bytes(range(256)) * 4
    mutated = [mutate(content, random.Random(seed)) for seed in range(100)]
    assert mutated == [mutate(content, random.Random(seed)) for seed in range(100)]
    assert len(set(mutated)) > 90
