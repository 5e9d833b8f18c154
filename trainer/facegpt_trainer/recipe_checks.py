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
"""What is wrong with a recipe, said before any work starts: unknown names, values of the wrong kind."""

import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

KIND_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
LONGEST_VALUE = 60  # characters of a value in a message
MOST_NAMED = 3


def check_names(given: Iterable[str], known: Iterable[str], setting: str, what: str) -> None:
    """Raise `ValueError` for names that are not known, with the nearest ones that are.

    Args:
        given (`Iterable[str]`): names.
        known (`Iterable[str]`): those that there are.
        setting (`str`): whose keys they are.
        what (`str`): they are names of, in the plural.
    """
    known = sorted(known)
    if unknown := [str(name) for name in given if name not in known][:MOST_NAMED]:
        nearest = [match for name in unknown for match in difflib.get_close_matches(cut(name), known, n=1)]
        hint = f"did you mean {', '.join(nearest)}?" if nearest else f"there are {', '.join(known)}"
        raise ValueError(f"got {setting} for {', '.join(map(cut, unknown))}, which are no {what}; {hint}")


def check_types(settings: Mapping[str, Any], kind: type, place: Path | str) -> None:
    """Raise `ValueError` where a value is not of the type that its field of the dataclass `kind` has.

    Args:
        settings (`Mapping[str, Any]`): values by names of fields.
        kind (`type`): the dataclass.
        place (`Path` or `str`): where they stand, for the message.
    """
    hints = typing.get_type_hints(kind)
    for name, value in settings.items():
        if not _fits(value, hints[name]):
            hint = _number_hint(value)
            raise ValueError(f"got {name}: {shorten(value)} in {place}, wanted {_in_words(hints[name])}{hint}")


def fits(settings: Mapping[str, Any], kind: type) -> bool:
    """Whether all values are of the types that their fields of the dataclass `kind` have."""
    hints = typing.get_type_hints(kind)
    return all(_fits(value, hints[name]) for name, value in settings.items())


def shorten(value: Any) -> str:
    """A value as Python writes it, for a message: cut where it is long."""
    return cut(repr(value))


def cut(text: str, most: int = LONGEST_VALUE) -> str:
    """Text of at most `most` characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _fits(value: Any, kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(_fits(one, arguments[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(name, arguments[0]) and _fits(one, arguments[1]) for name, one in value.items()
        )
    if kind in (int, float) and isinstance(value, bool):
        return False
    if isinstance(kind, type) and issubclass(kind, Enum):
        return value in [member.value for member in kind]
    return kind is Any or isinstance(value, (int, float) if kind is float else kind)


def _in_words(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        words = [_in_words(argument) for argument in arguments if argument is not type(None)]
        return " or ".join(dict.fromkeys(words))
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(repr(member.value) for member in kind)
    if origin is list or kind is list:
        return f"a list of {_in_words(arguments[0])}" if arguments else "a list"
    if origin is dict or kind is dict:
        return f"a mapping, of which each value is {_in_words(arguments[1])}" if arguments else "a mapping"
    return KIND_WORDS.get(kind, "anything" if kind is Any else "text")


def _number_hint(value: Any) -> str:
    """What to write where a number was meant, as between quotes or with an exponent for a whole number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return ""
    if isinstance(value, bool) or not math.isfinite(number):
        return ""
    better = str(int(number)) if number == int(number) else str(number)
    return f"; that is text, write {better}" if isinstance(value, str) else f"; write {better}"
