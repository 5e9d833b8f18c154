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
"""Speed of every backend, by `make bench`: batches, threads, triangles, pixels. Not part of the other tests."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from modeling_facegpt.backends import CANDIDATES, REFERENCE, availability, use_backend
from tests.benchmarks.render import SIDE, drawing_task, group_task, mesh_named, step_task

BACKENDS = [name for name in (REFERENCE, *CANDIDATES) if availability(name, "cpu").usable]
TASKS = ("forward", "forward and backward", "with silhouettes", "step")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def time_task(benchmark: Any, backend: str, kind: str, threads: int, mesh: Any, side: int) -> None:
    torch.set_num_threads(threads)
    if kind == "step":
        task = step_task(mesh, side, silhouettes=False)
    else:
        task = drawing_task(mesh, side, kind == "with silhouettes", backward=kind != "forward")
    benchmark.extra_info["pictures"] = len(mesh.vertices)
    with use_backend(backend):
        benchmark.pedantic(task, warmup_rounds=1, rounds=5)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 8, 32])
@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_head(benchmark: Any, backend: str, kind: str, batch: int, threads: int) -> None:
    time_task(benchmark, backend, kind, threads, mesh_named("head", batch), SIDE)


@pytest.mark.parametrize("frequency", [10, 23, 50, 100])  # 2,000 to 200,000 triangles
@pytest.mark.parametrize("backend", BACKENDS)
def test_triangles(benchmark: Any, backend: str, frequency: int) -> None:
    time_task(benchmark, backend, TASKS[1], 1, mesh_named("sphere", 1, frequency), SIDE)


@pytest.mark.parametrize("side", [64, 224, 512, 1024])
@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels(benchmark: Any, backend: str, side: int) -> None:
    time_task(benchmark, backend, TASKS[1], 1, mesh_named("head", 1), side)


@pytest.mark.parametrize("faces", [1, 2, 4, 8])
@pytest.mark.parametrize("backend", BACKENDS)
def test_faces(benchmark: Any, backend: str, faces: int) -> None:
    torch.set_num_threads(1)
    with use_backend(backend):
        benchmark.pedantic(group_task(faces, SIDE), warmup_rounds=1, rounds=5)
