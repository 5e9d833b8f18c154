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
"""Runs that are killed: what was written is used, what was cut off is not, and the end is that of a run left alone."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from facegpt_trainer.checkpoint import last_whole_checkpoint
from safetensors.torch import load_file, save_file

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor

STEPS = 10


def write_checkpoint(run: Path, step: int) -> Path:
    """What Trainer leaves, in small."""
    path = run / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"weight": torch.arange(64.0)}, path / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"state": torch.arange(64.0)}, path / name)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]
)
@pytest.mark.parametrize("left", [None, 0.0, 0.5])
def test_a_checkpoint_that_was_cut_off_is_passed_over(
    tmp_path: Path, name: str, left: float | None, caplog: pytest.LogCaptureFixture
):
    whole, broken = write_checkpoint(tmp_path, 9), write_checkpoint(tmp_path, 10)
    assert last_whole_checkpoint(tmp_path) == str(broken)
    content = (broken / name).read_bytes()
    if left is None and name.startswith("rng_state"):
        pytest.skip("a run of several processes names these otherwise")
    if left is None:
        (broken / name).unlink()
    else:
        (broken / name).write_bytes(content[: int(left * len(content))])
    assert last_whole_checkpoint(tmp_path) == str(whole)
    assert "checkpoint-10 was cut off" in caplog.text


def test_a_new_run_has_no_checkpoint(tmp_path: Path):
    (tmp_path / "checkpoint-of-mine").mkdir()
    assert last_whole_checkpoint(tmp_path) is None
    assert last_whole_checkpoint(tmp_path / "nowhere") is None


@pytest.fixture
def recipe(facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path) -> Path:
    """A run of a few seconds, of a tiny model."""
    facegpt.save_pretrained(tmp_path / "start")
    processor.save_pretrained(tmp_path / "start")
    settings = {
        "model": str(tmp_path / "start"),
        "pictures": 2 * STEPS,
        "per_device_train_batch_size": 2,
        "num_train_epochs": 1,
        "learning_rate": 1e-3,
        "save_steps": 2,
        "logging_steps": 1,
        "use_cpu": True,
        "report_to": "none",
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def start(recipe: Path, output: Path, **options) -> subprocess.Popen:
    """The command, in a process of its own."""
    settings = yaml.safe_load(recipe.read_text()) | {"output_dir": str(output)}
    own = output.with_suffix(".yaml")
    own.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "facegpt_trainer", "--config", str(own)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)


def losses(output: Path) -> list[tuple[int, float]]:
    log = json.loads((output / "training.json").read_text())["log"]
    return [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]


@pytest.mark.slow
def test_a_killed_run_ends_as_one_left_alone(recipe: Path, tmp_path: Path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(recipe, whole).wait() == 0
    process = start(recipe, killed)
    while not (killed / "checkpoint-4").is_dir() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.uniform(0.0, 0.5))  # anywhere: also within a checkpoint that is being written
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (killed / "training.json").exists()
    assert start(recipe, killed).wait() == 0
    one, two = (load_file(output / "model.safetensors") for output in (whole, killed))
    assert all(torch.equal(one[name], two[name]) for name in one) and one.keys() == two.keys()
    assert losses(killed) == losses(whole) and len(losses(whole)) == STEPS


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_says_where_it_goes_on(recipe: Path, tmp_path: Path, number: signal.Signals, code: int):
    run = tmp_path / "stopped"
    settings = yaml.safe_load(recipe.read_text()) | {"pictures": 20000, "dataloader_num_workers": 1}
    recipe.write_text(yaml.safe_dump(settings))
    process = start(recipe, run)
    while last_whole_checkpoint(run) is None and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in error, error
    last = last_whole_checkpoint(run)
    assert error.strip().splitlines()[-1] == f"training was stopped; the same command goes on from {last}"


@pytest.mark.slow
def test_a_full_disk_ends_a_run_in_one_sentence_and_spares_its_checkpoints(recipe: Path, tmp_path: Path):
    output = tmp_path / "full"
    weights = (tmp_path / "start" / "model.safetensors").stat().st_size
    write_checkpoint(output, 1)
    (output / "checkpoint-1" / "trainer_state.json").unlink()  # of no use, but not this run's to delete
    process = start(
        recipe,
        output,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (weights // 2, weights // 2)),
        env=os.environ | {"FACEGPT_BACKEND": "torch"},  # Numba would want to write what it compiled
    )
    _, error = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in error and f"a checkpoint cannot be written to {output}" in error, error
    assert (output / "checkpoint-1" / "model.safetensors").exists()
