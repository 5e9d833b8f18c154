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
"""What pip would install with a few packages and nothing else, for programs that must do with these."""

import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

REMOTE_CODE_NEEDS = ("torch", "transformers", "safetensors", "numpy", "pillow")


def link_packages(directory: Path, names: tuple[str, ...] = REMOTE_CODE_NEEDS) -> set[str]:
    """Fill a directory with links to installed packages and to all that these require.

    Returns:
        `set` of `str`: the names of what can be imported there.
    """
    directory.mkdir(parents=True)
    waiting, linked = [Requirement(name) for name in names], set()
    while waiting:
        requirement = waiting.pop()
        found = distribution(requirement.name)
        if found.name in linked:
            continue
        linked.add(found.name)
        for top in {Path(file).parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (directory / top).exists():
                (directory / top).symlink_to(str(found.locate_file(top)))
        needed = [Requirement(text) for text in found.requires or ()]
        waiting += [need for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})]
    return {path.stem for path in directory.iterdir() if path.suffix in ("", ".py")}


def run_bare(program: str, packages: Path, *arguments: str, modules: Path) -> None:
    """Run a program that can import what `link_packages` put into `packages` and Python's own library.

    Args:
        program (`str`): its text.
        packages (`Path`): the directory of links.
        arguments (`str`): of the program.
        modules (`Path`): where transformers is to keep a checkpoint's code.
    """
    settings = {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(modules), "OMP_NUM_THREADS": "1"}
    start = f"import sys\nsys.path.insert(0, {str(packages)!r})\n"
    command = [sys.executable, "-I", "-S", "-c", start + program, *arguments]
    done = subprocess.run(
        command, env={**os.environ, **settings}, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
