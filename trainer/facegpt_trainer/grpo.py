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
"""`python -m facegpt_trainer.grpo --config recipe.yaml --seeds 0 1 2`: policy optimisation by verified rewards.

The start is evaluated on held-out questions, trained once per seed, and evaluated again; a table and a JSON file say
what that gained.
"""

import sys
from pathlib import Path

from .endings import run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse, train, print the table, write the report."""
    return run_command(lambda: _optimise(arguments))


def _optimise(arguments: list[str] | None) -> int:
    from .policy.config import FacePolicyConfig
    from .policy.optimisation import optimise, write_report
    from .recipe_help import recipe_parser
    from .recipe_reader import read_recipe

    what = "Train a FaceGPT by rewards that geometry and renderer verify."
    parser = recipe_parser("facegpt_trainer.grpo", what, FacePolicyConfig)
    parser.add_argument("--seeds", type=int, nargs="+", help="one run each; default: the recipe's seed")
    parser.add_argument("--report", type=Path, help="JSON file of the table; default: report.json in the output")
    options, changes = parser.parse_known_args(arguments)
    config = read_recipe(options.config, FacePolicyConfig, changes)
    seeds = options.seeds or [config.seed]
    gains, runs = optimise(config, seeds)
    if config.process_index == 0:
        write_report(options.report or Path(str(config.output_dir)) / "report.json", seeds, gains, runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
