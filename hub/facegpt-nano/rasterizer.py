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
"""Which triangle each pixel sees, and where on it: the PyTorch reference, for every device, in float32 and float64.

Visibility expands triangles into spans of pixels and spans into exact fragments; nothing is tested against pixels that
it does not cover. Then comes a depth test by `scatter_reduce`. Gradients are analytic, at fixed visibility. Every
quantity is a contiguous one-dimensional column, because those are what PyTorch gathers and scatters fast.

Rules:
- A pixel belongs to the triangle that covers its centre. Edges are half-open and evaluated from the same end in both
  triangles that share them, so a closed mesh has neither holes nor double hits.
- Interpolation is perspective-correct. At equal depth the lowest triangle number wins.
- Nothing is clipped: a triangle with a corner at z <= `near`, not finite, or wider than 1e5 pixels is dropped whole.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .argument_checks import ArgumentCheck, check_positive, check_size, remember_range
from .backends import backend_for
from .camera import Camera
from .mesh import Topology, topology_of
from .scanline import (
    NEAR,
    SMALLEST_WEIGHT,
    Cover,
    Settings,
    Triangles,
    chunk_triangles,
    columns_at,
    cover_pixels,
    gather,
    nearest_fragments,
)
from .seen_pixels import SeenPixels, SharesGradient, list_pixels, pass_back

# Large chunks page-fault through fresh memory; this many pictures at a time stay in the cache.
_CHUNK = 4
_FARTHEST = 1e6  # metres
_LONGEST = 1e8  # pixels, of a camera


class Fragments(NamedTuple):
    """What is seen at each pixel of N pictures."""

    triangle_index: Tensor  # (N, H, W) int64, -1 where there is no triangle
    barycentrics: Tensor  # (N, 3, H, W) perspective-correct weights of the triangle's corners, 0 on the background
    depth: Tensor  # (N, H, W) metres along the camera's z axis, 0 on the background


def rasterize(
    vertices: Tensor,
    triangles: Tensor,
    camera: Camera,
    size: tuple[int, int],
    *,
    near: float = NEAR,
    cull: bool = True,
    depth_bias: Tensor | None = None,
) -> Fragments:
    """Find the visible triangle at every pixel. Differentiable with respect to vertices and camera.

    Args:
        vertices (`torch.Tensor` of shape `(N, V, 3)`): camera space, metres.
        triangles (`torch.Tensor` of shape `(F, 3)`): vertex indices, counter-clockwise seen from outside.
        camera (`Camera`): of N pictures.
        size (`tuple[int, int]`): height and width in pixels.
        near (`float`): triangles with a corner at or before this depth are dropped.
        cull (`bool`): drop triangles that are seen from behind.
        depth_bias (`torch.Tensor` of shape `(F,)`, *optional*): metres by which each triangle counts as nearer when it
            is decided what is seen, so that layers that touch (eyelids, teeth) have an order. `Fragments.depth` is
            where they are.

    Returns:
        `Fragments`, with no gradient through the choice of the triangle.
    """
    check_size(size)
    check = ArgumentCheck().floats("vertices", vertices, "N V 3").indices("triangles", triangles, "F 3", of="V")
    if depth_bias is not None:
        check.floats("depth_bias", depth_bias, "F")
    topology = topology_of(triangles)
    points = pixel_points(vertices, camera, near)
    settings = Settings(size[0], size[1], near, cull)
    if depth_bias is None and (backend := backend_for(points)):
        fragments = Fragments(*backend.rasterize(points, topology, settings))
    else:
        fragments = Fragments(*_Rasterize.apply(*points.movedim(-1, 0).unbind(0), topology, depth_bias, settings))
    remember_range(fragments.triangle_index, -1, len(triangles) - 1)
    return fragments


def interpolate(attributes: Tensor, triangles: Tensor, fragments: Fragments) -> Tensor:
    """Carry vertex attributes to the pixels. Differentiable with respect to attributes and barycentrics.

    Args:
        attributes (`torch.Tensor` of shape `(N, V, C)`): one vector per vertex.
        triangles (`torch.Tensor` of shape `(F, 3)`): as given to `rasterize`.
        fragments (`Fragments`): of `rasterize`.

    Returns:
        `torch.Tensor` of shape `(N, C, H, W)`; 0 on the background.
    """
    check = ArgumentCheck().floats("fragments.barycentrics", fragments.barycentrics, "N 3 H W")
    check.floats("attributes", attributes, "N V C").indices("triangles", triangles, "F 3", of="V")
    check_fragments(check, fragments)
    topology = topology_of(triangles)
    barycentrics = fragments.barycentrics.contiguous()  # of some of the pictures, or of one for all, they are not
    if backend := backend_for(attributes):
        return backend.interpolate(attributes, barycentrics, fragments.triangle_index, topology)
    return _Interpolate.apply(attributes, barycentrics, fragments.triangle_index, topology)


def check_fragments(check: ArgumentCheck, fragments: Fragments) -> None:
    """Raise `ValueError` for fragments that are not of N pictures of F triangles; `check` knows both."""
    check.floats("fragments.barycentrics", fragments.barycentrics, "N 3 H W")
    check.floats("fragments.depth", fragments.depth, "N H W")
    check.indices("fragments.triangle_index", fragments.triangle_index, "N H W", of="F", lowest=-1)


def pixel_points(vertices: Tensor, camera: Camera, near: float = NEAR) -> Tensor:
    """Camera-space vertices `(N, V, 3)` as x and y in pixels, and depth; -1 as depth of those that cannot be drawn."""
    check_positive("near", near)
    check = ArgumentCheck().floats("vertices", vertices, "N V 3")
    check.floats("camera.focal", camera.focal, "N").floats("camera.principal_point", camera.principal_point, "N 2")
    camera = sane_camera(camera)
    if (backend := backend_for(vertices)) and backend.pixel_points:
        return backend.pixel_points(vertices, *camera, near, _FARTHEST)
    x, y, z = vertices.movedim(-1, 0).contiguous()
    focal, center = camera.focal[:, None], camera.principal_point[:, None]
    # They go behind the camera before anything is divided by z, so that no NaN enters the gradients.
    good = (x.abs() < _FARTHEST) & (y.abs() < _FARTHEST) & (z > near) & (z < _FARTHEST) & (focal > 0)
    x, y, z = torch.where(good, x, 0.0), torch.where(good, y, 0.0), torch.where(good, z, -1.0)
    # Backends repeat these operations one by one: the order decides which pixels a triangle covers.
    return torch.stack((x / z * focal + center[..., 0], y / z * focal + center[..., 1], z)).movedim(0, -1)


def sane_camera(camera: Camera) -> Camera:
    """The camera, with zeros for those of its pictures on which nothing can be drawn."""
    sane = (camera.focal > 0) & (camera.focal < _LONGEST) & (camera.principal_point.abs() < _LONGEST).all(-1)
    return Camera(torch.where(sane, camera.focal, 0.0), torch.where(sane[:, None], camera.principal_point, 0.0))


class _Chunk(NamedTuple):
    """What is seen on some of the pictures."""

    pixels: SeenPixels
    shares: Tensor  # (3, P) barycentrics
    place: Tensor | None  # (3, 3, L) x and y in pixels and depth of the triangles' corners, where they were drawn


class _Rasterize(torch.autograd.Function):
    """Columns x, y, z `(N, V)` in pixels and metres -> the three fields of `Fragments`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        z: Tensor,
        topology: Topology,
        depth_bias: Tensor | None,
        settings: Settings,
    ):
        columns = torch.stack((x, y, z))
        shape = (x.shape[0], settings.height, settings.width)
        index = torch.full(shape, -1, dtype=torch.int64, device=x.device)
        target = Fragments(index, x.new_zeros(shape[0], 3, *shape[1:]), x.new_zeros(shape))
        wanted, chunks = any(ctx.needs_input_grad), []
        for pictures, triangles in _parts(index, topology, x.shape[1]):
            drawn = _draw(columns[:, pictures].flatten(1), triangles, depth_bias, settings, pictures, target)
            if wanted:
                chunks.append(drawn)
        if wanted:
            ctx.chunks, ctx.shape, ctx.topology = chunks, columns.shape, topology
            ctx.drawn = index.detach(), index._version, target.barycentrics._version
        ctx.mark_non_differentiable(index)
        ctx.set_materialize_grads(False)
        return tuple(target)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Any, grad_barycentrics: Tensor | None, grad_depth: Tensor | None):
        if grad_barycentrics is None and grad_depth is None:
            return (None,) * 6
        if not isinstance(grad_barycentrics, SharesGradient):
            to_points = _pass_back_fragments(ctx, grad_barycentrics, grad_depth)
        elif grad_depth is None:
            to_points = grad_barycentrics.to_points
        else:
            to_points = grad_barycentrics.to_points + _pass_back_fragments(ctx, None, grad_depth)
        return *to_points, None, None, None


