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

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .argument_checks import ArgumentCheck, check_positive, check_size, remember_range
from .backends import backend_for
from .camera import Camera
from .scanline import SMALLEST_WEIGHT, Settings, Triangles, chunk_triangles, cover_pixels, nearest_fragments
from .topology import Topology, topology_of

# Large chunks page-fault through fresh memory; this many pictures at a time stay in the cache.
_CHUNK = 4
NEAR = 1e-3  # metres
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
        fragments = Fragments(*_Rasterize.apply(*points.unbind(-1), topology, depth_bias, settings))
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
    # They go behind the camera before anything is divided by z, so that no NaN enters the gradients.
    good = (vertices.abs() < _FARTHEST).all(-1, keepdim=True) & (vertices[..., 2:] > near)
    good &= camera.focal[:, None, None] > 0
    x, y, z = torch.where(good, vertices, vertices.new_tensor([0.0, 0.0, -1.0])).movedim(-1, 0).contiguous()
    focal, center = camera.focal[:, None], camera.principal_point[:, None]
    # Backends repeat these operations one by one: the order decides which pixels a triangle covers.
    return torch.stack((x / z * focal + center[..., 0], y / z * focal + center[..., 1], z)).movedim(0, -1)


def sane_camera(camera: Camera) -> Camera:
    """The camera, with zeros for those of its pictures on which nothing can be drawn."""
    sane = (camera.focal > 0) & (camera.focal < _LONGEST) & (camera.principal_point.abs() < _LONGEST).all(-1)
    return Camera(torch.where(sane, camera.focal, 0.0), torch.where(sane[:, None], camera.principal_point, 0.0))


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
        shape = (x.shape[0], settings.height, settings.width)
        index = torch.full(shape, -1, dtype=torch.int64, device=x.device)
        barycentrics = x.new_zeros(shape[0], 3, *shape[1:])
        depth = x.new_zeros(shape)
        repeated = chunk_triangles(topology, x.shape[1], min(_CHUNK, shape[0]))
        for start in range(0, shape[0], _CHUNK):
            part = slice(start, start + _CHUNK)
            _draw(
                tuple(column[part].reshape(-1) for column in (x, y, z)),
                repeated.first(min(_CHUNK, shape[0] - start) * topology.triangles.shape[0]),
                depth_bias,
                settings,
                Fragments(index[part], barycentrics[part], depth[part]),
            )
        ctx.mark_non_differentiable(index)
        ctx.save_for_backward(x, y, z, index)
        ctx.topology = topology
        return index, barycentrics, depth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Any, grad_barycentrics: Tensor, grad_depth: Tensor):
        x, y, z, index = ctx.saved_tensors
        gradients = torch.zeros(3, *x.shape, dtype=x.dtype, device=x.device)
        for start in range(0, x.shape[0], _CHUNK):
            part = slice(start, start + _CHUNK)
            _corner_gradients(
                tuple(column[part].reshape(-1) for column in (x, y, z)),
                _covered_pixels(index[part], ctx.topology, x.shape[1]),
                (grad_barycentrics[part].contiguous(), grad_depth[part].reshape(-1)),
                tuple(gradient[part].view(-1) for gradient in gradients),
            )
        return *gradients, None, None, None


