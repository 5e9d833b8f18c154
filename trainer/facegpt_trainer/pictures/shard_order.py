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
"""In which order the rows of shards are trained on: a permutation by index, with nothing to remember."""

import bisect
import random
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import torch

LANES = 8  # fixed: were it the number of processes, the order would depend on that


class RowPlace(NamedTuple):
    """One row of all shards."""

    number: int  # of the row, over all shards as they are stored
    shard: int
    block: int  # of the shard
    row: int  # of the block


class ShardOrder:
    """Rows of shards in a seeded order: shards permuted, blocks within a shard, rows within a block; anew each epoch.

    The order of an epoch is cut into lanes of equal lengths; draw number `turn` goes on in lane `turn % LANES`.
    Processes whose number divides that of the lanes, and which take draws in turns, each keep to their own lanes.

    Args:
        block_rows (`list`): for each shard, the rows of each of its blocks.
        seed (`int`): of the order.

    Raises:
        ValueError: if there are no rows.
    """

    def __init__(self, block_rows: list[list[int]], seed: int = 0):
        self.seed = seed
        self.block_rows = block_rows
        self.shard_rows = [sum(rows) for rows in block_rows]
        self.shard_starts = list(accumulate(self.shard_rows, initial=0))
        self.rows = self.shard_starts[-1]
        if not self.rows:
            raise ValueError("got shards without a single row; name a folder of others")
        self.lanes = min(LANES, self.rows)
        self._shards = lru_cache(maxsize=2 * LANES)(self._permute_shards)
        self._blocks = lru_cache(maxsize=2 * LANES)(self._permute_blocks)
        self._rows = lru_cache(maxsize=2 * LANES)(self._permute_rows)

    def place(self, turn: int, slot: int, count: int, ahead: int = 0) -> RowPlace:
        """The row of one of the `count` slots of draw number `turn`, or the one that comes so many rows `ahead`."""
        lane, visit = turn % self.lanes, turn // self.lanes * count + slot + ahead
        length, longer = divmod(self.rows, self.lanes)
        start = lane * length + min(lane, longer)
        epoch, offset = divmod(visit, length + (lane < longer))
        return self.at(epoch, start + offset)

    def at(self, epoch: int, position: int) -> RowPlace:
        """The row at a position of the permuted order of an epoch."""
        shards, starts = self._shards(epoch)
        order = bisect.bisect_right(starts, position) - 1
        shard, position = shards[order], position - starts[order]
        blocks, starts = self._blocks(epoch, shard)
        order = bisect.bisect_right(starts, position) - 1
        block, position = blocks[order], position - starts[order]
        row = self._rows(epoch, shard, block)[position]
        number = self.shard_starts[shard] + sum(self.block_rows[shard][:block]) + row
        return RowPlace(number, shard, block, row)

    def _permute_shards(self, epoch: int) -> tuple[list[int], list[int]]:
        order = [shard for shard in self._permute(len(self.block_rows), epoch) if self.shard_rows[shard]]
        return order, list(accumulate((self.shard_rows[shard] for shard in order), initial=0))

    def _permute_blocks(self, epoch: int, shard: int) -> tuple[list[int], list[int]]:
        rows = self.block_rows[shard]
        order = [block for block in self._permute(len(rows), epoch, shard) if rows[block]]
        return order, list(accumulate((rows[block] for block in order), initial=0))

    def _permute_rows(self, epoch: int, shard: int, block: int) -> list[int]:
        return self._permute(self.block_rows[shard][block], epoch, shard, block)

    def _permute(self, count: int, *key: int) -> list[int]:
        seed = random.Random(f"photographs {self.seed} {key}").getrandbits(62)
        return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
