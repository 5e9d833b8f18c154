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
"""LoRA through the real training: what learns, what is saved, and that it comes back as it was."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from facegpt_trainer import training
from facegpt_trainer.__main__ import main
from facegpt_trainer.adapters import add_adapters, linear_layers, load_adapters, token_layers, whole_parts
from facegpt_trainer.merge import main as merge_main
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from vlm_families import build_tiny_vlm

from modeling_facegpt import (
    FaceGPTConfig,
    FaceGPTForConditionalGeneration,
    FaceGPTProcessor,
    FaceParameters,
    MorphableModel,
)
from modeling_facegpt.face_parameters import parameters_to_vector

HEADS = {"face_head", "face_encoder", "reference_pointer", "edit_head", "flow_head"}


@pytest.fixture
def recipe(_nano: tuple, face_model: MorphableModel, tmp_path: Path) -> dict:
    """LoRA on a LLaVA of two layers, whose two embeddings are not tied, as LLaVA-1.5's."""
    vlm = copy.deepcopy(_nano[0])
    vlm.config.tie_word_embeddings = vlm.config.text_config.tie_word_embeddings = False
    vlm.lm_head.weight = torch.nn.Parameter(vlm.lm_head.weight.detach().clone())
    vlm.save_pretrained(tmp_path / "vlm")
    _nano[1].save_pretrained(tmp_path / "vlm")
    face_model.save_pretrained(tmp_path / "head")
    return {
        "vlm": str(tmp_path / "vlm"),
        "face_model": str(tmp_path / "head"),
        "dialogue_hidden_size": 16,
        "lora": {"r": 2, "lora_alpha": 4},
        "pictures": 8,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "num_train_epochs": 1,
        "save_steps": 2,
        "logging_steps": 1,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 3,
    }


def run(recipe: dict, output: Path) -> Path:
    path = output.with_suffix(".json")
    path.write_text(json.dumps({**recipe, "output_dir": str(output)}))  # JSON is YAML
    assert main(["--config", str(path)]) == 0
    return output


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[PeftModel]:
    """The models that trainings end with, before anything is saved or loaded."""
    models = []
    save = training.FaceGPTTrainer.save_model
    monkeypatch.setattr(
        training.FaceGPTTrainer,
        "save_model",
        lambda self, *args, **kwargs: (models.append(copy.deepcopy(self.model)), save(self, *args, **kwargs))[1],
    )
    return models


@pytest.fixture
def dialogue(processor: FaceGPTProcessor, face_parameters: FaceParameters) -> dict[str, Tensor]:
    """A face of an answer about a picture, which is given for what follows."""
    say = {"role": "assistant", "content": [{"type": "text", "text": f"Here is one: {processor.face_token}"}]}
    picture = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    inputs = processor(pictures=picture, messages=[[*processor.reconstruct_messages(), say]])
    return {**inputs, "given_faces": parameters_to_vector(face_parameters)[:1]}


@torch.no_grad()
def answer(model, dialogue: dict[str, Tensor]) -> list[Tensor]:
    """All that a model makes of a dialogue."""
    outputs = model.eval()(**dialogue)
    return [outputs.logits, outputs.face_code, outputs.face_log_variance]


