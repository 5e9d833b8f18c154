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
"""Parquet and WebDataset files whose rows are read by number."""

import io
import tarfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modeling_facegpt.photograph import SUFFIXES

from .photograph_stream import NAME_COLUMNS

CACHE_BYTES = 2**28  # of blocks, as they are stored
LARGEST_BLOCK = 2**28  # bytes
ANY_IMAGE = "image"  # what images of a tar are called, whatever their ending


class BlockCache:
    """The blocks that were read last, up to `CACHE_BYTES`; the very last one however large it is."""

    def __init__(self) -> None:
        self.tables: OrderedDict[tuple[Path, int], pa.Table] = OrderedDict()

    def get(self, key: tuple[Path, int], read: Callable[[], pa.Table]) -> pa.Table:
        """The block of that key, read if it is not there."""
        if key not in self.tables:
            self.tables[key] = read()
        self.tables.move_to_end(key)
        while len(self.tables) > 1 and sum(table.nbytes for table in self.tables.values()) > CACHE_BYTES:
            self.tables.popitem(last=False)
        return self.tables[key]


class ShardFile(Protocol):
    """A file of rows in blocks that are read as one."""

    path: Path
    block_rows: list[int]

    def read(self, block: int, row: int, cache: BlockCache) -> dict[str, Any]:
        """A row: `image` as stored, `landmarks` where they were asked for, and what it is called, if anything."""
        ...


def has_shards(folder: Path) -> bool:
    """Whether there are shards in a folder or below it."""
    return any(True for suffix in ("*.parquet", "*.tar") for _ in folder.rglob(suffix))


def open_shard_files(folder: Path, column: str, landmark_column: str | None) -> list[ShardFile]:
    """The shards of a folder and of those below it, in order of their names.

    Args:
        folder (`Path`): of Parquet files, or else of WebDataset files.
        column (`str`): of the images, see `ShardedPhotographs`.
        landmark_column (`str` or `None`): that must be there too.

    Raises:
        ValueError: if there are none, or one is damaged, lacks a column or has blocks too large to hold.
    """
    for suffix, open_one in ((".parquet", ParquetShard), (".tar", TarShard)):
        paths = sorted(path for path in Path(folder).rglob(f"*{suffix}") if not path.name.startswith("."))
        if paths:
            return [open_one(path, column, landmark_column) for path in paths]
    raise ValueError(f"got {folder}, in which there are no .parquet and no .tar files; name a folder of them")


class ParquetShard:
    """A Parquet file; a block is a row group."""

    def __init__(self, path: Path, column: str, landmark_column: str | None):
        self.path, self.column, self.landmark_column = path, column, landmark_column
        try:
            metadata = pq.read_metadata(path)
            schema = pq.read_schema(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"got {path}, which is damaged or no Parquet file; write it anew") from error
        _check_columns(path, [column, landmark_column], schema.names)
        if not _holds_images(schema.field(column).type):
            raise ValueError(
                f"got {path}, whose column {column!r} holds {schema.field(column).type}; name one of images, stored "
                "as bytes or as paths"
            )
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        if groups and (largest := max(group.total_byte_size for group in groups)) > LARGEST_BLOCK:
            raise ValueError(
                f"got {path} with a row group of {largest / 2**20:.0f} MiB, which is read as one; write groups of at "
                f"most {LARGEST_BLOCK // 2**20} MiB, such as 100 rows"
            )
        self.block_rows = [group.num_rows for group in groups]
        names = [name for name in NAME_COLUMNS if name in schema.names]
        self.columns = [name for name in (column, landmark_column, *names) if name is not None]

    def read(self, block: int, row: int, cache: BlockCache) -> dict[str, Any]:
        table = cache.get((self.path, block), lambda: pq.ParquetFile(self.path).read_row_group(block, self.columns))
        [values] = table.slice(row, 1).to_pylist()
        return values | {"image": values[self.column]}


class _Member(NamedTuple):
    """Where a file of a tar is."""

    start: int
    length: int


class TarShard:
    """A WebDataset file: `KEY.jpg` or the like, and `KEY.landmarks.npy`. All of it is one block, of which no more is
    read than what is asked for."""

    def __init__(self, path: Path, column: str, landmark_column: str | None):
        self.path, self.landmarks = path, landmark_column
        samples: dict[str, dict[str, _Member]] = {}
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    key, _, ending = Path(member.name).name.partition(".")
                    if member.isfile() and key:
                        key = str(Path(member.name).parent / key)
                        samples.setdefault(key, {})[ending] = _Member(member.offset_data, member.size)
        except tarfile.TarError as error:
            raise ValueError(f"got {path}, which is damaged or no tar file ({error}); write it anew") from error
        endings = list(dict.fromkeys(ending for sample in samples.values() for ending in sample))
        images = [ending for ending in endings if column in (ending, ANY_IMAGE) and f".{ending.lower()}" in SUFFIXES]
        wanted = None if landmark_column is None else f"{landmark_column}.npy"
        _check_columns(path, [images[0] if images else column, wanted], endings)
        self.samples = [
            (key, next((sample[ending] for ending in images if ending in sample), None), sample.get(str(wanted)))
            for key, sample in sorted(samples.items())
        ]
        self.block_rows = [len(self.samples)]

    def read(self, block: int, row: int, cache: BlockCache) -> dict[str, Any]:
        key, image, landmarks = self.samples[row]
        with self.path.open("rb") as file:
            stored = _read_member(file, image)
            points = _read_member(file, landmarks)
        values: dict[str, Any] = {"__key__": key, "image": {"bytes": stored, "path": key} if stored else None}
        if self.landmarks is None:
            return values
        try:
            return values | {self.landmarks: None if points is None else np.load(io.BytesIO(points))}
        except (ValueError, OSError, EOFError):
            return values | {self.landmarks: np.zeros(0)}  # said to be of the wrong shape, with the photograph's name


def _read_member(file: Any, member: _Member | None) -> bytes | None:
    if member is None:
        return None
    file.seek(member.start)
    return file.read(member.length)


def _check_columns(path: Path, wanted: list[str | None], there: list[str]) -> None:
    for name in wanted:
        if name is not None and name not in there:
            raise ValueError(
                f"got {path} without a column {name!r}; it has {', '.join(there) or 'none'}: {_advice(name)}"
            )


def _advice(name: str) -> str:
    if name.startswith("landmarks"):
        return "add it, 468 or more points in pixels a row, or set use_landmarks: false"
    return "name the one of the images as photograph_column"


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return bool({"bytes", "path"} & {field.name for field in kind})
    return any(
        check(kind)
        for check in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string, pa.types.is_large_string)
    )
