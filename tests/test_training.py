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
"""The trainer: that what should learn learns, that a resumed run is the uninterrupted one, that recipes are read."""

import copy
import inspect
import json
from pathlib import Path

import pytest
import torch
import yaml
from datasets import Dataset
from facegpt_hub import command_line
from facegpt_trainer.__main__ import main
from facegpt_trainer.checkpoint import last_whole_checkpoint
from facegpt_trainer.collator import FaceCollator
from facegpt_trainer.loss_weights import LOSS_WEIGHTS
from facegpt_trainer.pictures.data_engine import DataEngine
from facegpt_trainer.pictures.photographs import PhotographFolder
from facegpt_trainer.recipe_reader import read_recipe
from facegpt_trainer.training import FaceGPTTrainer
from facegpt_trainer.training_config import FaceGPTTrainingConfig

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor

PICTURES = 12
BATCH = 4


@pytest.fixture
def photographs() -> PhotographFolder:
    generator = torch.Generator().manual_seed(0)
    landmarks = 0.5 + 0.1 * torch.randn(3, 468, 2, generator=generator)
    return PhotographFolder(
        names=["a.jpg", "b.jpg", "c.jpg"],
        pixels=torch.randint(0, 255, (3, 3, 288, 288), generator=generator, dtype=torch.uint8),
        extents=torch.ones(3, 2),
        landmarks=landmarks,
        boxes=torch.cat((landmarks.amin(1), landmarks.amax(1)), dim=-1),
    )


@pytest.fixture
def collator(facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor) -> FaceCollator:
    return FaceCollator(processor, DataEngine(copy.deepcopy(facegpt.face_model), 112, seed=0))


def make_trainer(model, processor, collator, directory: Path, **settings) -> FaceGPTTrainer:
    model.config.loss_weights = LOSS_WEIGHTS
    config = FaceGPTTrainingConfig(
        output_dir=str(directory),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=1e-2,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        logging_steps=1,
        **settings,
    )
    return FaceGPTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_dict({"picture": range(PICTURES)}),
        data_collator=collator,
        processing_class=processor,
    )


def test_labels_are_the_answers_and_nothing_else(collator: FaceCollator, processor: FaceGPTProcessor):
    batch = collator.engine.compose(
        torch.Generator().manual_seed(0), torch.tensor([True, False, False]), torch.tensor([1, 2, 0])
    )
    inputs = collator.lay_out(batch)
    answers = [row[row != -100].tolist() for row in inputs["labels"]]
    face, end = processor.face_token_id, processor.end_token_id
    assert answers == [[face, end], [face, face, end], [end]]


def test_loss_is_that_of_all_logits(facegpt: FaceGPTForConditionalGeneration, collator: FaceCollator):
    """Logits at the labelled positions alone give the loss of all logits."""
    inputs = collator([{"picture": number} for number in range(BATCH)])
    some = facegpt(**inputs).loss_terms["text"]
    inputs.pop("logits_to_keep")
    torch.testing.assert_close(some, facegpt(**inputs).loss_terms["text"])


def test_every_trainable_parameter_moves(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, collator: FaceCollator, tmp_path: Path
):
    before = {name: value.clone() for name, value in facegpt.named_parameters()}
    trainer = make_trainer(facegpt, processor, collator, tmp_path, save_strategy="no")
    trainer.train()
    # What lies behind the features that LLaVA reads of its vision tower is not used.
    still = [name for name, value in facegpt.named_parameters() if torch.equal(value, before[name])]
    unused = ("post_layernorm", "vision_tower.head")
    assert [name for name in still if not any(part in name for part in unused)] == []
    logged = trainer.state.log_history[0]
    assert {"text", "label_landmarks", "label_shape", "code_identity"} <= set(logged)


def test_photographs_train_by_landmarks_and_by_rendering(
    facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    photographs: PhotographFolder,
    collator: FaceCollator,
):
    mixed = FaceCollator(processor, collator.engine, photographs, photograph_share=0.5)
    inputs = mixed([{"picture": number} for number in range(8)])
    known = inputs["face_targets"].isfinite().all(-1)
    shown = inputs["face_images"].isfinite().flatten(1).all(1)
    landmarks = inputs["face_landmarks"].isfinite().flatten(1).all(1)
    # Four photographs, of which some are cut where there is no face.
    assert known.any() and 1 <= landmarks.sum() <= 4 and not (known & (shown | landmarks)).any()
    terms = facegpt(**inputs).loss_terms
    assert terms["landmarks"] > 0 and terms["label_landmarks"] > 0
    alone = FaceCollator(processor, collator.engine, photographs, photograph_share=1.0, use_landmarks=False)
    inputs = alone([{"picture": number} for number in range(8)])
    assert not inputs["face_landmarks"].isfinite().any() and not inputs["face_targets"].isfinite().any()
    facegpt(**inputs).loss_terms["photometric"].backward()
    assert facegpt.face_head.output.weight.grad.abs().sum() > 0


