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
"""Loss weights that change in the course of a run."""

import pytest
from facegpt_trainer.loss_schedules import check_schedules, scheduled_weights, weight_at
from facegpt_trainer.loss_weights import LOSS_WEIGHTS
from facegpt_trainer.training_config import FaceGPTTrainingConfig


@pytest.mark.parametrize(
    ("step", "weight"), [(0, 1.0), (10, 1.0), (15, 2.0), (20, 3.0), (25, 1.5), (30, 0.0), (99, 0.0)]
)
def test_weights_are_linear_between_steps_and_constant_outside(step: int, weight: float):
    assert weight_at({20: 3.0, 10: 1.0, 30: 0.0}, step) == pytest.approx(weight)


def test_other_weights_stay():
    weights = scheduled_weights({"text": 0.3, "photometric": 4.0}, {"photometric": {0: 0.0, 100: 8.0}}, 50)
    assert weights == {"text": 0.3, "photometric": 4.0}
    assert scheduled_weights({"text": 0.3}, {"text": {5: 1}}, 0) == {"text": 1.0}


@pytest.mark.parametrize(
    ("schedules", "sentence"),
    [
        ({"photometrik": {0: 1.0}}, "did you mean photometric"),
        ({"zzz": {0: 1.0}}, "there are"),
        ({"text": {}}, "give weights by step"),
        ({"text": 3.0}, "give weights by step"),
        ({"text": {-1: 1.0}}, "whole number"),
        ({"text": {True: 1.0}}, "whole number"),
        ({"text": {"10": 1.0}}, "whole number"),
        ({"text": {0: -1.0}}, "finite number"),
        ({"text": {0: float("nan")}}, "finite number"),
        ({"text": {0: "much"}}, "finite number"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(schedules: dict, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        check_schedules(schedules, LOSS_WEIGHTS)
    with pytest.raises(ValueError, match=sentence):
        FaceGPTTrainingConfig(output_dir="nowhere", loss_weight_schedules=schedules)
