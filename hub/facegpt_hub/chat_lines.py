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
"""What a person says in a chat: typed, with line editing and a history that later chats know, or read from a pipe."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

import typer

PROMPT = "you> "
_REMEMBERED = 1000  # lines


def read_lines() -> Iterator[str]:
    """Line by line, without empty ones, until there is nothing more to read."""
    if isinstance(sys.stdin, TextIOWrapper):  # bytes that are no letters are shown as such, and stop nobody
        sys.stdin.reconfigure(errors="replace")
    if sys.stdin.isatty():
        with _line_editing():
            yield from _type_lines()
    else:
        yield from filter(None, map(str.strip, sys.stdin))


def _type_lines() -> Iterator[str]:
    """Ctrl-D ends them; Ctrl-C drops the line that is being typed and, pressed twice, stops the command."""
    dropped = False
    while True:
        try:
            line = input(PROMPT if sys.stdout.isatty() else "").strip()
        except EOFError:
            typer.echo()
            return
        except KeyboardInterrupt:
            if dropped:
                raise
            dropped = True
            typer.echo("\n(Ctrl-C again, Ctrl-D or /quit leaves)", err=True)
            continue
        dropped = False
        if line:
            yield line


@contextmanager
def _line_editing() -> Iterator[None]:
    """Arrow keys and history, where Python was built with readline; Windows' terminals do it themselves."""
    try:
        import readline
    except ImportError:
        yield
        return
    history = history_file()
    readline.set_history_length(_REMEMBERED)
    if history is not None:
        with suppress(OSError):  # There is none yet, or it may not be read: the chat goes on without.
            readline.read_history_file(history)
    try:
        yield
    finally:
        if history is not None:
            with suppress(OSError):
                history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                readline.write_history_file(history)


def history_file() -> Path | None:
    """Where the XDG base directories want it; `None` where nobody has a home."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):
        return Path(state, "facegpt", "chat_history")
    home = os.environ.get("HOME")
    return Path(home, ".local", "state", "facegpt", "chat_history") if home else None
