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
"""Which numbers make sense for a setting, of those that Trainer and TRL take without a word."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple


class Range(NamedTuple):
    """Numbers from `least` to `most`; `least` itself only if it is not `open`."""

    least: float
    most: float = math.inf
    open: bool = False

    def holds(self, value: float) -> bool:
        return self.least <= value <= self.most and not (self.open and value == self.least)

    def __str__(self) -> str:
        low = f"more than {self.least:g}" if self.open else f"at least {self.least:g}"
        return low if self.most == math.inf else f"{low} and at most {self.most:g}"


POSITIVE = Range(0, open=True)
NOT_NEGATIVE = Range(0)
COUNT = Range(1)
SHARE = Range(0, 1)
NUMBERED = Range(1, 10**9)  # numbers of pictures or requests are held in memory

RANGES = {
    "per_device_train_batch_size": COUNT,
    "per_device_eval_batch_size": COUNT,
    "gradient_accumulation_steps": COUNT,
    "num_train_epochs": POSITIVE,
    "learning_rate": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "max_grad_norm": NOT_NEGATIVE,
    "warmup_steps": NOT_NEGATIVE,
    "adam_beta1": Range(0, 0.999999),
    "adam_beta2": Range(0, 0.999999),
    "adam_epsilon": NOT_NEGATIVE,
    "label_smoothing_factor": SHARE,
    "logging_steps": POSITIVE,
    "save_steps": POSITIVE,
    "eval_steps": POSITIVE,
    "eval_delay": NOT_NEGATIVE,
    "save_total_limit": COUNT,
    "dataloader_num_workers": NOT_NEGATIVE,
    "dataloader_prefetch_factor": COUNT,
    "ddp_timeout": COUNT,
    "seed": Range(0, 2**32 - 1),  # NumPy's
    "data_seed": Range(0, 2**40),  # times a million it must stay a number of 64 bits
    "max_length": COUNT,
    "pad_to_multiple_of": COUNT,
    "pictures": NUMBERED,
    "warm_up_pictures": Range(0, 10**9),
    "draw_size": COUNT,
    "render_size": Range(8, 4096),
    "dialogue_hidden_size": Range(1, 2**16),
    "most_photograph_problems": NOT_NEGATIVE,
    "photograph_share": SHARE,
    "image_grid_steps": NOT_NEGATIVE,
    "requests": Range(0, 10**9),
    "looks": Range(0, 10**9),
    "evaluation_tasks": COUNT,
    "exploration_steps": Range(2, 1000),
    "exploration_noise": Range(0, 1, open=True),
    "guidance_scale": NOT_NEGATIVE,
    "num_generations": Range(2),
    "num_iterations": COUNT,
    "max_completion_length": COUNT,
    "temperature": POSITIVE,
}


def check_ranges(config: Any) -> None:
    """Raise `ValueError` for the first setting of a dataclass that is no number one can train with.

    Every number must be finite, those in mappings too, and those of `RANGES` lie within theirs; null passes.
    """
    for field in fields(config):
        value = vars(config).get(field.name)
        for number in _numbers(value):
            if not math.isfinite(number):
                raise ValueError(f"got {field.name}={value!r}, wanted finite numbers")
        allowed = RANGES.get(field.name)
        if allowed is not None and isinstance(value, (int, float)) and not allowed.holds(value):
            raise ValueError(f"got {field.name}={value}, wanted {allowed}")
    if vars(config)["max_steps"] < 1 and vars(config)["max_steps"] != -1:
        raise ValueError(f"got max_steps={config.max_steps}, wanted at least 1, or -1 for as many as the epochs have")


def check_weights(weights: Mapping[str, float], setting: str) -> None:
    """Raise `ValueError` for a weight that is negative or not finite."""
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"got {setting} with {name}={weight}, wanted a finite number of at least 0")


def _numbers(value: Any) -> list[float]:
    """The decimal numbers in a value and in the mappings inside it."""
    if isinstance(value, dict):
        return [number for one in value.values() for number in _numbers(one)]
    return [value] if isinstance(value, float) else []
