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
"""Policy optimisation of tiny models: log-probabilities are those of what was drawn, and rewards rise."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from facegpt_trainer.grpo import main
from facegpt_trainer.policy.config import REWARD_WEIGHTS, FacePolicyConfig
from facegpt_trainer.policy.evaluation import compare, mean_rewards
from facegpt_trainer.policy.face_policy import step_levels
from facegpt_trainer.policy.optimisation import Policy, load_policy, write_table
from facegpt_trainer.policy.tasks import Task
from facegpt_trainer.policy.trainer import FacePolicyTrainer, answer_tasks
from facegpt_trainer.recipe_reader import read_recipe
from PIL import Image
from torch import Tensor

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor, FaceParameters
from modeling_facegpt.camera import default_picture_cameras

STEPS, ROWS = 4, 8
DRAWS = STEPS - 1


def ask(text: str, picture: Tensor | None = None) -> Task:
    content: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if picture is not None:
        content.insert(0, {"type": "image"})
    return Task([{"role": "user", "content": content}], 1, default_picture_cameras()[0], picture)


@pytest.fixture
def tasks() -> list[Task]:
    return [ask("Show an old man."), ask("Reconstruct the face in the middle.", torch.full((3, 112, 112), 0.4))]


def settings(directory: Path, **changes: Any) -> FacePolicyConfig:
    return FacePolicyConfig(
        **{
            "output_dir": str(directory),
            "per_device_train_batch_size": ROWS,
            "num_generations": 4,
            "max_completion_length": 2,
            "max_steps": 2,
            "learning_rate": 1e-2,
            "exploration_steps": STEPS,
            "report_to": "none",
            "use_cpu": True,
            "seed": 1,
            "disable_tqdm": True,
            "logging_steps": 1,
            "save_strategy": "no",
            **changes,
        }
    )


def big_face(faces: Sequence[FaceParameters], **columns: Any) -> list[float]:
    """A reward that geometry verifies: how far a face's first identity coefficient lies to one side."""
    return [float(face.identity[:1, 0].sum()) for face in faces]


@pytest.fixture
def policy(
    eager_facegpt: FaceGPTForConditionalGeneration, dialogue_facegpt: FaceGPTForConditionalGeneration
) -> FaceGPTForConditionalGeneration:
    """Has the parts for dialogue, and answers with faces: both fixtures share one language model."""
    assert dialogue_facegpt.vlm is eager_facegpt.vlm
    return dialogue_facegpt


def make_trainer(
    policy: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    tasks: list[Task],
    directory: Path,
    **changes: Any,
) -> FacePolicyTrainer:
    return FacePolicyTrainer(policy, settings(directory, **changes), tasks, processor, reward_funcs=[big_face])


