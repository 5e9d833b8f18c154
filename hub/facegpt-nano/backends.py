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
"""Which code draws: plain PyTorch, which is always there and the reference, or something faster with the same results.

`numba` draws tensors on the CPU where Numba is installed. To choose by hand set the environment variable
`FACEGPT_BACKEND`, or write `with use_backend("torch"):` around a forward pass; its backward pass then follows.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

REFERENCE = "torch"
VARIABLE = "FACEGPT_BACKEND"

_CHOSEN: ContextVar[str | None] = ContextVar("chosen_backend", default=None)


class Backend(NamedTuple):
    """A faster twin of the reference: functions of what they are named after, on `(N, ...)` tensors."""

    pixel_points: Callable  # (vertices, focal, principal_point, near, farthest) -> points
    rasterize: Callable  # (points, topology, settings) -> fields of `Fragments`
    interpolate: Callable  # (attributes, barycentrics, index, topology) -> planes
    blend: Callable  # (planes, attributes, points, topology, index, depth) -> planes
    shade_points: (
        Callable  # (vertices, albedo, light, rotation, translation, camera, near, topology) -> points, values
    )
    draw: Callable  # (points, values, topology, settings) -> index, depth, image, normals, attributes
    masked_photometric_loss: Callable  # (image, target, mask, width, tolerance) -> losses


class Candidate(NamedTuple):
    """A backend by name: for which device it is, and where it comes from."""

    device: str  # kind of `torch.device`
    package: str  # that must be installed
    load: Callable[[], Backend]


class Availability(NamedTuple):
    """Whether a backend can draw on a kind of device, and in words why."""

    usable: bool
    reason: str


def _load_numba() -> Backend:
    from .numba_losses import masked_photometric_loss
    from .numba_pictures import draw
    from .numba_rasterizer import interpolate, pixel_points, rasterize
    from .numba_silhouettes import blend_silhouettes
    from .numba_surface import shade_points

    return Backend(
        pixel_points, rasterize, interpolate, blend_silhouettes, shade_points, draw, masked_photometric_loss
    )


# In order of preference; the reference comes last and needs no entry.
CANDIDATES = {"numba": Candidate("cpu", "numba", _load_numba)}


@contextmanager
def use_backend(name: str | None) -> Iterator[None]:
    """Draw with the backend of that name inside the block; None leaves the choice to device and availability."""
    _known(name)
    token = _CHOSEN.set(name)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def availability(name: str, device: str) -> Availability:
    """Whether the backend `name` can draw tensors on a kind of device such as "cpu", and why or why not."""
    if name == REFERENCE:
        return Availability(True, "always there")
    candidate = CANDIDATES[name]
    if device != candidate.device:
        return Availability(False, f"draws on {candidate.device}, not on {device}")
    problem = _load(name)[1]
    return Availability(not problem, problem or f"{candidate.package} is installed")


def chosen_backend(device: str) -> str:
    """The name of the backend that draws on a kind of device now.

    Raises:
        ValueError: where the one that was asked for cannot.
    """
    asked = _CHOSEN.get() or _known(os.environ.get(VARIABLE) or None)
    if asked is None:
        return next((name for name in CANDIDATES if availability(name, device).usable), REFERENCE)
    usable, reason = availability(asked, device)
    if not usable:
        raise ValueError(f"got the backend {asked!r}, which cannot draw here: {reason}; choose {REFERENCE!r}")
    return asked


def backend_for(tensor: Tensor) -> Backend | None:
    """The backend that draws `tensor` now; None stands for the reference."""
    # Tensors without memory of their own (fake ones, those of functorch) are for PyTorch alone.
    if type(tensor) not in (Tensor, torch.nn.Parameter) or torch.compiler.is_compiling():
        return None
    name = chosen_backend(tensor.device.type)
    return None if name == REFERENCE else _load(name)[0]


def _known(name: str | None) -> str | None:
    if name not in (None, REFERENCE, *CANDIDATES):
        raise ValueError(f"got the backend {name!r}; choose one of {', '.join((REFERENCE, *CANDIDATES))}")
    return name


@cache
def _load(name: str) -> tuple[Any, str]:
    """The backend, or None and what is wrong with it."""
    package = CANDIDATES[name].package
    if find_spec(package) is None:
        return None, f"{package} is not installed"
    try:
        return CANDIDATES[name].load(), ""
    except ImportError as error:
        return None, f"{package} cannot be imported ({error})"
