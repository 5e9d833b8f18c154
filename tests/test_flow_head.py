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
"""Faces from words: the flow head learns a distribution, and samples of it are reproducible and follow the words."""

import sys
from typing import Any, cast

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from modeling_facegpt import FaceGPTConfig, FaceGPTForConditionalGeneration, FaceGPTProcessor, MorphableModelConfig
from modeling_facegpt.face_parameters import FaceParameters, parameters_to_vector
from modeling_facegpt.flow_head import (
    FaceSampling,
    FlowHead,
    draw_flow_examples,
    draw_noise,
    euler_step,
    likely_squared_radius,
    noise_levels,
    pull_to_people,
    sample_codes,
    training_levels,
)
from modeling_facegpt.shading import linear_to_srgb

STATE_SIZE = 8


@pytest.fixture(scope="module")
def trained(face_model_config: MorphableModelConfig) -> FlowHead:
    """Trained a little: for the first of two states, codes lie near +1 or near -1 in their first number; for the
    second, near +2 alone. All other numbers are N(0, 1), as the prior over faces is."""
    config = FaceGPTConfig(face_model_config=face_model_config.to_dict())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = FlowHead(config, STATE_SIZE, 64)
        optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
        for _ in range(600):
            example, wanted = draw_flow_examples(*_two_modes(head.code_size, 64))
            optimizer.zero_grad()
            (head(*example) - wanted).square().mean().backward()
            optimizer.step()
            schedule.step()
    return head.eval()


