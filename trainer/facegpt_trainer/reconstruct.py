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
"""`accelerate launch -m facegpt_trainer.reconstruct --dataset … --output shards/`: faces of any number of photographs.

Results are Parquet files of at most `--chunk` photographs each, named by shard and chunk. A file is written under
another name and then renamed, so that it is there as a whole or not at all; a run that was stopped, or lost a process,
goes on after the last file of each shard, with any number of processes.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from accelerate import PartialState
from tqdm import tqdm

from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.photograph import Photograph
from modeling_facegpt.processing_facegpt import FaceGPTProcessor
from modeling_facegpt.reconstruction import Reconstruction

from .packaged_checkpoints import locate_checkpoint
from .pictures.photograph_stream import PhotographStream, TooManyProblemsError, open_stream

SETTINGS = "settings.json"
NUMBERS = pa.list_(pa.float32())
GROUPS = pa.struct([(name, NUMBERS) for name in FaceParameters._fields])
FACE = pa.struct(
    [("probability", pa.float32()), ("focal", pa.float32()), ("parameters", GROUPS), ("standard_deviations", GROUPS)]
)
SCHEMA = pa.schema(
    [
        ("shard", pa.int64()),
        ("row", pa.int64()),
        ("name", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("problem", pa.string()),  # why a photograph could not be read; null where it could
        ("faces", pa.list_(FACE)),  # from left to right
    ]
)


class _Row(NamedTuple):
    """One photograph on its way."""

    name: str
    photograph: Photograph | None
    problem: str | None


def reconstruct_stream(
    model: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    stream: PhotographStream,
    output: Path,
    *,
    chunk: int = 512,
    batch_size: int = 8,
    refine_steps: int = 0,
    most_problems: int = 100,
    process: int = 0,
    processes: int = 1,
) -> int:
    """Reconstruct what is not done yet of the shards that fall to this process.

    Args:
        model, processor: the checkpoint.
        stream (`PhotographStream`): the photographs.
        output (`Path`): directory of the Parquet files.
        chunk (`int`): photographs per file; the same in every run into the same directory.
        batch_size (`int`): photographs looked at together.
        refine_steps (`int`): of fitting to the pixels, see `refine`.
        most_problems (`int`): photographs of this run and process that may be unreadable.
        process, processes (`int`): which of how many.

    Returns:
        `int`: photographs that were done now.

    Raises:
        TooManyProblemsError: if more than `most_problems` cannot be read.
    """
    problems = done = 0
    with tqdm(desc="photographs", unit="photograph", disable=process > 0) as bar:
        for shard in range(process, stream.shards, processes):
            for number, rows in _chunks_to_do(stream, shard, output, chunk):
                problems += sum(row.problem is not None for row in rows)
                if problems > most_problems:
                    last = next(row.problem for row in reversed(rows) if row.problem)
                    raise TooManyProblemsError(
                        f"got {problems} photographs that cannot be read, more than {most_problems}: {last}"
                    )
                records = _reconstruct_rows(model, processor, rows, batch_size, refine_steps)
                places = [{"shard": shard, "row": number * chunk + place} for place in range(len(rows))]
                merged = [place | record for place, record in zip(places, records, strict=True)]
                _write(pa.Table.from_pylist(merged, schema=SCHEMA), _chunk_file(output, shard, number))
                done += len(rows)
                bar.update(len(rows))
    return done


def _chunk_file(output: Path, shard: int, number: int) -> Path:
    return output / f"faces-{shard:05d}-{number:06d}.parquet"


def _chunks_to_do(stream: PhotographStream, shard: int, output: Path, chunk: int) -> Iterator[tuple[int, list[_Row]]]:
    """Number and rows of each chunk without a file. Files come in order; one that is not full ends the shard."""
    number = 0
    while (file := _chunk_file(output, shard, number)).exists():
        if pq.read_metadata(file).num_rows < chunk:
            return
        number += 1
    rows: list[_Row] = []
    for row in stream.read(shard, number * chunk):
        rows.append(_Row(*row))
        if len(rows) == chunk:
            yield number, rows
            number, rows = number + 1, []
    yield number, rows


def _reconstruct_rows(
    model: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    rows: list[_Row],
    batch_size: int,
    refine_steps: int,
) -> list[dict[str, Any]]:
    readable = [row.photograph for row in rows if row.photograph is not None]
    found: list[Reconstruction] = []
    for start in range(0, len(readable), batch_size):
        batch = readable[start : start + batch_size]
        images = [photograph.image for photograph in batch]
        focals = [photograph.focal for photograph in batch]
        found += model.reconstruct(images, processor, focals=focals, refine_steps=refine_steps, batch_size=batch_size)
    following = iter(found)
    return [
        {"name": row.name, "problem": row.problem}
        | (_unread() if row.photograph is None else _describe(next(following)))
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
    partial = path.with_name(f".{path.name}.{os.getpid()}")
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
    partial = path.with_name(f".{SETTINGS}.{os.getpid()}")
    partial.write_text(json.dumps(settings, indent=1))
    partial.replace(path)


def main(arguments: list[str] | None = None) -> int:
    """Parse, reconstruct, say how many were done."""
    parser = argparse.ArgumentParser(prog="facegpt_trainer.reconstruct", description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="folder of photographs or shards, or a data set's name")
    parser.add_argument("--split", default="train", help="of a data set by name")
    parser.add_argument("--column", default="image", help="of the images")
    parser.add_argument("--output", type=Path, required=True, help="directory of the Parquet files")
    parser.add_argument("--model", required=True, help="checkpoint: a directory, or owner/name on the Hub")
    parser.add_argument("--chunk", type=int, default=512, help="photographs per file")
    parser.add_argument("--batch-size", type=int, default=8, help="photographs looked at together")
    parser.add_argument("--refine", type=int, default=0, metavar="STEPS", help="fit faces to the pixels")
    parser.add_argument("--most-problems", type=int, default=100, help="unreadable photographs before it stops")
    given = parser.parse_args(arguments)
    try:
        return _run(given)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _run(given: argparse.Namespace) -> int:
    state = PartialState()
    stream = open_stream(given.dataset, split=given.split, column=given.column)
    kept = ("dataset", "split", "column", "model", "chunk", "refine")
    with state.main_process_first():
        _keep_settings(given.output, {name: getattr(given, name) for name in kept} | {"shards": stream.shards})
    if state.is_main_process and state.num_processes > stream.shards:
        print(f"{stream.shards} shards keep only as many of {state.num_processes} processes busy", file=sys.stderr)
    checkpoint = locate_checkpoint(given.model)
    model = FaceGPTForConditionalGeneration.from_pretrained(checkpoint, trust_remote_code=False).eval()
    model.to(state.device)  # pyright: ignore[reportArgumentType]
    done = reconstruct_stream(
        model,
        FaceGPTProcessor.from_pretrained(checkpoint, trust_remote_code=False),
        stream,
        given.output,
        chunk=given.chunk,
        batch_size=given.batch_size,
        refine_steps=given.refine,
        most_problems=given.most_problems,
        process=state.process_index,
        processes=state.num_processes,
    )
    print(f"Process {state.process_index} reconstructed {done} photographs into {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
