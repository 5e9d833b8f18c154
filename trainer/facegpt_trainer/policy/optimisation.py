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
"""Policy optimisation by verified rewards: a start, one run per seed, and what that gained on held-out questions."""

import copy
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.processing_facegpt import FaceGPTProcessor

from ..checkpoint import how_to_go_on, last_whole_checkpoint, load_saved
from ..collator import FaceCollator
from ..endings import Stopped
from ..evaluation.held_out import HELD_OUT_SEED
from ..pictures.data_engine import DataEngine
from ..pictures.photographs import load_photographs
from ..run_facts import describe_run, write_whole
from .config import FacePolicyConfig
from .evaluation import Gain, compare, evaluate_policy, reward_functions
from .tasks import Task, photograph_tasks, request_tasks
from .trainer import FacePolicyTrainer


class Policy(NamedTuple):
    """A checkpoint that is trained."""

    model: FaceGPTForConditionalGeneration
    processor: FaceGPTProcessor


def load_policy(config: FacePolicyConfig) -> Policy:
    """The start of a run, in float32. Its vision tower is frozen: rewards say too little to train it."""
    model, processor = load_saved(config.model)
    if not model.config.dialogue_hidden_size:
        raise ValueError(
            f"got {config.model}, which was not trained on dialogues about faces; name a checkpoint that was "
            "(nano_chat.yaml)"
        )
    model.vlm.model.vision_tower.requires_grad_(False)
    if config.train_only is not None:
        train_only(model, config.train_only)
    return Policy(model, processor)


def train_only(model: torch.nn.Module, pattern: str) -> None:
    """Freeze all weights but those whose name contains a regular expression; some must be left."""
    for name, weights in model.named_parameters():
        weights.requires_grad_(weights.requires_grad and re.search(pattern, name) is not None)
    if not any(weights.requires_grad for weights in model.parameters()):
        raise ValueError(f"got train_only={pattern!r}, which names no weights; name some, such as '^flow_head'")


def draw_tasks(config: FacePolicyConfig, policy: Policy, *, held_out: bool) -> list[Task]:
    """The questions of training; or held-out ones: requests in wordings and photographs that training never saw."""
    seed = HELD_OUT_SEED if held_out else config.data_seed
    split = "held_out_wordings" if held_out else "train"
    requests, looks = config.requests, config.looks
    if held_out:
        requests, looks = (min(count, 1) * config.evaluation_tasks for count in (requests, looks))
    face_model = copy.deepcopy(policy.model.face_model).eval()
    tasks = request_tasks(FaceMeasurer(face_model), seed, split, requests) if requests else []
    if not looks:
        return tasks
    exclude = config.photograph_exclude
    if held_out and exclude is not None:
        exclude = f"^(?!.*{exclude})"
    folder = load_photographs(Path(str(config.photographs)), Path(str(config.photograph_landmarks)), exclude=exclude)
    engine = DataEngine(face_model, policy.model.config.render_size, seed)
    return tasks + photograph_tasks(FaceCollator(policy.processor, engine, folder), looks)


def train_policy(config: FacePolicyConfig, policy: Policy, tasks: Sequence[Task]) -> dict[str, Any]:
    """Train one policy, going on from its last whole checkpoint if there is one; the facts of the run, which
    `training.json` in its output directory holds too."""
    weights = config.all_reward_weights()
    judge = copy.deepcopy(policy.model).eval()
    config.reward_weights = list(weights.values())
    trainer = FacePolicyTrainer(
        policy.model,
        config,
        tasks,
        policy.processor,
        reward_funcs=list(reward_functions(judge, policy.processor, list(weights)).values()),
    )
    output = Path(str(config.output_dir))
    try:
        result = trainer.train(resume_from_checkpoint=last_whole_checkpoint(output))
    except KeyboardInterrupt as stop:
        raise Stopped(f"training was stopped; {how_to_go_on(output)}") from stop
    trainer.save_model(str(output))
    facts = describe_run(config, result.metrics, trainer.state.log_history, config.world_size)
    if trainer.is_world_process_zero():
        write_whole(output / "training.json", json.dumps(facts, indent=1, default=str))
    return facts


def optimise(config: FacePolicyConfig, seeds: Sequence[int]) -> tuple[dict[str, Gain], list[dict[str, float]]]:
    """Train one policy per seed, each in a folder `seed-N` of the output directory.

    Returns:
        Gains on held-out questions over seeds, and the figures of each.
    """
    start = load_policy(config)
    weights = config.all_reward_weights()
    held_out = draw_tasks(config, start, held_out=True)
    tasks = draw_tasks(config, start, held_out=False)
    functions = reward_functions(start.model, start.processor, list(weights))
    settings = {"guidance_scale": config.guidance_scale}
    before = evaluate_policy(*start, held_out, functions, weights, **settings)
    after = []
    for seed in seeds:
        own = copy.deepcopy(config)
        own.seed, own.output_dir = seed, str(Path(str(config.output_dir)) / f"seed-{seed}")
        policy = load_policy(own)
        train_policy(own, policy, tasks)
        after.append(evaluate_policy(*policy, held_out, functions, weights, **settings))
    return compare(before, after), after


def write_table(gains: dict[str, Gain]) -> str:
    """Before, after, gain and its standard error, one line each."""
    lines = [f"{'held-out questions':<20}{'before':>9}{'after':>9}{'gain':>9}{'± s.e.':>9}"]
    lines += [f"{name:<20}" + "".join(f"{value:>9.3f}" for value in gain) for name, gain in gains.items()]
    return "\n".join(lines)


def write_report(report: Path, seeds: Sequence[int], gains: dict[str, Gain], runs: Sequence[dict[str, float]]) -> None:
    """Print the table; `report` is a JSON file of it and of each run."""
    facts = {"seeds": list(seeds), "gains": {name: gain._asdict() for name, gain in gains.items()}, "runs": list(runs)}
    write_whole(report, json.dumps(facts, indent=1))
    print(f"{write_table(gains)}\nreport: {report}")