class _Interpolate(torch.autograd.Function):
    """Vertex attributes and fragments -> planes of pixels."""

    @staticmethod
    def forward(ctx: Any, attributes: Tensor, barycentrics: Tensor, index: Tensor, topology: Topology):
        count, vertices, channels = attributes.shape
        planes = attributes.movedim(-1, 0).contiguous()  # (C, N, V)
        image = attributes.new_zeros(count, channels, *index.shape[1:])
        for start in range(0, count, _CHUNK):
            part = slice(start, start + _CHUNK)
            covered = _covered_pixels(index[part], topology, vertices)
            weights = _take_planes(barycentrics[part], covered)
            flat = image[part].view(-1)
            for channel, position in enumerate(covered.in_planes(channels)):
                first, second, third = (planes[channel, part].view(-1).index_select(0, at) for at in covered.corner)
                flat.scatter_(0, position, weights[0] * first + weights[1] * second + weights[2] * third)
        ctx.save_for_backward(planes, barycentrics, index)
        ctx.topology = topology
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_image: Tensor):
        planes, barycentrics, index = ctx.saved_tensors
        channels, count, vertices = planes.shape
        grad_planes = torch.zeros_like(planes)
        grad_barycentrics = torch.zeros_like(barycentrics)
        for start in range(0, count, _CHUNK):
            part = slice(start, start + _CHUNK)
            covered = _covered_pixels(index[part], ctx.topology, vertices)
            weights = _take_planes(barycentrics[part], covered)
            grad_weights = [torch.zeros_like(weight) for weight in weights]
            flat = grad_image[part].reshape(-1)
            for channel, position in enumerate(covered.in_planes(channels)):
                grad = flat.index_select(0, position)
                values = planes[channel, part].view(-1)
                grad_values = grad_planes[channel, part].view(-1)
                for corner, at in enumerate(covered.corner):
                    grad_values.scatter_add_(0, at, weights[corner] * grad)
                    grad_weights[corner] += values.index_select(0, at) * grad
            for grad, position in zip(grad_weights, covered.in_planes(3), strict=True):
                grad_barycentrics[part].view(-1).scatter_(0, position, grad)
        return grad_planes.movedim(0, -1), grad_barycentrics, None, None


