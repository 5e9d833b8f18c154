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
"""Several processes: they see what one would see, learn what one would learn, and leave one whole checkpoint."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from facegpt_trainer.checkpoint import last_whole_checkpoint
from facegpt_trainer.collator import FaceCollator, split_draws
from facegpt_trainer.distributed import SharedTerms, share_terms
from facegpt_trainer.loss_weights import LOSS_WEIGHTS
from facegpt_trainer.pictures.data_engine import DataEngine
from facegpt_trainer.training_config import FaceGPTTrainingConfig
from PIL import Image
from safetensors.torch import load_file

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor
from modeling_facegpt.output_facegpt import FaceGPTOutput, weighted_sum

REPOSITORY = Path(__file__).parents[1]
CONFIGURATIONS = REPOSITORY / "trainer" / "facegpt_trainer" / "accelerate_configs"
STEPS, DRAW = 3, 2
DATA_SEED = 5


class OneOfTwo:
    """Stands for the `Accelerator` of one of two processes; what the other one has to add is known."""

    num_processes = 2
    device = torch.device("cpu")

    def __init__(self, other: torch.Tensor | float = 0.0):
        self.own, self.other = torch.zeros(()), other

    def reduce(self, own: torch.Tensor) -> torch.Tensor:
        self.own = own
        return own + self.other


def share(output: FaceGPTOutput, accelerator: OneOfTwo) -> SharedTerms:
    return share_terms(output.loss_terms, output.loss_counts, accelerator)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def collator(facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor) -> FaceCollator:
    return FaceCollator(processor, DataEngine(copy.deepcopy(facegpt.face_model), 112, seed=0), draw_size=DRAW)


def examples(numbers: range) -> list[dict]:
    return [{"picture": number} for number in numbers]


def test_a_batch_is_made_of_whole_draws():
    assert split_draws(examples(range(4, 12)), 4) == [(4, 4), (8, 4)]
    assert split_draws(examples(range(4, 12)), None) == [(4, 8)]
    assert split_draws(examples(range(8, 11)), 4) == [(8, 3)]
    wrapped = [*examples(range(8, 11)), *examples(range(1))]  # as the last batch of several processes is filled up
    assert split_draws(wrapped, 4) == [(8, 3), (0, 1)]


def test_two_processes_see_what_one_sees(collator: FaceCollator):
    whole = collator(examples(range(8)))
    parts = [collator(examples(range(start, start + 4))) for start in (0, 4)]
    for name in ("pixel_values", "face_targets", "picture_cameras"):
        assert torch.equal(whole[name], torch.cat([part[name] for part in parts])), name


def test_weighed_terms_have_the_gradient_of_the_whole_batch(
    facegpt: FaceGPTForConditionalGeneration, collator: FaceCollator
):
    whole, *parts = (facegpt(**collator(examples(rows))) for rows in (range(8), range(4), range(4, 8)))
    one, two = (part.loss_counts["label_shape"] for part in parts)
    assert whole.loss_counts["label_shape"] == one + two and one != two  # else plain means would do
    alone = [OneOfTwo(), OneOfTwo()]
    for part, process in zip(parts, alone, strict=True):
        share(part, process)
    shared = [share(part, OneOfTwo(other.own)) for part, other in zip(parts, reversed(alone), strict=True)]
    halves = [gradient(facegpt, terms.parts) for terms in shared]
    for expected, *found in zip(gradient(facegpt, whole.loss_terms), *halves, strict=True):
        torch.testing.assert_close(torch.stack(found).mean(0), expected, rtol=1e-4, atol=1e-5)
    for name in LOSS_WEIGHTS.keys() & whole.loss_terms.keys():
        torch.testing.assert_close(shared[0].means[name], whole.loss_terms[name].detach(), rtol=1e-5, atol=1e-6)
        assert shared[0].means[name] == shared[1].means[name]


def gradient(model: FaceGPTForConditionalGeneration, terms: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Of the weighted sum, with respect to each parameter."""
    loss = weighted_sum(terms, LOSS_WEIGHTS)
    parameters = list(model.parameters())
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros(()) if value is None else value for value in found]


def test_a_term_that_one_process_lacks_holds_up_no_other():
    term = {"text": torch.tensor(2.0)}, {"text": torch.tensor(3.0)}
    more = (
        {"text": torch.tensor(4.0), "flow": torch.tensor(5.0)},
        {"text": torch.tensor(1.0), "flow": torch.tensor(0.0)},
    )
    sent = []
    for terms, counts in (term, more):
        process = OneOfTwo()
        share_terms(terms, counts, process)  # pyright: ignore[reportArgumentType]
        sent.append(process.own)
    assert sent[0].shape == sent[1].shape
    shared = share_terms(*term, OneOfTwo(sent[1]))  # pyright: ignore[reportArgumentType]
    assert shared.means == {"text": (2.0 * 3 + 4.0) / 4} and shared.parts["text"] == 2.0 * 2 * 3 / 4


