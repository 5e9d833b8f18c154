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
"""The options of a command that runs a recipe, and what `--help` says of its settings."""

import argparse
import inspect
import textwrap
from dataclasses import MISSING, fields

WIDTH = 100


def recipe_parser(name: str, what: str, config: type) -> argparse.ArgumentParser:
    """The parser of a command that runs a recipe; settings of the recipe may follow, see `read_changes`.

    Args:
        name (`str`): of the command.
        what (`str`): it does.
        config (`type`): the dataclass of settings.
    """
    parser = argparse.ArgumentParser(
        prog=name,
        usage="%(prog)s --config RECIPE [--SETTING VALUE ...]",
        description=what,
        epilog=describe_settings(config),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    recipes = "a YAML file, or the name of a recipe of the package, such as nano_chat"
    parser.add_argument("--config", required=True, metavar="RECIPE", help=recipes)
    return parser


def describe_settings(config: type) -> str:
    """The settings that a configuration adds to the one it derives from, or gives another default: type, default and
    meaning of each.

    Args:
        config (`type`): a dataclass whose fields have `help` in their metadata.
    """
    own = inspect.get_annotations(config)
    lines = [f"settings of a recipe: those of {config.__bases__[0].__name__}, and"]
    for field in fields(config):
        if field.name in own:
            default = field.default if field.default_factory is MISSING else field.default_factory()
            kind = field.type.__name__ if type(field.type) is type else field.type
            lines.append(f"  {field.name}: {kind} = {default!r}")
            lines += textwrap.wrap(field.metadata["help"], WIDTH, initial_indent=6 * " ", subsequent_indent=6 * " ")
    return "\n".join(lines)
