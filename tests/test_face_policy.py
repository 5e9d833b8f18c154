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
"""Draws of faces and their log-probabilities, against distributions that are known."""

import pytest
import torch
from facegpt_trainer.policy.face_policy import (
    ExplorationSettings,
    FaceRecorder,
    draw_path,
    gaussian_log_probability,
    path_log_probabilities,
    step_distribution,
    step_levels,
)
from torch import Tensor, nn
from torch.distributions import Normal

from modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.flow_head import sample_codes

MEAN, DEVIATION = 0.7, 0.5


class KnownFlow(nn.Module):
    """The exact velocity towards codes that are N(MEAN, DEVIATION^2)."""

    code_size = 1

    def forward(
        self, noisy: Tensor, levels: Tensor, states: Tensor, unconditional: Tensor, mean_learns: bool = False
    ) -> Tensor:
        levels = levels[:, None]
        variance = levels.square() + ((1 - levels) * DEVIATION).square()
        missing = (noisy - (1 - levels) * MEAN) / variance
        return missing * (levels - (1 - levels) * DEVIATION**2) - MEAN


@pytest.mark.parametrize("noise", [0.2, 0.6, 1.0])
def test_paths_end_where_the_flow_does(noise: float):
    """However much of the noise is fresh, what is drawn is distributed as the flow says."""
    settings = ExplorationSettings(steps=100, noise=noise, guidance_scale=1.0)
    drawn = torch.randn(40_000, settings.steps + 1, 1, generator=torch.Generator().manual_seed(0))
    end = draw_path(KnownFlow(), torch.zeros(40_000, 1), drawn, settings)[:, -1]
    assert end.mean() == pytest.approx(MEAN, abs=0.02)
    assert end.std() == pytest.approx(DEVIATION, rel=0.04)


def test_a_path_without_fresh_noise_is_that_of_sampling(dialogue_facegpt: FaceGPTForConditionalGeneration):
    head = dialogue_facegpt.flow_head
    assert head is not None
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(3, head.code_size, generator=generator)
    states = torch.randn(3, dialogue_facegpt.config.get_text_config().hidden_size, generator=generator)
    still = torch.cat((noise[:, None], torch.zeros(3, 12, head.code_size)), dim=1)
    path = draw_path(head, states, still, ExplorationSettings(12, 1e-6, 1.5))
    code = sample_codes(head, states, noise, steps=12, guidance_scale=1.5)
    torch.testing.assert_close(path[:, -1], code, rtol=0, atol=1e-4)


def test_a_step_is_that_of_the_posterior():
    """With all the noise of diffusion, the step is Bayes' rule: what was at 0.4, given code 0 and 1 at level 0.5."""
    velocity, noisy = torch.tensor([[2.0]]), torch.tensor([[1.0]])
    now, after = torch.tensor([0.5]), torch.tensor([0.4])
    mean, deviation = step_distribution(velocity, noisy, now, after, 1.0)
    # Seen as a chain 0 -> 0.4 -> 0.5: prior N(0, 0.4^2), then times 5/6 with what noise is missing to 0.5^2.
    likelihood, scale = 0.5**2 - (0.4 * 5 / 6) ** 2, 5 / 6
    variance = 1 / (1 / 0.4**2 + scale**2 / likelihood)
    assert deviation.item() == pytest.approx(variance**0.5, rel=1e-5)
    assert mean.item() == pytest.approx(variance * scale / likelihood * 1.0, rel=1e-5)
    assert step_distribution(velocity, noisy, now, after, 0.5)[1].item() == pytest.approx(0.5 * variance**0.5)
    mean, deviation = step_distribution(velocity, noisy, torch.tensor([0.1]), torch.tensor([0.0]), 0.5)
    assert mean.item() == pytest.approx(0.8) and deviation.item() == 0.0  # the last step


def test_log_probabilities_are_those_of_the_draws(dialogue_facegpt: FaceGPTForConditionalGeneration):
    """The noise that went into a path gives its log-probability by hand; the gradient is that of differences."""
    head = dialogue_facegpt.flow_head.double()
    settings = ExplorationSettings(steps=4, noise=0.5, guidance_scale=1.5)
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(2, 5, head.code_size, generator=generator).double()
    size = dialogue_facegpt.config.get_text_config().hidden_size
    states = torch.randn(2, size, generator=generator).double().requires_grad_()
    paths = draw_path(head, states, noise, settings)
    found = path_log_probabilities(head, states, paths, settings)
    assert found.shape == (2, settings.draws) == (2, 3)  # the last step is none
    now, after = step_levels(4)[:-2].double(), step_levels(4)[1:-1].double()
    carried = (1 - now) / (1 - after) * after
    deviation = 0.5 * after / now * (now.square() - carried.square()).sqrt()
    torch.testing.assert_close(
        found, Normal(0.0, deviation[:, None]).log_prob(deviation[:, None] * noise[:, 1:-1]).mean(-1)
    )
    assert torch.autograd.gradcheck(lambda s: path_log_probabilities(head, s, paths, settings), (states,))


def test_gaussian_log_probability():
    generator = torch.Generator().manual_seed(3)
    value, mean, log_variance = torch.randn(3, 5, 7, generator=generator).double()
    found = gaussian_log_probability(value, mean, log_variance)
    torch.testing.assert_close(found, Normal(mean, (0.5 * log_variance).exp()).log_prob(value).mean(-1))


def test_a_recorder_keeps_what_it_drew_in_reading_order():
    recorder = FaceRecorder(ExplorationSettings(3, 0.5, 1.0), torch.Generator().manual_seed(0))
    codes = recorder.read(torch.tensor([1, 0]), torch.zeros(2, 1), torch.full((2, 1), -20.0))
    assert codes.abs().max() < 1e-3
    imagined = recorder.imagine(torch.tensor([0]), KnownFlow(), torch.zeros(1, 1))
    draws = recorder.in_reading_order()
    assert [(draw.row, len(draw.path)) for draw in draws] == [(0, 1), (0, 4), (1, 1)]
    assert torch.equal(draws[0].path[0], codes[1]) and torch.equal(draws[1].path[-1], imagined[0])
