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
"""What a terminal shows while a command takes longer than people like to wait, and what it says when it is stopped.

All of it goes to stderr, and what moves only to a terminal: a pipe or a log gets results and problems, nothing else.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

INTERRUPTED = 130  # as shells count it: 128 and the number of the signal


@contextmanager
def waiting(words: str) -> Iterator[None]:
    """Show what is being waited for, with something that moves; gone when it is over."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
    elif console.is_dumb_terminal:
        console.print(f"{words} ...", markup=False, highlight=False)
        yield
    else:
        with console.status(f"{words} ..."):
            yield


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Wait for imports and weights.

    Python's collector of cycles rests meanwhile. Importing torch and transformers makes a million objects that all
    stay; to search them again and again for some that do not takes a quarter of the whole start.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        with waiting(f"loading {name}"):
            yield
    finally:
        if collects:
            gc.enable()


def quiet_transformers() -> None:
    """No bars and warnings of transformers: they address programmers, and what matters is checked and said here.
    `TRANSFORMERS_VERBOSITY` brings the warnings back."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    if "TRANSFORMERS_VERBOSITY" not in os.environ:
        logging.set_verbosity_error()


def progress_bar(total: int) -> Progress:
    """How many of `total` are done and how long the rest takes; for a single one, only that it goes on."""
    console = Console(stderr=True)
    counted = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) if total > 1 else ()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *counted)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def telling_when_stopped(tell: Callable[[], str]) -> Iterator[None]:
    """Where a person presses Ctrl-C, say in one sentence what is there, and exit with the code for it.

    Args:
        tell (`Callable`): asked for the sentence then.
    """
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"facegpt: {tell()}", err=True)
        raise typer.Exit(INTERRUPTED) from None
