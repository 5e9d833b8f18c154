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
"""What this machine runs: which renderer draws on which device and why, versions, threads."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from modeling_facegpt import backends
from modeling_facegpt.backends import REFERENCE, VARIABLE, availability, chosen_backend

PACKAGES = ("facegpt", "torch", "transformers", "numba", "triton")


def examine() -> list[tuple[str, str, str]]:
    """What was looked at, what was found, and why or what follows from it."""
    cuda = torch.cuda.is_available()
    rows = [row for device in ("cpu", *["cuda"] * cuda) for row in _renderers(device)]
    if cuda:
        rows.append(("CUDA", torch.cuda.get_device_name(), ""))
    else:
        rows.append(("CUDA", "none", "PyTorch sees no CUDA device: everything runs on the CPU"))
    if availability("numba", "cpu").usable:
        place = os.environ.get("NUMBA_CACHE_DIR") or "__pycache__ beside the code, else the user's cache"
        rows.append(
            (
                "compiled by numba",
                place,
                "the first training step compiles for some 12 s; NUMBA_CACHE_DIR names a place",
            )
        )
    rows.append(("threads", str(torch.get_num_threads()), f"of {os.cpu_count()} cores; OMP_NUM_THREADS sets them"))
    rows.append(("Python", platform.python_version(), platform.platform()))
    return rows + [(name, *_version(name)) for name in PACKAGES]


def _renderers(device: str) -> list[tuple[str, str, str]]:
    try:
        chosen = chosen_backend(device)
        rows = [(f"renderer on {device}", chosen, _why(chosen, device))]
    except ValueError as error:
        rows = [(f"renderer on {device}", "none", str(error))]
        chosen = None
    others = [name for name in (*backends.CANDIDATES, REFERENCE) if name != chosen]
    states = [availability(name, device) for name in others]
    return rows + [
        (f"  not {name}", "usable" if state.usable else "not usable", state.reason)
        for name, state in zip(others, states, strict=True)
    ]


def _why(chosen: str, device: str) -> str:
    if os.environ.get(VARIABLE):
        return f"{VARIABLE} asks for it"
    if chosen == REFERENCE:
        return "nothing faster can be used"
    return f"the fastest on {device}; {availability(chosen, device).reason}"


def _version(package: str) -> tuple[str, str]:
    try:
        return version(package), ""
    except PackageNotFoundError:
        return "not installed", "pip install 'facegpt[fast]'" if package == "numba" else ""
