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
"""Folders of photographs where names are hostile, runs are killed, disks are full, and two run at once."""

import json
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from facegpt_hub import photograph_tasks
from facegpt_hub.checkpoints import Checkpoint
from facegpt_hub.photograph_tasks import Outcome, find_photographs, plan_tasks, run_tasks
from harness import Counts, LostError, fork, kill_at_random, try_each, wait_for
from PIL import Image

from modeling_facegpt.files.result_files import is_result

KILLS, FULL_DISKS, MEETINGS = 25, 60, 10
SECONDS = 120
NOBODY = 65534
NAMES = [
    *(b"plain.png", b"with space.png", b" .png", b"-o.png", b"--help.png", b"-rf.png", b"new\nline.png", b"tab\t.png"),
    *(b"quote'.png", b'quotes".png', b"`id`.png", b"$(id).png", b"$HOME.png", b"a;b.png", b"a|b.png", b"a&b.png"),
    *(b"*.png", b"?.png", b"[bold].png", b"{}.png", b"%s%n.png", b"back\\slash.png", b"~.png", b"#.png", b"a=b.png"),
    *(b"..png", b"...png", b"a.b.c.png", b"a..png", b"twice.png", b"twice.bmp", b"TWICE.tif", b"NUL.png", b"con.bmp"),
    *(b"\x01\x7f.png", b"caf\xe9.png", b"\xff\xfe.png", "caf\u00e9.png".encode(), "cafe\u0301.png".encode()),
    *("\u202egnp.png".encode(), "\U0001f600.png".encode(), ("\u8138" * 80).encode() + b".png", b"n" * 251 + b".png"),
]
HIDDEN = {b"..png", b"...png"}  # names that begin with a dot


@pytest.fixture
def reconstruct(eager_facegpt, processor, monkeypatch) -> Callable[[Path, Path], list[Outcome]]:
    """What the command does with a folder, by a tiny model. Its sheets are the photographs: drawing takes longest, and
    is tried with damaged photographs."""
    monkeypatch.setattr(photograph_tasks, "result_sheet", lambda image, *others: image)
    checkpoint = Checkpoint("tiny", eager_facegpt, processor)

    def run(folder: Path, output: Path) -> list[Outcome]:
        return run_tasks(plan_tasks(find_photographs([folder]), f"{output}/", None), lambda: checkpoint, batch_size=2)

    return run


def photograph(path: str | bytes | Path, number: int) -> None:
    pixels = np.random.default_rng(number).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    form = {".png": "PNG", ".bmp": "BMP", ".tif": "TIFF"}[Path(os.fsdecode(path)).suffix]
    with open(path, "wb") as file:
        Image.fromarray(pixels).save(file, form)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four photographs."""
    (tmp_path / "in").mkdir()
    for number in range(4):
        photograph(tmp_path / "in" / f"{number}.png", number)
    return tmp_path / "in"


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()} if directory.is_dir() else {}


def broken_results(directory: Path) -> list[str]:
    """Files under a result's name that are not whole."""
    return [path.name for path in directory.glob("*") if not path.name.startswith(".") and not is_whole(path)]


def is_whole(path: Path) -> bool:
    try:
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".png":
            Image.open(path).load()
        else:
            content = path.read_bytes()
            return int.from_bytes(content[8:12], "little") == len(content) and is_result(path)
    except (OSError, ValueError):
        return False
    return is_result(path)


def test_hostile_names_are_done_like_any(reconstruct, tmp_path: Path):
    def attempt(name: bytes) -> None:
        folder = tmp_path / f"in-{NAMES.index(name)}"
        folder.mkdir()
        photograph(os.fsencode(folder) + b"/" + name, 1)
        photograph(folder / "other.png", 2)
        before, output = contents(folder), tmp_path / f"out-{NAMES.index(name)}"
        outcomes = reconstruct(folder, output)
        if contents(folder) != before:
            raise LostError("a photograph was changed")
        if len(outcomes) != 2 - (name in HIDDEN) or any(outcome.problem for outcome in outcomes):
            raise LostError(f"not all was done: {outcomes}")
        written = sum(3 if outcome.faces else 1 for outcome in outcomes)
        if len(contents(output)) != written or broken_results(output):
            raise LostError(f"there are {sorted(contents(output))}")
        for path in output.glob("*.json"):
            json.dumps(json.loads(path.read_text())["photo"]).encode()

    assert len(NAMES) >= 40
    try_each(NAMES, attempt, seconds=SECONDS).settle("hostile names, one by one")