class _Interpolate(torch.autograd.Function):
    """Vertex attributes and fragments -> planes of pixels."""

    @staticmethod
    def forward(ctx: Any, attributes: Tensor, barycentrics: Tensor, index: Tensor, topology: Topology):
        count, vertices, channels = attributes.shape
        columns = attributes.movedim(-1, 0).contiguous()  # (C, N, V)
        planes = attributes.new_zeros(count, channels, *index.shape[1:])
        drawing = _drawing(barycentrics, index, topology, vertices)
        if drawing:
            ctx.chunks, ctx.shape = drawing.chunks, drawing.shape
        else:
            lists = [list_pixels(index, *part) for part in _parts(index, topology, vertices)]
            ctx.chunks, ctx.shape = [_Chunk(pixels, pixels.take(barycentrics), None) for pixels in lists], None
        ctx.shown = []
        for pixels, shares, _ in ctx.chunks:
            values = columns_at(columns[:, pixels.pictures].flatten(1), pixels.corner)  # (C, 3, L)
            rows = attributes.new_empty(channels, shares.shape[1])
            for row, corners in zip(rows, values, strict=True):
                first, second, third = gather(corners, pixels.triangle).mul_(shares)
                torch.add(first, second, out=row).add_(third)
            pixels.put(planes, rows)
            ctx.shown.append((values, rows))
        ctx.columns_shape = columns.shape
        ctx.save_for_backward(barycentrics)
        return planes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_planes: Tensor):
        (barycentrics,) = ctx.saved_tensors
        to_columns = grad_planes.new_zeros(ctx.columns_shape)
        to_points = grad_planes.new_zeros(ctx.shape) if ctx.shape and ctx.needs_input_grad[1] else None
        for (pixels, shares, place), (values, rows) in zip(ctx.chunks, ctx.shown, strict=True):
            grads = pixels.take(grad_planes)
            sums = pixels.sums(grads, shares)
            pixels.add_to_vertices(to_columns, sums)
            if to_points is not None:
                products = pixels.sums((grads * rows).sum(0, keepdim=True), shares)[0]
                pixels.add_to_vertices(to_points, pass_back(place, values, sums, products))
        to_shares = None
        if ctx.needs_input_grad[1]:
            compute = functools.partial(_shares_gradient, barycentrics, ctx.chunks, ctx.shown, grad_planes)
            to_shares = compute() if to_points is None else SharesGradient(barycentrics, to_points, compute)
        return to_columns.movedim(0, -1), to_shares, None, None


