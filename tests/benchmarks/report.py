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
"""The README's table of drawing speed and memory, in Markdown: `python -m tests.benchmarks.report`.

Every figure comes from a process of its own, backends in turn. Memory is the peak above what the process held before
it drew: the first pictures' code is part of it, the inputs are not.
"""

import subprocess
import sys

from modeling_facegpt.backends import CANDIDATES, REFERENCE, availability

ROWS = (
    ("head, forward and backward", ["--mesh", "head"]),
    ("sphere, forward and backward", ["--mesh", "sphere"]),
    ("head, with silhouettes", ["--mesh", "head", "--silhouettes"]),
    ("sphere, with silhouettes", ["--mesh", "sphere", "--silhouettes"]),
    ("head, whole step", ["--mesh", "head", "--step"]),
    ("head, batch 1", ["--mesh", "head", "--batch", "1"]),
    ("head, batch 32", ["--mesh", "head", "--batch", "32"]),
    ("head, batch 32, 2 threads", ["--mesh", "head", "--batch", "32", "--threads", "2"]),
)
MEMORY = ["--mesh", "head", "--batch", "32", "--memory"]


def main() -> None:
    names = [name for name in (REFERENCE, *CANDIDATES) if availability(name, "cpu").usable]
    print(f"| 224 x 224, batch 8, 1 thread unless said | {' | '.join(names)} | ratio |")
    print("|---" * (len(names) + 2) + "|")
    for title, arguments in ROWS:
        print(_row(f"{title}, ms per picture", [_last_line(name, arguments) for name in names], 2), flush=True)
    print(_row("head, batch 32, peak memory, MB", [_last_line(name, MEMORY) for name in names], 0))


def _last_line(backend: str, arguments: list[str]) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.render", "--backend", backend, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def _row(title: str, figures: list[float], digits: int) -> str:
    cells = [f"{figure:.{digits}f}" for figure in figures]
    return f"| {' | '.join((title, *cells, f'{figures[0] / min(figures):.1f}'))} |"


if __name__ == "__main__":
    main()
