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
"""Recipes are read so that nothing in them surprises: one meaning per line, finite numbers, known names."""

import subprocess
import sys
from pathlib import Path

import pytest
from facegpt_hub import command_line
from facegpt_trainer import __main__, grpo
from facegpt_trainer.evaluation import text_baseline
from facegpt_trainer.evaluation.text_baseline import TextBaselineTrainingConfig
from facegpt_trainer.policy.config import FacePolicyConfig
from facegpt_trainer.recipe_reader import find_recipe, parse_recipe, read_recipe
from facegpt_trainer.training_config import FaceGPTTrainingConfig

LAUGHS = "\n".join(
    [
        "a: &a [x, x, x, x, x, x, x, x, x]",
        *(f"{b}: &{b} [{','.join(9 * [f'*{a}'])}]" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
    ]
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-2", -2),
        ("+3", 3),
        (".5", 0.5),
        ("0", 0),
        ("2E3", 2000.0),
        ("true", True),
        ("yes", "yes"),
        ("no", "no"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("0x10", "0x10"),
        ("~", None),
        ("", None),
        ("[a, 1]", ["a", 1]),
        ("{a: {0: 1.0}}", {"a": {0: 1.0}}),
        ("'010'", "010"),
    ],
)
def test_values_mean_what_they_look_like(text: str, value: object):
    [found] = parse_recipe(f"name: {text}", "here").values()
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rate: .nan", "line 1, which is no recipe in YAML (found .nan, which is no finite number"),
        ("loss_weights: {photometric: .inf}", "found .inf, which is no finite number"),
        ("learning_rate: 1e999", "found 1e999, which is too large"),
        ("pictures: 010", "found 010 with a zero before it; write 10"),
        (f"pictures: {'9' * 400}", "found a number of 400 digits"),
        (f"pictures: {'9' * 60000}", "found a number of 60000 digits"),
        ("pictures: 1\nseed: 2\npictures: 3", "line 3, which is no recipe in YAML (found 'pictures' twice"),
        ("loss_weights: {text: 1, text: 2}", "found 'text' twice"),
        (LAUGHS, "found an alias (*)"),
        ("a: &a 1\n<<: *a", "found an alias (*)"),
        ("[" * 30000, "lists and mappings inside each other"),
        ("a: !!set {b}", "found the type"),
        ("a: !!python/object/apply:os.system [ls]", "found the type"),
        ("? [a]\n: 1", "found a key that is a list or a mapping"),
        ("a: 1\n---\na: 2", "which is no recipe in YAML"),
        ("a: \x00", "which is no recipe in YAML"),
        ("x" * 70000, "more than 65536 bytes"),
        ("name: caf\udce9", "no UTF-8"),
        ("", "which is no YAML mapping"),
        ("save_steps: 0", "got save_steps=0, wanted more than 0"),
        ("logging_steps: 0", "got logging_steps=0, wanted more than 0"),
        ("num_train_epochs: -3", "got num_train_epochs=-3, wanted more than 0"),
        ("max_steps: 0", "got max_steps=0, wanted at least 1, or -1"),
        ("per_device_train_batch_size: 0", "wanted at least 1"),
        ("gradient_accumulation_steps: 0", "wanted at least 1"),
        ("weight_decay: -1", "wanted at least 0"),
        ("seed: -1", "wanted at least 0"),
        ("adam_beta1: 1", "wanted at least 0 and at most 0.999999"),
        ("pictures: 9999999999999", "wanted at least 1 and at most 1e+09"),
        ("loss_weights: {photometric: -1}", "got loss_weights with photometric=-1, wanted a finite number"),
        ("loss_weight_schedules: {photometric: {0: -1}}", "give a finite number"),
        ("dialogue_shares: {looks: 0}", "one must be more than 0"),
        ("lora: {rank: 1}", "are no settings of LoraConfig"),
        ("save_strategy: sometimes", "sometimes is not a valid SaveStrategy"),
        ("accelerator_config: {a: 1}", "got"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(tmp_path: Path, capsys, text: str, words: str):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text, errors="surrogateescape")
    assert __main__.main(["--config", str(recipe)]) == 1
    message = capsys.readouterr().err
    assert words in message and len(message.splitlines()) == 1 and len(message) <= 601


@pytest.mark.parametrize("main", [__main__.main, grpo.main, text_baseline.main])
def test_every_command_reads_recipes_alike(main, tmp_path: Path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("learning_rate: 1e-4\nlearning_rate: .nan")
    assert main(["--config", str(recipe)]) == 1
    assert "found 'learning_rate' twice" in capsys.readouterr().err
    recipe.write_text("num_train_epochs: -3")
    assert main(["--config", str(recipe)]) == 1
    assert "wanted more than 0" in capsys.readouterr().err
    assert main(["--config", "nano_chatt"]) == 1
    assert "no file; name a YAML file or one of these: labels_and_render, " in capsys.readouterr().err


def test_recipes_of_the_package_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    assert read_recipe("nano_chat", FaceGPTTrainingConfig).output_dir == "runs/nano_chat"
    assert read_recipe("nano_grpo", FacePolicyConfig).output_dir == "runs/nano_grpo"
    assert read_recipe("text_baseline", TextBaselineTrainingConfig).requests == 105600
    own = tmp_path / "nano_chat.yaml"
    own.write_text("pictures: 3")
    assert find_recipe(own) == own
    with pytest.raises(SystemExit) as ended:
        command_line.main(["train", "--config", "nano_chatt"])
    assert ended.value.code == 1 and "nano_chat, nano_grpo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        (["--learning_rate", "1e-4"], "learning_rate", 1e-4),
        (["--learning-rate=1e-4"], "learning_rate", 1e-4),
        (["--train_albedo", "--pictures", "7"], "pictures", 7),
        (["--no-thing"], None, "unknown setting 'no_thing' in the command line"),
        (["--train_vision", "false"], "train_vision", False),
        (["--disable_tqdm"], "disable_tqdm", True),
        (["--max_steps", "-1"], "max_steps", -1),
        (["--loss_weights", "{photometric: 2}"], "loss_weights", {"photometric": 2}),
        (["--photograph_exclude", r"[89]\.jpg$"], "photograph_exclude", r"[89]\.jpg$"),
        (["--output_dir", "2026"], "output_dir", "2026"),
        (["--pictures", "010"], None, "with a zero before it"),
        (["--pictures", "many"], None, "got pictures: 'many' in the command line, wanted a whole number"),
        (["--learning_rate", ".nan"], None, "no finite number"),
        (["pictures=3"], None, "write changes as --setting value"),
        (["--save_steps", "0"], None, "wanted more than 0"),
    ],
)
def test_the_command_line_changes_settings(tmp_path: Path, changes: list[str], name: str | None, value: object):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("pictures: 3\nphotographs: here\n")
    if name is None:
        with pytest.raises(ValueError) as error:
            read_recipe(recipe, FaceGPTTrainingConfig, changes)
        assert str(value) in str(error.value)
    else:
        assert vars(read_recipe(recipe, FaceGPTTrainingConfig, changes))[name] == value


def test_both_commands_pass_changes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe, configs = tmp_path / "recipe.yaml", []
    recipe.write_text("pictures: 3\nuse_cpu: true\n")
    monkeypatch.setattr("facegpt_trainer.training.train", lambda config: configs.append(config) or tmp_path)
    arguments = ["--config", str(recipe), "--learning_rate", "1e-7", "--loss_weights={text: 2}"]
    assert __main__.main(arguments) == 0
    with pytest.raises(SystemExit):
        command_line.main(["train", *arguments])
    assert [config.learning_rate for config in configs] == [1e-7, 1e-7]
    assert configs[0].loss_weights == configs[1].loss_weights == {"text": 2}


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("facegpt_trainer", "trl"),
        ("facegpt_trainer.grpo", "accelerate"),
        ("facegpt_trainer.evaluation.text_baseline", "datasets"),
        ("facegpt_trainer.reconstruct", "accelerate"),
        ("facegpt_trainer.merge", "peft"),
    ],
)
def test_a_missing_extra_is_named(module: str, package: str, tmp_path: Path):
    given = {"reconstruct": "'--dataset', '.', '--model', 'm', '--output', 'o'", "merge": "'run', '--output', 'o'"}
    arguments = given.get(module.rpartition(".")[2], "'--config', 'nano_chat'")
    code = f"import runpy, sys; sys.modules[{package!r}] = None; sys.argv = ['x', {arguments}]; "
    code += f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1] == (
        f"{package} not found, which training needs; run: pip install 'facegpt[train]'"
    )
    assert "Traceback" not in done.stderr
