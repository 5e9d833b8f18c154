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
"""The flow head: many different faces for one state, where words leave a face open.

Conditional flow matching (Lipman et al. 2023) along straight paths (Liu et al. 2023, "Flow Straight and Fast"), on the
codes of the face head: between a code and noise at level s lies `(1 - s) code + s noise`, and the head learns the
velocity `noise - code`. Without its condition now and then, so that sampling can trade diversity for fidelity (Ho &
Salimans 2022, "Classifier-Free Diffusion Guidance").

Of Gaussian codes with a known mean the velocity is known, too. So the head says the mean of all codes that fit its
condition, which a regression learns from far fewer faces than velocities need, and the network what differs from that.
"""

import math
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from .configuration_facegpt import FaceGPTConfig
from .face_parameters import parameter_sizes, parameters_to_vector, vector_to_parameters
from .module_state import FullPrecisionModule

BLOCKS = 3
LEVEL_FREQUENCIES = 64
LONGEST_PERIOD = 10_000.0
LEVEL_STEPS = 1000  # noise levels are told apart as finely as the scheduler counts them
UNCONDITIONAL_SHARE = 0.1
FLOW_STEPS = 25  # of sampling
GUIDANCE_SCALE = 1.75
NINETY_NINE_PER_CENT = 2.3263  # quantile of the standard normal distribution
NEARLY = 0.999  # of the ball's radius: rounding must not lead out of it
DRAWS_PER_FACE = 4  # noise levels that each face of a batch is trained at


class FaceDrawer(Protocol):
    """Draws the codes of fresh faces in place of the heads, as a policy that explores does."""

    def read(self, rows: Tensor, code: Tensor, log_variance: Tensor) -> Tensor:
        """Codes `(N, P)` of faces that the answers in `rows` `(N,)` see in pictures, from what the face head says of
        them: mean and log-variance, each `(N, P)`."""
        ...

    def imagine(self, rows: Tensor, flow_head: nn.Module, states: Tensor) -> Tensor:
        """Codes `(N, P)` of faces that the answers in `rows` `(N,)` make from words, from the states `(N, D)`."""
        ...


class FaceSampling(NamedTuple):
    """How faces are drawn where words leave them open."""

    generator: torch.Generator | None = None  # of the noise; None: one with seed 0, the same for every call
    steps: int = FLOW_STEPS
    guidance_scale: float = (
        GUIDANCE_SCALE  # 1: as trained; above: closer to the words, less different; 0: words do not count
    )
    drawer: FaceDrawer | None = None  # who draws in place of the heads

    def checked(self) -> "FaceSampling":
        """The same; raises `ValueError` where a number makes no sense."""
        if not isinstance(self.steps, int) or not 1 <= self.steps <= LEVEL_STEPS:
            raise ValueError(f"got steps={self.steps}; give a whole number from 1 to {LEVEL_STEPS}")
        if not 0 <= self.guidance_scale < math.inf:
            raise ValueError(f"got guidance_scale={self.guidance_scale}; give a finite number of at least 0")
        return self


def seeded_generator(seed: int | None) -> torch.Generator:
    """A generator of that seed; without one, of a seed drawn from PyTorch's global generator, which
    `transformers.set_seed` fixes. Its `initial_seed()` tells the seed.

    Raises:
        ValueError: if it is no whole number from 0 to 2^63 - 1.
    """
    if seed is None:
        seed = int(torch.randint(2**31, ()))
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"got seed={seed!r}; give a whole number from 0 to 2^63 - 1, or None for a new one")
    return torch.Generator().manual_seed(seed)


