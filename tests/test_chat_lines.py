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
"""How a chat reads lines: edited, remembered, and harmless where there is no home."""

import os
import pty
import re
import select
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from facegpt_hub import chat_lines

pytest.importorskip("readline")
HUB = Path(__file__).parents[1] / "hub"
SCRIPT = "from facegpt_hub.chat_lines import read_lines\nfor line in read_lines(): print(ascii(line), flush=True)"


def type_lines(keys: list[bytes], environment: dict[str, str]) -> tuple[str, int]:
    """What a terminal shows of a program that repeats each line, and its exit code."""
    settings = {"PYTHONPATH": str(HUB), "PATH": os.environ["PATH"], "TERM": "xterm", "LANG": "C.UTF-8", **environment}
    process, terminal = pty.fork()
    if not process:  # its controlling terminal is the new one, so that Ctrl-C is a signal
        os.execve(sys.executable, [sys.executable, "-c", SCRIPT], settings)
    shown = b""
    for key in keys:
        shown += _read(terminal, chat_lines.PROMPT.encode())
        time.sleep(0.1)
        os.write(terminal, key)
    shown += _read(terminal, None)
    os.close(terminal)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _read(terminal: int, end: bytes | None) -> bytes:
    """What is shown up to `end`, or to the end of the program."""
    shown = b""
    while end is None or not shown.endswith(end):
        if not select.select([terminal], [], [], 60)[0]:
            pytest.fail(f"nothing more is shown after {shown!r}")
        try:
            part = os.read(terminal, 1024)
        except OSError:  # what Linux says where nobody writes to a terminal any more
            return shown
        if not part:
            return shown
        shown += re.sub(rb"\x1b\[\?2004[hl]\r?", b"", part)
    return shown


def test_lines_are_edited_and_remembered_by_the_next_chat(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    backspace, up = b"\x7f", b"\x1b[A"
    shown, code = type_lines([b"make her smyle" + 3 * backspace + b"ile\r", b"\x04"], home)
    assert code == 0 and "'make her smile'" in shown
    history = tmp_path / ".local/state/facegpt/chat_history"
    assert history.read_text().splitlines()[-1] == "make her smile"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    shown, code = type_lines([up + b" more\r", b"\x04"], home)
    assert code == 0 and "'make her smile more'" in shown


def test_a_dropped_line_is_not_said_and_the_second_time_stops(tmp_path: Path) -> None:
    shown, code = type_lines([b"never said\x03", b"said\r", b"\x03", b"\x03"], {"HOME": str(tmp_path)})
    assert "'said'" in shown and "'never said'" not in shown and "/quit leaves" in shown
    assert code != 0 and "KeyboardInterrupt" in shown


@pytest.mark.parametrize("state", ["", "/proc/nobody", "/dev/null"])
def test_nobody_needs_a_home(state: str) -> None:
    shown, code = type_lines([b"hello\r", b"\x04"], {"XDG_STATE_HOME": state} if state else {})
    assert code == 0 and "'hello'" in shown and "Traceback" not in shown


def test_history_lies_where_the_desktop_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert chat_lines.history_file() == Path("/home/someone/.local/state/facegpt/chat_history")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert chat_lines.history_file() == Path("/state/facegpt/chat_history")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME")
    assert chat_lines.history_file() is None


def test_a_pipe_with_bytes_that_are_no_letters_is_read_to_its_end() -> None:
    settings = {"PYTHONPATH": str(HUB), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=b"caf\xe9\n\n  \nnext\n", capture_output=True, env=settings
    )
    assert result.returncode == 0 and result.stdout.split() == [b"'caf\\ufffd'", b"'next'"]
