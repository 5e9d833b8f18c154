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
"""`accelerate launch -m facegpt_trainer --config recipe.yaml`: run one recipe."""

import argparse
import difflib
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import yaml

from .recipe_checks import check_types
from .recipe_help import describe_settings
from .training import train
from .training_config import FaceGPTTrainingConfig

Settings = TypeVar("Settings")


def read_recipe(path: Path) -> FaceGPTTrainingConfig:
    """The settings of a run of `train`; see `read_settings`."""
    return read_settings(path, FaceGPTTrainingConfig)


def read_settings(path: Path, kind: type[Settings]) -> Settings:
    """The settings of a YAML file.

    Args:
        path (`Path`): of the recipe.
        kind (`type`): the dataclass of settings.

    Raises:
        ValueError: if the file is no mapping, a key is no setting (the nearest right one is named), or a value is of
            the wrong kind.
    """
    try:
        settings = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"got {path}, which is no YAML ({' '.join(str(error).split())}); correct it there") from error
    if not isinstance(settings, dict):
        raise ValueError(f"got {path}, which is no YAML mapping; write one setting a line, such as `pictures: 1000`")
    known = [field.name for field in fields(kind) if field.init]  # type: ignore[arg-type]
    for key in settings:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise ValueError(f"got the unknown setting {key!r} in {path}{hint}")
    check_types(settings, kind, path)
    return kind(**settings)


def main(arguments: list[str] | None = None) -> int:
    """Parse, train, say where the result is."""
    parser = argparse.ArgumentParser(
        prog="facegpt_trainer",
        description="Train FaceGPT by a recipe.",
        epilog=describe_settings(FaceGPTTrainingConfig),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, required=True, help="recipe, a YAML file")
    path = parser.parse_args(arguments).config
    try:
        output = train(read_recipe(path))
    except (ValueError, OSError) as error:
        print(_sentence(error), file=sys.stderr)
        return 1
    print(f"Trained checkpoint: {output}")
    return 0


def _sentence(error: Exception) -> str:
    """What an error says; a data loader's worker puts its traceback before that."""
    text = str(error)
    return re.sub(r"^[\w.]+: ", "", text.strip().splitlines()[-1]) if "Original Traceback" in text else text


if __name__ == "__main__":
    sys.exit(main())
