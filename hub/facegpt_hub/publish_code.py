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
"""The code copy beside a checkpoint's weights, which `trust_remote_code=True` runs without this package.

`python -m facegpt_hub.publish_code [DIRECTORY]` writes it, by default into the checkout's `hub/facegpt-nano`. Weights
are left alone.
"""

import argparse
import shutil
from pathlib import Path

from transformers.dynamic_module_utils import get_relative_import_files

import modeling_facegpt

ENTRY_MODULES = ("configuration_facegpt", "modeling_facegpt", "processing_facegpt")
NANO_DIRECTORY = Path(__file__).parents[1] / "facegpt-nano"


def travelling_files() -> list[Path]:
    """The modules that the auto classes load and all that these import, sorted by name."""
    package = Path(modeling_facegpt.__file__).parent
    entries = [package / f"{name}.py" for name in ENTRY_MODULES]
    needed = {Path(file) for entry in entries for file in get_relative_import_files(entry)}
    return sorted(needed | set(entries))


def write_code_copy(directory: Path) -> list[Path]:
    """Make the Python files in `directory` equal to the travelling ones; others are removed.

    Returns:
        `list[Path]`: the files written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = travelling_files()
    for stale in set(directory.glob("*.py")) - {directory / file.name for file in files}:
        stale.unlink()
    return [Path(shutil.copyfile(file, directory / file.name)) for file in files]


def main() -> None:
    parser = argparse.ArgumentParser(description="write the code copy beside a checkpoint's weights")
    parser.add_argument("directory", nargs="?", type=Path, default=NANO_DIRECTORY)
    write_code_copy(parser.parse_args().directory)


if __name__ == "__main__":
    main()
