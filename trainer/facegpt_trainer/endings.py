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
"""How a command of the trainer ends: with what it was asked for, or with one sentence on stderr and an exit code."""

import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import FrameType

LONGEST_SENTENCE = 600  # characters of a sentence
FAILED, INTERRUPTED, TERMINATED = 1, 130, 143
TRAINING_PACKAGES = ("trl", "peft", "accelerate", "datasets", "yaml")  # of the extra `train`


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended the work; the message says what is left of it, and how it goes on."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came, as from a job scheduler or `kill`."""


def run_command(work: Callable[[], int]) -> int:
    """What `work` returns, or the exit code of how it failed; then one sentence on stderr says what was wrong.

    The packages of the extra `train` must be there. Ctrl-C and SIGTERM raise in `work`, so it can keep what it has.
    """
    if missing := [name for name in TRAINING_PACKAGES if find_spec(name) is None]:
        _say(f"{' and '.join(missing)} not found, which training needs; run: pip install 'facegpt[train]'")
        return FAILED
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return work()
    except KeyboardInterrupt as stop:
        _say(str(stop) or "stopped")
        return TERMINATED if isinstance(stop.__cause__ or stop, Terminated) else INTERRUPTED
    except (ValueError, OSError, ImportError) as error:
        _say(in_one_sentence(error))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return FAILED


def _stop(number: int, frame: FrameType | None, owner: int = os.getpid()) -> None:
    signal.signal(number, signal.SIG_DFL)
    if os.getpid() != owner:  # a worker of a data loader, which was forked from this process
        os.kill(os.getpid(), number)
    # Workers that lose this process in the middle of a batch write a traceback; nothing is lost with them.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in multiprocessing.active_children():
        worker.kill()
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def in_one_sentence(error: Exception) -> str:
    """What an error says, in one line of bounded length; a data loader's worker puts its traceback before that."""
    text = str(error).strip()
    if "Original Traceback" in text:
        text = re.sub(r"^[\w.]+: ", "", text.splitlines()[-1])
    text = " ".join(text.split()) or type(error).__name__
    return text if len(text) <= LONGEST_SENTENCE else f"{text[: LONGEST_SENTENCE - 3]}..."


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
