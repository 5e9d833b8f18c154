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
"""Answers in training mode: those of evaluation mode, and nothing about the model has changed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from conftest import TINY_TEXT, make_eager, train_encoder
from facegpt_trainer.nano import build_nano_vlm
from test_convolutional_vision import TINY_RESNET
from test_threads import Call, Talker, mixed_calls, photographs, same, values

from modeling_facegpt import (
    FaceChatPipeline,
    FaceGPTForConditionalGeneration,
    FaceGPTProcessor,
    FaceParameters,
    MorphableModel,
    refine,
)
from modeling_facegpt.face_parameters import parameters_to_vector
from modeling_facegpt.module_state import evaluating


@pytest.fixture
def learner(face_model: MorphableModel, face_parameters: FaceParameters) -> Talker:
    """A model whose vision tower has batch norms and whose layers drop out, of which some parts are in training."""
    vlm, processor = build_nano_vlm(0, vision=TINY_RESNET, text=TINY_TEXT | {"attention_dropout": 0.5})
    processor = FaceGPTProcessor.from_vlm_processor(processor)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FaceGPTForConditionalGeneration.from_vlm(
            vlm, face_model, processor=processor, dialogue_hidden_size=16, face_head_hidden_size=32, max_faces=2
        )
    make_eager(model, processor)
    train_encoder(model)
    chat = FaceChatPipeline(model=model, processor=processor, batch_size=1)
    return Talker(model, processor, chat, parameters_to_vector(face_parameters))


def train_in_part(model: FaceGPTForConditionalGeneration) -> dict[str, bool]:
    """Training mode, but for the last layers of the tower, as where they are frozen: each part's mode."""
    model.train()
    model.vlm.model.vision_tower.encoder.stages[-1].eval()
    return modes(model)


def modes(model: FaceGPTForConditionalGeneration) -> dict[str, bool]:
    return {name: part.training for name, part in model.named_modules()}


def answering_calls(learner: Talker) -> list[Call]:
    """Those of `mixed_calls` but plain forward passes, which train in training mode, and `refine`."""
    calls = mixed_calls(learner)
    [image] = photographs(1)
    found = learner.model.reconstruct([image], learner.processor)
    fit = lambda: refine(learner.model, learner.processor, [image], found, steps=2)  # noqa: E731
    return [*(call for number, call in enumerate(calls[:6]) if number != 3), fit]


def check_training_mode(learner: Talker, run: Callable[[list[Call]], list[list[Any]]]) -> None:
    calls = answering_calls(learner)
    evaluated = [values(call()) for call in calls]
    before, state = train_in_part(learner.model), learner.model.state_dict()
    state = {name: value.clone() for name, value in state.items()}
    answers = run(calls)
    assert [same(one, other) for one, other in zip(answers, evaluated, strict=True)] == [True] * len(calls)
    assert modes(learner.model) == before
    assert [name for name, value in learner.model.state_dict().items() if not torch.equal(value, state[name])] == []


def test_training_mode_answers_as_evaluation_mode_and_stays(learner: Talker) -> None:
    check_training_mode(learner, lambda calls: [values(call()) for call in calls])


def test_training_mode_answers_as_evaluation_mode_in_threads(learner: Talker) -> None:
    def run(calls: list[Call]) -> list[list[Any]]:
        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(lambda call: values(call()), calls))

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        check_training_mode(learner, run)
    finally:
        torch.set_num_threads(threads)


def test_an_error_leaves_the_mode_as_it_was(learner: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    before = train_in_part(learner.model)
    monkeypatch.setattr(learner.model.vlm.model.vision_tower, "forward", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        learner.model.reconstruct(photographs(1), learner.processor)
    assert modes(learner.model) == before


def test_contexts_that_overlap_end_in_the_mode_before_the_first() -> None:
    learns, frozen = torch.nn.Dropout(), torch.nn.Dropout().eval()
    inside = torch.nn.Sequential(learns, frozen)
    whole = torch.nn.Sequential(torch.nn.Dropout(), inside)
    first, second = evaluating(whole), evaluating(inside)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert whole.training and not inside.training and not learns.training
    second.__exit__(None, None, None)
    assert inside.training and learns.training and not frozen.training
