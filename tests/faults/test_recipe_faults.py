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
"""Hundreds of damaged recipes and configurations: each is read, or refused in one sentence."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from facegpt_hub.checkpoints import load_checkpoint
from facegpt_trainer.endings import in_one_sentence
from facegpt_trainer.evaluation.text_baseline import TextBaselineTrainingConfig
from facegpt_trainer.policy.config import FacePolicyConfig
from facegpt_trainer.recipe_reader import RECIPES, read_recipe
from facegpt_trainer.training_config import FaceGPTTrainingConfig
from harness import mutate, try_each

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor

RECIPE_COUNT, CONFIG_COUNT = 800, 240
KINDS: dict[str, type] = {"nano_grpo": FacePolicyConfig, "text_baseline": TextBaselineTrainingConfig}
HOSTILE = [
    *("", "~", "[]", "{}", "yes", "0", "-1", "1e-4", "010", "0x10", "1_000", "1:30", "2026-01-01", "-0.0", "1e400"),
    *(".nan", "-.inf", "nan", "inf", "true", "'1'", "1.5", "9" * 400, "9223372036854775807", "1e308", "&a 1", "*a"),
    *(
        "!!set {a}",
        "!!python/name:os.system",
        "[[1]]",
        "{a: {b: {c: {d: {e: {f: {g: {h: 1}}}}}}}}",
        "caf\u00e9 \U0001f600",
    ),
    *(
        "{photometric: -1}",
        "{photometric: .nan}",
        "{looks: 0}",
        "{0: 1}",
        "{text: {0: 1}}",
        "|\n  text",
        "a: b",
        "\t",
        "]",
    ),
    *("/dev/null", "/nowhere/at/all", "../" * 300, "x" * 5000),
]


def damaged_recipe(number: int) -> tuple[type, bytes]:
    """A recipe of the package with one to three settings replaced, added, doubled or lost, or bytes changed."""
    chance = random.Random(number)
    recipe = chance.choice(sorted(RECIPES.glob("*.yaml")))
    kind, lines = KINDS.get(recipe.stem, FaceGPTTrainingConfig), recipe.read_text().splitlines()
    settings = [line for line in lines if line and line[0] not in "# "]
    fields = sorted(name for name, field in kind.__dataclass_fields__.items() if field.init)
    for _ in range(chance.randint(1, 3)):
        name = chance.choice(settings).partition(":")[0] if chance.random() < 0.6 else chance.choice(fields)
        kept = [line for line in lines if not line.startswith(f"{name}:") or chance.random() < 0.1]
        lines = [*kept, f"{name}: {chance.choice(HOSTILE)}"]
    content = "\n".join(lines).encode()
    return kind, mutate(content, chance) if chance.random() < 0.4 else content


def test_recipes_are_read_or_refused_in_one_sentence(tmp_path: Path):
    def attempt(number: int) -> None:
        path = tmp_path / f"{number}.yaml"
        kind, content = damaged_recipe(number)
        path.write_bytes(content)
        try:
            read_recipe(path, kind)
        except (ValueError, OSError, ImportError) as error:
            raise ValueError(in_one_sentence(error)) from error
        finally:
            path.unlink()

    counts = try_each(range(RECIPE_COUNT), attempt, seconds=30)
    counts.settle("damaged recipes")
    assert counts.refused > RECIPE_COUNT // 2


def test_settings_of_the_command_line_are_read_or_refused_in_one_sentence(tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"pictures": 3, "output_dir": str(tmp_path / "run")}))
    fields = sorted(FaceGPTTrainingConfig.__dataclass_fields__)

    def attempt(number: int) -> None:
        chance = random.Random(number)
        changes = [part for _ in range(2) for part in (f"--{chance.choice(fields)}", chance.choice(HOSTILE))]
        try:
            read_recipe(recipe, FaceGPTTrainingConfig, changes)
        except (ValueError, OSError, ImportError) as error:
            raise ValueError(in_one_sentence(error)) from error

    try_each(range(RECIPE_COUNT // 2), attempt, seconds=30).settle("settings of the command line")


@pytest.fixture
def checkpoint(facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path) -> Path:
    facegpt.save_pretrained(tmp_path / "checkpoint")
    processor.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def damaged_config(config: dict[str, Any], number: int) -> bytes:
    """A configuration with some values replaced or lost, anywhere in it, or bytes changed."""
    chance = random.Random(number)
    config = json.loads(json.dumps(config))
    wrong = [
        None,
        True,
        0,
        -1,
        3,
        10**9,
        1e400,
        float("nan"),
        "",
        "many",
        [],
        {},
        [1],
        {"a": 1},
        "x" * 5000,
        2**70,
        0.5,
    ]
    for _ in range(chance.randint(1, 3)):
        place = config
        while isinstance(place, dict) and place:
            name = chance.choice(sorted(place))
            if not isinstance(place[name], dict) or chance.random() < 0.3:
                break
            place = place[name]
        if place and chance.random() < 0.2:
            del place[name]
        elif place:
            place[name] = chance.choice(wrong)
    content = json.dumps(config).encode()
    return mutate(content, chance) if chance.random() < 0.2 else content


def test_configurations_are_read_or_refused_in_one_sentence(checkpoint: Path, tmp_path: Path):
    config = json.loads((checkpoint / "config.json").read_text())

    def attempt(number: int) -> None:
        directory = tmp_path / f"damaged-{number}"
        directory.mkdir()
        for file in checkpoint.iterdir():
            os.link(file, directory / file.name)
        (directory / "config.json").unlink()
        (directory / "config.json").write_bytes(damaged_config(config, number))
        load_checkpoint(str(directory))

    try_each(range(CONFIG_COUNT), attempt, seconds=60).settle("damaged configurations")