def _states(kind: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(kind, STATE_SIZE).float()


def _two_modes(size: int, faces: int) -> tuple[Tensor, Tensor]:
    kind = torch.randint(2, (faces,))
    codes = torch.randn(faces, size)
    sign = torch.where(torch.rand(faces) < 0.5, 1.0, -1.0)
    codes[:, 0] = torch.where(kind == 0, sign, 2.0) + 0.05 * torch.randn(faces)
    return codes, _states(kind)


def _sample(head: FlowHead, kind: int, faces: int, guidance_scale: float = 1.0, seed: int = 0) -> Tensor:
    noise = draw_noise(faces, head.code_size, torch.Generator().manual_seed(seed))
    states = _states(torch.full((faces,), kind))
    return sample_codes(head, states, noise, steps=40, guidance_scale=guidance_scale)


def test_both_modes_of_a_distribution_are_drawn(trained: FlowHead):
    first = _sample(trained, 0, 200)[:, 0]
    assert 0.35 < (first > 0).float().mean() < 0.65
    assert ((first.abs() - 1).abs() < 0.35).float().mean() > 0.85
    others = _sample(trained, 0, 200)[:, 1:]
    assert others.mean().abs() < 0.1 and 0.9 < others.std() < 1.1


def test_the_state_says_what_is_drawn(trained: FlowHead):
    assert ((_sample(trained, 1, 200)[:, 0] - 2).abs() < 0.35).float().mean() > 0.85


def test_guidance_goes_from_all_faces_to_the_words(trained: FlowHead):
    """Without the condition, faces of both states are drawn; half of them are near 2."""
    free = (_sample(trained, 1, 200, guidance_scale=0.0)[:, 0] - 2).abs() < 0.5
    assert 0.2 < free.float().mean() < 0.8
    assert torch.equal(_sample(trained, 0, 20, 0.0), _sample(trained, 1, 20, 0.0))
    assert (_sample(trained, 1, 200, guidance_scale=2.0)[:, 0] > 1.5).float().mean() > 0.9


def test_faces_from_words_stay_people():
    """Beyond the ball that holds 99 % of people they are moved to its edge; within it they are left alone."""
    people = torch.randn(20_000, 100, generator=torch.Generator().manual_seed(0))
    inside = people.square().sum(-1) <= likely_squared_radius(100)
    assert 0.985 < inside.float().mean() < 0.995
    pulled = pull_to_people(people)
    assert (pulled.square().sum(-1) <= likely_squared_radius(100)).all()
    well_inside = people.square().sum(-1) <= 0.99 * likely_squared_radius(100)
    assert torch.equal(pulled[well_inside], people[well_inside])
    assert torch.nn.functional.cosine_similarity(pulled[~inside], people[~inside]).min() > 0.9999
    assert pull_to_people(people[:, :0]).shape == (20_000, 0)


def _gaussian_head(config: FaceGPTConfig) -> FlowHead:
    """One whose network and means say zero."""
    head = FlowHead(config, STATE_SIZE, 16)
    for layer in (head.output, cast(torch.nn.Linear, head.mean[-1])):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return head


@pytest.mark.parametrize("mean_learns", [False, True])
def test_velocities_train_the_mean_only_where_they_are_told_to(
    face_model_config: MorphableModelConfig, mean_learns: bool
):
    head = FlowHead(FaceGPTConfig(face_model_config=face_model_config.to_dict()), STATE_SIZE, 16)
    states = torch.randn(8, STATE_SIZE, generator=torch.Generator().manual_seed(0))
    example, wanted = draw_flow_examples(torch.zeros(8, head.code_size), states)
    (head(*example, mean_learns=mean_learns) - wanted).square().sum().backward()
    learned = [parameter.grad is not None and bool(parameter.grad.any()) for parameter in head.mean.parameters()]
    assert all(learned) if mean_learns else not any(learned)
    assert cast(Tensor, head.output.weight.grad).any()


def test_codes_are_drawn_around_their_mean(face_model_config: MorphableModelConfig):
    """Of Gaussian codes the velocity is known exactly: what is drawn has the mean that the head says."""
    head = _gaussian_head(FaceGPTConfig(face_model_config=face_model_config.to_dict()))
    wanted = torch.linspace(-3, 3, head.code_size)
    shapes = head.face_model_config.num_identity
    wanted[:shapes] = 0  # people far from the average would be pulled back
    with torch.no_grad():
        cast(torch.nn.Linear, head.mean[-1]).bias.copy_(wanted)
    codes = _sample(head, 0, 1000)
    torch.testing.assert_close(codes.mean(0), wanted, rtol=0, atol=0.15)
    torch.testing.assert_close(codes.std(0), torch.ones(head.code_size), rtol=0, atol=0.15)
    with torch.no_grad():
        cast(torch.nn.Linear, head.mean[-1]).bias[:shapes] = 10
    codes = _sample(head, 0, 100)
    assert (codes[:, :shapes].square().sum(-1) <= likely_squared_radius(shapes)).all()
    torch.testing.assert_close(codes[:, shapes:].mean(0), wanted[shapes:], rtol=0, atol=0.6)


def test_an_untrained_head_draws_from_the_prior(face_model_config: MorphableModelConfig):
    config = FaceGPTConfig(face_model_config=face_model_config.to_dict())
    head = _gaussian_head(config)
    codes = _sample(head, 0, 1000)
    torch.testing.assert_close(codes.mean(0), torch.zeros(head.code_size), rtol=0, atol=0.15)
    torch.testing.assert_close(codes.std(0), torch.ones(head.code_size), rtol=0, atol=0.15)


def test_the_default_checkpoint_could_afford_it():
    """Of a language model 384 wide, under the default 3DMM."""
    head = FlowHead(FaceGPTConfig(), 384, 256)
    assert 1.5e6 < sum(weight.numel() for weight in head.parameters()) < 2.5e6


def test_noise_is_the_same_however_many_faces_are_drawn():
    few, many = (draw_noise(faces, 33, torch.Generator().manual_seed(4)) for faces in (2, 5))
    assert torch.equal(few, many[:2]) and not torch.equal(many[0], many[1])


def test_examples_lie_on_straight_paths():
    codes, states = torch.randn(5, 7), torch.randn(5, 3)
    example, velocity = draw_flow_examples(codes, states)
    start = example.noisy - example.levels[:, None] * velocity
    torch.testing.assert_close(start.view(5, -1, 7), codes[:, None].expand(5, start.shape[0] // 5, 7))
    assert torch.equal(example.states[::4], states) and len(example.levels.unique()) > 15


@pytest.mark.parametrize("steps", [1, 7, 25, 1000])
def test_steps_are_those_of_diffusers(steps: int):
    """Its scheduler on the same levels goes the same way, bit for bit."""
    scheduler: Any = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)])
    levels = noise_levels(steps)
    assert torch.equal(levels, scheduler.sigmas)
    ours = theirs = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    for number, time in enumerate(scheduler.timesteps):
        velocity = torch.sin(7 * ours) + number / steps
        ours = euler_step(ours, velocity, levels[number], levels[number + 1])
        theirs = scheduler.step(velocity, time, theirs, return_dict=False)[0]
    assert torch.equal(ours, theirs)


def test_training_draws_the_levels_of_diffusers_and_its_noisy_codes():
    scheduler: Any = FlowMatchEulerDiscreteScheduler()
    codes, states = torch.randn(200, 7), torch.randn(200, 3)
    example, velocity = draw_flow_examples(codes, states)
    assert torch.isin(example.levels, scheduler.sigmas).all() and len(example.levels.unique()) > 400
    repeated = codes.repeat_interleave(4, 0)
    times = scheduler.timesteps[(example.levels[:, None] == scheduler.sigmas).float().argmax(1)]
    torch.testing.assert_close(example.noisy, scheduler.scale_noise(repeated, times, velocity + repeated))


