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
"""`facegpt evaluate …` as people meet it: options that all share, figures for people and for programs."""

import json
from pathlib import Path

import pytest
import typer.main
from facegpt_hub import checkpoints, evaluation_commands
from facegpt_hub.command_line import app
from facegpt_trainer.evaluation.held_out import held_out_seed
from typer.testing import CliRunner

EVALUATIONS = typer.main.get_command(app).commands["evaluate"].commands  # type: ignore[attr-defined]
NOTHING_IS_DRAWN = ("photographs", "smiles")
NO_MODEL_RUNS = ("morphable-model", "people")


@pytest.fixture
def run(monkeypatch, tmp_path, eager_facegpt, processor):
    """Run `facegpt evaluate` in an empty directory, of a tiny model -> the result, and the devices asked for."""
    monkeypatch.chdir(tmp_path)
    devices = []

    def load(name, device):
        devices.append(device)
        return checkpoints.Checkpoint("tiny", eager_facegpt, processor)

    monkeypatch.setattr(checkpoints, "load_checkpoint", load)
    return lambda *arguments: (CliRunner().invoke(app, ["evaluate", *map(str, arguments)]), devices)


@pytest.mark.parametrize("name", EVALUATIONS)
def test_every_evaluation_takes_a_device_and_what_is_drawn_a_seed(name):
    options = {option for parameter in EVALUATIONS[name].params for option in parameter.opts}
    assert "--json" in options
    assert ("--device" in options) == (name not in NO_MODEL_RUNS)
    assert ("--seed" in options) == (name not in NOTHING_IS_DRAWN)


def test_a_seed_draws_other_pictures_and_the_device_reaches_the_checkpoint(run):
    settings = ("renders", "--pictures", 3, "--json", "-")
    figures = []
    for seed in ((), ("--seed", 0), ("--seed", 1)):
        result, devices = run(*settings, *seed, "--device", "cpu:0")
        assert result.exit_code == 0, result.output
        figures.append(json.loads(result.stdout)["figures"])  # nothing else is on stdout
    assert figures[0] == figures[1] != figures[2] and set(devices) == {"cpu:0"}


def test_seeds_share_no_pictures():
    assert held_out_seed(0) + 100_000 < held_out_seed(1) < held_out_seed(2)


def test_figures_are_written_whole_and_only_where_they_can_be(run):
    result, _ = run("renders", "--pictures", 2, "--json", "figures.json")
    assert result.exit_code == 0 and "vertex error" in result.stdout
    assert json.loads(Path("figures.json").read_text())["evaluation"] == "renders: tiny"
    assert [path.name for path in Path().iterdir()] == ["figures.json"]
    for place in ("nowhere/figures.json", "."):  # refused before minutes of work
        result, devices = run("renders", "--json", place)
        assert result.exit_code == 2 and "directory that exists" in " ".join(result.output.split())
    assert len(devices) == 1


def test_numbers_for_people_have_two_places(capsys):
    evaluation_commands.print_figures("it", {"faces": 200.0, "error, mm": 1.234}, None)
    shown = capsys.readouterr().out
    assert " 200 " in shown and " 1.23 " in shown
