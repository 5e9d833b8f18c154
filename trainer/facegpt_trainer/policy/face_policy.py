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
"""The face heads as a policy: faces are drawn, and how likely each draw was has a gradient.

A face seen in a picture is drawn from the face head's Gaussian. A face from words is drawn by the flow head along a
path of steps, each a Gaussian around where the flow leads: the density of a flow's end is not known in closed form,
that of its noisy steps is (DDPO: Black et al. 2023, "Training Diffusion Models with Reinforcement Learning";
Flow-GRPO: Liu et al. 2025, "Flow-GRPO: Training Flow Matching Models via Online RL"). A step takes the estimates of
code and noise that the velocity implies, and draws a part of the noise anew, as much as diffusion models do or less
(eta of Song et al. 2021, "Denoising Diffusion Implicit Models", for the straight paths of a flow): what is drawn stays
distributed as the flow says.

The last step, to a code without noise, is not drawn. A small deviation there would make it an action whose gradient
is large, as it grows with one over the deviation, and says little, as a small change of a face changes no reward: it
was seven eighths of the power of a batch's gradient.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from modeling_facegpt.flow_head import guided_velocity


class ExplorationSettings(NamedTuple):
    """How faces from words are drawn while a policy explores."""

    steps: int  # from noise to a face; all but the last are drawn
    noise: float  # fresh noise in each step, in (0, 1]: 0 would be the flow, 1 is as much as diffusion draws anew
    guidance_scale: float  # as in sampling

    @property
    def draws(self) -> int:
        """Steps that are drawn."""
        return self.steps - 1


class FaceDraw(NamedTuple):
    """One face that was drawn."""

    row: int  # of the batch
    path: Tensor  # (S + 1, P) from noise to code; of a face seen in a picture (1, P), its code alone


class FaceRecorder:
    """Draws faces for `generate` and keeps how, see `flow_head.FaceDrawer`.

    Args:
        settings (`ExplorationSettings`): of faces from words.
        generator (`torch.Generator`): the only source of chance, on the CPU.
    """

    def __init__(self, settings: ExplorationSettings, generator: torch.Generator):
        self.settings, self.generator = settings, generator
        self.draws: list[FaceDraw] = []

    def read(self, rows: Tensor, code: Tensor, log_variance: Tensor) -> Tensor:
        noise = self._noise(code.shape).to(code)
        drawn = code + (0.5 * log_variance).exp() * noise
        self._keep(rows, drawn[:, None])
        return drawn

    def imagine(self, rows: Tensor, flow_head: nn.Module, states: Tensor) -> Tensor:
        size = (len(states), self.settings.steps + 1, int(flow_head.code_size))  # pyright: ignore[reportArgumentType]
        path = draw_path(flow_head, states, self._noise(size).to(states), self.settings)
        self._keep(rows, path)
        return path[:, -1]

    def _noise(self, size: tuple[int, ...]) -> Tensor:
        return torch.randn(size, generator=self.generator)

    def _keep(self, rows: Tensor, paths: Tensor) -> None:
        self.draws += [FaceDraw(row, path.cpu()) for row, path in zip(rows.tolist(), paths, strict=True)]

    def in_reading_order(self) -> list[FaceDraw]:
        """The draws row by row, each row's in the order in which they were made."""
        return sorted(self.draws, key=lambda draw: draw.row)


def step_levels(steps: int) -> Tensor:
    """Noise levels `(steps + 1,)` from 1 down to 0."""
    return torch.linspace(1.0, 0.0, steps + 1)


def step_distribution(
    velocity: Tensor, noisy: Tensor, levels: Tensor, following: Tensor, noise: float
) -> tuple[Tensor, Tensor]:
    """Mean `(N, P)` and standard deviation `(N, 1)` of the codes at the next level.

    Args:
        velocity (`torch.Tensor` of shape `(N, P)`): from code to noise.
        noisy (`torch.Tensor` of shape `(N, P)`): codes with noise.
        levels, following (`torch.Tensor` of shape `(N,)`): of the noise now and after the step.
        noise (`float`): see `ExplorationSettings`.
    """
    levels, following = levels[:, None], following[:, None]
    code, old_noise = noisy - levels * velocity, noisy + (1 - levels) * velocity
    carried = (1 - levels) / (1 - following) * following  # of the noise now, what was noise after the step already
    deviation = noise * following / levels * (levels.square() - carried.square()).sqrt()
    kept = (following.square() - deviation.square()).clamp(min=0).sqrt()
    return (1 - following) * code + kept * old_noise, deviation


@torch.no_grad()
def draw_path(flow_head: nn.Module, states: Tensor, noise: Tensor, settings: ExplorationSettings) -> Tensor:
    """Paths `(N, S + 1, P)` from noise to codes.

    Args:
        flow_head (`FlowHead`): says where to go.
        states (`torch.Tensor` of shape `(N, D)`): that predict the faces.
        noise (`torch.Tensor` of shape `(N, S + 1, P)`): of the beginning, and of each step.
        settings (`ExplorationSettings`): S steps.
    """
    levels = step_levels(settings.steps).to(states)[:, None].expand(-1, len(states))
    path = [noise[:, 0]]
    for step in range(settings.steps):
        velocity = guided_velocity(flow_head, path[-1], levels[step], states, settings.guidance_scale)
        mean, deviation = step_distribution(velocity, path[-1], levels[step], levels[step + 1], settings.noise)
        path.append(mean + deviation * noise[:, step + 1])
    return torch.stack(path, dim=1)


def path_log_probabilities(
    flow_head: nn.Module, states: Tensor, paths: Tensor, settings: ExplorationSettings
) -> Tensor:
    """Log-probability `(N, S - 1)` of each drawn step of `paths` `(N, S + 1, P)`, the mean over the numbers of a code;
    see `gaussian_log_probability`."""
    faces, draws = len(paths), settings.draws
    levels = step_levels(settings.steps).to(states).expand(faces, -1)
    noisy, reached = paths[:, :draws].flatten(0, 1), paths[:, 1:-1].flatten(0, 1)
    before, after = levels[:, :draws].flatten(), levels[:, 1:-1].flatten()
    velocity = guided_velocity(flow_head, noisy, before, states.repeat_interleave(draws, 0), settings.guidance_scale)
    mean, deviation = step_distribution(velocity, noisy, before, after, settings.noise)
    return gaussian_log_probability(reached, mean, 2 * deviation.log()).unflatten(0, (faces, draws))


def gaussian_log_probability(value: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Logarithm `(N,)` of a Gaussian's density at values `(N, P)`, the mean over their P numbers.

    The mean, not the sum: the ratio of two such probabilities is then the geometric mean over numbers, as GSPO takes
    it over tokens (Zheng et al. 2025, "Group Sequence Policy Optimization"), and one clip range serves all.
    """
    squared = (value - mean).square() * (-log_variance).exp()
    return -0.5 * (squared + log_variance + math.log(2 * math.pi)).mean(-1)
