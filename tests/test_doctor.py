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
"""`facegpt doctor`: which renderer runs and why, also where something is missing or asked for in vain."""

from pathlib import Path

import pytest
import torch
from facegpt_hub import command_line, doctor
from facegpt_hub.doctor import PACKAGES, examine

from modeling_facegpt import backends


def found() -> dict[str, tuple[str, str]]:
    return {name.strip(): (value, why) for name, value, why in examine()}


def test_it_names_the_renderer_the_versions_and_the_threads() -> None:
    rows = found()
    assert rows["renderer on cpu"][0] == backends.chosen_backend("cpu")
    assert rows["torch"][0] == torch.__version__
    assert rows["threads"][0] == str(torch.get_num_threads())
    assert set(PACKAGES) <= set(rows)


def test_it_says_why_a_backend_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = backends.CANDIDATES["numba"]._replace(package="no_such_package")
    monkeypatch.setattr(backends, "CANDIDATES", {"numba": absent})
    backends._load.cache_clear()
    rows = found()
    backends._load.cache_clear()
    assert rows["renderer on cpu"] == ("torch", "nothing faster can be used")


def test_it_names_checkpoints_extras_and_what_numbers_are() -> None:
    rows = found()
    assert rows["checkpoint facegpt-nano"][0].endswith(" MB") and rows["numbers"][0] == "float32"
    assert rows["extra train"][0] == "installed"
    assert doctor._extra("fast", ["no-such-package"]) == (
        "not installed",
        "no-such-package missing: pip install 'facegpt[fast]'",
    )
    assert doctor.find_problems() == []


def test_what_is_wrong_is_said_in_sentences_and_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off = tmp_path / "cut-off"
    cut_off.mkdir()
    (cut_off / "config.json").write_text("{}")
    (cut_off / "model.safetensors").write_bytes(b"\x08\0\0\0")
    monkeypatch.setattr(doctor, "CHECKPOINTS", (str(cut_off), "nowhere"))
    monkeypatch.setattr(doctor, "requires", lambda name: ["torch>=99", "numpy", 'trl>=99; extra == "train"'])
    monkeypatch.setenv(backends.VARIABLE, "opengl")
    with pytest.raises(SystemExit) as stop:
        command_line.main(["doctor"])
    assert stop.value.code == 1
    damaged, missing, renderer, old = capsys.readouterr().err.splitlines()
    assert "model.safetensors cannot be read" in damaged and "no checkpoint nowhere" in missing
    assert "opengl" in renderer
    assert old == f"facegpt: facegpt needs torch>=99, and {torch.__version__} is here: pip install 'torch>=99'"


def test_it_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backends.VARIABLE, "torch")
    assert found()["renderer on cpu"] == ("torch", f"{backends.VARIABLE} asks for it")
    monkeypatch.setenv(backends.VARIABLE, "opengl")
    value, why = found()["renderer on cpu"]
    assert value == "none" and "opengl" in why


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command_line.main(["doctor"])
    assert stop.value.code == 0
    assert "renderer on cpu" in capsys.readouterr().out
