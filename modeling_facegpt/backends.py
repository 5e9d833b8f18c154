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

`numba` draws tensors on the CPU where Numba is installed; `triton` draws float32 on CUDA devices where Triton is
installed and builds its launcher. Both are in `modeling_facegpt.kernels`, which does not travel with a checkpoint:
remote code uses them where the package is installed in the same release. What a backend has no function for, or cannot
draw, the reference does. To choose by hand set the environment variable `FACEGPT_BACKEND`, or write
`with use_backend("torch"):` around a forward pass; its backward pass then follows.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

REFERENCE = "torch"
VARIABLE = "FACEGPT_BACKEND"
RELEASE = "0.1.0"  # of this code, whose functions and records the kernels repeat

_CHOSEN: ContextVar[str | None] = ContextVar("chosen_backend", default=None)


class Backend(NamedTuple):
    """A faster twin of the reference: functions of what they are named after, on `(N, ...)` tensors."""

    can_draw: Callable[[Tensor], bool]  # tensors of this dtype, on this device
    rasterize: Callable  # (points, topology, settings) -> fields of `Fragments`
    interpolate: Callable  # (attributes, barycentrics, index, topology) -> planes
    pixel_points: Callable | None = None  # (vertices, focal, principal_point, near, farthest) -> points
    blend: Callable | None = None  # (planes, attributes, points, topology, index, depth) -> planes
    masked_photometric_loss: Callable | None = None  # (image, target, mask, width, tolerance) -> losses
    render: "FusedRenderer | None" = None


class FusedRenderer(NamedTuple):
    """All of `render_mesh` in two steps, one per vertex and one per pixel, and a third for outlines."""

    # (vertices, albedo, light, rotation, translation, camera, near, topology) -> points, values
    shade_points: Callable
    # (points, values, attributes, topology, settings) -> index, depth, mask, image, normals, planes of attributes
    draw: Callable
    blend: Callable  # (image, mask, values, points, topology, index, depth) -> image, mask


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
    _require_kernels()
    try:
        from modeling_facegpt.kernels.numba_losses import masked_photometric_loss
        from modeling_facegpt.kernels.numba_pictures import draw
        from modeling_facegpt.kernels.numba_rasterizer import can_draw, interpolate, pixel_points, rasterize
        from modeling_facegpt.kernels.numba_silhouettes import blend_picture, blend_silhouettes
        from modeling_facegpt.kernels.numba_surface import shade_points
    except ImportError:
        raise  # Outside of `try` transformers would ask whoever loads this as remote code to install the package.
    render = FusedRenderer(shade_points, draw, blend_picture)
    return Backend(can_draw, rasterize, interpolate, pixel_points, blend_silhouettes, masked_photometric_loss, render)


def _load_triton() -> Backend:
    _require_kernels()
    try:
        from modeling_facegpt.kernels.triton_rasterizer import can_draw, interpolate, launcher_problem, rasterize
    except ImportError:
        raise  # As above.
    if problem := launcher_problem():
        raise ImportError(problem)
    return Backend(can_draw, rasterize, interpolate)


def _require_kernels() -> None:
    """Raise an `ImportError` unless the kernels are of this code's release; remote code may be of another one."""
    try:
        from modeling_facegpt import kernels
    except ImportError as error:
        raise ImportError("its kernels are in the package facegpt, which is not installed") from error
    if kernels.RELEASE != RELEASE:
        raise ImportError(f"its kernels are of facegpt {kernels.RELEASE}, and this code is of {RELEASE}")


# In order of preference; the reference comes last and needs no entry.
CANDIDATES = {"numba": Candidate("cpu", "numba", _load_numba), "triton": Candidate("cuda", "triton", _load_triton)}


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
        raise ValueError(
            f"got the backend {asked!r}, which cannot draw here: {reason}; give it what it draws, "
            f"or choose {REFERENCE!r}"
        )
    return asked


def backend_for(tensor: Tensor) -> Backend | None:
    """The backend that draws `tensor` now; None is the reference, which also draws what the chosen one cannot."""
    # Tensors without memory of their own (fake ones, those of functorch) are for PyTorch alone.
    if type(tensor) not in (Tensor, torch.nn.Parameter) or torch.compiler.is_compiling():
        return None
    name = chosen_backend(tensor.device.type)
    backend = None if name == REFERENCE else _load(name)[0]
    return backend if backend and backend.can_draw(tensor) else None


def _known(name: str | None) -> str | None:
    if name not in (None, REFERENCE, *CANDIDATES):
        raise ValueError(f"got the backend {name!r}; choose one of {', '.join((REFERENCE, *CANDIDATES))}")
    return name


@cache
def _load(name: str) -> tuple[Backend | None, str]:
    """The backend, or None and what is wrong with it."""
    package = CANDIDATES[name].package
    if find_spec(package) is None:
        return None, f"{package} is not installed"
    try:
        return CANDIDATES[name].load(), ""
    except ImportError as error:
        return None, f"{package} cannot be used ({error})"
