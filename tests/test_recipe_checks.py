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
"""Recipes are read strictly: names that there are, values of the kind that is wanted."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import pytest
from facegpt_trainer.recipe_checks import check_names, check_types


class Colour(Enum):
    RED = "red"


@dataclass
class Settings:
    count: int = 0
    rate: float = 0.0
    name: str | None = None
    weights: dict[str, float] | None = None
    schedule: dict[str, dict[int, float]] | None = None
    names: list[str] | str = ""
    colour: Colour = Colour.RED
    choice: Literal["a", "b"] = "a"
    anything: Any = None


def test_values_that_fit_pass():
    check_types({"count": 3, "rate": 3, "name": None, "weights": {"a": 1}, "names": ["x"]}, Settings, "here")
    check_types(
        {"schedule": {"a": {0: 0.0, 10: 1}}, "colour": "red", "choice": "b", "anything": [1]}, Settings, "here"
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": "3"}, "got count: '3' in here, wanted a whole number; that is text, write 3"),
        ({"rate": "2E-4"}, "wanted a number; that is text, write 0.0002"),
        ({"count": 1e3}, "got count: 1000.0 in here, wanted a whole number; write 1000"),
        ({"name": ["x" * 10**6]}, "xxx... in here, wanted text"),
        ({"rate": False}, "got rate: False in here, wanted a number"),
        ({"name": 3}, "wanted text"),
        ({"weights": {"a": "b"}}, "wanted a mapping, of which each value is a number"),
        ({"weights": {1: 2.0}}, "wanted a mapping"),
        ({"schedule": {"a": 1.0}}, "each value is a mapping, of which each value is a number"),
        ({"names": 4}, "wanted a list of text or text"),
        ({"colour": "blue"}, "wanted 'red'"),
        ({"choice": "c"}, "wanted 'a' or 'b'"),
    ],
)
def test_values_that_do_not_fit_are_named(settings: dict, words: str):
    with pytest.raises(ValueError) as error:
        check_types(settings, Settings, "here")
    assert words in str(error.value) and len(str(error.value)) < 200


def test_unknown_names_are_told_with_the_nearest():
    check_names(["red"], ["red", "green"], "shares", "colours")
    with pytest.raises(ValueError, match="got shares for rde, which are no colours; did you mean red?"):
        check_names(["rde", "green"], ["red", "green"], "shares", "colours")
    with pytest.raises(ValueError, match="there are green, red"):
        check_names(["xyz"], ["red", "green"], "shares", "colours")
