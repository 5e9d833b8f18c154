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
"""Loss weights that change in the course of a run: `loss_weight_schedules` of a recipe."""

import math
from bisect import bisect_right
from collections.abc import Collection, Mapping
from typing import Any

from transformers import TrainerCallback

from .recipe_checks import check_names

Schedule = Mapping[int, float]  # optimizer step -> weight


def check_schedules(schedules: Mapping[str, Schedule], terms: Collection[str]) -> None:
    """Refuse schedules that make no sense, before any work starts.

    Args:
        schedules (`Mapping`): for each scheduled loss term, weights by step.
        terms (`Collection`): names of all loss terms.

    Raises:
        ValueError: if a term is unknown (the nearest one is named), a schedule is no mapping or an empty one, a step
            is no whole number of at least 0, or a weight is not a finite number of at least 0.
    """
    check_names(schedules, terms, "loss_weight_schedules", "loss terms")
    for name, schedule in schedules.items():
        if not isinstance(schedule, Mapping) or not schedule:
            raise ValueError(
                f"got the loss_weight_schedule {schedule!r} for {name}; give weights by step, such as "
                "{0: 0.0, 1000: 6.0}"
            )
        for step, weight in schedule.items():
            if isinstance(step, bool) or not isinstance(step, int) or step < 0:
                raise ValueError(f"got step {step!r} in the schedule of {name}; give a whole number of at least 0")
            if not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise ValueError(
                    f"got weight {weight!r} at step {step} of the schedule of {name}; give a finite number of at "
                    "least 0"
                )


def weight_at(schedule: Schedule, step: int) -> float:
    """Linear between the steps of a schedule, constant before the first and after the last."""
    steps = sorted(schedule)
    place = bisect_right(steps, step)
    if place == 0 or place == len(steps):
        return float(schedule[steps[min(place, len(steps) - 1)]])
    before, after = steps[place - 1], steps[place]
    share = (step - before) / (after - before)
    return (1 - share) * schedule[before] + share * schedule[after]


def scheduled_weights(weights: Mapping[str, float], schedules: Mapping[str, Schedule], step: int) -> dict[str, float]:
    """All loss weights at an optimizer step: a function of the step alone, so that a resumed run has the same."""
    return {**weights, **{name: weight_at(schedule, step) for name, schedule in schedules.items()}}


class LossWeightScheduling(TrainerCallback):
    """Sets the model's loss weights before each optimizer step.

    Args:
        weights (`Mapping`): of all loss terms.
        schedules (`Mapping`): of those that change, checked.
    """

    def __init__(self, weights: Mapping[str, float], schedules: Mapping[str, Schedule]):
        self.weights, self.schedules = dict(weights), dict(schedules)

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        model.config.loss_weights = scheduled_weights(self.weights, self.schedules, state.global_step)
