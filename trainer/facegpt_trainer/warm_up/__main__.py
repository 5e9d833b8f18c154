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

import argparse
import sys
from pathlib import Path

from ..__main__ import read_settings
from ..recipe_help import describe_settings
from .settings import WarmUpSettings
from .training import WarmUp


def main(arguments: list[str] | None = None) -> int:
    """Parse, train, say where the network is."""
    parser = argparse.ArgumentParser(
        prog="facegpt_trainer.warm_up",
        description="Warm up a vision tower, a landmark head and a face head on portraits.",
        epilog=describe_settings(WarmUpSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, required=True, help="recipe, a YAML file")
    try:
        settings = read_settings(parser.parse_args(arguments).config, WarmUpSettings)
        WarmUp(settings).run()
    except (ValueError, OSError, TypeError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Warmed-up network: {settings.output_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