class _CoveredPixels(NamedTuple):
    """The pixels of a chunk that see a triangle, one per entry (P)."""

    position: Tensor  # (P,) int64 among the chunk's pixels
    corner: tuple[Tensor, ...]  # 3 x (P,) int64, among the chunk's vertices
    image: Tensor  # (P,) int64 picture of the chunk
    shape: torch.Size  # (n, H, W)

    def in_planes(self, channels: int) -> list[Tensor]:
        """Positions `(P,)` in each channel of a flat `(n, channels, H, W)`."""
        area = self.shape[1] * self.shape[2]
        first = self.position + self.image * ((channels - 1) * area)
        return [first + channel * area for channel in range(channels)]

    def center(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Pixel centres, x and y `(P,)`."""
        row = self.position.div(self.shape[2], rounding_mode="floor")
        column = self.position - row * self.shape[2]
        return column.to(dtype) + 0.5, (row - self.image * self.shape[1]).to(dtype) + 0.5


def _covered_pixels(index: Tensor, topology: Topology, vertices: int) -> _CoveredPixels:
    """List the covered pixels of triangle numbers `(n, H, W)`."""
    flat = index.reshape(-1)
    position = (flat >= 0).nonzero().squeeze(1)
    number = flat.index_select(0, position)
    image = position.div(index.shape[1] * index.shape[2], rounding_mode="floor")
    first_vertex = image * vertices
    corner = tuple(column.index_select(0, number) + first_vertex for column in topology.corners)
    return _CoveredPixels(position, corner, image, index.shape)


def _take_planes(planes: Tensor, covered: _CoveredPixels) -> tuple[Tensor, ...]:
    """The columns `(P,)` of contiguous planes `(n, C, H, W)` at the covered pixels."""
    return tuple(planes.view(-1).index_select(0, position) for position in covered.in_planes(planes.shape[1]))


def _draw(
    columns: tuple[Tensor, ...],
    triangles: Triangles,
    depth_bias: Tensor | None,
    settings: Settings,
    target: Fragments,
) -> None:
    """Fill the pictures of one chunk, whose vertices are the columns x, y, z `(n * V,)`."""
    seen, covers = cover_pixels(columns, triangles, settings)
    corner = tuple(at.index_select(0, covers.triangle) for at in seen.corner)
    corners = _take_corners(columns, corner, covers.center)
    weights, total, depth = _weights(_signed_edges(corners), corners)
    rank = depth
    if depth_bias is not None:
        rank = depth - depth_bias.index_select(0, seen.number).index_select(0, covers.triangle)
    winner = nearest_fragments(covers.pixel, rank, target.depth.numel())
    pixel = covers.pixel.index_select(0, winner)
    triangle = covers.triangle.index_select(0, winner)
    target.triangle_index.view(-1).scatter_(0, pixel, seen.number.index_select(0, triangle))
    target.depth.view(-1).scatter_(0, pixel, depth.index_select(0, winner))
    area = settings.height * settings.width
    pixel = pixel + seen.image.index_select(0, triangle) * (2 * area)
    for plane, weight in enumerate(weights):
        target.barycentrics.view(-1).scatter_(0, pixel + plane * area, (weight / total).index_select(0, winner))


class _Corners(NamedTuple):
    """Corners of one triangle per pixel: columns `(P,)`, x and y relative to the pixel's centre."""

    x: list[Tensor]
    y: list[Tensor]
    z: list[Tensor]


def _take_corners(columns: tuple[Tensor, ...], corner: tuple[Tensor, ...], center: tuple[Tensor, Tensor]) -> _Corners:
    return _Corners(
        x=[columns[0].index_select(0, at) - center[0] for at in corner],
        y=[columns[1].index_select(0, at) - center[1] for at in corner],
        z=[columns[2].index_select(0, at) for at in corner],
    )


def _signed_edges(corners: _Corners) -> list[Tensor]:
    """Twice the signed areas that the pixel's centre makes with the edge opposite to each corner."""
    x, y = corners.x, corners.y
    return [x[j] * y[k] - y[j] * x[k] for j, k in ((1, 2), (2, 0), (0, 1))]


def _weights(signed_edges: list[Tensor], corners: _Corners) -> tuple[list[Tensor], Tensor, Tensor]:
    """Weights whose ratios are perspective-correct, their sum, and the depth."""
    # The centre is inside the triangle, so where the signs differ it is by rounding, on an edge.
    edges = [edge.abs().clamp_min_(SMALLEST_WEIGHT) for edge in signed_edges]
    weights = [edge / z for edge, z in zip(edges, corners.z, strict=True)]
    total = weights[0] + weights[1] + weights[2]
    return weights, total, (edges[0] + edges[1] + edges[2]) / total


def _corner_gradients(
    columns: tuple[Tensor, ...],
    covered: _CoveredPixels,
    upstream: tuple[Tensor, Tensor],
    gradients: tuple[Tensor, ...],
) -> None:
    """Add what barycentrics (planes) and depth (flat) pass back to the gradients of the columns x, y, z.

    With signed areas e, weights w = e / z and barycentrics b = w / sum(w), the depth is the interpolated z.
    """
    corners = _take_corners(columns, covered.corner, covered.center(columns[0].dtype))
    signed = _signed_edges(corners)
    weights, total, _ = _weights(signed, corners)
    share = [weight / total for weight in weights]
    grad_depth = upstream[1].index_select(0, covered.position)
    grad_share = [grad + grad_depth * z for grad, z in zip(_take_planes(upstream[0], covered), corners.z, strict=True)]
    mean = share[0] * grad_share[0] + share[1] * grad_share[1] + share[2] * grad_share[2]
    slope = [(grad - mean) / z for grad, z in zip(grad_share, corners.z, strict=True)]
    scale = (signed[0] + signed[1] + signed[2]).sign() / total
    grad_edge = [scale * value for value in slope]
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        at = covered.corner[i]
        gradients[0].scatter_add_(0, at, grad_edge[k] * corners.y[j] - grad_edge[j] * corners.y[k])
        gradients[1].scatter_add_(0, at, grad_edge[j] * corners.x[k] - grad_edge[k] * corners.x[j])
        gradients[2].scatter_add_(0, at, share[i] * (grad_depth - slope[i]))
