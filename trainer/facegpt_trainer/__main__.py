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
"""`accelerate launch -m facegpt_trainer --config recipe.yaml`: run one recipe."""

import sys

from .endings import run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse, train, say where the result is."""
    return run_command(lambda: _train(arguments))


def _train(arguments: list[str] | None) -> int:
    from .recipe_help import recipe_parser
    from .recipe_reader import read_recipe
    from .training import train
    from .training_config import FaceGPTTrainingConfig

    parser = recipe_parser("facegpt_trainer", "Train FaceGPT by a recipe.", FaceGPTTrainingConfig)
    given, changes = parser.parse_known_args(arguments)
    output = train(read_recipe(given.config, FaceGPTTrainingConfig, changes))
    print(f"Trained checkpoint: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
