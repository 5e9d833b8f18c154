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
"""Gradients at silhouettes: pixels at an outline are blended by how far the outline reaches into them.

A hard picture jumps when an outline passes a pixel's centre, so its derivative says nothing about outlines. Here each
silhouette edge is walked along its longer axis, where it parts the centres of two neighbouring pixels at a time. If it
cuts the outer pixel, that one takes over some of the edge's own colour; if it cuts the inner one, that one takes over
some of the outer pixel's. So the picture moves continuously with the edge. The idea of the blend is of Laine et al.
2020 ("Modular Primitives for High-Performance Differentiable Rendering", section 3.5); starting from edges instead of
pixels also finds outlines of triangles so thin that they cover no pixel centre.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .argument_checks import ArgumentCheck
from .backends import backend_for
from .mesh import Topology, topology_of
from .rasterizer import Fragments, check_fragments
from .scanline import facing_triangles, gather, nearest_fragments, repeated, spread_ranges


class _Outline(NamedTuple):
    """Silhouette edges of N pictures, one per entry (E), along their longer axis v; u is the other axis."""

    image: Tensor  # (E,) int64
    start: Tensor  # (E,) int64 one end, among the vertices of all pictures
    end: Tensor  # (E,) int64 the other
    upright: Tensor  # (E,) bool: v is the picture's y
    lowest: Tensor  # (E,) the smaller v of both ends, pixels
    highest: Tensor  # (E,) the larger
    outwards: Tensor  # (E,) direction of u that leads away from the surface, 1 or -1


class _Pairs(NamedTuple):
    """Neighbouring pixels whose centres an outline parts, one pair per entry (P)."""

    start: Tensor  # (P,) int64 the edge's first end, among the vertices of all pictures
    end: Tensor  # (P,) int64 its second end
    upright: Tensor  # (P,) bool, as that of the edge
    line: Tensor  # (P,) int64 whole part of v
    border: Tensor  # (P,) u between the two pixels
    outwards: Tensor  # (P,) 1 or -1, as that of the edge
    inner: Tensor  # (P,) int64 position in (N, H, W), on the surface's side
    outer: Tensor  # (P,) int64 position in (N, H, W)
    reach: Tensor  # (P,) in [-0.5, 0.5], how far the surface goes beyond the border
    depth: Tensor  # (P,) metres, of the edge between the two pixels

    def select(self, index: Tensor) -> "_Pairs":
        return _Pairs(*(column.index_select(0, index) for column in self))


def blend_silhouettes(
    planes: Tensor, attributes: Tensor, points: Tensor, triangles: Tensor, fragments: Fragments
) -> Tensor:
    """Blend a picture along its silhouettes, which gives it a gradient to the vertices that make them.

    It must see the picture as `interpolate` left it, encoded at most: mask, crop and blur afterwards, never before.

    Args:
        planes (`torch.Tensor` of shape `(N, C, H, W)`): colours, masks, whatever may be averaged.
        attributes (`torch.Tensor` of shape `(N, V, C)`): of the vertices, what `planes` are of the pixels.
        points (`torch.Tensor` of shape `(N, V, 3)`): of `pixel_points`.
        triangles (`torch.Tensor` of shape `(F, 3)`): as given to `rasterize`.
        fragments (`Fragments`): of the same vertices with `cull`.

    Returns:
        `torch.Tensor` of shape `(N, C, H, W)`: the blended planes.
    """
    check = ArgumentCheck().floats("planes", planes, "N C H W").floats("attributes", attributes, "N V C")
    check.floats("points", points, "N V 3").indices("triangles", triangles, "F 3", of="V")
    check_fragments(check, fragments)
    topology = topology_of(triangles)
    if (backend := backend_for(planes)) and backend.blend:
        return backend.blend(planes, attributes, points, topology, fragments.triangle_index, fragments.depth)
    columns = points.movedim(-1, 0).flatten(1)
    with torch.no_grad():
        pairs = _visible(_pairs(columns, _outline(points, topology), fragments.depth.shape), fragments)
    # Few pairs are left: only now what has a gradient is computed, once more.
    crossing, share, _ = _cross(columns, *pairs[:4])
    reach = (crossing - pairs.border) * pairs.outwards
    # The edge's own colour: the inner pixel's would jump where the outline reaches the outer pixel's centre.
    rows = attributes.movedim(-1, 0).flatten(1)  # (C, N * V)
    one, other = _ends(rows, pairs.start, pairs.end).unbind(1)
    edge = torch.lerp(one, other, share)  # (C, P)
    return _Blend.apply(planes, edge, reach, pairs.inner, pairs.outer)


class _Blend(torch.autograd.Function):
    """Planes `(N, C, H, W)`, colours of edges `(C, P)` and reach `(P,)` -> the blended planes.

    All but a few pixels stay as they are: one copy of the planes, forward and backward, is all that is made.
    """

    @staticmethod
    def forward(ctx: Any, planes: Tensor, edge: Tensor, reach: Tensor, inner: Tensor, outer: Tensor):
        channels, area = planes.shape[1], planes.shape[2] * planes.shape[3]
        first = inner + inner.div(area, rounding_mode="floor") * ((channels - 1) * area)
        inner_place = first + torch.arange(channels, device=first.device)[:, None] * area  # (C, P)
        outer_place = inner_place + (outer - inner)
        flat, outwards = planes.reshape(-1), reach > 0
        target = torch.where(outwards, outer_place, inner_place)
        change = torch.where(outwards, edge, flat.take(outer_place)) - flat.take(target)
        ctx.save_for_backward(reach, change, target, outer_place)
        return flat.index_add(0, target.view(-1), (reach.abs() * change).view(-1)).view(planes.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_blended: Tensor):
        reach, change, target, outer_place = ctx.saved_tensors
        flat, outwards = grad_blended.reshape(-1), reach > 0
        grad = flat.take(target)
        grad_reach = reach.sign() * (grad * change).sum(0)
        grad = reach.abs() * grad  # of what has replaced the target's colour
        grad_planes = flat.index_add(0, target.view(-1), -grad.view(-1))
        grad_planes.index_add_(0, outer_place.view(-1), torch.where(outwards, 0.0, grad).view(-1))
        return grad_planes.view(grad_blended.shape), torch.where(outwards, grad, 0.0), grad_reach, None, None


def _outline(points: Tensor, topology: Topology) -> _Outline:
    """Edges with a front face on one side only."""
    edges, (count, vertices, _) = topology.edges, points.shape
    facing = facing_triangles(points, topology)
    facing = torch.cat((facing, facing.new_zeros(count, 1)), dim=1)  # nothing beyond a boundary
    front = gather(facing, edges.first)
    image, edge = (front != gather(facing, edges.second)).nonzero().unbind(1)
    # The front face runs through the edge in its own direction, which has the surface on a known side.
    forward = front[image, edge]
    start, end = edges.start.index_select(0, edge), edges.end.index_select(0, edge)
    start, end = torch.where(forward, start, end), torch.where(forward, end, start)
    start, end = start + image * vertices, end + image * vertices
    x, y, _ = ((column.take(start), column.take(end)) for column in points.movedim(-1, 0))
    upright = (y[1] - y[0]).abs() >= (x[1] - x[0]).abs()
    v = torch.where(upright, y[0], x[0]), torch.where(upright, y[1], x[1])
    outwards = torch.where((v[1] > v[0]) == upright, -1, 1)
    return _Outline(image, start, end, upright, torch.minimum(*v), torch.maximum(*v), outwards)


def _cross(columns: Tensor, start: Tensor, end: Tensor, upright: Tensor, line: Tensor) -> tuple[Tensor, ...]:
    """Where edges cross lines of pixel centres.

    Args:
        columns (`torch.Tensor` of shape `(3, N * V)`): x and y in pixels and depth of the vertices.
        start, end, upright, line (`torch.Tensor` of shape `(P,)`): as in `_Pairs`.

    Returns:
        `tuple[torch.Tensor, ...]` of shape `(P,)` each: u, the share of the second end in what is seen there, depth.
    """
    x, y, (z0, z1) = _ends(columns, start, end)
    (u0, u1), (v0, v1) = torch.where(upright, x, y), torch.where(upright, y, x)
    along = (line + 0.5 - v0) / (v1 - v0)
    one, other = (1 - along) / z0, along / z1
    return u0 + along * (u1 - u0), other / (one + other), 1 / (one + other)


def _ends(columns: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """What columns `(C, N * V)` of vertices have at both ends of edges: `(C, 2, P)`."""
    return columns.index_select(1, torch.cat((start, end))).view(len(columns), 2, len(start))


def _pairs(columns: Tensor, outline: _Outline, shape: torch.Size) -> _Pairs:
    _, height, width = shape
    limit = torch.where(outline.upright, height, width)
    first, end = ((bound - 0.5).ceil().clamp_min(0).minimum(limit) for bound in (outline.lowest, outline.highest))
    edge, line = spread_ranges(first, end)
    of_edge = (outline.start, outline.end, outline.upright, outline.image, outline.outwards)
    starts, ends, upright, image, outwards = (column.index_select(0, edge) for column in of_edge)
    crossing, _, depth = _cross(columns, starts, ends, upright, line)
    before = (crossing - 0.5).floor()
    inside = repeated((before >= 0) & (before + 1 < torch.where(upright, width, height)))
    first_pixel = image * (height * width) + torch.where(upright, line * width, line)
    step = torch.where(upright, 1, width)
    # Of the two pixels the second is the outer one where u leads away from the surface.
    inner = first_pixel + before.clamp(-1, max(height, width)).long() * step + torch.where(outwards > 0, 0, step)
    border = before + 1
    reach = (crossing - border) * outwards
    pairs = _Pairs(starts, ends, upright, line, border, outwards, inner, inner + outwards * step, reach, depth)
    return pairs.select(inside)


def _visible(pairs: _Pairs, fragments: Fragments) -> _Pairs:
    """Drop pairs whose edge lies behind what the outer pixel shows, or whose inner pixel does not show the surface."""
    index, depth = fragments.triangle_index.flatten(), fragments.depth.flatten()
    inner, outer = (
        torch.where(index.index_select(0, pixel) < 0, torch.inf, depth.index_select(0, pixel))
        for pixel in (pairs.inner, pairs.outer)
    )
    pairs = pairs.select(repeated((outer > pairs.depth) & ((inner - pairs.depth).abs() < outer - pairs.depth)))
    # Between the same two pixels, an edge behind the surface lies further in than the outline that hides it.
    border, group = torch.unique(pairs.inner * depth.numel() + pairs.outer, return_inverse=True)
    return pairs.select(nearest_fragments(group, -pairs.reach, border.numel()))
