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
"""`python -m facegpt_trainer.draw_portraits --config recipe.yaml`: portraits with all labels, into shards on disk.

Stopped, it goes on where it was; shards that are there already are left alone.
"""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from modeling_facegpt.morphable_model import MorphableModel

from .endings import run_command
from .pictures.portrait_shards import PortraitSet, draw_shards
from .recipe_help import recipe_parser
from .recipe_reader import read_recipe


@dataclass
class PortraitSettings:
    """What to draw."""

    output_dir: str = field(metadata={"help": "Folder of the shards."})
    face_model: str = field(default="anny-head", metadata={"help": "The 3DMM: a folder, or a name on the Hub."})
    shards: int = field(default=400, metadata={"help": "How many, counted from 0; more may be drawn later."})
    people: int = field(default=128, metadata={"help": "People in each shard."})
    each: int = field(default=2, metadata={"help": "Pictures of each person."})
    side: int = field(default=256, metadata={"help": "Of the pictures, in pixels; 160 or more."})
    seed: int = field(default=1, metadata={"help": "Of all that chance decides."})
    quality: int = field(default=92, metadata={"help": "Of JPEG, 1 to 95."})

    def __post_init__(self) -> None:
        for name, least in (("shards", 1), ("people", 1), ("each", 1), ("side", 160), ("quality", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"got {name}: {getattr(self, name)}, wanted {least} or more")
        if self.quality > 95:
            raise ValueError(f"got quality: {self.quality}, wanted 1 to 95")


def draw(settings: PortraitSettings) -> int:
    """Draw what is missing; how many shards that was."""
    face_model = MorphableModel.from_pretrained(settings.face_model, trust_remote_code=False)
    plan = PortraitSet(settings.people, settings.each, settings.side, settings.seed, settings.quality)
    start, drawn = time.monotonic(), 0
    for drawn, path in enumerate(draw_shards(face_model, Path(settings.output_dir), plan, settings.shards), 1):
        pictures = drawn * plan.people * plan.each
        print(f"{path}: {pictures / (time.monotonic() - start):.0f} pictures/s", flush=True)
    return drawn


def main(arguments: list[str] | None = None) -> int:
    """Parse, draw, say how many."""
    return run_command(lambda: _draw(arguments))


def _draw(arguments: list[str] | None) -> int:
    description = "Draw portraits with all labels into shards."
    parser = recipe_parser("facegpt_trainer.draw_portraits", description, PortraitSettings)
    given, changes = parser.parse_known_args(arguments)
    settings = read_recipe(given.config, PortraitSettings, changes)
    print(f"{draw(settings)} shards drawn into {settings.output_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
