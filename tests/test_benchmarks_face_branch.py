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
"""The face branch's share of a step: what is counted of it."""

import pytest

from modeling_facegpt.configuration_facegpt import FaceGPTConfig

pytest.importorskip("peft")
from tests.benchmarks.face_branch import NANO, branch_operations  # noqa: E402


def test_the_branch_of_a_head_that_reads_llavas_states_is_counted():
    operations, moved = branch_operations()
    config = FaceGPTConfig.from_pretrained(NANO)
    # Its first layer multiplies and adds forward, backward to the states, and backward to the weights.
    assert operations > 3 * 2 * 4096 * config.face_head_hidden_size
    assert moved > 2 * 4 * 3 * config.face_model_config.num_vertices * config.face_model_config.num_identity