class FlowBlock(nn.Module):
    """Residual perceptron whose normalisation is set by the condition (Peebles & Xie 2023, "Scalable Diffusion Models
    with Transformers")."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 3 * width)
        self.hidden = nn.Linear(width, 2 * width)
        self.output = nn.Linear(2 * width, width)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(nn.functional.silu(condition)).chunk(3, dim=-1)
        modulated = self.norm(features) * (1 + scale) + shift
        return features + gate * self.output(nn.functional.silu(self.hidden(modulated)))


class FlowHead(FullPrecisionModule):
    """The velocity of a noisy code, given the hidden state that predicts its `<FACE>`.

    Codes are about N(mean, 1) over the faces that fit the words. The velocity of exactly such codes is known, and the
    network adds what differs from it, at unit variance for every noise level (as Karras et al. 2022, "Elucidating the
    Design Space of Diffusion-Based Generative Models", do for denoisers): an untrained head, whose means are small,
    draws from the prior over faces.
    """

    def __init__(self, config: FaceGPTConfig, hidden_size: int, width: int):
        super().__init__()
        self.code_size = sum(parameter_sizes(config.face_model_config))
        self.face_model_config = config.face_model_config
        self.norm = nn.LayerNorm(hidden_size)
        self.condition = nn.Linear(hidden_size, width)
        self.no_condition = nn.Embedding(1, width)
        self.mean = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, self.code_size))
        self.level = nn.Sequential(nn.Linear(2 * LEVEL_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.input = nn.Linear(self.code_size, width)
        self.blocks = nn.ModuleList(FlowBlock(width) for _ in range(BLOCKS))
        self.output = nn.Linear(width, self.code_size)

    def forward(
        self, noisy: Tensor, levels: Tensor, states: Tensor, unconditional: Tensor, *, mean_learns: bool = False
    ) -> Tensor:
        """Velocities `(N, P)` from code to noise.

        Args:
            noisy (`torch.Tensor` of shape `(N, P)`): codes with noise.
            levels (`torch.Tensor` of shape `(N,)`): how much, in [0, 1]: 0 is a code, 1 is noise.
            states (`torch.Tensor` of shape `(N, D)`): the states that predict the faces.
            unconditional (`torch.Tensor` of shape `(N,)`): bool; true where the state is not to count.
            mean_learns (`bool`): whether gradients reach the mean. When paths are learned it has a loss of its own,
                which their noise would only disturb; a policy's rewards are all that it has.
        """
        wanted = self._wanted(states, unconditional)
        condition = wanted + self.level(_level_waves(levels))
        levels = levels[:, None]
        variance = levels.square() + (1 - levels).square()
        features = self.input(noisy * variance.rsqrt())
        for block in self.blocks:
            features = block(features, condition)
        mean = self.mean(wanted)
        known = (2 * levels - 1) * noisy - levels * (mean if mean_learns else mean.detach())
        return known / variance + variance.rsqrt() * self.output(features)

    def means(self, states: Tensor, unconditional: Tensor) -> Tensor:
        """Mean codes `(N, P)` of all faces that fit; arguments as of `forward`."""
        return self.mean(self._wanted(states, unconditional))

    def _wanted(self, states: Tensor, unconditional: Tensor) -> Tensor:
        return torch.where(unconditional[:, None], self.no_condition.weight, self.condition(self.norm(states)))


class FlowExample(NamedTuple):
    """What a flow head is trained on: K codes with noise."""

    noisy: Tensor  # (K, P)
    levels: Tensor  # (K,)
    states: Tensor  # (K, D)
    unconditional: Tensor  # (K,) bool


def draw_flow_examples(codes: Tensor, states: Tensor) -> tuple[FlowExample, Tensor]:
    """Examples for N codes `(N, P)` with their states `(N, D)`, several of each, and their velocities `(K, P)`.

    Noise is drawn from torch's default generator, as dropout is: it is the one that a trainer seeds and keeps.
    """
    codes, states = (tensor.repeat_interleave(DRAWS_PER_FACE, 0) for tensor in (codes, states))
    noise = torch.randn_like(codes)
    levels = _draw_levels(codes)
    unconditional = torch.rand_like(levels) < UNCONDITIONAL_SHARE
    noisy = torch.lerp(codes, noise, levels[:, None])
    return FlowExample(noisy, levels, states, unconditional), noise - codes


def _draw_levels(codes: Tensor) -> Tensor:
    if not len(codes):  # of an answer that learns nothing: nor does it need diffusers
        return codes.new_zeros(0)
    schedule = training_levels().to(codes)
    return schedule[torch.randint(len(schedule), codes.shape[:1], device=codes.device)]


@cache
def training_levels() -> Tensor:
    """The noise levels that training draws from, `(LEVEL_STEPS,)`: those of diffusers' schedule for flow matching.

    Raises:
        ImportError: where diffusers is not installed; drawing faces does without.
    """
    try:  # seconds to load, and not needed to draw faces
        from diffusers import FlowMatchEulerDiscreteScheduler
    except ImportError as error:
        raise ImportError(
            "learning to make faces from words needs the package diffusers; run `pip install diffusers`"
        ) from error
    schedule: Any = FlowMatchEulerDiscreteScheduler(num_train_timesteps=LEVEL_STEPS)
    return schedule.sigmas


def draw_noise(faces: int, code_size: int, generator: torch.Generator) -> Tensor:
    """Noise `(faces, code_size)`, face by face: the first faces are the same however many are asked for."""
    rows = [torch.randn(code_size, generator=generator, device=generator.device) for _ in range(faces)]
    return torch.stack(rows) if rows else torch.zeros(0, code_size, device=generator.device)


def guided_velocity(
    flow_head: nn.Module, noisy: Tensor, levels: Tensor, states: Tensor, guidance_scale: float
) -> Tensor:
    """Velocities `(N, P)` of noisy codes `(N, P)` at levels `(N,)`: from the one without condition `guidance_scale`
    times as far as to the one with the states `(N, D)`."""
    given = torch.zeros(len(states), dtype=torch.bool, device=states.device)
    velocity = flow_head(noisy, levels, states, given, mean_learns=True)
    if guidance_scale == 1:
        return velocity
    without = flow_head(noisy, levels, states, ~given, mean_learns=True)
    return without + guidance_scale * (velocity - without)


def noise_levels(steps: int) -> Tensor:
    """From 1, noise, to 0, a code, in equal steps: `(steps + 1,)`."""
    return torch.tensor([1 - step / steps for step in range(steps + 1)])


def euler_step(codes: Tensor, velocity: Tensor, level: Tensor, following: Tensor) -> Tensor:
    """Codes `(N, P)` at the noise level `following`, from those at `level` and their velocity `(N, P)`."""
    return codes + (following - level) * velocity


@torch.no_grad()
def sample_codes(flow_head: FlowHead, states: Tensor, noise: Tensor, *, steps: int, guidance_scale: float) -> Tensor:
    """Codes `(N, P)` that noise flows to, by Euler's method. Guidance leads some faces to where there are no people;
    their shape is pulled back as far as to the ball that holds 99 % of all people.

    Args:
        flow_head (`FlowHead`): as trained.
        states (`torch.Tensor` of shape `(N, D)`): the states that predict the faces.
        noise (`torch.Tensor` of shape `(N, P)`): one row per face, see `draw_noise`.
        steps (`int`): of the integration.
        guidance_scale (`float`): how far to go from the velocity without condition to the one with it: 1 is there.
    """
    codes = noise.to(states)
    levels = noise_levels(steps).to(states)
    for level, following in pairwise(levels):
        velocity = guided_velocity(flow_head, codes, level.expand(len(states)), states, guidance_scale)
        codes = euler_step(codes, velocity, level, following)
    faces = vector_to_parameters(codes, flow_head.face_model_config)
    return parameters_to_vector(faces._replace(identity=pull_to_people(faces.identity)))


def pull_to_people(identity: Tensor) -> Tensor:
    """People `(N, K)`, those outside of the ball that holds 99 % of all people moved to its edge."""
    edge = NEARLY * likely_squared_radius(identity.shape[-1]) ** 0.5
    return identity * (edge / identity.norm(dim=-1, keepdim=True).clamp(min=1e-6)).clamp(max=1)


def likely_squared_radius(size: int) -> float:
    """Of the ball in `size` dimensions that holds 99 % of all people, whose coefficients are ~ N(0, 1).

    The quantile of the chi-squared distribution is that of Wilson & Hilferty (1931).
    """
    if size == 0:
        return 0.0
    spread = 2 / (9 * size)
    return size * (1 - spread + NINETY_NINE_PER_CENT * spread**0.5) ** 3


def _level_waves(levels: Tensor) -> Tensor:
    """Sines and cosines `(N, 2 * LEVEL_FREQUENCIES)` of noise levels (Vaswani et al. 2017)."""
    exponents = torch.arange(LEVEL_FREQUENCIES, device=levels.device, dtype=levels.dtype) / LEVEL_FREQUENCIES
    angles = LEVEL_STEPS * levels[:, None] * LONGEST_PERIOD**-exponents
    return torch.cat((angles.sin(), angles.cos()), dim=-1)
