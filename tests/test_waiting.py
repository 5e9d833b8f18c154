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
"""What people see while a command loads, and what they do not see in a pipe."""

import gc
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from facegpt_hub.waiting import loading, telling_when_stopped

PATHS = os.pathsep.join(str(Path(__file__).parents[1] / part) for part in (".", "trainer", "hub"))


@pytest.fixture
def command(tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """`facegpt reconstruct` where transformers is a module that only tells that it is being imported."""
    (tmp_path / "transformers.py").write_text("raise ImportError('transformers is being imported')")
    (tmp_path / "photo.jpg").write_bytes(b"")
    call = "from facegpt_hub.command_line import main; main(['reconstruct', 'photo.jpg'])"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{PATHS}", "TERM": "xterm"}
    return [sys.executable, "-c", call], environment


def on_a_terminal(arguments: list[str], **settings) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, **settings)
    os.close(theirs)
    output = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # what Linux says at the end of a terminal
            break
        if not part:
            break
        output += part
    process.wait()
    os.close(ours)
    return output.decode()


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
def test_a_terminal_shows_that_it_loads_before_anything_heavy_is_imported(command, tmp_path, terminal) -> None:
    arguments, environment = command
    seen = on_a_terminal(arguments, env={**environment, "TERM": terminal}, cwd=tmp_path)
    assert 0 <= seen.index("loading facegpt-nano ...") < seen.index("transformers is being imported")
    assert "Traceback" not in seen


def test_a_pipe_gets_results_and_problems_alone(command, tmp_path) -> None:
    arguments, environment = command
    result = subprocess.run(arguments, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("", "facegpt: transformers is being imported\n")


def test_garbage_is_collected_again_after_loading_whatever_happens() -> None:
    with pytest.raises(ValueError), loading("something"):
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled()
    gc.disable()
    with loading("something"):
        pass
    assert not gc.isenabled()
    gc.enable()


def test_who_stops_a_command_reads_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stopped, telling_when_stopped(lambda: "stopped after 2 of 3"):
        raise KeyboardInterrupt
    assert stopped.value.exit_code == 130
    assert capsys.readouterr().err == "facegpt: stopped after 2 of 3\n"
