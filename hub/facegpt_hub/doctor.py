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
"""What this machine runs and what is wrong with it: devices, renderers, checkpoints, extras, versions, threads."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils.versions import require_version

from modeling_facegpt import backends
from modeling_facegpt.backends import REFERENCE, VARIABLE, availability, chosen_backend

from .checkpoints import DEFAULT_CHECKPOINT, CheckpointError, find_checkpoint
from .extras import packages_of_extras

PACKAGES = ("facegpt", "torch", "transformers", "numba", "triton")
_MISSING = "not installed"
_BAD = ("missing", "damaged")
CHECKPOINTS = (DEFAULT_CHECKPOINT, "anny-head")  # that come with the package


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
    rows.append(("numbers", "float32", "checkpoints are loaded so, however they are stored"))
    rows += [(f"checkpoint {name}", *_checkpoint(name)) for name in CHECKPOINTS]
    rows += [(f"extra {name}", *_extra(name, packages)) for name, packages in packages_of_extras().items()]
    rows.append(("threads", str(torch.get_num_threads()), f"of {os.cpu_count()} cores; OMP_NUM_THREADS sets them"))
    rows.append(("Python", platform.python_version(), platform.platform()))
    return rows + [(name, *_version(name)) for name in PACKAGES]


def find_problems() -> list[str]:
    """What is wrong, one sentence each; empty if nothing is."""
    problems = [why for name in CHECKPOINTS for found, why in [_checkpoint(name)] if found in _BAD]
    devices = ("cpu", *["cuda"] * torch.cuda.is_available())
    problems += [why for device in devices for _, found, why in _renderers(device)[:1] if found == "none"]
    return problems + _wrong_versions()


def _checkpoint(name: str) -> tuple[str, str]:
    """Where it lies and how large it is, or what is wrong with it."""
    try:
        directory = find_checkpoint(name)
    except CheckpointError as error:
        return "missing", f"{error}; install facegpt again"
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        return "damaged", f"{directory} holds no weights (*.safetensors); install facegpt again"
    try:
        for path in weights:
            with safe_open(path, framework="pt"):
                pass
    except (SafetensorError, OSError) as error:
        return "damaged", f"{path} cannot be read ({error}); install facegpt again"
    return f"{sum(path.stat().st_size for path in weights) / 1e6:.0f} MB", _short(directory)


def _short(path: Path) -> str:
    """A path as people write it."""
    home = os.path.expanduser("~")
    return str(path).replace(home, "~", 1) if home not in ("~", "/") and str(path).startswith(home) else str(path)


def _extra(name: str, packages: list[str]) -> tuple[str, str]:
    missing = [package for package in packages if _version(package)[0] == _MISSING]
    if not missing:
        return "installed", ""
    return (
        "not whole" if len(missing) < len(packages) else _MISSING,
        f"{', '.join(missing)} missing: pip install 'facegpt[{name}]'",
    )


def _wrong_versions() -> list[str]:
    """What pip was told that this package needs, and is not there."""
    try:
        needed = [line for line in requires("facegpt") or [] if "extra ==" not in line]
    except PackageNotFoundError:
        return []
    problems = []
    for line in needed:
        requirement = line.partition(";")[0].strip()
        try:
            require_version(requirement)
        except (ImportError, ValueError):
            found = _version(re.split(r"[^\w.-]", requirement)[0])[0]
            problems.append(f"facegpt needs {requirement}, and {found} is here: pip install '{requirement}'")
    return problems


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
        return _MISSING, "pip install 'facegpt[fast]'" if package == "numba" else ""
