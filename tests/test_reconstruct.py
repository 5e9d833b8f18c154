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
"""Reconstruction of whole data sets: every photograph once, however often the run is stopped and by how many."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from facegpt_trainer import dataset_reconstruction, reconstruct
from facegpt_trainer.pictures.photograph_stream import Part, as_text, open_stream
from PIL import Image

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor

COUNT = 7


def _photograph(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (48, 40 + number, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photographs in two directories, one of them damaged, and a file that is none."""
    folder = tmp_path / "photographs"
    (folder / "more").mkdir(parents=True)
    for number in range(COUNT):
        (folder / ("more" if number % 2 else ".") / f"{number}.png").write_bytes(_photograph(number))
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photograph")
    (folder / "notes.txt").write_text("none either")
    return folder


@pytest.fixture
def checkpoint(eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path) -> Path:
    eager_facegpt.save_pretrained(tmp_path / "checkpoint")
    processor.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def run(checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the command on a data set; gives its exit code and what it said on stderr."""

    def call(dataset: Path, *options: str) -> tuple[int, str]:
        fixed = ("--model", str(checkpoint), "--output", str(tmp_path / "shards"), "--chunk", "2")
        code = reconstruct.main(["--dataset", str(dataset), *fixed, *options])
        return code, capfd.readouterr().err

    return call


def _rows(directory: Path) -> list[dict]:
    return [row for file in sorted(directory.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_every_photograph_of_a_folder_is_done_once(folder: Path, run: Callable, tmp_path: Path):
    assert run(folder)[0] == 0
    rows = _rows(tmp_path / "shards")
    assert len({row["name"] for row in rows}) == len(rows) == COUNT + 1
    [damaged] = [row for row in rows if row["problem"]]
    assert "damaged.jpg" in damaged["problem"] and damaged["faces"] == [] and damaged["width"] is None
    faces = [face for row in rows for face in row["faces"]]
    assert len(faces) >= COUNT
    assert all(len(face["parameters"]["light"]) == 27 for face in faces)
    assert all(min(face["standard_deviations"]["light"]) > 0 for face in faces)
    assert {(row["width"], row["height"]) for row in rows if row["width"]} == {(40 + n, 48) for n in range(COUNT)}


def test_a_stopped_run_goes_on_where_it_stopped(
    folder: Path, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write, written = dataset_reconstruction._write, []

    def stop_after_three(table, path: Path) -> None:
        if len(written) == 3:
            raise OSError("no space left on device")
        write(table, path)
        written.append(path)

    monkeypatch.setattr(dataset_reconstruction, "_write", stop_after_three)
    code, error = run(folder)
    assert code == 1 and "no space left" in error
    first = {path: path.stat().st_mtime_ns for path in written}
    monkeypatch.setattr(dataset_reconstruction, "_write", write)
    assert run(folder)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in written} == first
    assert len({row["name"] for row in _rows(tmp_path / "shards")}) == COUNT + 1
    files = sorted((tmp_path / "shards").iterdir())
    assert run(folder)[0] == 0  # all is done: nothing more is written
    assert sorted((tmp_path / "shards").iterdir()) == files


def test_parquet_shards_are_streamed_chunk_by_chunk(run: Callable, tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    for part in range(2):
        images = [{"bytes": _photograph(10 * part + number), "path": None} for number in range(4)]
        images[1] = {"bytes": b"", "path": None} if part else images[1]
        table = {"photo": images, "id": [f"{part}-{number}" for number in range(4)]}
        Dataset.from_dict(table).to_parquet(data / f"{part}.parquet")
    assert run(data, "--column", "photo")[0] == 0
    rows = _rows(tmp_path / "shards")
    assert [row["name"] for row in rows] == [f"{part}-{number}" for part in range(2) for number in range(4)]
    assert [(row["shard"], row["row"]) for row in rows] == [(f"{p}.parquet", n) for p in range(2) for n in range(4)]
    assert sum(row["problem"] is not None for row in rows) == 1


def test_webdataset_shards_are_read(tmp_path: Path):
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for number in range(3):
            entry = tarfile.TarInfo(f"{number:03d}.png")
            entry.size = len(_photograph(number))
            archive.addfile(entry, io.BytesIO(_photograph(number)))
    stream = open_stream(str(tmp_path), column="png")
    found = [row.photograph.image.size for row in stream.read(Part(0, "0.tar", frozenset({0})))]
    assert found == [(41, 48), (42, 48)]


def test_a_folder_that_changed_is_done_to_its_end(folder: Path, run: Callable, tmp_path: Path):
    """Photographs are added before and between those that are done; some go, one gets another name."""
    shards = tmp_path / "shards"
    assert run(folder)[0] == 0
    done = {row["name"] for row in _rows(shards)}
    for number in range(5):
        (folder / f"{'abz'[number % 3]}{number}.png").write_bytes(_photograph(20 + number))
    (folder / "2.png").unlink()
    (folder / "4.png").rename(folder / "other name.png")
    assert run(folder)[0] == 0
    names = [row["name"] for row in _rows(shards)]
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in (".png", ".jpg")}
    assert len(names) == len(set(names)) and set(names) == done | there
    files = sorted(shards.glob("*.parquet"))
    assert run(folder)[0] == 0 and sorted(shards.glob("*.parquet")) == files


def test_shards_that_are_added_are_done(run: Callable, tmp_path: Path):
    """A shard whose name comes first moves all others; one that was cut off is done to its end."""
    data = tmp_path / "data"
    data.mkdir()

    def write(name: str, rows: range) -> None:
        images = [{"bytes": _photograph(row), "path": None} for row in rows]
        Dataset.from_dict({"image": images}).to_parquet(data / f"{name}.parquet")

    write("b", range(3))
    assert run(data)[0] == 0
    write("a", range(4, 6))
    write("b", range(5))
    assert run(data)[0] == 0
    rows = _rows(tmp_path / "shards")
    assert sorted((row["shard"], row["row"]) for row in rows) == [
        *(("a.parquet", number) for number in range(2)),
        *(("b.parquet", number) for number in range(5)),
    ]


def test_names_that_are_no_utf_8_are_stored(folder: Path, run: Callable, tmp_path: Path):
    latin = os.fsdecode(b"caf\xe9.png")
    (folder / latin).write_bytes(_photograph(1))
    (folder / "caf\\xe9.png").write_bytes(_photograph(2))
    (folder / os.fsdecode(b"b\xe9d.jpg")).write_bytes(b"\xff\xd8 none")
    assert run(folder)[0] == 0
    rows = {row["name"]: row for row in _rows(tmp_path / "shards")}
    assert len(rows) == COUNT + 4 and rows["caf\\xe9.png"]["width"] == 41 and rows["caf\\\\xe9.png"]["width"] == 42
    assert "b\\xe9d.jpg" in rows["b\\xe9d.jpg"]["problem"]
    assert as_text("caf\u00e9") == "caf\u00e9"
    assert run(folder)[0] == 0 and len(_rows(tmp_path / "shards")) == len(rows)


def test_one_run_at_a_time_writes_into_a_directory(folder: Path, run: Callable, tmp_path: Path):
    (tmp_path / "shards").mkdir()
    with dataset_reconstruction._only_run(tmp_path / "shards", True):
        code, error = run(folder)
    assert code == 1 and "into which another run writes" in error


def test_what_a_killed_run_left_half_written_is_cleared(folder: Path, run: Callable, tmp_path: Path):
    (tmp_path / "shards").mkdir()
    partial = tmp_path / "shards" / ".faces-00000-00000-000000.parquet.part"
    partial.write_bytes(b"PAR1")
    assert run(folder)[0] == 0 and not partial.exists()
    damaged = tmp_path / "shards" / "faces-00007-00000-000000.parquet"
    damaged.write_bytes(b"PAR1 and no more")
    code, error = run(folder)
    assert code == 1 and f"got {damaged}, which is damaged; delete it" in error


def test_another_run_is_not_mixed_in(folder: Path, run: Callable):
    assert run(folder)[0] == 0
    code, error = run(folder, "--refine", "1")
    assert code == 1 and "refine=1" in error and "begun with 0" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--most-problems", "0"), "1 photographs that cannot be read"), (("--column", "photo"), "")],
)
def test_too_many_problems_end_a_run(folder: Path, run: Callable, options: tuple[str, ...], message: str):
    code, error = run(folder, *options)
    assert (code == 1) is bool(message)  # a folder of files has no columns to name
    assert message in error


def test_what_is_no_data_set_is_refused(tmp_path: Path, run: Callable):
    code, error = run(tmp_path / "shards-of-nobody")
    assert code == 1 and "neither a folder nor a data set" in error
    (tmp_path / "empty").mkdir()
    code, error = run(tmp_path / "empty")
    assert code == 1 and "holds no photographs" in error
    Dataset.from_dict({"picture": [{"bytes": _photograph(0), "path": None}]}).to_parquet(tmp_path / "empty/0.parquet")
    code, error = run(tmp_path / "empty")
    assert code == 1 and "it has picture" in error


@pytest.mark.slow
def test_two_processes_share_the_work(folder: Path, checkpoint: Path, tmp_path: Path):
    output = tmp_path / "shards"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command += ["-m", "facegpt_trainer.reconstruct", "--dataset", str(folder), "--model", str(checkpoint)]
    subprocess.run([*command, "--output", str(output), "--chunk", "2"], check=True)
    assert len({row["name"] for row in _rows(output)}) == len(_rows(output)) == COUNT + 1
    assert json.loads((output / "settings.json").read_text())["refine"] == 0