def test_a_resumed_run_is_the_uninterrupted_one(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, collator: FaceCollator, tmp_path: Path
):
    whole, broken = copy.deepcopy(facegpt), copy.deepcopy(facegpt)
    make_trainer(whole, processor, collator, tmp_path / "whole", save_strategy="no").train()
    make_trainer(broken, processor, collator, tmp_path / "broken", save_steps=1).train()
    last = tmp_path / "broken" / "checkpoint-2"
    resumed = make_trainer(copy.deepcopy(facegpt), processor, collator, tmp_path / "resumed", save_strategy="no")
    resumed.train(resume_from_checkpoint=str(last))
    for (name, one), two in zip(whole.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, two), name


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("picturs: 10", "did you mean pictures"),
        ("- 1", "no YAML mapping"),
        ("loss_weights: {photometrik: 1}", "no loss terms"),
        ("loss_weights: {photometrik: 1}", "did you mean photometric"),
        ("loss_weights: {photometric: much}", "loss_weights: {'photometric': 'much'}"),
        ("loss_weights: 3", "wanted a mapping, of which each value is a number"),
        ("dialogue_shares: {look: 1}", "no kinds of dialogue; did you mean looks"),
        ("learning_rate: '1e-3'", "that is text, write 0.001"),
        ("pictures: 10.5", "wanted a whole number"),
        ("pictures: true", "wanted a whole number"),
        ("pictures: 0", "wanted at least 1"),
        ("use_landmarks: 2", "wanted true or false"),
        ("photographs: [a]", "wanted text"),
        ("lr_scheduler_type: cosinus", "cosinus"),
        ("a: b: c", "which is no recipe in YAML"),
        ("loss_weight_schedules: {photometrik: {0: 1}}", "did you mean photometric"),
        ("photograph_share: 2", "at most 1"),
        ("photograph_share: 0.5", "without photographs"),
    ],
)
def test_wrong_recipes_are_refused_in_one_sentence(tmp_path: Path, capsys, text: str, sentence: str):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    assert main(["--config", str(recipe)]) == 1
    message = capsys.readouterr().err
    assert sentence in message and "Traceback" not in message


def test_help_documents_every_setting(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    help_text = capsys.readouterr().out
    for name in inspect.get_annotations(FaceGPTTrainingConfig):
        assert f"  {name}: " in help_text
    assert "photometric: {0: 0.0, 1000: 6.0}" in " ".join(help_text.split())


def test_both_commands_run_the_same_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"output_dir: {tmp_path}\npictures: 3\nuse_cpu: true\n")
    configs: list[FaceGPTTrainingConfig] = []
    monkeypatch.setattr("facegpt_trainer.training.train", lambda config: configs.append(config) or tmp_path)
    assert main(["--config", str(recipe)]) == 0
    with pytest.raises(SystemExit) as ended:
        command_line.main(["train", "--config", str(recipe)])
    assert ended.value.code == 0 and len(configs) == 2
    assert configs[0].to_dict() == configs[1].to_dict()


