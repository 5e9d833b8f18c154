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
"""Photographs by the million, in shards: a folder of files, or a data set that `datasets` can stream."""

import io
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, cast

from datasets import Image, IterableDataset, load_dataset

from modeling_facegpt.photograph import (
    SUFFIXES,
    Photograph,
    PhotographError,
    decode_photograph,
    read_photograph,
    shown_path,
)

STREAMED_FORMATS = {".parquet": "parquet", ".tar": "webdataset", ".arrow": "arrow"}
NAME_COLUMNS = ("file_name", "__key__", "name", "id")


class TooManyProblemsError(ValueError):
    """More photographs than allowed could not be used; what was done before stays."""


class Row(NamedTuple):
    """One photograph of a data set. It is known by `shard` and `row`, or of a folder of image files by `name`."""

    shard: str | None  # path of the file within the data set, or its number
    row: int | None  # of the shard
    name: str
    photograph: Photograph | None
    problem: str | None  # why it could not be read


class Part(NamedTuple):
    """What is to be read by one process at once: a file of photographs, or one photograph."""

    number: int
    path: str  # within the data set
    done: frozenset[int] = frozenset()  # rows that are not to be read


class DoneRows(NamedTuple):
    """The photographs of a data set that were read before."""

    names: set[str]  # of image files
    rows: dict[str, set[int]]  # by shard


class LoosePhotographs(NamedTuple):
    """The image files of a folder and of those below it."""

    folder: Path
    paths: list[str]  # within the folder

    def parts(self, done: DoneRows) -> list[Part]:
        """The files that are not done."""
        return [Part(n, path) for n, path in enumerate(self.paths) if as_text(path) not in done.names]

    def read(self, part: Part) -> Iterator[Row]:
        """The photograph of a part."""
        name = as_text(part.path)
        try:
            yield Row(None, None, name, read_photograph(self.folder / part.path), None)
        except PhotographError as error:
            yield Row(None, None, name, None, as_text(str(error), escape=False))


class PhotographShards(NamedTuple):
    """Files of many photographs each, as `datasets` streams them."""

    rows: IterableDataset
    column: str  # of the images
    paths: list[str]  # of the shards

    def parts(self, done: DoneRows) -> list[Part]:
        """All shards: only reading tells how many rows one has."""
        return [Part(n, path, frozenset(done.rows.get(path, ()))) for n, path in enumerate(self.paths)]

    def read(self, part: Part) -> Iterator[Row]:
        """The rows of a shard that are not done."""
        start = next(number for number in count() if number not in part.done)
        for number, row in enumerate(self.rows.shard(len(self.paths), part.number).skip(start), start):
            if number not in part.done:
                name, photograph, problem = read_row(row, self.column, f"row {number} of {part.path}")
                yield Row(part.path, number, as_text(name, escape=False), photograph, problem)


def as_text(name: str, *, escape: bool = True) -> str:
    """A file's name as text that can be stored: bytes that are no UTF-8 become `\\xe9` and the like.

    Args:
        name (`str`): as the file system gives it.
        escape (`bool`): also write each backslash twice, so that two names never become one.
    """
    text = name.replace("\\", "\\\\") if escape else name
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def open_stream(source: str, *, split: str = "train", column: str = "image") -> LoosePhotographs | PhotographShards:
    """Photographs of a folder of files (searched through), a folder of Parquet, Arrow or WebDataset shards, or a data
    set by its name on the Hub.

    Args:
        source (`str`): the folder, or the name.
        split (`str`): of a data set by name.
        column (`str`): of the images; not asked of a folder of image files.

    Raises:
        ValueError: if there are no photographs, or no such column or split.
    """
    folder = Path(source)
    if not folder.is_dir():
        return _named_column(_load(source, split, streaming=True), column, source, None)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    for suffix, builder in STREAMED_FORMATS.items():
        shards = [path for path in files if path.suffix == suffix]
        if shards:
            rows = _load(builder, "train", data_files=[str(path) for path in shards], streaming=True)
            return _named_column(rows, column, source, [path.relative_to(folder).as_posix() for path in shards])
    photographs = [path.relative_to(folder).as_posix() for path in files if path.suffix.lower() in SUFFIXES]
    if not photographs:
        raise ValueError(
            f"got {source}, which holds no photographs and no {', '.join(STREAMED_FORMATS)} files; name a folder of "
            "them or a data set"
        )
    return LoosePhotographs(folder, photographs)


def _load(builder: str, split: str, **settings: Any) -> IterableDataset:
    try:
        loaded = load_dataset(builder, split=split, **settings)
    except (FileNotFoundError, ConnectionError) as error:
        raise ValueError(f"got {builder}, which is neither a folder nor a data set that can be reached") from error
    return cast(IterableDataset, loaded)  # since it is one split, and streamed


def _named_column(rows: IterableDataset, column: str, source: str, paths: list[str] | None) -> PhotographShards:
    names = list(rows.features or next(iter(rows.take(1)), {}))
    if column not in names:
        raise ValueError(f"got {source} without a column {column!r}; it has {', '.join(names)}: name one of them")
    # Decoded by us: a damaged image must not end the stream.
    rows = rows.cast_column(column, Image(decode=False))
    if paths is None or len(paths) != rows.num_shards:  # by number, of how many: they cannot be told apart otherwise
        paths = [f"{number} of {rows.num_shards}" for number in range(rows.num_shards)]
    return PhotographShards(rows, column, paths)


def read_row(row: dict[str, Any], column: str, place: str) -> tuple[str, Photograph | None, str | None]:
    """Name, photograph and problem of a row, whose name is `place` if it has no other; one of the last two is `None`.

    The column holds paths, bytes of image files, or what `datasets` stores of an image: one of them or both.
    """
    stored: Any = row[column]
    stored = {"bytes": stored} if isinstance(stored, bytes) else stored
    name = next((shown_path(str(row[key])) for key in NAME_COLUMNS if row.get(key) is not None), place)
    try:
        if isinstance(stored, str):
            name = shown_path(stored)
            return name, read_photograph(stored), None
        if not stored:
            return name, None, f"{name} has no image"
        if stored.get("bytes") is None:
            return name, read_photograph(stored["path"]), None
        name = shown_path(stored["path"]) if stored.get("path") else name
        return name, decode_photograph(io.BytesIO(stored["bytes"]), name), None
    except PhotographError as error:
        return name, None, str(error)