def test_log_probabilities_are_those_of_what_was_drawn(
    policy: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tasks: list[Task], tmp_path: Path
):
    """The pass that has gradients sees the states that answers were made from: pictures and faces read included."""
    trainer = make_trainer(policy, processor, tasks, tmp_path, seed=3)  # with which no answer is without a face
    inputs = [{"prompt": tasks[row % 2].messages, "task": row % 2} for row in range(ROWS)]
    output = trainer._generate_and_score_completions(inputs)
    ids = torch.cat((output["prompt_ids"], output["completion_ids"]), dim=1)
    mask, length = output["completion_mask"], output["completion_ids"].shape[1]
    assert mask.shape == (ROWS, length + length * DRAWS)
    trainer.answers = output["rollouts"]
    whole = torch.cat((output["prompt_mask"], mask), dim=1)
    found, entropy, _ = trainer._get_per_token_logps_and_entropies(policy, ids, whole, length, batch_size=3)
    assert found.shape == entropy.shape == mask.shape and (entropy[:, :length] >= 0).all()
    drawn = [
        (row, number) for row, a in enumerate(trainer.answers) for number, p in enumerate(a.paths) if p is not None
    ]
    assert len(drawn) >= ROWS and int(output["num_items_in_batch"]) == int(mask.sum())
    now, after = step_levels(STEPS)[:-2], step_levels(STEPS)[1:-1]
    deviation = 0.7 * after / now * (now.square() - ((1 - now) / (1 - after) * after).square()).sqrt()
    steps = found[:, length:].unflatten(1, (length, DRAWS))
    on = mask[:, length:].unflatten(1, (length, DRAWS))
    for row, number in drawn:
        path = trainer.answers[row].paths[number]
        assert path is not None
        expected = DRAWS if row % 2 == 0 else 1
        assert on[row, number].sum() == expected and len(path) == (STEPS + 1 if expected > 1 else 1)
        # A draw is as likely as its noise, which for so many numbers is near its mean; a wrong state would be far off.
        if expected > 1:
            typical = -0.5 * torch.log(2 * torch.pi * torch.e * deviation.square())
            torch.testing.assert_close(steps[row, number], typical, rtol=0, atol=0.7)
    assert not steps[on == 0].any()
    # Tokens: the class's own forward says the same.
    outputs = type(policy).forward(
        policy,
        input_ids=ids[:1],
        attention_mask=whole[:1, : ids.shape[1]],
        given_faces=trainer.answers[0].faces,
    )
    scores = outputs.logits[:, -length - 1 : -1].log_softmax(-1)
    torch.testing.assert_close(
        found[:1, :length], scores.gather(-1, ids[:1, -length:, None])[..., 0], atol=1e-4, rtol=0
    )


def test_heads_and_words_learn_and_rewards_rise(
    policy: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tasks: list[Task], tmp_path: Path
):
    before = {name: value.clone() for name, value in policy.named_parameters()}
    trainer = make_trainer(policy, processor, tasks, tmp_path, max_steps=40)
    trainer.train()
    moved = {name for name, value in policy.named_parameters() if not torch.equal(value, before[name])}
    for part in ("face_head.output.weight", "flow_head.output.weight", "flow_head.condition.weight"):
        assert part in moved
    assert any(name.startswith("vlm.model.language_model") for name in moved)
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    first, last = np.mean(rewards[:5]), np.mean(rewards[-5:])
    assert last > first + 1.0


def test_several_updates_per_answer_have_ratios_and_clips(
    policy: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tasks: list[Task], tmp_path: Path
):
    trainer = make_trainer(policy, processor, tasks, tmp_path, num_iterations=2, max_steps=4)
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert log[0]["clip_ratio/region_mean"] == 0.0 < log[1]["clip_ratio/region_mean"]


def test_a_rollout_says_what_rewards_read(
    policy: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tasks: list[Task], tmp_path: Path
):
    trainer = make_trainer(policy, processor, tasks, tmp_path)
    trainer.asked = tasks
    found = answer_tasks([task.messages for task in tasks], trainer)
    assert [len(face.identity) for face in found["faces"]] == [
        ids.count(processor.face_token_id) for ids in found["completion_ids"]
    ]
    assert found["faces_wanted"] == [1, 1] and found["wanted"] == [None, None] and found["logprobs"] is None