def test_a_missing_recipe_is_refused(tmp_path: Path, capsys):
    assert main(["--config", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml" in capsys.readouterr().err


ARMS = ["labels_only", "render_only", "labels_and_render"]


@pytest.mark.parametrize("name", ["nano_renders", "nano_photographs", "nano_polish", "nano_words", "nano_chat", *ARMS])
def test_our_recipes_can_be_read(name: str):
    folder = Path(__file__).parents[1] / "trainer" / "facegpt_trainer" / "recipes"
    config = read_recipe(folder / f"{name}.yaml", FaceGPTTrainingConfig)
    assert json.dumps(config.loss_weights) and config.pictures > 0


def test_the_recipe_for_llava_can_be_read_where_there_is_no_gpu():
    folder = Path(__file__).parents[1] / "trainer" / "facegpt_trainer" / "recipes"
    settings = yaml.safe_load((folder / "llava_1.5_7b_lora.yaml").read_text())
    config = FaceGPTTrainingConfig(**{**settings, "bf16": False})
    assert config.vlm == "llava-hf/llava-1.5-7b-hf" and config.lora["r"] == 128 and config.gradient_checkpointing


def test_the_arms_differ_in_what_supervises_them_alone():
    folder = Path(__file__).parents[1] / "trainer" / "facegpt_trainer" / "recipes"
    arms = [yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ARMS]
    supervision = {"use_landmarks", "use_images", "photograph_landmarks", "photograph_share", "loss_weights"}
    budgets = [{key: value for key, value in arm.items() if key not in supervision | {"output_dir"}} for arm in arms]
    assert budgets[0] == budgets[1] == budgets[2] and budgets[0]["pictures"] == 4800


def test_albedo_is_learned_from_photographs_and_nothing_else_of_the_3dmm(
    facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    photographs: PhotographFolder,
    collator: FaceCollator,
    tmp_path: Path,
):
    before = {name: value.clone() for name, value in facegpt.face_model.state_dict().items()}
    alone = FaceCollator(processor, collator.engine, photographs, photograph_share=1.0, use_landmarks=False)
    whole, broken = copy.deepcopy(facegpt), copy.deepcopy(facegpt)
    for model, name in ((whole, "whole"), (broken, "broken")):
        model.face_model.learn_albedo()
        make_trainer(model, processor, alone, tmp_path / name, save_steps=1, weight_decay=0.5).train()
    after = whole.face_model.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"albedo_mean", "albedo_basis"} and after.keys() == before.keys()
    # What no photograph shows keeps its colour, whatever the weight decay.
    triangles, shown = before["triangles"], torch.zeros(len(before["template"]), dtype=torch.bool)
    shown[triangles[facegpt.face_model.region("face")[triangles].any(-1)].flatten()] = True
    assert not shown.all() and torch.equal(after["albedo_mean"][~shown], before["albedo_mean"][~shown])
    loaded = FaceGPTForConditionalGeneration.from_pretrained(tmp_path / "whole" / "checkpoint-3", dtype=torch.float32)
    assert not list(loaded.face_model.parameters())
    code = torch.randn(2, whole.face_model.config.num_albedo, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.face_model.albedo(code), whole.face_model.albedo(code))
    resumed = copy.deepcopy(facegpt)
    resumed.face_model.learn_albedo()
    trainer = make_trainer(resumed, processor, alone, tmp_path / "resumed", save_strategy="no", weight_decay=0.5)
    trainer.train(resume_from_checkpoint=str(tmp_path / "broken" / "checkpoint-2"))
    for (name, one), two in zip(whole.named_parameters(), trainer.model.parameters(), strict=True):
        assert torch.equal(one, two), name


def finite_recipe(facegpt, processor, tmp_path: Path, **changes) -> Path:
    facegpt.save_pretrained(tmp_path / "start")
    processor.save_pretrained(tmp_path / "start")
    settings = {
        "model": str(tmp_path / "start"),
        "output_dir": str(tmp_path / "run"),
        "pictures": 4,
        "per_device_train_batch_size": 1,
        "num_train_epochs": 1,
        "logging_steps": 1,
        "save_steps": 1,
        "use_cpu": True,
        "report_to": "none",
        **changes,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path / "recipe.yaml"


@pytest.mark.parametrize("steps", [1, 4])
def test_a_run_that_diverges_fails_and_saves_nothing_of_it(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path, capsys, steps: int
):
    recipe = finite_recipe(facegpt, processor, tmp_path, learning_rate=1e30, pictures=steps)
    assert main(["--config", str(recipe)]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "at step 1, so training stopped and nothing more was saved" in message
    assert message.endswith("begin anew with a learning_rate below 1e+30 or a lower max_grad_norm")
    assert not list((tmp_path / "run").glob("**/*.safetensors")) and not (tmp_path / "run" / "training.json").exists()


def test_the_last_good_checkpoint_stays_when_a_run_diverges(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path, capsys
):
    schedule = {"text": {0: 1.0, 2: 1.0, 3: 1e39}}  # the loss of the fourth step is infinite
    recipe = finite_recipe(facegpt, processor, tmp_path, loss_weight_schedules=schedule, save_total_limit=1)
    assert main(["--config", str(recipe)]) == 1
    good = tmp_path / "run" / "checkpoint-3"
    message = capsys.readouterr().err
    assert f"the loss is inf at step 3, so training stopped and nothing more was saved; start from {good}" in message
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-3"]
    assert last_whole_checkpoint(tmp_path / "run") == str(good) and not (tmp_path / "run" / "training.json").exists()
    loaded = FaceGPTForConditionalGeneration.from_pretrained(good, dtype=torch.float32)
    assert all(value.isfinite().all() for value in loaded.state_dict().values())


def test_looking_at_the_weights_before_they_are_saved_changes_nothing(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, collator: FaceCollator, tmp_path: Path
):
    often, never = copy.deepcopy(facegpt), copy.deepcopy(facegpt)
    make_trainer(often, processor, collator, tmp_path / "often", save_steps=1).train()
    make_trainer(never, processor, collator, tmp_path / "never", save_strategy="no").train()
    for (name, one), (_, two) in zip(often.state_dict().items(), never.state_dict().items(), strict=True):
        assert torch.equal(one, two), name
