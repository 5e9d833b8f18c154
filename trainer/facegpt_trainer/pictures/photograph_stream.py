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
from pathlib import Path
from typing import Any, NamedTuple, cast

from datasets import Dataset, Image, IterableDataset, load_dataset

from modeling_facegpt.photograph import (
    SUFFIXES,
    Photograph,
    PhotographError,
    decode_photograph,
    read_photograph,
    shown_path,
)

STREAMED_FORMATS = {".parquet": "parquet", ".tar": "webdataset", ".arrow": "arrow"}
FOLDER_SHARDS = 64  # at most; a folder is cut into shards that do not depend on how many processes read them
FILE_COLUMN = "photograph_file"  # of a folder: paths as bytes, since names of files need not be UTF-8
NAME_COLUMNS = ("file_name", "__key__", "name", "id")


class TooManyProblemsError(ValueError):
    """More photographs than allowed could not be used; what was done before stays."""


class PhotographStream(NamedTuple):
    """Photographs in an order that never changes, whoever reads them."""

    rows: IterableDataset
    column: str  # of the images
    shards: int

    def read(self, shard: int, start: int) -> Iterator[tuple[str, Photograph | None, str | None]]:
        """Name, photograph and problem of each row of a shard from row `start` on; one of the last two is `None`."""
        rows = self.rows.shard(self.shards, shard).skip(start)
        for number, row in enumerate(rows, start):
            yield read_row(row, self.column, f"row {number} of shard {shard}")


def open_stream(source: str, *, split: str = "train", column: str = "image") -> PhotographStream:
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
        return _named_column(_load(source, split, streaming=True), column, source)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    for suffix, builder in STREAMED_FORMATS.items():
        shards = [str(path) for path in files if path.suffix == suffix]
        if shards:
            return _named_column(_load(builder, "train", data_files=shards, streaming=True), column, source)
    photographs = [os.fsencode(path) for path in files if path.suffix.lower() in SUFFIXES]
    if not photographs:
        raise ValueError(
            f"got {source}, which holds no photographs and no {', '.join(STREAMED_FORMATS)} files; name a folder of "
            "them or a data set"
        )
    shards = min(FOLDER_SHARDS, len(photographs))
    rows = Dataset.from_dict({FILE_COLUMN: photographs}).to_iterable_dataset(num_shards=shards)
    return PhotographStream(rows, FILE_COLUMN, shards)


def _load(builder: str, split: str, **settings: Any) -> IterableDataset:
    try:
        loaded = load_dataset(builder, split=split, **settings)
    except (FileNotFoundError, ConnectionError) as error:
        raise ValueError(f"got {builder}, which is neither a folder nor a data set that can be reached") from error
    return cast(IterableDataset, loaded)  # since it is one split, and streamed


def _named_column(rows: IterableDataset, column: str, source: str) -> PhotographStream:
    names = list(rows.features or next(iter(rows.take(1)), {}))
    if column not in names:
        raise ValueError(f"got {source} without a column {column!r}; it has {', '.join(names)}: name one of them")
    # Decoded by us: a damaged image must not end the stream.
    rows = rows.cast_column(column, Image(decode=False))
    return PhotographStream(rows, column, rows.num_shards)


def read_row(row: dict[str, Any], column: str, place: str) -> tuple[str, Photograph | None, str | None]:
    """Name, photograph and problem of a row, whose name is `place` if it has no other; one of the last two is `None`.

    The column holds paths, bytes of image files, or what `datasets` stores of an image: one of them or both.
    """
    stored: Any = os.fsdecode(row[column]) if column == FILE_COLUMN else row[column]
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
