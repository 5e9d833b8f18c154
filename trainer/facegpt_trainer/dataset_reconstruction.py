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
"""Faces of all photographs of a data set, in Parquet files: each photograph once, however often a run was stopped and
whatever was added, removed or renamed in between.

What is done is what the files say. A file is written under another name and then renamed, so that it is there as a
whole or not at all. Every run writes files of its own, numbered by run, process and chunk.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from tqdm import tqdm

from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.processing_facegpt import FaceGPTProcessor
from modeling_facegpt.reconstruction import Reconstruction

from .checkpoint import load_saved
from .pictures.photograph_stream import (
    DoneRows,
    LoosePhotographs,
    Part,
    PhotographShards,
    Row,
    TooManyProblemsError,
    as_text,
    open_stream,
)
from .run_facts import write_whole

SETTINGS = "settings.json"
LOCK = ".lock"
NUMBERS = pa.list_(pa.float32())
GROUPS = pa.struct([(name, NUMBERS) for name in FaceParameters._fields])
FACE = pa.struct(
    [("probability", pa.float32()), ("focal", pa.float32()), ("parameters", GROUPS), ("standard_deviations", GROUPS)]
)
SCHEMA = pa.schema(
    [
        ("shard", pa.string()),  # file of the photograph within the data set; null in a folder of image files
        ("row", pa.int64()),  # of the shard; null likewise
        ("name", pa.string()),  # in a folder of image files, the path within it
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("problem", pa.string()),  # why a photograph could not be read; null where it could
        ("faces", pa.list_(FACE)),  # from left to right
    ]
)


class ShardWriter:
    """Gathers rows and writes them, some hundred at a time.

    Args:
        output (`Path`): directory of the files.
        prefix (`str`): of their names; no two writers have the same.
        chunk (`int`): rows of a file.
    """

    def __init__(self, output: Path, prefix: str, chunk: int):
        self.output, self.prefix, self.chunk = output, prefix, chunk
        self.records: list[dict[str, Any]] = []
        self.files = 0

    def add(self, records: Sequence[dict[str, Any]]) -> None:
        """Take rows, and write what fills a file."""
        self.records += records
        while len(self.records) >= self.chunk:
            self.write(self.chunk)

    def write(self, rows: int) -> None:
        """One file of the first `rows` rows."""
        path = self.output / f"{self.prefix}-{self.files:06d}.parquet"
        _write(pa.Table.from_pylist(self.records[:rows], schema=SCHEMA), path)
        self.records, self.files = self.records[rows:], self.files + 1


def reconstruct_parts(
    model: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    source: LoosePhotographs | PhotographShards,
    parts: Sequence[Part],
    writer: ShardWriter,
    *,
    batch_size: int = 8,
    refine_steps: int = 0,
    most_problems: int = 100,
    quiet: bool = False,
) -> int:
    """Reconstruct photographs and write their rows.

    Args:
        model, processor: the checkpoint.
        source: the data set.
        parts (sequence of `Part`): what to read of it.
        writer (`ShardWriter`): takes the rows.
        batch_size (`int`): photographs reconstructed together.
        refine_steps (`int`): of fitting to the pixels, see `refine`.
        most_problems (`int`): photographs of these parts that may be unreadable.
        quiet (`bool`): no bar.

    Returns:
        `int`: photographs that were done.

    Raises:
        TooManyProblemsError: if more than `most_problems` cannot be read; what was done before is written.
    """
    problems = done = 0
    total = len(parts) if isinstance(source, LoosePhotographs) else None
    with tqdm(desc="photographs", unit="photograph", total=total, disable=quiet) as bar:
        for rows in _batches((row for part in parts for row in source.read(part)), batch_size):
            problems += sum(row.problem is not None for row in rows)
            if problems > most_problems:
                last = next(row.problem for row in reversed(rows) if row.problem)
                raise TooManyProblemsError(
                    f"got {problems} photographs that cannot be read, more than {most_problems}: {last}"
                )
            writer.add(_reconstruct_rows(model, processor, rows, refine_steps))
            done += len(rows)
            bar.update(len(rows))
    if writer.records:
        writer.write(len(writer.records))
    return done


def read_done(output: Path) -> DoneRows:
    """What the files of a directory hold already.

    Raises:
        ValueError: if one is damaged, or of another kind.
    """
    done = DoneRows(set(), {})
    for path in sorted(output.glob("*.parquet")):
        try:
            known = pq.read_schema(path).equals(SCHEMA)
            table = pq.read_table(path, columns=["shard", "row", "name"]).to_pydict() if known else {}
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"got {path}, which is damaged; delete it, and its photographs are done again") from error
        if not known:
            raise ValueError(f"got {path}, which is of another kind or version; give another directory")
        for shard, row, name in zip(*table.values(), strict=True):
            if shard is None:
                done.names.add(name)
            else:
                done.rows.setdefault(shard, set()).add(row)
    return done


def reconstruct_dataset(given: argparse.Namespace) -> int:
    """All that is not done yet of the data set that the command line names; see `reconstruct.py` for its options."""
    state = PartialState()
    source = open_stream(given.dataset, split=given.split, column=given.column)
    with _only_run(given.output, state.is_main_process):
        plan: list[Any] = [_plan(given, source) if state.is_main_process else None]
        broadcast_object_list(plan)
        [(run, parts)] = plan
        model, processor = load_saved(given.model)
        model.eval().to(given.device or state.device)  # pyright: ignore[reportArgumentType]
        done = reconstruct_parts(
            model,
            processor,
            source,
            parts[state.process_index :: state.num_processes],
            ShardWriter(given.output, f"faces-{run:05d}-{state.process_index:05d}", given.chunk),
            batch_size=given.batch_size,
            refine_steps=given.refine,
            most_problems=given.most_problems,
            quiet=not state.is_main_process,
        )
        state.wait_for_everyone()
    print(f"Process {state.process_index} reconstructed {done} photographs into {as_text(str(given.output))}")
    return 0


def _plan(given: argparse.Namespace, source: LoosePhotographs | PhotographShards) -> tuple[int, list[Part]]:
    """Number of this run, and what there is to do; what a killed run left half written is cleared away."""
    kept = {name: vars(given)[name] for name in ("dataset", "split", "column", "model", "refine")}
    if Path(given.dataset).is_dir():
        kept["dataset"] = str(Path(given.dataset).resolve())
    _keep_settings(given.output, kept)
    for partial in given.output.glob(".faces-*.part"):
        partial.unlink()
    runs = [int(path.name.split("-")[1]) for path in given.output.glob("faces-*-*-*.parquet")]
    return max(runs, default=-1) + 1, source.parts(read_done(given.output))


@contextmanager
def _only_run(output: Path, is_main: bool) -> Iterator[None]:
    """Inside the block, no other run writes into `output`; the lock goes with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # a system without such locks
        is_main = False
    if not is_main:
        yield
        return
    output.mkdir(parents=True, exist_ok=True)
    with (output / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"got {output}, into which another run writes; wait for it, or stop it") from error
        yield