def test_draws_must_fill_batches():
    with pytest.raises(ValueError, match="divides per_device_train_batch_size"):
        FaceGPTTrainingConfig(per_device_train_batch_size=6, draw_size=4)


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "deepspeed_zero2", "deepspeed_zero3"])
def test_configurations_are_accelerates(name: str):
    config: Any = load_config_from_file(str(CONFIGURATIONS / f"{name}.yaml"))
    assert config.num_processes == 2 and config.mixed_precision == "no"
    assert str(config.distributed_type).endswith({"ddp": "MULTI_GPU", "fsdp2": "FSDP"}.get(name, "DEEPSPEED"))


@pytest.fixture
def recipe(facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path) -> Path:
    """A few steps of gradient descent with momentum on renders and photographs, of a tiny model."""
    facegpt.save_pretrained(tmp_path / "start")
    processor.save_pretrained(tmp_path / "start")
    write_photographs(tmp_path / "photographs")
    settings = {
        "model": str(tmp_path / "start"),
        "pictures": 4 * DRAW * STEPS,
        "draw_size": DRAW,
        "data_seed": DATA_SEED,
        "photographs": str(tmp_path / "photographs"),
        "photograph_landmarks": str(tmp_path / "photographs" / "landmarks.npz"),
        "photograph_share": 0.5,
        "num_train_epochs": 1,
        "optim": "adamw_torch",
        "adam_epsilon": 1.0,  # steps are then as long as gradients: rounding is not blown up where these are small
        "weight_decay": 0.0,
        "learning_rate": 0.1,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "save_steps": 2,
        "logging_steps": 1,
        "use_cpu": True,
        "report_to": "none",
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def write_photographs(folder: Path) -> None:
    """Three pictures of noise with landmarks in their middle."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(random.integers(0, 255, (96, 96, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    points = 48 + 8 * random.standard_normal((3, 478, 2))
    np.savez(folder / "landmarks.npz", files=[f"{number}.png" for number in range(3)], mediapipe478=points)


def run(recipe: Path, output: Path, launcher: list[str], batch: int) -> None:
    """The recipe by a launcher, with so many pictures for each process."""
    settings = yaml.safe_load(recipe.read_text())
    settings |= {"output_dir": str(output), "per_device_train_batch_size": batch}
    own = output.with_suffix(".yaml")
    own.write_text(yaml.safe_dump(settings))
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "--config", str(own)],
        env=os.environ | {"ACCELERATE_USE_CPU": "true"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def launch(configuration: str, module: str) -> list[str]:
    """Two processes as one of our configurations says."""
    config = str(CONFIGURATIONS / f"{configuration}.yaml")
    return ["accelerate.commands.launch", "--config_file", config, "--num_processes", "2", "-m", module]


def logged(output: Path) -> list[dict[str, float]]:
    log = json.loads((output / "training.json").read_text())["log"]
    return [entry for entry in log if "loss" in entry]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("configuration", "module"), [("ddp", "facegpt_trainer"), ("fsdp2", "tests.sharded_training")]
)
def test_two_processes_learn_what_one_learns(recipe: Path, tmp_path: Path, configuration: str, module: str):
    one, two = tmp_path / "one", tmp_path / "two"
    run(recipe, one, ["facegpt_trainer"], 4 * DRAW)
    run(recipe, two, launch(configuration, module), 2 * DRAW)
    start, alone, both = (load_file(folder / "model.safetensors") for folder in (tmp_path / "start", one, two))
    assert start.keys() == alone.keys() == both.keys()
    moved = {name for name in start if not torch.equal(start[name], alone[name])}
    assert {name.split(".")[0] for name in moved} >= {"face_head", "vlm"}
    for name in start:
        torch.testing.assert_close(both[name], alone[name], rtol=1e-4, atol=2e-6, msg=name)
    assert len(logged(one)) == STEPS
    for expected, found in zip(logged(one), logged(two), strict=True):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
    left = [{file.name for file in folder.iterdir() if file.is_file()} for folder in (one, two)]
    assert left[0] == left[1] and "modeling_facegpt.py" in left[0]
    # A checkpoint of two processes is whole: two go on from it, and end as they did.
    assert last_whole_checkpoint(two) == str(two / f"checkpoint-{STEPS}")
    for file in (two / f"checkpoint-{STEPS}").glob("*"):
        file.unlink()
    (two / "training.json").unlink()
    run(recipe, two, launch(configuration, module), 2 * DRAW)
    again = load_file(two / "model.safetensors")
    for name in both:
        torch.testing.assert_close(again[name], both[name], rtol=0, atol=1e-6, msg=name)
    assert logged(two)[-1]["step"] == STEPS
