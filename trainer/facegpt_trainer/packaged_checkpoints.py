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
"""Checkpoints that come with FaceGPT, by their names: `facegpt-nano` and `anny-head`."""

from pathlib import Path

# Beside this package where it is installed; in a checkout, in `hub/`.
PLACES = (
    Path(__file__).parents[1] / "facegpt_hub" / "checkpoints",
    Path(__file__).parents[2] / "hub",
)


def locate_checkpoint(name: str) -> str:
    """The directory of a checkpoint that comes with FaceGPT; any other name, of a directory or the Hub, as it is."""
    found = (place / name for place in PLACES if name and (place / name / "config.json").is_file())
    return str(next(found, name))