def _batches(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while batch := list(islice(rows, size)):
        yield batch


def _reconstruct_rows(
    model: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, rows: list[Row], refine_steps: int
) -> list[dict[str, Any]]:
    readable = [row.photograph for row in rows if row.photograph is not None]
    images, focals = [one.image for one in readable], [one.focal for one in readable]
    found: Iterator[Reconstruction] = iter([])
    if readable:
        settings: dict[str, Any] = {"refine_steps": refine_steps, "batch_size": len(rows)}
        found = iter(model.reconstruct(images, processor, focals=focals, **settings))
    return [
        {"shard": row.shard, "row": row.row, "name": row.name, "problem": row.problem}
        | (_unread() if row.photograph is None else _describe(next(found)))
        for row in rows
    ]


def _unread() -> dict[str, Any]:
    return {"width": None, "height": None, "faces": []}


def _describe(found: Reconstruction) -> dict[str, Any]:
    columns = {
        name: {group: values.cpu().numpy() for group, values in parameters._asdict().items()}
        for name, parameters in (("parameters", found.parameters), ("standard_deviations", found.standard_deviation))
    }
    faces = [
        {"probability": float(probability), "focal": float(focal)}
        | {name: {group: values[face] for group, values in groups.items()} for name, groups in columns.items()}
        for face, (probability, focal) in enumerate(zip(found.probability, found.camera.focal, strict=True))
    ]
    return {"width": found.size[0], "height": found.size[1], "faces": faces}


def _write(table: pa.Table, path: Path) -> None:
    partial = path.with_name(f".{path.name}.part")
    try:
        pq.write_table(table, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _keep_settings(output: Path, settings: dict[str, Any]) -> None:
    """Files of two kinds of runs must not lie side by side."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / SETTINGS
    before = json.loads(path.read_text()) if path.exists() else settings
    for name, value in settings.items():
        if before.get(name) != value:
            raise ValueError(
                f"got {name}={value!r}, but {output} was begun with {before.get(name)!r}; give that, or another "
                "directory"
            )
    write_whole(path, json.dumps(settings, indent=1))
