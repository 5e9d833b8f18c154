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
"""The seed of faces from words: another one for each run, unless a person asks for one."""

import secrets

_SEEDS = 1_000_000  # few enough that one is easily typed again


def choose_seed(seed: int | None) -> int:
    """The seed that was asked for, else one that nobody can foresee."""
    return secrets.randbelow(_SEEDS) if seed is None else seed
