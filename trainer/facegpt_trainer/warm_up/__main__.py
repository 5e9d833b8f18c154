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
"""`python -m facegpt_trainer.warm_up --config recipe.yaml`: teach a vision tower and its heads to read faces."""

import sys

from ..endings import run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse, train, say where the network is."""
    return run_command(lambda: _warm_up(arguments))


def _warm_up(arguments: list[str] | None) -> int:
    from ..recipe_help import recipe_parser
    from ..recipe_reader import read_recipe
    from .settings import WarmUpSettings
    from .training import WarmUp

    description = "Warm up a vision tower, a landmark head and a face head on portraits."
    parser = recipe_parser("facegpt_trainer.warm_up", description, WarmUpSettings)
    given, changes = parser.parse_known_args(arguments)
    settings = read_recipe(given.config, WarmUpSettings, changes)
    WarmUp(settings).run()
    print(f"Warmed-up network: {settings.output_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
