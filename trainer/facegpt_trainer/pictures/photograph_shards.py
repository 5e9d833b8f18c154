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
"""Photographs by the million to train on: Parquet or WebDataset shards, decoded when they are asked for.

Which photographs the k-th draw of a run holds follows from the seed alone, so that any process can read its own draws,
and a resumed run goes on with the photograph that comes next.
"""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .photograph_stream import TooManyProblemsError, read_row
from .photographs import PhotographFolder, join_photographs, landmark_problem
from .shard_files import BlockCache, ShardFile, open_shard_files
from .shard_order import RowPlace, ShardOrder

LANDMARK_COLUMN = "landmarks"
MOST_SKIPPED = 100  # photographs one after the other that show no face

logger = logging.getLogger(__name__)


class _Found(NamedTuple):
    """A photograph that can be trained on."""

    name: str
    image: Image.Image
    points: np.ndarray  # (468, 2) pixels; NaN where not known
    box: Tensor  # (4,) pixels


class ShardedPhotographs:
    """Photographs of a folder of shards, in an order that never changes.

    Rows are permuted by index: shards, then blocks (row groups of Parquet; a tar is one), then rows in a block. The
    permuted order is dealt to a fixed number of lanes, and draws take turns between them; so processes that take
    turns with their draws read different shards, and together the photographs that one process would read.

    Args:
        folder (`Path`): searched through for `.parquet` files, else for `.tar` files.
        column (`str`): of the images; of a tar, the ending of their names, or `image` for any that images have.
        seed (`int`): of the order.
        exclude (`str` or `None`): photographs whose name contains this regular expression are left out.
        box_of (`Callable` or `None`): from a list of `PIL` images to boxes `(M, 4)` in pixels, NaN where there is no
            face. Without it, the column `landmarks` says where faces are: 468 or more points in pixels, or null.
        most_problems (`int`): photographs that may be unreadable; they are left out, and the next one is taken.

    Raises:
        ValueError: if there are no such files, or one lacks a column.
    """

    def __init__(
        self,
        folder: Path,
        *,
        column: str = "image",
        seed: int = 0,
        exclude: str | None = None,
        box_of: Callable[[list], Tensor] | None = None,
        most_problems: int = 100,
    ):
        self.files: list[ShardFile] = open_shard_files(folder, column, None if box_of else LANDMARK_COLUMN)
        self.order = ShardOrder([file.block_rows for file in self.files], seed)
        self.exclude, self.box_of, self.most_problems = exclude, box_of, most_problems
        self.cache = BlockCache()
        # Shared between the workers of a data loader, which each meet some of them.
        self.unreadable = torch.zeros(self.order.rows, dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return self.order.rows

    def pick(self, turn: int, count: int, generator: torch.Generator) -> PhotographFolder:
        """The `count` photographs of draw number `turn`; the generator is left alone.

        Raises:
            TooManyProblemsError: if more than `most_problems` were unreadable up to now.
            ValueError: if a hundred one after the other show no face.
        """
        found: dict[int, _Found] = {}
        for skipped in range(MOST_SKIPPED):
            missing = [slot for slot in range(count) if slot not in found]
            if not missing:
                return join_photographs(*zip(*(found[slot] for slot in range(count)), strict=True))
            places = [self.order.place(turn, slot, count, skipped) for slot in missing]
            found |= {slot: one for slot, one in zip(missing, self._read(places), strict=True) if one is not None}
        raise ValueError(
            f"got {MOST_SKIPPED} photographs one after the other in which no face is known; give them landmarks, or "
            "set use_landmarks: false and start from a checkpoint that finds faces"
        )

    def _read(self, places: list[RowPlace]) -> list[_Found | None]:
        read = [self._read_one(place) for place in places]
        if self.box_of is None:
            return read
        index = [number for number, one in enumerate(read) if one is not None]
        boxes = self.box_of([one.image for one in read if one is not None]) if index else []
        for number, box in zip(index, boxes, strict=True):
            one = read[number]
            read[number] = one._replace(box=box) if one is not None and box.isfinite().all() else None
        return read

    def _read_one(self, place: RowPlace) -> _Found | None:
        """`None` for a photograph that is excluded, unreadable, or of which it is known that it shows no face."""
        row = self.files[place.shard].read(place.block, place.row, self.cache)
        name, photograph, problem = read_row(
            row, "image", f"row {place.number} of {self.files[place.shard].path.name}"
        )
        if self.exclude is not None and re.search(self.exclude, name):
            return None
        points = np.full((468, 2), np.nan, dtype=np.float32)
        if photograph is not None and self.box_of is None:
            if row[LANDMARK_COLUMN] is None:  # a detector found nothing
                return None
            problem = landmark_problem(row[LANDMARK_COLUMN], photograph.image.size, name)
            points = points if problem else np.asarray(row[LANDMARK_COLUMN], dtype=np.float32)[:468, :2]
        if photograph is None or problem:
            return self._leave_out(place, str(problem))
        box = torch.tensor([*points.min(0), *points.max(0)])
        return _Found(name, photograph.image, points, box)

    def _leave_out(self, place: RowPlace, problem: str) -> None:
        if self.unreadable[place.number]:
            return
        self.unreadable[place.number] = True
        count = int(self.unreadable.sum())
        logger.warning("left out photograph %d of at most %d: %s", count, self.most_problems, problem)
        if count > self.most_problems:
            raise TooManyProblemsError(
                f"got {count} photographs that cannot be used, more than {self.most_problems}: {problem}"
            )