@pytest.mark.parametrize(
    ("missing", "work"),
    [("diffusers", training_levels.__wrapped__), ("kornia", lambda: linear_to_srgb(torch.ones(3)))],
)
def test_a_missing_package_is_named_in_one_sentence(missing: str, work, monkeypatch: pytest.MonkeyPatch):
    for name in [missing, *(name for name in sys.modules if name.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"the package {missing}; run `pip install {missing}`"):
        work()


@pytest.mark.parametrize("sampling", [{"steps": 0}, {"guidance_scale": -1.0}, {"guidance_scale": float("nan")}])
def test_numbers_without_sense_are_refused(sampling: dict):
    with pytest.raises(ValueError, match=next(iter(sampling))):
        FaceSampling(**sampling).checked()


def _vectors(faces: FaceParameters) -> Tensor:
    return parameters_to_vector(faces)


def test_imagined_faces_follow_seed_and_prompt_and_not_their_company(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    settings = {"count": 3, "steps": 4, "seed": 0}
    both = _vectors(dialogue_facegpt.imagine(["an old man", "a woman who is very happy"], processor, **settings))
    assert both.shape == (6, dialogue_facegpt.face_head.code_size) and both.isfinite().all()
    alone = _vectors(dialogue_facegpt.imagine("an old man", processor, **settings))
    torch.testing.assert_close(alone, both[:3], rtol=1e-4, atol=1e-4)
    again = _vectors(dialogue_facegpt.imagine("an old man", processor, **settings))
    assert torch.equal(alone, again)
    fewer = _vectors(dialogue_facegpt.imagine("an old man", processor, count=2, steps=4, seed=0))
    torch.testing.assert_close(fewer, alone[:2], rtol=1e-4, atol=1e-4)
    other = _vectors(dialogue_facegpt.imagine("an old man", processor, **(settings | {"seed": 1})))
    distances = torch.cdist(torch.cat((alone, other)), torch.cat((alone, other)))
    assert (distances + 10 * torch.eye(6) > 0.5).all()


def test_each_call_imagines_others_and_tells_the_seed_that_repeats_them(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    first, second = (dialogue_facegpt.imagine("an old man", processor, steps=3) for _ in range(2))
    assert first.seed != second.seed and not torch.equal(_vectors(first), _vectors(second))
    again = dialogue_facegpt.imagine("an old man", processor, steps=3, seed=first.seed)
    assert again.seed == first.seed and torch.equal(_vectors(again), _vectors(first))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        fixed = dialogue_facegpt.imagine("an old man", processor, steps=3)
        torch.manual_seed(3)
        assert dialogue_facegpt.imagine("an old man", processor, steps=3).seed == fixed.seed
    for seed in (-1, 2**63, 0.5):
        with pytest.raises(ValueError, match="seed=.*whole number"):
            dialogue_facegpt.imagine("an old man", processor, seed=seed)  # pyright: ignore[reportArgumentType]


def test_prompts_may_be_dialogues_or_inputs(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    dialogue = [{"role": "user", "content": [{"type": "text", "text": "an old man"}]}]
    inputs = processor(messages=[dialogue], padding="max_length", max_length=40, padding_side="right")
    faces = [
        dialogue_facegpt.imagine(prompt, processor, steps=3, seed=0) for prompt in ("an old man", dialogue, inputs)
    ]
    for other in faces[1:]:
        torch.testing.assert_close(_vectors(other), _vectors(faces[0]), rtol=1e-4, atol=1e-4)


def test_an_answer_without_a_picture_is_drawn_as_imagined(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    """`generate` that must say `<FACE>` at once draws what `imagine` draws, and other faces with another generator."""
    prompt = dict(processor(messages=[{"role": "user", "content": "an old man"}]))
    settings = {"max_new_tokens": 1, "min_faces": 1, "do_sample": False, "return_dict_in_generate": True}
    seeded = FaceSampling(torch.Generator().manual_seed(7), steps=4, guidance_scale=1.0)
    said = dialogue_facegpt.generate(**prompt, **settings, face_sampling=seeded)
    imagined = dialogue_facegpt.imagine("an old man", processor, steps=4, guidance_scale=1.0, seed=7)
    torch.testing.assert_close(said.face_parameters, _vectors(imagined), rtol=1e-4, atol=1e-4)
    assert said.face_log_variance.isnan().all() and said.face_references.tolist() == [-1]
    default = [dialogue_facegpt.generate(**prompt, **settings).face_parameters for _ in range(2)]
    assert torch.equal(*default) and not torch.allclose(default[0], said.face_parameters)


def test_what_cannot_be_imagined_is_refused(
    facegpt: FaceGPTForConditionalGeneration,
    dialogue_facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
):
    with pytest.raises(ValueError, match="makes no faces from words"):
        facegpt.imagine("an old man", processor)
    for prompt, settings, words in (
        (" ", {}, "empty prompt"),
        ([], {}, "no prompts"),
        ("a man", {"count": 0}, "count"),
    ):
        with pytest.raises(ValueError, match=words):
            dialogue_facegpt.imagine(prompt, processor, **settings)