def _drawing(barycentrics: Tensor, index: Tensor, topology: Topology, vertices: int) -> Any:
    """The context of the `_Rasterize` that made these fragments of so many points with a gradient; None where none
    did."""
    drawing: Any = barycentrics.grad_fn
    if not isinstance(drawing, _Rasterize._backward_cls) or drawing.topology is not topology:
        return None
    if drawing.shape[2] != vertices:  # attributes of vertices that were not drawn too
        return None
    drawn, *versions = drawing.drawn
    same = drawn.data_ptr() == index.data_ptr() and drawn.shape == index.shape
    return drawing if same and versions == [index._version, barycentrics._version] else None


@torch.no_grad()
def _shares_gradient(
    barycentrics: Tensor, chunks: list[_Chunk], shown: list[tuple[Tensor, Tensor]], grad_planes: Tensor
) -> Tensor:
    """What planes pass back to barycentrics."""
    gradient = torch.zeros_like(barycentrics)
    for (pixels, shares, _), (values, _) in zip(chunks, shown, strict=True):
        total = torch.zeros_like(shares)
        for corners, grads in zip(values, pixels.take(grad_planes), strict=True):
            total += gather(corners, pixels.triangle).mul_(grads)
        pixels.put(gradient, total)
    return gradient


def _pass_back_fragments(ctx: Any, grad_barycentrics: Tensor | None, grad_depth: Tensor | None) -> Tensor:
    """What barycentrics and depth pass back to columns x, y, z `(3, N, V)`: they are planes like others."""
    some = grad_depth if grad_barycentrics is None else grad_barycentrics
    to_points = some.new_zeros(ctx.shape)
    for pixels, shares, place in ctx.chunks:
        values, rows, grads = [], [], []
        if grad_barycentrics is not None:
            values.append(torch.eye(3).to(place)[..., None].expand_as(place))
            rows.append(shares)
            grads.append(pixels.take(grad_barycentrics))
        if grad_depth is not None:
            values.append(place[2:])
            rows.append((gather(place[2], pixels.triangle) * shares).sum(0, keepdim=True))
            grads.append(pixels.take(grad_depth[:, None]))
        values, rows, grads = torch.cat(values), torch.cat(rows), torch.cat(grads)
        sums = pixels.sums(grads, shares)
        products = pixels.sums((grads * rows).sum(0, keepdim=True), shares)[0]
        passed = pass_back(place, values, sums, products)
        if grad_depth is not None:  # the values that depth interpolates move too
            passed[2] += sums[-1]
        pixels.add_to_vertices(to_points, passed)
    return to_points


