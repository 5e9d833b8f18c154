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
import types
import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}


def check_names(given: Iterable[str], known: Iterable[str], setting: str, what: str) -> None:
    """Raise `ValueError` for names that are not known, with the nearest ones that are.

    Args:
        given (`Iterable[str]`): names.
        known (`Iterable[str]`): those that there are.
        setting (`str`): whose keys they are.
        what (`str`): they are names of, in the plural.
    """
    known = sorted(known)
    if unknown := [str(name) for name in given if name not in known]:
        nearest = [match for name in unknown for match in difflib.get_close_matches(name, known, n=1)]
        hint = f"did you mean {', '.join(nearest)}?" if nearest else f"there are {', '.join(known)}"
        raise ValueError(f"got {setting} for {', '.join(unknown)}, which are no {what}; {hint}")


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
            raise ValueError(f"got {name}: {value!r} in {place}, wanted {_in_words(hints[name])}{_number_hint(value)}")


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
    if origin is list or kind is list:
        return f"a list of {_in_words(arguments[0])}" if arguments else "a list"
    if origin is dict or kind is dict:
        return f"a mapping, of which each value is {_in_words(arguments[1])}" if arguments else "a mapping"
    return WORDS.get(kind, "anything" if kind is Any else "text")


def _number_hint(value: Any) -> str:
    """YAML reads numbers as text where their exponent has no point before it."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return ""
    if not isinstance(value, str):
        return ""
    mantissa, mark, exponent = value.lower().partition("e")
    better = f"{mantissa}.0e{exponent}" if mark and "." not in mantissa else f"{number:g}"
    return f"; YAML takes this for text, write {better}"
