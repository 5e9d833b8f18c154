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
"""Rewards of a policy on questions that it was not trained on, and whether training raised them beyond chance."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from transformers import GenerationConfig

from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.face_parameters import vector_to_parameters
from modeling_facegpt.flow_head import FaceSampling

from . import rewards
from .tasks import Task, task_columns
from .trainer import answer

ANSWERS_TOGETHER = 32
LONGEST_FACE_ANSWER = 6
TOTAL = "reward"  # the weighted sum

Reward = Callable[..., Sequence[float | None]]


class Gain(NamedTuple):
    """One figure before training and after it, over seeds."""

    before: float
    after: float  # mean over seeds
    gain: float  # likewise
    standard_error: float  # of the gain; NaN of one seed


def reward_functions(model: Any, processor: Any, names: Sequence[str]) -> dict[str, Reward]:
    """Rewards by name, ready for TRL.

    Args:
        model (`FaceGPTForConditionalGeneration`): whose 3DMM measures and renders; it is not trained.
        processor (`FaceGPTProcessor`): knows the tokens.
        names (sequence of `str`): of `REWARD_WEIGHTS`.
    """
    face_model = model.face_model
    tokens = rewards.AnswerTokens(processor.face_token_id, (processor.end_token_id, processor.tokenizer.eos_token_id))
    known: dict[str, Reward] = {
        "format": partial(rewards.format_reward, tokens=tokens),
        "face_count": partial(rewards.face_count_reward, tokens=tokens),
        "likely_person": rewards.likely_person_reward,
        "landmark": partial(rewards.landmark_reward, face_model=face_model),
        "photometric": partial(rewards.photometric_reward, face_model=face_model),
    }
    if "attribute" in names:
        known["attribute"] = partial(rewards.attribute_reward, measurer=FaceMeasurer(face_model))
    return {name: known[name] for name in names}


@torch.no_grad()
def evaluate_policy(
    model: Any,
    processor: Any,
    tasks: Sequence[Task],
    functions: Mapping[str, Reward],
    weights: Mapping[str, float],
    *,
    guidance_scale: float,
) -> dict[str, float]:
    """Mean rewards of the answers as they are given after training: words greedily, faces by the flow itself, noise
    the same at every call.

    Args:
        model (`FaceGPTForConditionalGeneration`): the policy.
        processor (`FaceGPTProcessor`): its own.
        tasks (sequence of `Task`): held-out questions.
        functions, weights (`Mapping`): rewards by name, and how they add up to `reward`.
        guidance_scale (`float`): of faces from words.
    """
    generation = GenerationConfig(
        do_sample=False,
        max_new_tokens=LONGEST_FACE_ANSWER,
        eos_token_id=model.generation_config.eos_token_id,
        pad_token_id=processor.tokenizer.pad_token_id,
    )
    sampling = FaceSampling(torch.Generator().manual_seed(0), guidance_scale=guidance_scale)
    was_training = model.training
    model.eval()
    found: dict[str, list[float | None]] = {name: [] for name in functions}
    for start in range(0, len(tasks), ANSWERS_TOGETHER):
        part = tasks[start : start + ANSWERS_TOGETHER]
        answers, _, completions = answer(model, processor, part, sampling, None, generation)
        faces = [vector_to_parameters(a.faces, model.config.face_model_config) for a in answers]
        for name, function in functions.items():
            found[name] += function(completion_ids=completions, faces=faces, **task_columns(part))
    model.train(was_training)
    return mean_rewards(found, weights)


def mean_rewards(found: Mapping[str, Sequence[float | None]], weights: Mapping[str, float]) -> dict[str, float]:
    """Mean of each reward over the answers that it has something to say of, and of the weighted sum over all."""
    means = {}
    for name, values in found.items():
        said = [value for value in values if value is not None]
        if said:
            means[name] = sum(said) / len(said)
    sums = [
        sum(weights[name] * value for name, value in zip(found, row, strict=True) if value is not None)
        for row in zip(*found.values(), strict=True)
    ]
    return {TOTAL: sum(sums) / len(sums), **means}


def compare(before: Mapping[str, float], after: Sequence[Mapping[str, float]]) -> dict[str, Gain]:
    """Gains of each figure over seeds.

    Args:
        before (`Mapping`): figures of the start.
        after (sequence of `Mapping`): of each seed's run.
    """
    gains = {}
    for name, start in before.items():
        differences = torch.tensor([run[name] - start for run in after], dtype=torch.float64)
        mean = float(differences.mean())
        error = float(differences.std() / len(differences) ** 0.5) if len(differences) > 1 else float("nan")
        gains[name] = Gain(start, start + mean, mean, error)
    return gains
