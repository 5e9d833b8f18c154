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
"""The curve of what photographs alone teach."""

import numpy as np
import pytest

from examples.render_only_curve import (
    COLOURS,
    HEIGHT,
    LEGEND,
    PANELS,
    SCALE,
    WIDTH,
    Curve,
    draw_curves,
    ticks,
    write_table,
)

NAMES = (*PANELS.values(), COLOURS[1])


@pytest.fixture
def curves() -> list[Curve]:
    """Of two seeds: from 10 to 6, and to 8."""
    ends = {0: (10.0, 10.0), 480: (7.0, 9.0), 960: (6.0, 8.0)}
    return [{seen: dict.fromkeys(NAMES, errors[seed]) for seen, errors in ends.items()} for seed in (0, 1)]


def test_the_table_says_before_after_and_its_error(curves: list[Curve]):
    rows = write_table(curves).splitlines()
    assert len(rows) == 2 + len(NAMES) and "after 960 photographs, mean of 2 seeds" in rows[0]
    assert rows[2].endswith("| 10.00 % | 7.00 % | 3.00 ± 1.00 | 6.00, 8.00 |")


def test_one_seed_has_no_error(curves: list[Curve]):
    assert "± nan" in write_table(curves[:1])


def test_every_panel_is_drawn(curves: list[Curve]):
    picture = draw_curves(curves, [0, 1])
    assert picture.size == (SCALE * WIDTH * len(PANELS), SCALE * (HEIGHT + LEGEND))
    panels = np.split(np.asarray(picture), len(PANELS), axis=1)
    assert all((panel.min(-1) < 128).mean() > 0.01 for panel in panels)


@pytest.mark.parametrize(
    ("lowest", "highest", "expected"),
    [(0, 4800, [0, 1000, 2000, 3000, 4000]), (6.6, 14.2, [8, 10, 12, 14]), (7.5, 8.1, [7.6, 7.8, 8.0])],
)
def test_ticks_are_round(lowest: float, highest: float, expected: list[float]):
    assert ticks(lowest, highest) == pytest.approx(expected)
