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
"""Reads recipes, YAML files of settings: by path or, the package's, by name; with changes of the command line."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from transformers import HfArgumentParser

from .recipe_checks import check_types, cut, fits, shorten

RECIPES = Path(__file__).with_name("recipes")
LARGEST_RECIPE = 2**16  # bytes; the longest of ours has 1,600
DEEPEST = 8  # lists and mappings inside each other; ours need two
LARGEST_NUMBER = 2**63 - 1
# Numbers as YAML 1.2 reads them: 1e-4 is one. YAML 1.1, which PyYAML reads, takes that for text and 010 for eight.
WHOLE = re.compile(r"[-+]?[0-9]+")
DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF|nan|NaN|NAN)")
TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

Settings = TypeVar("Settings")


class RecipeLoader(yaml.SafeLoader):
    """YAML with nothing that surprises: no key twice, no aliases, no octal numbers, no numbers that are not finite.

    Of YAML's types it knows mappings, lists, text, numbers, truth values and null.
    """

    yaml_implicit_resolvers: dict = {}
    yaml_constructors: dict = {}
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            _refuse("an alias (*), which recipes do not need; write the value out", self.peek_event())
        self.depth += 1
        if self.depth > DEEPEST:
            _refuse(f"more than {DEEPEST} lists and mappings inside each other", self.peek_event())
        node = super().compose_node(parent, index)
        self.depth -= 1
        return cast(yaml.Node, node)

    def read_mapping(self, node: yaml.MappingNode) -> dict[Any, Any]:
        """A mapping, each of whose keys stands there once."""
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                _refuse("a key that is a list or a mapping; write a name", key_node)
            key = self.construct_object(key_node, deep=True)
            if key in found:
                _refuse(f"{shorten(key)} twice; keep one of them", key_node)
            found[key] = self.construct_object(value_node, deep=True)
        return found

    def read_list(self, node: yaml.SequenceNode) -> list[Any]:
        """A list with all that is in it."""
        return self.construct_sequence(node, deep=True)

    def read_whole(self, node: yaml.ScalarNode) -> int:
        """A whole number of at most 64 bits, without zeros before it."""
        digits = node.value.lstrip("+-")
        if len(digits) > 1 and digits.startswith("0"):
            _refuse(f"{cut(node.value)} with a zero before it; write {cut(digits.lstrip('0') or '0')}", node)
        if len(digits) > len(str(LARGEST_NUMBER)) or int(digits) > LARGEST_NUMBER:
            _refuse(f"a number of {len(digits)} digits; write one of at most {LARGEST_NUMBER}", node)
        return int(node.value)

    def read_decimal(self, node: yaml.ScalarNode) -> float:
        """A finite number."""
        number = float(node.value)
        if abs(number) == float("inf"):
            _refuse(f"{cut(node.value)}, which is too large for a number", node)
        return number

    def refuse_number(self, node: yaml.ScalarNode) -> None:
        """`.nan` and `.inf` are no settings."""
        _refuse(f"{node.value}, which is no finite number; write one", node)

    def refuse_tag(self, node: yaml.Node) -> None:
        """Types that recipes have no use for, such as `!!set` or `!!python/object`."""
        _refuse(f"the type {cut(node.tag)}; write mappings, lists, text, numbers, true, false and null", node)


def _refuse(found: str, place: Any) -> None:
    raise yaml.MarkedYAMLError(problem=f"found {found}", problem_mark=place.start_mark)


def _prepare_loader() -> None:
    kinds = {
        "null": (re.compile("~|null|Null|NULL|"), "~nN", lambda loader, node: None),
        "bool": (re.compile("|".join(TRUTHS)), "tTfF", lambda loader, node: TRUTHS[node.value]),
        "int": (WHOLE, "-+0123456789", RecipeLoader.read_whole),
        "float": (DECIMAL, "-+.0123456789", RecipeLoader.read_decimal),
        "not-finite": (NOT_FINITE, "-+.", RecipeLoader.refuse_number),
    }
    for name, (pattern, first, construct) in kinds.items():
        tag = f"tag:yaml.org,2002:{name}"
        whole = re.compile(f"^(?:{pattern.pattern})$")
        RecipeLoader.add_implicit_resolver(tag, whole, [*first, ""] if name == "null" else list(first))
        RecipeLoader.add_constructor(tag, construct)
    RecipeLoader.add_constructor("tag:yaml.org,2002:str", RecipeLoader.construct_scalar)
    RecipeLoader.add_constructor("tag:yaml.org,2002:map", RecipeLoader.read_mapping)
    RecipeLoader.add_constructor("tag:yaml.org,2002:seq", RecipeLoader.read_list)
    RecipeLoader.add_constructor(cast(str, None), RecipeLoader.refuse_tag)  # PyYAML's way to say: any other


_prepare_loader()


def read_recipe(name: str | Path, kind: type[Settings], changes: Sequence[str] = ()) -> Settings:
    """The settings of a recipe.

    Args:
        name (`str` or `Path`): a YAML file, or the name of a recipe of the package, such as `nano_chat`.
        kind (`type`): the dataclass of settings.
        changes (sequence of `str`): of the command line, such as `["--learning_rate", "1e-4"]`.

    Raises:
        ValueError: in one sentence, if there is no such recipe, it is no YAML mapping, a key stands there twice or is
            no setting (the nearest right one is named), a value is of the wrong kind or makes no sense.
    """
    path = find_recipe(name)
    settings = parse_recipe(_read_text(path), str(path))
    _check_known(settings, kind, str(path))
    check_types(settings, kind, path)
    settings |= read_changes(changes, kind)
    try:
        [made] = HfArgumentParser(cast(Any, kind)).parse_dict(settings)
    except (ValueError, OSError):
        raise
    except Exception as error:  # Trainer and TRL check what they are given in many ways, and some by failing.
        reason = cut(" ".join(str(error).split()) or type(error).__name__, 200)
        raise ValueError(f"got {path}, whose settings do not go together ({reason}); change them") from error
    return made


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe: that of the package if a bare name is given, else the path itself.

    Raises:
        ValueError: if there is none; the package's are named.
    """
    path = Path(name)
    packaged = {recipe.stem: recipe for recipe in RECIPES.glob("*.yaml")}
    if str(name) in packaged:
        return packaged[str(name)]
    if path.is_file():
        return path
    raise ValueError(
        f"got the recipe {cut(str(name), 200)}, which is no file; name a YAML file or one of these: "
        f"{', '.join(sorted(packaged))}"
    )