def test_hostile_names_share_a_folder(reconstruct, tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        photograph(os.fsencode(folder) + b"/" + name, number)
    before = contents(folder)

    def attempt(output: Path) -> None:
        outcomes = reconstruct(folder, output)
        problems = [outcome.problem for outcome in outcomes if outcome.problem]
        there = {name: content for name, content in contents(output).items() if output != folder or name not in before}
        written = sum(3 if outcome.faces else 1 for outcome in outcomes)
        if problems or len(outcomes) != len(NAMES) - len(HIDDEN) or len(there) != written:
            raise LostError(f"{len(outcomes)} done, {len(there)} of {written} files, {problems[:3]}")
        if {name: contents(folder)[name] for name in before} != before:
            raise LostError("a photograph was changed")

    outputs = [tmp_path / "out", folder, folder]
    try_each(outputs, attempt, seconds=10 * SECONDS).settle("hostile names in one folder, run three times")


def test_killed_runs_lose_nothing_and_leave_nothing(reconstruct, folder: Path, tmp_path: Path):
    before, wanted, output = contents(folder), tmp_path / "wanted", tmp_path / "out"
    start = os.times().elapsed
    assert wait_for(fork(lambda: check_done(reconstruct(folder, wanted))), SECONDS) == 0
    longest = 1.2 * (os.times().elapsed - start)
    chance, killed, lost = random.Random(0), 0, []
    for number in range(KILLS):
        killed += kill_at_random(lambda: check_done(reconstruct(folder, output)), longest=longest, chance=chance)
        if broken := broken_results(output):
            lost.append(f"kill {number}: {broken} are not whole")
        if contents(folder) != before:
            lost.append(f"kill {number}: a photograph was changed")
    assert wait_for(fork(lambda: check_done(reconstruct(folder, output))), SECONDS) == 0
    if contents(output) != contents(wanted):
        lost.append(f"after the last run there are {sorted(contents(output))}")
    Counts(KILLS, 0, [], [], lost).settle(f"killed folder runs ({killed} while at work)")
    assert killed > KILLS // 3


def check_done(outcomes: list[Outcome]) -> None:
    """End the child with an error where something could not be done."""
    if problems := [outcome.problem for outcome in outcomes if outcome.problem]:
        raise LostError(str(problems))


def test_two_runs_into_one_folder(reconstruct, folder: Path, tmp_path: Path):
    wanted = tmp_path / "wanted"
    assert wait_for(fork(lambda: check_done(reconstruct(folder, wanted))), SECONDS) == 0
    crashed, hung, lost = [], [], []
    for number in range(MEETINGS):
        output = tmp_path / f"out-{number % 2}"  # empty, and with the results of earlier runs
        children = [fork(lambda place=output: check_done(reconstruct(folder, place))) for _ in range(2)]
        codes = [wait_for(child, SECONDS) for child in children]
        hung += [f"meeting {number}"] * codes.count(None)
        crashed += [f"meeting {number}: exit code {code}" for code in codes if code]
        if contents(output) != contents(wanted):
            lost.append(f"meeting {number}: there are {sorted(contents(output))}")
    Counts(2 * MEETINGS, 0, crashed, hung, lost).settle("two runs into one folder")


def test_a_full_disk_changes_no_result(reconstruct, folder: Path, tmp_path: Path):
    """A file may be no larger than some bytes, which is told like a full disk: while it is written."""
    output = tmp_path / "out"
    assert wait_for(fork(lambda: check_done(reconstruct(folder, output))), SECONDS) == 0
    before = contents(output)
    largest = max(map(len, before.values()))
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(folder / "0.png", one / "0.png")
    photograph(one / "0.png", 99)  # with other results than those that are there

    def attempt(number: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (random.Random(number).randrange(largest), resource.RLIM_INFINITY))
        [outcome] = reconstruct(one, output)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        after = contents(output)
        if outcome.problem and after != before:
            raise LostError(f"{outcome.problem}, but {sorted(set(after) ^ set(before))} or contents differ")
        if broken_results(output):
            raise LostError(f"{broken_results(output)} are not whole")
        for name, content in before.items():
            (output / name).write_bytes(content)
        if outcome.problem:
            raise ValueError(outcome.problem)

    counts = try_each(range(FULL_DISKS), attempt, seconds=SECONDS)
    counts.settle("full disks")
    assert counts.refused > FULL_DISKS // 3


def test_a_small_disk_is_full_for_real(reconstruct, folder: Path, tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")

    def attempt(_: int) -> None:
        outcomes = reconstruct(folder, disk / "out")
        if broken := broken_results(disk / "out"):
            raise LostError(f"{broken} are not whole")
        if leftovers := list((disk / "out").glob(".*")):
            raise LostError(f"{leftovers} were left")
        if problems := [outcome.problem for outcome in outcomes if outcome.problem]:
            raise ValueError(problems[0])

    try:
        counts = try_each(range(5), attempt, seconds=SECONDS)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    counts.settle("a disk of 150 kB")
    assert counts.refused == 5


def test_an_output_that_may_not_be_written_to_is_told_before_the_work(reconstruct, folder: Path, tmp_path: Path):
    if os.geteuid():
        pytest.skip("needs the right to become another user")
    output = tmp_path / "out"
    output.mkdir(mode=0o555)
    for place in (tmp_path, *tmp_path.parents[:2]):
        place.chmod(place.stat().st_mode | 0o055)

    def attempt(place: Path) -> None:
        os.setuid(NOBODY)
        tasks = plan_tasks(find_photographs([folder]), f"{place}/", None)
        raise LostError(f"{len(tasks)} tasks were planned")

    counts = try_each([output], attempt, seconds=SECONDS) + try_each([output / "new"], attempt, seconds=SECONDS)
    counts.settle("outputs that may not be written to")
    assert counts.refused == 2


@pytest.mark.parametrize("home", ["missing", "unset", "read-only"])
def test_without_a_home(folder: Path, tmp_path: Path, home: str):
    """The command itself, with the checkpoint that comes along."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME", "HF_HOME")
    }
    environment |= {"missing": {"HOME": str(tmp_path / "none")}, "unset": {}, "read-only": {"HOME": "/proc"}}[home]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    script = "from facegpt_hub.command_line import main; main()"
    command = [sys.executable, "-c", script, "reconstruct", str(folder / "0.png"), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=600)
    crashed = [] if "Traceback" not in done.stderr and done.returncode in (0, 1) else [done.stderr[-2000:]]
    lost = [] if (tmp_path / "out" / "0.json").exists() else [f"no result was written: {done.stderr[-500:]}"]
    Counts(1, 0, crashed, [], lost).settle(f"home directory {home}")
