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
"""`python -m facegpt_trainer.merge RUN --output DIRECTORY`: adapters become part of the weights they were trained on.

The result is a checkpoint as any other: the model, its code and its processor.
"""

import argparse
import sys
from pathlib import Path

from modeling_facegpt.processing_facegpt import FaceGPTProcessor

from .endings import run_command


def merge(run: Path, output: Path) -> None:
    """Write the whole checkpoint of a run that saved adapters, or of one of its checkpoints.

    Args:
        run (`Path`): with `adapter_config.json`, and `start.json` there or one directory above.
        output (`Path`): directory of the result.

    Raises:
        ValueError: if `run` holds no adapters.
    """
    from .adapters import load_adapters

    adapted = load_adapters(run)
    model = adapted.merge_and_unload()
    model.save_pretrained(output)
    FaceGPTProcessor.from_pretrained(run, trust_remote_code=False).save_pretrained(output)


def main(arguments: list[str] | None = None) -> int:
    """Parse, merge, say where the result is."""
    parser = argparse.ArgumentParser(prog="facegpt_trainer.merge", description="Merge adapters into a checkpoint.")
    parser.add_argument("run", type=Path, help="output directory of a training with lora, or a checkpoint of it")
    parser.add_argument("--output", type=Path, required=True, help="directory of the whole checkpoint")
    options = parser.parse_args(arguments)
    return run_command(lambda: _merge(options.run, options.output))


def _merge(run: Path, output: Path) -> int:
    merge(run, output)
    print(f"Merged checkpoint: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
