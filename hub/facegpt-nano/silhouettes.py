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

from typing import NamedTuple

import torch
from torch import Tensor

from .argument_checks import ArgumentCheck
from .backends import backend_for
from .rasterizer import Fragments, check_fragments
from .scanline import facing_triangles, nearest_fragments, spread_ranges
from .topology import Topology, topology_of


class _Outline(NamedTuple):
    """Silhouette edges of N pictures, one per entry (E), along their longer axis v; u is the other axis."""

    image: Tensor  # (E,) int64
    ends: tuple[Tensor, Tensor]  # (E,) int64 each, among the vertices of all pictures
    upright: Tensor  # (E,) bool: v is the picture's y
    u: tuple[Tensor, Tensor]  # at both ends, (E,) pixels
    v: tuple[Tensor, Tensor]  # at both ends, (E,) pixels
    z: tuple[Tensor, Tensor]  # at both ends, (E,) metres
    inner_after: Tensor  # (E,) bool: the surface is at larger u


class _Pairs(NamedTuple):
    """Neighbouring pixels whose centres an outline parts, one pair per entry (P)."""

    inner: Tensor  # (P,) int64 position in (N, H, W), on the surface's side
    outer: Tensor  # (P,) int64 position in (N, H, W)
    reach: Tensor  # (P,) in [-0.5, 0.5], how far the surface goes beyond the border between the two pixels
    depth: Tensor  # (P,) metres, of the edge between the two pixels
    start: Tensor  # (P,) int64 the edge's first end, among the vertices of all pictures
    end: Tensor  # (P,) int64 its second end
    share: Tensor  # (P,) of the second end in what the edge shows there


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
    pairs = _visible(_pairs(_outline(points, topology), fragments.depth.shape), fragments)
    count, channels, height, width = planes.shape
    columns = planes.movedim(1, 0).reshape(channels, -1)
    rows = attributes.reshape(-1, channels)
    # The edge's own colour: the inner pixel's would jump where the outline reaches the outer pixel's centre.
    edge = torch.lerp(rows[pairs.start].T, rows[pairs.end].T, pairs.share)  # (C, P)
    outwards = pairs.reach > 0
    target = torch.where(outwards, pairs.outer, pairs.inner)
    source = torch.where(outwards, edge, columns[:, pairs.outer])
    change = pairs.reach.abs() * (source - columns[:, target])
    return columns.index_add(1, target, change).view(channels, count, height, width).movedim(0, 1)


def _outline(points: Tensor, topology: Topology) -> _Outline:
    """Edges with a front face on one side only."""
    edges = topology.edges
    facing = facing_triangles(points.detach(), topology)
    facing = torch.cat((facing, facing.new_zeros(facing.shape[0], 1)), dim=1)  # nothing beyond a boundary
    front, other = facing[:, edges.first], facing[:, edges.second]
    image, edge = (front != other).nonzero().unbind(1)
    # The front face runs through the edge in its own direction, which has the surface on a known side.
    forward = front[image, edge]
    start = torch.where(forward, edges.start[edge], edges.end[edge]) + image * points.shape[1]
    end = torch.where(forward, edges.end[edge], edges.start[edge]) + image * points.shape[1]
    x, y, z = ((column[start], column[end]) for column in points.reshape(-1, 3).unbind(1))
    upright = (y[1] - y[0]).abs() >= (x[1] - x[0]).abs()
    u = torch.where(upright, x[0], y[0]), torch.where(upright, x[1], y[1])
    v = torch.where(upright, y[0], x[0]), torch.where(upright, y[1], x[1])
    return _Outline(image, (start, end), upright, u, v, z, inner_after=(v[1] > v[0]) == upright)


def _pairs(outline: _Outline, shape: torch.Size) -> _Pairs:
    _, height, width = shape
    limit = torch.where(outline.upright, height, width)
    lowest = torch.minimum(*outline.v).detach()
    highest = torch.maximum(*outline.v).detach()
    first, end = ((bound - 0.5).ceil().clamp_min(0).minimum(limit) for bound in (lowest, highest))
    edge, line = spread_ranges(first, end)
    u, v, z = (tuple(end[edge] for end in ends) for ends in (outline.u, outline.v, outline.z))
    share = (line + 0.5 - v[0]) / (v[1] - v[0])
    crossing = u[0] + share * (u[1] - u[0])
    before = (crossing.detach() - 0.5).floor()
    upright = outline.upright[edge]
    inside = (before >= 0) & (before + 1 < torch.where(upright, width, height))
    first_pixel = outline.image[edge] * (height * width) + torch.where(upright, line * width, line)
    step = torch.where(upright, 1, width)
    before_pixel = first_pixel + before.clamp(-1, max(height, width)).long() * step
    after = outline.inner_after[edge]
    nearness = (1 - share) / z[0], share / z[1]
    pairs = _Pairs(
        inner=torch.where(after, before_pixel + step, before_pixel),
        outer=torch.where(after, before_pixel, before_pixel + step),
        reach=(crossing - before - 1) * torch.where(after, -1, 1),
        depth=1 / (nearness[0] + nearness[1]).detach(),
        start=outline.ends[0][edge],
        end=outline.ends[1][edge],
        share=nearness[1] / (nearness[0] + nearness[1]),
    )
    return _Pairs(*(column[inside] for column in pairs))


def _visible(pairs: _Pairs, fragments: Fragments) -> _Pairs:
    """Drop pairs whose edge lies behind what the outer pixel shows, or whose inner pixel does not show the surface."""
    covered = fragments.triangle_index.flatten() >= 0
    depth = torch.where(covered, fragments.depth.detach().flatten(), torch.inf)
    inner, outer = depth[pairs.inner], depth[pairs.outer]
    seen = (outer > pairs.depth) & ((inner - pairs.depth).abs() < outer - pairs.depth)
    pairs = _Pairs(*(column[seen] for column in pairs))
    # Between the same two pixels, an edge behind the surface lies further in than the outline that hides it.
    border, group = torch.unique(pairs.inner * depth.numel() + pairs.outer, return_inverse=True)
    outermost = nearest_fragments(group, -pairs.reach.detach(), border.numel())
    return _Pairs(*(column[outermost] for column in pairs))
