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
"""The README's tables of drawing speed and memory, in Markdown: `python -m tests.benchmarks.report`.

It takes a quarter of an hour on an idle machine. Figures of the first table are medians of three processes, backends
in turn: on machines that others share, one process may be twice as slow as the next.
Memory is the peak above what the process held before it drew: the first pictures' code is part of it, the inputs are
not. How cost grows is measured in one process, one picture at a time.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator

import torch

from modeling_facegpt.backends import CANDIDATES, REFERENCE, availability, use_backend
from tests.benchmarks.limits import count, least_milliseconds, machine
from tests.benchmarks.render import SIDE, drawing_task, group_task, measure, mesh_named

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
FREQUENCIES = (10, 23, 50, 100)  # 2,000 to 200,000 triangles
SIDES = (64, 224, 512, 1024)
FACES = (1, 2, 4, 8)
ROUNDS = 3
SECONDS = 1.0  # of measuring each figure of growth


def main() -> None:
    names = [name for name in (REFERENCE, *CANDIDATES) if availability(name, "cpu").usable]
    _print_head(f"{SIDE} x {SIDE}, batch 8, 1 thread unless said", [*names, "ratio"])
    figures = {}
    for title, arguments in ROWS:
        rounds = [[_last_line(name, arguments) for name in names] for _ in range(ROUNDS)]
        figures[title] = [statistics.median(column) for column in zip(*rounds, strict=True)]
        print(_row(f"{title}, ms per picture", figures[title], 2), flush=True)
    print(_row("head, batch 32, peak memory, MB", [_last_line(name, MEMORY) for name in names], 0))
    torch.set_num_threads(1)
    _print_limits(names, figures)
    _print_head("forward and backward, one picture, 1 thread, ms", [*names, "ratio"])
    for title, task in _growth():
        print(_row(title, [_milliseconds(name, task) for name in names], 2), flush=True)


def _print_head(title: str, columns: list[str]) -> None:
    print(f"\n| {' | '.join((title, *columns))} |")
    print("|---" * (len(columns) + 1) + "|", flush=True)


def _print_limits(names: list[str], figures: dict[str, list[float]]) -> None:
    here = machine()
    speed = f"{here.operations / 1e9:.0f} GFlop/s, {here.bytes / 1e9:.0f} GB/s"
    _print_head(f"counted, at {speed}", ["MFlop", "MB", "least ms", *(f"reached by {name}" for name in names)])
    for mesh in ("head", "sphere"):
        title = f"{mesh}, forward and backward"
        cost = count(mesh_named(mesh, 8), SIDE)
        least = least_milliseconds(cost, here)
        shares = [f"{least / figure:.0%}" for figure in figures[title]]
        cells = (title, f"{cost.operations / 1e6:.1f}", f"{cost.bytes / 1e6:.1f}", f"{least:.2f}", *shares)
        print(f"| {' | '.join(cells)} |", flush=True)


def _growth() -> Iterator[tuple[str, Callable[[], object]]]:
    for frequency in FREQUENCIES:
        mesh = mesh_named("sphere", 1, frequency)
        yield f"sphere of {len(mesh.triangles):,} triangles", drawing_task(mesh, SIDE, silhouettes=False)
    for side in SIDES:
        yield f"head, {side} x {side}", drawing_task(mesh_named("head", 1), side, silhouettes=False)
    for faces in FACES:
        yield f"{faces} heads in the picture, `render_group`", group_task(faces, SIDE)


def _milliseconds(backend: str, task: Callable[[], object]) -> float:
    with use_backend(backend):
        return statistics.median(measure(task, SECONDS)) * 1e3


def _last_line(backend: str, arguments: list[str]) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.render", "--backend", backend, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def _row(title: str, figures: list[float], digits: int) -> str:
    cells = [f"{figure:.{digits}f}" for figure in figures]
    return f"| {' | '.join((title, *cells, f'{figures[0] / min(figures):.1f}'))} |"


if __name__ == "__main__":
    main()
