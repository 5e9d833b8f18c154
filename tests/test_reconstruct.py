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
from facegpt_trainer import reconstruct
from facegpt_trainer.pictures.photograph_stream import open_stream
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
    write, written = reconstruct._write, []

    def stop_after_three(table, path: Path) -> None:
        if len(written) == 3:
            raise OSError("no space left on device")
        write(table, path)
        written.append(path)

    monkeypatch.setattr(reconstruct, "_write", stop_after_three)
    code, error = run(folder)
    assert code == 1 and "no space left" in error
    first = {path: path.stat().st_mtime_ns for path in written}
    monkeypatch.setattr(reconstruct, "_write", write)
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
    assert [(row["shard"], row["row"]) for row in rows] == [(part, number) for part in range(2) for number in range(4)]
    assert sum(row["problem"] is not None for row in rows) == 1


def test_webdataset_shards_are_read(tmp_path: Path):
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for number in range(3):
            entry = tarfile.TarInfo(f"{number:03d}.png")
            entry.size = len(_photograph(number))
            archive.addfile(entry, io.BytesIO(_photograph(number)))
    stream = open_stream(str(tmp_path), column="png")
    found = [photograph.image.size for _, photograph, _ in stream.read(0, 1)]
    assert found == [(41, 48), (42, 48)]


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
    assert json.loads((output / "settings.json").read_text())["chunk"] == 2


def test_names_that_are_no_utf8_are_escaped_and_the_rest_goes_on(folder: Path, run: Callable, tmp_path: Path):
    (folder / "0.png").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    (folder / "damaged.jpg").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe8.jpg"))
    assert run(folder)[0] == 0
    rows = {Path(row["name"]).name: row for row in _rows(tmp_path / "shards")}
    assert len(rows) == COUNT + 1
    assert rows["caf\\xe9.png"]["width"] == 40 and "caf\\xe8.jpg" in rows["caf\\xe8.jpg"]["problem"]