def _parts(index: Tensor, topology: Topology, vertices: int) -> Iterator[tuple[slice, Triangles]]:
    """The pictures `(N, H, W)` a few at a time, and the triangles on them."""
    count = len(index)
    triangles = chunk_triangles(topology, vertices, min(_CHUNK, count))
    for start in range(0, count, _CHUNK):
        end = min(start + _CHUNK, count)
        yield slice(start, end), triangles.first((end - start) * len(topology.triangles))


def _draw(
    columns: Tensor,
    triangles: Triangles,
    depth_bias: Tensor | None,
    settings: Settings,
    pictures: slice,
    target: Fragments,
) -> _Chunk:
    """Fill some of the pictures, whose vertices are the columns x, y, z `(3, n * V)`."""
    seen, place, cover = cover_pixels(columns, triangles, settings)
    shares, depth = _locate(place, cover)
    rank = depth
    if depth_bias is not None:
        rank = depth - depth_bias.index_select(0, seen.number).index_select(0, cover.triangle)
    index = target.triangle_index[pictures]
    winner = nearest_fragments(cover.pixel, rank, index.numel())
    position = cover.pixel.index_select(0, winner)
    # Fragments come triangle by triangle. Many triangles are hidden: from here on only the others are needed.
    visible, triangle = cover.triangle.index_select(0, winner).unique_consecutive(return_inverse=True)
    seen, place = seen.select(visible), gather(place.flatten(0, 1), visible).unflatten(0, (3, 3))
    before = (seen.image * (settings.height * settings.width)).index_select(0, triangle)
    pixels = SeenPixels(pictures, position, before, triangle, seen.corner)
    index.view(-1).scatter_(0, position, seen.number.index_select(0, triangle))
    shares = gather(shares, winner)
    pixels.put(target.barycentrics, shares)
    pixels.put(target.depth[:, None], depth.index_select(0, winner)[None])
    return _Chunk(pixels, shares, place)


def _locate(place: Tensor, cover: Cover) -> tuple[Tensor, Tensor]:
    """Barycentrics `(3, Q)` and depth `(Q,)` of pixels on triangles whose corners have columns `(3, 3, L)`."""
    # Corners relative to the pixel, so that nothing cancels far from the origin.
    x, y, z = gather(place.flatten(0, 1), cover.triangle).unflatten(0, (3, 3))
    x -= cover.center[0]
    y -= cover.center[1]
    # Twice the areas that the pixel's centre makes with the edge opposite to each corner. The centre is inside the
    # triangle, so where their signs differ it is by rounding, on an edge.
    edges = torch.stack([x[j] * y[k] - y[j] * x[k] for j, k in ((1, 2), (2, 0), (0, 1))])
    edges.abs_().clamp_min_(SMALLEST_WEIGHT)
    weights = edges / z  # perspective-correct
    total = weights[0] + weights[1] + weights[2]
    return weights.div_(total), (edges[0] + edges[1] + edges[2]) / total
