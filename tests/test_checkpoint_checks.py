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
"""Checkpoints of other models than a recipe is for are refused, in one sentence."""

import copy
from pathlib import Path

import pytest
import torch
import yaml
from facegpt_trainer.__main__ import main
from facegpt_trainer.checkpoint import DIALOGUE_PARTS, load_saved
from facegpt_trainer.checkpoint_checks import check_face_model, check_goes_on
from safetensors.torch import load_file, save_file

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor, MorphableModel


@pytest.fixture
def start(facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path) -> Path:
    facegpt.save_pretrained(tmp_path / "start")
    processor.save_pretrained(tmp_path / "start")
    return tmp_path / "start"


def other_face_model(face_model: MorphableModel, directory: Path) -> Path:
    config = copy.deepcopy(face_model.config)
    config.num_identity, config.face_model_id = 7, "somebody/head"
    MorphableModel(config).save_pretrained(directory)
    return directory


def run(directory: Path, **settings) -> int:
    recipe = directory / "recipe.yaml"
    fixed = {"pictures": 2, "per_device_train_batch_size": 2, "num_train_epochs": 1, "use_cpu": True}
    quiet = {"report_to": "none", "disable_tqdm": True, "save_steps": 1, "output_dir": str(directory / "run")}
    recipe.write_text(yaml.safe_dump(fixed | quiet | settings))
    return main(["--config", str(recipe)])


def test_the_same_3dmm_is_accepted(start: Path, facegpt: FaceGPTForConditionalGeneration, tmp_path: Path):
    facegpt.face_model.save_pretrained(tmp_path / "head")
    check_face_model("start", facegpt.config, str(tmp_path / "head"))
    check_goes_on(str(start), facegpt.config)
    check_goes_on(str(tmp_path), facegpt.config)  # no configuration there: adapters


def test_a_checkpoint_of_another_3dmm_is_refused(start: Path, face_model: MorphableModel, tmp_path: Path, capsys):
    head = other_face_model(face_model, tmp_path / "head")
    assert run(tmp_path, model=str(start), face_model=str(head)) == 1
    message = capsys.readouterr().err
    assert f"of another 3DMM than {head} (" in message and "num_identity 6 and not 7" in message
    assert "Traceback" not in message


def test_a_run_of_another_model_is_not_gone_on_with(
    start: Path, facegpt: FaceGPTForConditionalGeneration, face_model: MorphableModel, tmp_path: Path, capsys
):
    assert run(tmp_path, model=str(start)) == 0
    config = copy.deepcopy(facegpt.config)
    config.face_model_config.num_identity, config.face_head_hidden_size = 7, 16
    other = FaceGPTForConditionalGeneration(config, facegpt.vlm)
    other.save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "processor").mkdir()
    for file in start.iterdir():
        if not (tmp_path / "other" / file.name).exists() and file.is_file():
            (tmp_path / "other" / file.name).write_bytes(file.read_bytes())
    capsys.readouterr()
    assert run(tmp_path, model=str(tmp_path / "other")) == 1
    message = capsys.readouterr().err
    assert "checkpoint-1, which is of another model than this run starts from (num_identity 6 and not 7" in message
    assert "Traceback" not in message


@pytest.mark.parametrize("damage", ["missing", "empty", "cut off"])
def test_a_start_that_cannot_be_read_is_one_sentence(
    start: Path, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    weights = start / "model.safetensors"
    if damage == "missing":
        (start / "config.json").unlink()
    else:
        weights.write_bytes(weights.read_bytes()[: 1000 if damage == "cut off" else 0])
    assert run(tmp_path, model=str(start)) != 0
    said = capsys.readouterr().err
    assert f"got {start}, which cannot be read here" in said and "name a directory" in said
    assert "Traceback" not in said


def test_a_start_with_weights_of_another_size_or_without_some_is_one_sentence(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    weights = load_file(start / "model.safetensors")
    key = next(name for name in weights if name.startswith("face_head."))
    for damaged, words in (({key: torch.zeros(3, 3)}, "have another size"), ({}, "are missing")):
        kept = {name: value for name, value in weights.items() if name != key}
        save_file({**kept, **damaged}, start / "model.safetensors", {"format": "pt"})
        assert run(tmp_path, model=str(start)) != 0
        said = capsys.readouterr().err
        assert f"got {start}, which does not fit its configuration: 1 of its weights {words} ({key})" in said
        assert "Traceback" not in said


def test_a_start_may_lack_dialogue_parts_as_a_whole_only(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path
):
    dialogue_facegpt.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    without = {name: value for name, value in weights.items() if not name.startswith("flow_head.")}
    save_file(without, tmp_path / "model.safetensors", {"format": "pt"})
    model, _ = load_saved(str(tmp_path), new_parts=DIALOGUE_PARTS)
    assert model.flow_head is not None
    with pytest.raises(ValueError, match=r"of its weights are missing \(flow_head"):
        load_saved(str(tmp_path))
    half = {**without, **{name: weights[name] for name in sorted(set(weights) - set(without))[:1]}}
    save_file(half, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"of its weights are missing \(flow_head"):
        load_saved(str(tmp_path), new_parts=DIALOGUE_PARTS)
