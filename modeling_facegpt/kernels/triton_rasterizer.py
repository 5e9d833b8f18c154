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
"""The rasterizer in Triton: the same pictures and gradients as the PyTorch reference, in float32, on CUDA devices.

Triton is no dependency; importing this module where it is missing raises an `ImportError` that says so. It builds a
launcher with a C compiler at run time, and not every machine has one: `launcher_problem` tells. With the environment
variable `TRITON_INTERPRET=1`, set before the first import, everything runs on the CPU, slowly, for tests.
"""

import os
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..mesh import Topology
from ..scanline import Settings
from .triton_kernels import (
    NOTHING,
    carry_attributes,
    find_visible,
    sum_attribute_gradients,
    sum_corners,
    sum_point_gradients,
    triton,
    write_barycentric_gradients,
    write_fragments,
)

_LANES = 64  # triangles or vertices of a program
_PIXELS = 256  # pixels of a program


def can_draw(points: Tensor) -> bool:
    """Whether this backend draws such tensors: float32, on a CUDA device or in the interpreter."""
    return points.dtype == torch.float32 and (points.is_cuda or (points.device.type == "cpu" and _interpreted()))


@cache
def launcher_problem() -> str:
    """Why Triton cannot run a kernel here; empty where it can, as one small kernel shows."""
    if not (_interpreted() or torch.cuda.is_available()):
        return "PyTorch sees no CUDA device"
    device = "cpu" if _interpreted() else "cuda"
    total = torch.zeros(1, 1, 1, device=device)
    table = torch.zeros(2, dtype=torch.int64, device=device)
    # What fails depends on what is missing (compiler, headers, driver), and so does the type of the exception.
    try:
        _launch(sum_corners, (1, 1, 1), (total, table, table, total, 1, 1, 1))
    except Exception as error:
        message = str(error).strip() or type(error).__name__
        return f"its launcher cannot be built: {message.splitlines()[0]}"
    return ""


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def rasterize(
    points: Tensor, topology: Topology, settings: Settings, depth_bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The fields of `Fragments`, differentiable with respect to the points.

    Args:
        points (`torch.Tensor` of shape `(N, V, 3)`): of `pixel_points`, float32.
        topology (`Topology`): of the mesh, on the same device.
        settings (`Settings`): size of the pictures, and what is dropped.
        depth_bias (`torch.Tensor` of shape `(F,)`, *optional*): as for the reference.
    """
    return _Rasterize.apply(points, topology, settings, depth_bias)


def interpolate(attributes: Tensor, barycentrics: Tensor, index: Tensor, topology: Topology) -> Tensor:
    """Planes `(N, C, H, W)`, differentiable with respect to attributes and barycentrics.

    Args:
        attributes (`torch.Tensor` of shape `(N, V, C)`): float32.
        barycentrics (`torch.Tensor` of shape `(N, 3, H, W)`): of `Fragments`.
        index (`torch.Tensor` of shape `(N, H, W)`): of `Fragments`, checked.
        topology (`Topology`): of the mesh, on the same device.
    """
    return _Interpolate.apply(attributes, barycentrics, index, topology)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, topology: Topology, settings: Settings, depth_bias: Tensor | None):
        count, vertices, _ = points.shape
        height, width = settings.height, settings.width
        columns, corners = points.movedim(2, 0).contiguous(), topology.columns
        keys = torch.full((count, height, width), NOTHING.value, device=points.device)
        index, depth = torch.empty_like(keys), points.new_empty(count, height, width)
        barycentrics = points.new_empty(count, 3, height, width)
        faces = corners.shape[1]
        sizes = (vertices, faces, height, width)
        bias = columns if depth_bias is None else depth_bias.contiguous()
        _launch(
            find_visible,
            (count, faces),
            (columns, corners, bias, keys, *sizes, settings.near),
            cull=settings.cull,
            biased=depth_bias is not None,
        )
        _launch(
            write_fragments,
            (count, height * width),
            (columns, corners, keys, index, barycentrics, depth, *sizes),
            block=_PIXELS,
        )
        ctx.mark_non_differentiable(index)
        ctx.save_for_backward(columns, index)
        ctx.topology = topology
        return index, barycentrics, depth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Any, grad_barycentrics: Tensor, grad_depth: Tensor):
        columns, index = ctx.saved_tensors
        _, count, vertices = columns.shape
        corners = ctx.topology.columns
        faces = corners.shape[1]
        sums = columns.new_empty(count, 3, 3 * faces)
        gradients = (grad_barycentrics.contiguous(), grad_depth.contiguous())
        _launch(
            sum_point_gradients,
            (count, faces),
            (columns, corners, index, _boxes(index, faces), *gradients, sums, vertices, faces)
            + tuple(index.shape[1:]),
        )
        return _gather(sums, ctx.topology, vertices).mT, None, None, None


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, attributes: Tensor, barycentrics: Tensor, index: Tensor, topology: Topology):
        count, vertices, channels = attributes.shape
        attributes, barycentrics, index = attributes.contiguous(), barycentrics.contiguous(), index.contiguous()
        planes = attributes.new_empty(count, channels, *index.shape[1:])
        area = index.shape[1] * index.shape[2]
        _launch(
            carry_attributes,
            (count, area),
            (attributes, topology.columns, index, barycentrics, planes, vertices, topology.columns.shape[1])
            + (channels, area),
            block=_PIXELS,
        )
        ctx.save_for_backward(attributes, barycentrics, index)
        ctx.topology = topology
        return planes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_planes: Tensor):
        attributes, barycentrics, index = ctx.saved_tensors
        count, vertices, channels = attributes.shape
        corners, (height, width) = ctx.topology.columns, index.shape[1:]
        faces = corners.shape[1]
        grad_planes, grad_barycentrics = grad_planes.contiguous(), torch.empty_like(barycentrics)
        _launch(
            write_barycentric_gradients,
            (count, height * width),
            (attributes, corners, index, grad_planes, grad_barycentrics, vertices, faces, channels)
            + (height * width,),
            block=_PIXELS,
        )
        sums = attributes.new_empty(count, channels, 3 * faces)
        _launch(
            sum_attribute_gradients,
            (count, faces, channels),
            (index, _boxes(index, faces), barycentrics, grad_planes, sums, faces, channels, height, width),
        )
        return _gather(sums, ctx.topology, vertices).mT, grad_barycentrics, None, None


def _launch(kernel: Any, work: tuple[int, ...], arguments: tuple, block: int = _LANES, **options: bool) -> None:
    """Run a kernel over pictures, lanes and, where it has them, channels; nothing where one of them is none."""
    if min(work) > 0:
        grid = (work[0], triton.cdiv(work[1], block), *work[2:])
        kernel[grid](*arguments, block=block, enable_fp_fusion=False, **options)


def _boxes(index: Tensor, triangles: int) -> Tensor:
    """First and last row, first and last column `(N, 4, F)` int32 of the pixels that show each triangle."""
    count, height, width = index.shape
    picture, row, column = (index >= 0).nonzero().unbind(1)
    at = picture * triangles + index[picture, row, column]
    row, column = row.int(), column.int()
    bounds = []
    for value, most in ((row, height), (column, width)):
        first = value.new_full((count * triangles,), most)
        last = value.new_full((count * triangles,), -1)
        bounds += [first.scatter_reduce_(0, at, value, "amin"), last.scatter_reduce_(0, at, value, "amax")]
    return torch.stack(bounds).view(4, count, triangles).movedim(0, 1).contiguous()


def _gather(sums: Tensor, topology: Topology, vertices: int) -> Tensor:
    """Gradients `(N, C, V)` of the vertices from `sums (N, C, 3 * F)` of their corners, always in the same order."""
    count, channels, entries = sums.shape
    first, corner = topology.corners_of_vertices(vertices)
    gradients = sums.new_zeros(count, channels, vertices)
    _launch(
        sum_corners, (count, vertices, channels), (sums, first, corner, gradients, vertices, entries // 3, channels)
    )
    return gradients
