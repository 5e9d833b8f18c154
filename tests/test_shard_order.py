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
"""The order of shards: each row once an epoch, wherever one begins, and other rows for other processes."""

import pytest
from facegpt_trainer.pictures.shard_order import LANES, ShardOrder

ROWS = [[5, 3], [7], [], [4, 4, 0, 1]]
TOTAL = 24


def numbers(order: ShardOrder, turns: range, count: int) -> list[int]:
    return [order.place(turn, slot, count).number for turn in turns for slot in range(count)]


def test_an_epoch_is_a_permutation_of_all_rows():
    order = ShardOrder(ROWS, seed=3)
    for epoch in range(3):
        places = [order.at(epoch, position) for position in range(TOTAL)]
        assert sorted(place.number for place in places) == list(range(TOTAL))
        shards = [place.shard for place in places]
        assert [shards[0], *(b for a, b in zip(shards, shards[1:], strict=False) if a != b)] == list(
            dict.fromkeys(shards)
        )
    assert [order.at(0, n) for n in range(TOTAL)] != [order.at(1, n) for n in range(TOTAL)]
    assert [order.at(0, n) for n in range(TOTAL)] != [ShardOrder(ROWS, seed=4).at(0, n) for n in range(TOTAL)]
    assert [order.at(0, n) for n in range(TOTAL)] == [ShardOrder(ROWS, seed=3).at(0, n) for n in range(TOTAL)]


def test_places_name_the_rows_that_are_stored():
    order = ShardOrder(ROWS)
    stored = [
        (shard, block, row) for shard, blocks in enumerate(ROWS) for block, n in enumerate(blocks) for row in range(n)
    ]
    for position in range(TOTAL):
        place = order.at(0, position)
        assert stored[place.number] == (place.shard, place.block, place.row)


@pytest.mark.parametrize(("rows", "count"), [(TOTAL, 3), (TOTAL, 1), (TOTAL + 5, 1)])
def test_draws_hold_each_row_once_before_any_comes_again(rows: int, count: int):
    assert sorted(numbers(ShardOrder([[rows]]), range(rows // count), count)) == list(range(rows))


def test_no_row_comes_more_often_than_others():
    again = numbers(ShardOrder(ROWS), range(5 * TOTAL), 2)
    assert [again.count(row) for row in range(TOTAL)] == [10] * TOTAL


def test_processes_that_take_turns_read_other_shards():
    order = ShardOrder([[10]] * (2 * LANES))
    shards = [
        {order.place(turn, slot, 4).shard for turn in range(process, 24, 2) for slot in range(4)} for process in (0, 1)
    ]
    assert not shards[0] & shards[1]
    assert len(shards[0] | shards[1]) > LANES


def test_what_is_skipped_is_followed_by_the_next():
    order = ShardOrder([[100]])
    assert order.place(8, 0, 4, ahead=1) == order.place(8, 1, 4)
    assert order.place(8, 0, 4, ahead=4) == order.place(8 + LANES, 0, 4)


def test_shards_without_rows_are_refused():
    with pytest.raises(ValueError, match="without a single row"):
        ShardOrder([[], [0]])