def test_a_checkpoint_without_dialogue_is_refused(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tasks: list[Task], tmp_path: Path
):
    with pytest.raises(ValueError, match="without the parts for dialogue"):
        make_trainer(facegpt, processor, tasks, tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"face_reward_weights": {"atribute": 1.0}}, "did you mean attribute"),
        ({"beta": 0.1}, "beta=0.1"),
        ({"top_entropy_quantile": 0.5}, "top_entropy_quantile"),
        ({"requests": 0}, "something is to be done"),
        ({"looks": 3}, "without photographs"),
        ({"exploration_noise": 0.0}, "more than 0 and at most 1"),
        ({"exploration_steps": 1}, "at least 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, changes: dict, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        settings(tmp_path, **changes)


def test_our_recipe_can_be_read():
    folder = Path(__file__).parents[1] / "trainer" / "facegpt_trainer" / "recipes"
    config = read_recipe(folder / "nano_grpo.yaml", FacePolicyConfig)
    assert config.num_generations and config.per_device_train_batch_size % config.num_generations == 0
    assert config.all_reward_weights() == REWARD_WEIGHTS


def test_gains_and_their_errors():
    gains = compare({"reward": 1.0}, [{"reward": 2.0}, {"reward": 3.0}, {"reward": 4.0}])
    assert gains["reward"] == pytest.approx((1.0, 3.0, 2.0, 1 / 3**0.5))
    assert "reward" in write_table(gains) and "0.577" in write_table(gains)


def test_rewards_that_say_nothing_do_not_count():
    means = mean_rewards({"a": [1.0, 0.0], "b": [None, 0.5]}, {"a": 2.0, "b": 4.0})
    assert means == {"reward": 2.0, "a": 0.5, "b": 0.5}


@pytest.fixture
def recipe(policy: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path) -> Path:
    """Photographs alone: of two pictures of noise, with landmarks."""
    policy.save_pretrained(tmp_path / "start")
    processor.save_pretrained(tmp_path / "start")
    folder, random = tmp_path / "photographs", np.random.default_rng(0)
    folder.mkdir()
    names = ["a1.jpg", "b8.jpg"]
    for name in names:
        Image.fromarray(random.integers(0, 255, (90, 80, 3), dtype=np.uint8)).save(folder / name)
    points = random.uniform(20, 60, (2, 478, 3))
    np.savez(folder / "landmarks.npz", files=np.array(names), mediapipe478=points)
    text = {
        "model": str(tmp_path / "start"),
        "output_dir": str(tmp_path / "run"),
        "requests": 0,
        "looks": 8,
        "photographs": str(folder),
        "photograph_landmarks": str(folder / "landmarks.npz"),
        "photograph_exclude": r"8\.jpg$",
        "face_reward_weights": {"attribute": 0.0, "likely_person": 0.0},
        "evaluation_tasks": 6,
        "logging_steps": 1,
        "per_device_train_batch_size": 4,
        "num_generations": 2,
        "max_steps": 2,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(text))
    return path


def test_the_command_trains_by_photographs_and_reports(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["--config", str(recipe), "--seeds", "0", "1"]) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["seeds"] == [0, 1] and len(report["runs"]) == 2
    assert {"reward", "format", "face_count", "landmark", "photometric"} == set(report["gains"])
    assert "before" in printed and "landmark" in printed
    facts = json.loads((tmp_path / "run" / "seed-1" / "training.json").read_text())
    assert facts["seeds"]["weights"] == 1 and "reward" in facts["final_terms"]
    assert (tmp_path / "run" / "seed-0" / "model.safetensors").exists()


def test_what_a_recipe_names_learns_alone(recipe: Path, tmp_path: Path):
    start = str(recipe.parent / "start")
    chosen = load_policy(settings(tmp_path, model=start, train_only="^flow_head.mean"))
    assert learning(chosen) == {f"flow_head.mean.{part}" for part in ("0.weight", "0.bias", "2.weight", "2.bias")}
    everything = learning(load_policy(settings(tmp_path, model=start)))
    assert any(name.startswith("vlm.model.language_model.") for name in everything)
    assert not any(name.startswith("vlm.model.vision_tower.") for name in everything)
    with pytest.raises(ValueError, match="names no weights"):
        load_policy(settings(tmp_path, model=start, train_only="flowhead"))


def learning(policy: Policy) -> set[str]:
    return {name for name, value in policy.model.named_parameters() if value.requires_grad}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"reqests": 3}, "did you mean requests"), ({"model": "./nowhere"}, "nowhere"), ({"beta": 0.5}, "beta=0.5")],
)
def test_bad_recipes_end_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture, changes: dict, sentence: str):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"output_dir": str(tmp_path / "run"), "use_cpu": True, **changes}))
    assert main(["--config", str(path)]) == 1
    message = capsys.readouterr().err
    assert sentence in message and "Traceback" not in message
