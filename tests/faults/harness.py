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
"""Tries many bad inputs in children of a process that has loaded everything, and counts what becomes of them.

A child tries one case after another and tells its parent of each. Where a child dies or takes too long, the parent
knows the case, and forks another child for the rest: a crash or an endless loop costs one case, not the suite.

    counts = try_each(cases, attempt, seconds=20)
    counts.settle("mutated photographs")    # prints the figures; fails if anything crashed, hung or was lost
"""

import os
import pickle
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

SHOWN = 5  # examples of each kind of failure
LONGEST_SENTENCE = 600  # characters
FIGURES: list[str] = []  # one line per settled count, for the end of the run


class LostError(Exception):
    """An attempt found that something is gone, half written, doubled, or not said to have failed."""


class Counts(NamedTuple):
    """What became of the cases; each failure with its case's number."""

    tried: int
    refused: int  # in one sentence, as they should
    crashed: list[str]
    hung: list[str]
    lost: list[str]

    def settle(self, name: str) -> None:
        """Note the figures for the summary, and fail unless the last three are 0."""
        failures = {"crashed": self.crashed, "hung": self.hung, "lost": self.lost}
        numbers = ", ".join(f"{kind} {len(examples)}" for kind, examples in failures.items())
        FIGURES.append(f"{name}: tried {self.tried}, refused {self.refused}, {numbers}")
        print(FIGURES[-1])
        examples = [f"{kind}: {one}" for kind, found in failures.items() for one in found[:SHOWN]]
        assert not examples, "\n\n".join([FIGURES[-1], *examples])

    def __add__(self, other: "Counts") -> "Counts":  # pyright: ignore[reportIncompatibleMethodOverride]
        return Counts(
            self.tried + other.tried,
            self.refused + other.refused,
            self.crashed + other.crashed,
            self.hung + other.hung,
            self.lost + other.lost,
        )


def try_each(
    cases: Sequence[Any],
    attempt: Callable[[Any], None],
    *,
    seconds: float,
    refusals: tuple[type[Exception], ...] = (ValueError, OSError),
) -> Counts:
    """Try `attempt(case)` for each case, in children.

    Args:
        cases (sequence): anything; those that fail are shown by their number and `repr`.
        attempt (`Callable`): returns where the case was dealt with; raises one of `refusals` with one sentence where
            it was refused; raises `LostError` where something is gone. Any other exception is a crash.
        seconds (`float`): that one case may take.
        refusals: exceptions that are refusals if they are of one sentence.
    """
    counts = Counts(0, 0, [], [], [])
    while counts.tried < len(cases):
        counts = _try_rest(counts, cases, attempt, seconds, refusals)
    return counts


def fork(work: Callable[[], None], *, quiet: bool = True) -> int:
    """Do `work` in a child -> its process id. The child's exit code is 0, or 1 where `work` raised."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.alarm(0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        torch.set_num_threads(1)  # the parent's other threads are not here
        if quiet:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait_for(child: int, seconds: float) -> int | None:
    """The child's exit code, negative where a signal ended it; `None`, and it is killed, where it takes longer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def kill_at_random(work: Callable[[], None], *, longest: float, chance: random.Random) -> bool:
    """Do `work` in a child and kill it (SIGKILL) after up to `longest` seconds -> whether it was still at work."""
    child = fork(work)
    return wait_for(child, chance.uniform(0, longest)) is None


def mutate(content: bytes, chance: random.Random) -> bytes:
    """The content with one kind of damage: bits, bytes, runs, a cut, a doubled or lost piece, sizes at their ends."""
    damaged = bytearray(content)
    kind = chance.randrange(7)
    start = chance.randrange(len(damaged))
    length = min(len(damaged) - start, chance.choice((1, 2, 4, 16, 64, 1024)))
    if kind == 0:
        for _ in range(chance.choice((1, 2, 8, 64))):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        damaged[start : start + length] = chance.randbytes(length)
    elif kind == 2:
        damaged[start : start + length] = bytes([chance.choice((0, 255))]) * length
    elif kind == 3:
        del damaged[start:]
    elif kind == 4:
        del damaged[start : start + length]
    elif kind == 5:
        damaged[start:start] = damaged[start : start + length] * chance.choice((1, 2, 50))
    else:
        head = min(64, len(damaged))  # where formats keep sizes
        damaged[chance.randrange(head)] = chance.choice((0, 1, 127, 128, 255))
    return bytes(damaged)


def _try_rest(
    counts: Counts,
    cases: Sequence[Any],
    attempt: Callable[[Any], None],
    seconds: float,
    refusals: tuple[type[Exception], ...],
) -> Counts:
    """One child's cases: all that are left, or until one ends it."""
    reader, writer = os.pipe()

    def work() -> None:
        os.close(reader)
        for number in range(counts.tried, len(cases)):
            os.write(writer, pickle.dumps(_outcome(cases[number], attempt, refusals)))

    child = fork(work)
    os.close(writer)
    with open(reader, "rb", buffering=0) as answers:
        while counts.tried < len(cases):
            ready, _, _ = select.select([answers], [], [], seconds)
            outcome = _read(answers) if ready else ("hung", f"more than {seconds} s")
            ended = outcome is None or not ready
            kind, words = outcome or ("crashed", "the process died")
            counts = _count(counts, kind, f"case {counts.tried}, {cases[counts.tried]!r:.300}: {words}")
            if ended:
                break
    wait_for(child, 0 if counts.tried < len(cases) else seconds)
    return counts


def _outcome(case: Any, attempt: Callable[[Any], None], refusals: tuple[type[Exception], ...]) -> tuple[str, str]:
    try:
        attempt(case)
    except LostError as error:
        return "lost", str(error)[:2000]
    except refusals as error:
        words = str(error)
        if not words.strip() or "\n" in words or len(words) > LONGEST_SENTENCE:
            return "crashed", f"no one sentence: {type(error).__name__} {words[:1000]!r}"
        return "refused", words
    except BaseException:
        return "crashed", traceback.format_exc()[-3000:]
    return "done", ""


def _read(answers: Any) -> tuple[str, str] | None:
    """One answer of the child; `None` where it died."""
    try:
        return pickle.load(answers)
    except (EOFError, pickle.UnpicklingError):
        return None


def _count(counts: Counts, kind: str, words: str) -> Counts:
    counts = counts._replace(tried=counts.tried + 1)
    if kind == "refused":
        return counts._replace(refused=counts.refused + 1)
    if kind == "done":
        return counts
    return counts._replace(**{kind: [*counts._asdict()[kind], words]})