def assert_same(model, other, dialogue: dict[str, Tensor]) -> None:
    for one, two in zip(answer(model, dialogue), answer(other, dialogue), strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


def test_adapters_alone_are_saved_and_come_back_merged_or_not(
    recipe: dict, trained: list[PeftModel], dialogue: dict[str, Tensor], tmp_path: Path
):
    output = run(recipe, tmp_path / "run")
    model = trained[-1]
    assert not (output / "model.safetensors").exists()
    for card in (path.read_text() for path in tmp_path.rglob("README.md")):
        assert "[None]" not in card
    saved = load_file(output / "adapter_model.safetensors")
    vlm_size = (tmp_path / "vlm" / "model.safetensors").stat().st_size
    adapters = [name for name in saved if "lora_" in name or "trainable_tokens" in name]
    assert sum(saved[name].nbytes for name in adapters) < vlm_size / 20
    assert not any(
        "vision_tower" in name or "face_model" in name or name.endswith("embed_tokens.weight") for name in saved
    )
    loaded = load_adapters(output)
    assert_same(loaded, model, dialogue)
    untrained = load_adapters(output).unload()
    assert (answer(untrained, dialogue)[0] - answer(model, dialogue)[0]).abs().max() > 1e-3
    assert merge_main([str(output), "--output", str(tmp_path / "merged")]) == 0
    merged = FaceGPTForConditionalGeneration.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    assert_same(merged, model, dialogue)
    assert FaceGPTProcessor.from_pretrained(tmp_path / "merged").face_token_id == model.config.face_token_id
    start = {**recipe, "model": str(tmp_path / "merged"), "vlm": None}
    run({name: value for name, value in start.items() if name != "lora"} | {"pictures": 2}, tmp_path / "further")
    assert (tmp_path / "further" / "model.safetensors").exists()


def test_what_learns_is_adapters_heads_and_one_row(recipe: dict, trained: list[PeftModel], tmp_path: Path):
    large = {"bf16": True, "gradient_checkpointing": True, "gradient_accumulation_steps": 2, "render_size": 56}
    run({**recipe, **large}, tmp_path / "run")
    model = trained[-1]
    bare, _ = training.load_start(training.Start.read(tmp_path / "run"))
    first = dict(add_adapters(bare, recipe["lora"]).named_parameters())
    last = dict(model.named_parameters())
    moved = {name for name, value in last.items() if not torch.equal(value, first[name])}
    trainable = {name for name, value in last.items() if value.requires_grad}
    assert last["base_model.model.vlm.model.multi_modal_projector.linear_1.weight"].dtype == torch.bfloat16
    assert all(last[name].dtype == torch.float32 for name in trainable if "face_head" in name)
    assert moved <= trainable
    # Faces are only seen here: the parts for dialogue have nothing to learn from.
    still = {name for name in trainable - moved if not any(part in name for part in HEADS - {"face_head"})}
    assert not still
    kinds = ("lora_A", "lora_B", "trainable_tokens_delta", "face_head.modules_to_save")
    assert all(any(kind in name for name in moved) for kind in kinds)
    assert not any("vision_tower" in name or "multi_modal_projector" in name for name in trainable)
    rows = [value for name, value in last.items() if "trainable_tokens_delta" in name]
    assert [tuple(row.shape) for row in rows] == [(1, 32), (1, 32)]


def test_a_resumed_run_with_adapters_is_the_uninterrupted_one(recipe: dict, tmp_path: Path):
    whole = run(recipe, tmp_path / "whole")
    shutil.copytree(whole / "checkpoint-2", tmp_path / "broken" / "checkpoint-2")
    broken = run(recipe, tmp_path / "broken")
    log = json.loads((broken / "training.json").read_text())["log"]
    assert [entry["step"] for entry in log if "loss" in entry] == [1, 2, 3, 4]
    one, two = (load_file(output / "adapter_model.safetensors") for output in (whole, broken))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "smolvlm", "gemma3", "internvl"])
def test_layers_are_found_in_any_family(family: str, face_model: MorphableModel):
    vlm = build_tiny_vlm(family, 32)
    config = FaceGPTConfig(
        vlm_config=vlm.config.to_dict(), face_model_config=face_model.config.to_dict(), dialogue_hidden_size=16
    )
    model = FaceGPTForConditionalGeneration(config, vlm, face_model)  # pyright: ignore[reportArgumentType]
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert len(token_layers(model)) == (1 if tied else 2)
    assert set(whole_parts(model)) == HEADS
    adapted = [
        name.partition(".lora_A")[0]
        for name, _ in add_adapters(model, {"r": 2}).named_parameters()
        if "lora_A" in name
    ]
    # Two layers of attention and perceptron, nothing of the tower.
    assert len(adapted) == 14 and not any("vis" in name for name in adapted), linear_layers(model)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lora": {"rank": 4}}, "rank"),
        ({"lora": {"r": 0}}, "at least 1"),
        ({"model": "runs/nano_chat"}, "name the one to start from"),
        ({"train_albedo": True}, "without photographs"),
        ({"train_albedo": True, "photographs": "photographs"}, "adapters hold no 3DMM"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    recipe: dict, changes: dict, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({**recipe, **changes, "output_dir": str(tmp_path / "run")}))
    assert main(["--config", str(path)]) == 1
    message = capsys.readouterr().err
    assert sentence in message and "Traceback" not in message and not (tmp_path / "run").exists()


def test_what_holds_no_adapters_is_not_merged(recipe: dict, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert merge_main([recipe["vlm"], "--output", str(tmp_path / "merged")]) == 1
    assert "adapter_config.json" in capsys.readouterr().err
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "adapter_config.json").write_text("{}")
    assert merge_main([str(tmp_path / "lost"), "--output", str(tmp_path / "merged")]) == 1
    assert "start.json" in capsys.readouterr().err and not (tmp_path / "merged").exists()