def parse_recipe(text: str, place: str) -> dict[Any, Any]:
    """The mapping that a YAML text holds.

    Raises:
        ValueError: if it holds anything else, or what `RecipeLoader` does not read.
    """
    settings = _load(text, place)
    if not isinstance(settings, dict):
        raise ValueError(f"got {place}, which is no YAML mapping; write one setting a line, such as `pictures: 1000`")
    return settings


def read_changes(arguments: Sequence[str], kind: type) -> dict[str, Any]:
    """Settings of the command line: `--name value`, `--name=value`, or `--name` alone for true; values as in recipes.

    Raises:
        ValueError: if one is no setting, or its value is of the wrong kind.
    """
    place, changes = "the command line", {}
    waiting = list(arguments)
    while waiting:
        option = waiting.pop(0)
        if not option.startswith("--") or option == "--":
            raise ValueError(f"got {cut(option)} on the command line; write changes as --setting value")
        name, given, text = option.removeprefix("--").partition("=")
        if not given:
            text = waiting.pop(0) if waiting and not waiting[0].startswith("--") else "true"
        name = name.replace("-", "_")
        _check_known({name: text}, kind, place)
        changes[name] = _read_change(name, text, kind)
    check_types(changes, kind, place)
    return changes


def _read_change(name: str, text: str, kind: type) -> Any:
    """A value as a recipe would have it; where only text fits, what was typed."""
    try:
        value = _load(text, f"--{name} {cut(text)}")
    except ValueError:
        if fits({name: text}, kind):
            return text
        raise
    return value if fits({name: value}, kind) or not fits({name: text}, kind) else text


def _load(text: str, place: str) -> Any:
    try:
        return yaml.load(text, RecipeLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(
            f"got {place}{line}, which is no recipe in YAML ({cut(str(error.problem), 200)}); correct it there"
        ) from error
    except yaml.YAMLError as error:
        reason = cut(" ".join(str(error).split()), 200)
        raise ValueError(f"got {place}, which is no recipe in YAML ({reason}); correct it there") from error


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(LARGEST_RECIPE + 1)
    if len(content) > LARGEST_RECIPE:
        raise ValueError(
            f"got {path} of more than {LARGEST_RECIPE} bytes, which is no recipe; name a file of settings"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"got {path}, whose byte {error.start} is no UTF-8; save it as UTF-8") from error


def _check_known(settings: Mapping[Any, Any], kind: type, place: str) -> None:
    known = [field.name for field in fields(kind) if field.init]
    for key in settings:
        if key not in known:
            nearest = difflib.get_close_matches(cut(str(key)), known, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise ValueError(f"got the unknown setting {shorten(key)} in {place}{hint}")
