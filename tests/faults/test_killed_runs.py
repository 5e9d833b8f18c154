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
"""Runs that are killed (SIGKILL) at any moment and begun again end as runs that were left alone."""

import io
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from facegpt_trainer import __main__, dataset_reconstruction, reconstruct, training
from harness import Counts, fork, kill_at_random, wait_for
from PIL import Image
from safetensors.torch import load_file

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor

LOADED = (training, dataset_reconstruction)  # in this process, so that children begin their work at once
KILLS = 25
STEPS = 8
PHOTOGRAPHS = 40
LONGEST = 240.0  # seconds of a run that is left alone


@pytest.fixture
def start(eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path) -> Path:
    eager_facegpt.save_pretrained(tmp_path / "start")
    processor.save_pretrained(tmp_path / "start")
    return tmp_path / "start"


def recipe(start: Path, output: Path, **changes: object) -> Callable[[], None]:
    """A training of a few seconds, ready to run."""
    settings = {
        "model": start,
        "output_dir": output,
        "pictures": 2 * STEPS,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-3,
        "num_train_epochs": 1,
        "save_steps": 2,
        "save_total_limit": 2,
        "logging_steps": 1,
        "use_cpu": "true",
        "disable_tqdm": "true",
        "report_to": "none",
        **changes,
    }
    path = output.with_suffix(".yaml")
    path.write_text("\n".join(f"{name}: {value}" for name, value in settings.items()))

    def work() -> None:
        raise SystemExit(__main__.main(["--config", str(path)]))

    return work


def how_long(work: Callable[[], None]) -> float:
    """Seconds of a run that is left alone."""
    begin = time.monotonic()
    assert wait_for(fork(work), LONGEST) == 0
    return time.monotonic() - begin


def same_weights(one: Path, two: Path) -> bool:
    ours, theirs = (load_file(run / "model.safetensors") for run in (one, two))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def kill_in_save(work: Callable[[], None], run: Path, chance: random.Random) -> bool:
    """Kill a training while it writes a checkpoint -> whether it did."""
    before = set(run.glob("checkpoint-*"))
    child, end = fork(work), time.monotonic() + LONGEST
    while set(run.glob("checkpoint-*")) <= before and time.monotonic() < end:
        if (code := wait_for_now(child)) is not None:
            assert code == 0
            return False
        time.sleep(0.001)
    return wait_for(child, chance.uniform(0, 0.08)) is None


def wait_for_now(child: int) -> int | None:
    """The exit code of a child that has ended; it goes on otherwise."""
    done, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def kill_and_finish(
    make: Callable[[Path], Callable[[], None]],
    kill: Callable[[Callable[[], None], Path], bool],
    check: Callable[[Path], bool],
    folder: Path,
) -> Counts:
    """Kill runs until there were `KILLS`; each run is begun again until it ends by itself, and then checked."""
    counts, kills = Counts(0, 0, [], [], []), 0
    while kills < KILLS:
        output = folder / f"run-{counts.tried}"
        work, own = make(output), 0
        while own < 6 and kills + own < KILLS and kill(work, output):
            own += 1
        kills += own
        code = wait_for(fork(work), LONGEST)
        failures = {"crashed": code not in (0, None), "hung": code is None, "lost": code == 0 and not check(output)}
        told = {kind: [f"{output} after {own} kills: {code}"] if bad else [] for kind, bad in failures.items()}
        counts += Counts(1, 0, **told)
    return counts


def test_killed_trainings_end_as_those_left_alone(start: Path, tmp_path: Path):
    whole = tmp_path / "whole"
    longest, chance = how_long(recipe(start, whole)), random.Random(0)
    counts = kill_and_finish(
        lambda output: recipe(start, output),
        lambda work, output: kill_at_random(work, longest=longest, chance=chance),
        lambda output: same_weights(output, whole),
        tmp_path,
    )
    counts.settle(f"runs of train, {KILLS} kills in all")


def test_trainings_killed_in_a_save_end_as_those_left_alone(start: Path, tmp_path: Path):
    whole, chance = tmp_path / "whole", random.Random(1)
    how_long(recipe(start, whole, save_steps=1))
    counts = kill_and_finish(
        lambda output: recipe(start, output, save_steps=1),
        lambda work, output: kill_in_save(work, output, chance),
        lambda output: same_weights(output, whole),
        tmp_path,
    )
    counts.settle(f"runs of train, {KILLS} kills while a checkpoint was written")


def photographs(folder: Path) -> Path:
    folder.mkdir()
    for number in range(PHOTOGRAPHS):
        pixels = np.random.default_rng(number).integers(0, 255, (48, 40 + number, 3), dtype=np.uint8)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        (folder / f"{number}.png").write_bytes(content.getvalue())
    return folder


def rows(output: Path) -> list[dict]:
    return [row for file in sorted(output.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def same_rows(one: Path, two: Path) -> bool:
    """Whether both hold the same photographs once each, with the same faces but for rounding."""
    ours, theirs = (sorted(rows(output), key=lambda row: row["name"]) for output in (one, two))
    if [row["name"] for row in ours] != [row["name"] for row in theirs]:
        return False
    pairs = [(a["faces"], b["faces"]) for a, b in zip(ours, theirs, strict=True)]
    return all(
        len(a) == len(b)
        and all(
            np.allclose(x["parameters"][group], y["parameters"][group], atol=1e-3)
            for x, y in zip(a, b, strict=True)
            for group in x["parameters"]
        )
        for a, b in pairs
    )


def test_killed_runs_over_a_data_set_lose_nothing_and_do_nothing_twice(start: Path, tmp_path: Path):
    folder, whole, chance = photographs(tmp_path / "photographs"), tmp_path / "whole", random.Random(2)

    def make(output: Path) -> Callable[[], None]:
        fixed = ["--model", str(start), "--chunk", "3", "--batch-size", "2"]
        arguments = ["--dataset", str(folder), "--output", str(output), *fixed]

        def work() -> None:
            raise SystemExit(reconstruct.main(arguments))

        return work

    longest = how_long(make(whole))
    assert len(rows(whole)) == PHOTOGRAPHS
    counts = kill_and_finish(
        make,
        lambda work, output: kill_at_random(work, longest=longest, chance=chance),
        lambda output: same_rows(output, whole) and not list(output.glob(".faces*")),
        tmp_path,
    )
    counts.settle(f"runs over a data set, {KILLS} kills in all")


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_of_either_kind_draw_the_same(start: Path, tmp_path: Path, context: str):
    alone, helped = tmp_path / "alone", tmp_path / context
    work = recipe(start, helped, dataloader_num_workers=2, dataloader_multiprocessing_context=context)
    how_long(recipe(start, alone))
    how_long(work)
    assert same_weights(alone, helped)
