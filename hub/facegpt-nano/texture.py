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
"""UV textures: colours of a picture that is wrapped around the mesh, sampled as finely as a pixel sees them.

UV coordinates are those of OBJ files: (0, 0) is the lower left corner of the texture and (1, 1) its upper right one.
Beyond its border a texture goes on with its border's colour. A seam is where one vertex has several coordinates, so
triangles name theirs by numbers of their own.

A pixel that covers many texels must see their mean. The texture is kept at every size down to one texel (Williams
1983, "Pyramidal Parametrics"), and a pixel takes the two sizes between which its footprint's longer axis is one texel.
The footprint follows from triangle and perspective; no neighbouring pixel is asked, so neither seams nor outlines
disturb it.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .argument_checks import ArgumentCheck, check_size
from .camera import Camera
from .rasterizer import Fragments, check_fragments, interpolate, rasterize

_LARGEST = 1e4  # textures side by side, of a coordinate or a footprint
_TURNS = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
_SMALLEST_FOOTPRINT = 1e-8  # texels; a triangle whose corners share their coordinates has none


class UVMap(NamedTuple):
    """Where the triangles of a mesh lie on its texture."""

    coordinates: Tensor  # (U, 2) u to the right, v up, in [0, 1]
    triangles: Tensor  # (F, 3) int64, numbers of coordinates; one row per triangle of the mesh


class Texture(NamedTuple):
    """Colours and how they are wrapped around the mesh."""

    colors: Tensor  # (N, 3, h, w) or (1, 3, h, w) linear, row 0 is the upper edge
    uv_map: UVMap


class TexelFootprint(NamedTuple):
    """The parts of a texture that the pixels of N pictures see."""

    coordinates: Tensor  # (N, 2, H, W) u and v of the pixels' centres, 0 on the background
    slope: Tensor  # (N, 2, 2, H, W) change of u and v (first) per pixel in x and y (second), 0 on the background
    covered: Tensor  # (N, H, W) bool, where the mesh is seen


def texel_footprint(points: Tensor, triangles: Tensor, fragments: Fragments, uv_map: UVMap) -> TexelFootprint:
    """Which part of a texture each pixel sees. Differentiable with respect to points and UV coordinates.

    Args:
        points (`torch.Tensor` of shape `(N, V, 3)`): of `pixel_points`.
        triangles (`torch.Tensor` of shape `(F, 3)`): as given to `rasterize`.
        fragments (`Fragments`): of the same vertices.
        uv_map (`UVMap`): of the same triangles.

    Returns:
        `TexelFootprint`.
    """
    check = ArgumentCheck().floats("points", points, "N V 3").indices("triangles", triangles, "F 3", of="V")
    check.floats("uv_map.coordinates", uv_map.coordinates, "U 2")
    check.indices("uv_map.triangles", uv_map.triangles, "F 3", of="U")
    check_fragments(check, fragments)
    count = points.shape[0]
    known = uv_map.coordinates.abs() < _LARGEST  # false for NaN, which would reach the gradients of the points
    uv_coordinates = torch.where(known, uv_map.coordinates, 0.0)
    coordinates = interpolate(uv_coordinates.expand(count, -1, -1), uv_map.triangles, fragments)
    flat = fragments.triangle_index.flatten()
    position = (flat >= 0).nonzero().squeeze(1)
    triangle = flat.index_select(0, position)
    picture = position.div(fragments.depth[:1].numel(), rounding_mode="floor")
    corners = [corner.index_select(0, triangle) for corner in triangles.T.contiguous()]
    columns = points.reshape(-1, 3).T.contiguous()
    x, y, z = ([c.index_select(0, at + picture * points.shape[1]) for at in corners] for c in columns)
    # With signed areas e, weights w = e / z and barycentrics w / sum(w): sum(w) is sum(e) / depth, and e is linear.
    doubled_area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    scale = fragments.depth.flatten().index_select(0, position) / doubled_area
    weight_slopes = (
        [scale * (y[j] - y[k]) / z[i] for i, j, k in _TURNS],
        [scale * (x[k] - x[j]) / z[i] for i, j, k in _TURNS],
    )
    uv_corners = [corner.index_select(0, triangle) for corner in uv_map.triangles.T.contiguous()]
    planes = []
    for axis, column in enumerate(uv_coordinates.T.contiguous()):
        here = coordinates[:, axis].flatten().index_select(0, position)
        offset = [column.index_select(0, at) - here for at in uv_corners]
        for slope in weight_slopes:
            values = offset[0] * slope[0] + offset[1] * slope[1] + offset[2] * slope[2]
            planes.append(torch.zeros_like(flat, dtype=values.dtype).scatter(0, position, values))
    slopes = torch.stack(planes).view(2, 2, *fragments.depth.shape).movedim(2, 0)
    return TexelFootprint(coordinates, slopes, fragments.triangle_index >= 0)


def sample_texture(texture: Tensor, footprint: TexelFootprint) -> Tensor:
    """The mean colour of what each pixel sees. Differentiable with respect to both.

    Args:
        texture (`torch.Tensor` of shape `(N, C, h, w)` or `(1, C, h, w)`): row 0 is the upper edge. Give linear
            colours: means of encoded ones are too dark.
        footprint (`TexelFootprint`): of `texel_footprint`, or any coordinates and slopes.

    Returns:
        `torch.Tensor` of shape `(N, C, H, W)`: between texels and between sizes linearly interpolated; 0 on the
            background.
    """
    check = ArgumentCheck().floats("footprint.coordinates", footprint.coordinates, "N 2 H W")
    check.floats("footprint.slope", footprint.slope, "N 2 2 H W").floats("texture", texture, "1|N C h w")
    check.flags("footprint.covered", footprint.covered, "N H W")
    check_size(tuple(texture.shape[2:]))
    sizes = _sizes(texture)
    columns = _flatten_pyramid(texture, sizes)  # (C, texels of all textures and sizes)
    table = torch.tensor(_table(sizes), device=texture.device).T.contiguous()  # (3, levels)
    covered = footprint.covered.flatten()
    position = covered.nonzero().squeeze(1)  # (P,)
    u, v = (plane.flatten().index_select(0, position) for plane in footprint.coordinates.unbind(1))
    slopes = footprint.slope.flatten(1, 2).unbind(1)
    level = _level([slope.flatten().index_select(0, position) for slope in slopes], texture).clamp(0, len(sizes) - 1)
    finer = level.detach().floor().long().clamp_max(max(len(sizes) - 2, 0))
    picture = position.div(footprint.covered[:1].numel(), rounding_mode="floor").clamp_max(texture.shape[0] - 1)
    first = picture * (columns.shape[1] // texture.shape[0])
    places, shares = [], []
    for step, share in ((0, 1 - (level - finer)), (1, level - finer))[: len(sizes)]:
        begin, height, width = (row.index_select(0, finer + step) for row in table)
        for row, down in _neighbours(1 - v, height):
            for column, across in _neighbours(u, width):
                places.append(first + begin + row * width + column)
                shares.append(share * down * across)
    place, share = torch.stack(places).flatten(), torch.stack(shares)  # (8 * P,), (8, P)
    colors = [(column.index_select(0, place).view_as(share) * share).sum(0) for column in columns]
    planes = [torch.zeros_like(covered, dtype=color.dtype).scatter(0, position, color) for color in colors]
    return torch.stack([plane.view_as(footprint.covered) for plane in planes], dim=1)


def texture_at_vertices(texture: Texture, triangles: Tensor, vertices: int) -> Tensor:
    """Colours `(N, vertices, 3)` or `(1, vertices, 3)` at the vertices, on one side of the seam where there is one."""
    uv_map = texture.uv_map
    corner = torch.zeros(vertices, dtype=torch.int64, device=triangles.device)
    corner[triangles.flatten()] = uv_map.triangles.flatten()
    count = texture.colors.shape[0]
    coordinates = uv_map.coordinates[corner].T[None, :, None].expand(count, -1, -1, -1)  # (N, 2, 1, V)
    slope = coordinates.new_zeros(count, 2, 2, 1, vertices)
    footprint = TexelFootprint(coordinates, slope, torch.ones_like(slope[:, 0, 0], dtype=torch.bool))
    return sample_texture(texture.colors, footprint)[:, :, 0].mT


def texture_factors(
    texture: Texture, points: Tensor, triangles: Tensor, fragments: Fragments
) -> tuple[Tensor, Tensor]:
    """By what a texture multiplies the colours of pixels `(N, 3, H, W)` and of vertices `(N or 1, V, 3)`.

    Colours `(N, K, 3, h, w)` are those of K meshes that make up the triangles one after another; all other textures
    have one for all triangles.
    """
    footprint = texel_footprint(points, triangles, fragments, texture.uv_map)
    if texture.colors.dim() == 4:
        return sample_texture(texture.colors, footprint), texture_at_vertices(texture, triangles, points.shape[1])
    meshes = texture.colors.shape[1]
    faces, vertices = len(triangles) // meshes, points.shape[1] // meshes
    own = UVMap(texture.uv_map.coordinates, texture.uv_map.triangles[:faces])
    number = fragments.triangle_index.div(max(faces, 1), rounding_mode="floor")
    pixels, at_vertices = [], []
    for mesh, colors in enumerate(texture.colors.unbind(1)):
        shown = footprint._replace(covered=footprint.covered & (number == mesh))
        pixels.append(sample_texture(colors, shown))
        at_vertices.append(texture_at_vertices(Texture(colors, own), triangles[:faces], vertices))
    return torch.stack(pixels).sum(0), torch.cat(at_vertices, dim=1)


def bake_texture(attributes: Tensor, triangles: Tensor, uv_map: UVMap, size: tuple[int, int]) -> Tensor:
    """Draw vertex attributes into a texture, which then shows the same mesh as they do, at its seams too.

    Differentiable with respect to the attributes.

    Args:
        attributes (`torch.Tensor` of shape `(N, V, C)`): one vector per vertex.
        triangles (`torch.Tensor` of shape `(F, 3)`): vertex indices.
        uv_map (`UVMap`): of the same triangles.
        size (`tuple[int, int]`): height and width of the texture.

    Returns:
        `torch.Tensor` of shape `(N, C, h, w)`; texels that no triangle reaches are filled from their neighbours.
    """
    check = ArgumentCheck().floats("attributes", attributes, "N V C").indices("triangles", triangles, "F 3", of="V")
    fragments = _unwrapped(uv_map, size, check)
    count = attributes.shape[0]
    repeated = Fragments(*(field.expand(count, *field.shape[1:]) for field in fragments))
    return fill_texture(interpolate(attributes, triangles, repeated), fragments.triangle_index[0] >= 0)


def fill_texture(texture: Tensor, used: Tensor) -> Tensor:
    """Give unused texels the mean colour of used ones nearby: pixels see them at seams and in the distance.

    Those that touch a used texel take the mean of what they touch, because pixels at a seam see half of them. For the
    rest, texels are averaged to coarser sizes until each has a colour, and those colours go back to finer ones
    (Gortler et al. 1996, "The Lumigraph", section 3.4).

    Args:
        texture (`torch.Tensor` of shape `(N, C, h, w)`): what unused texels are does not matter, NaN included.
        used (`torch.Tensor` of shape `(h, w)`, bool): which texels have a colour.

    Returns:
        `torch.Tensor` of shape `(N, C, h, w)`; zero if none has.
    """
    ArgumentCheck().floats("texture", texture, "N C h w")
    if used.shape != texture.shape[2:] or used.dtype != torch.bool or used.device != texture.device:
        raise ValueError(
            f"got used of shape {tuple(used.shape)}, {used.dtype}; give {tuple(texture.shape[2:])} of bool"
        )
    weight = used.to(texture.dtype)[None, None]
    colours = torch.where(used, texture, 0.0)
    around = F.avg_pool2d(weight, 3, stride=1, padding=1)
    beside = F.avg_pool2d(colours, 3, stride=1, padding=1) / around.clamp_min(1e-12)
    return _fill(torch.where(used, colours, beside), (around > 0).to(weight.dtype))


def _fill(colours: Tensor, weight: Tensor) -> Tensor:
    """Colours where the weight is 0 from coarser sizes; elsewhere as they are."""
    height, width = colours.shape[2:]
    if height * width <= 1:
        return colours
    half = (max(height // 2, 1), max(width // 2, 1))
    coarse_weight = F.adaptive_avg_pool2d(weight, half)
    sums = F.adaptive_avg_pool2d(colours * weight, half)
    coarse = _fill(sums / coarse_weight.clamp_min(1e-12), (coarse_weight > 0).to(weight.dtype))
    finer = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return torch.where(weight > 0, colours, finer)


def _unwrapped(uv_map: UVMap, size: tuple[int, int], check: ArgumentCheck) -> Fragments:
    """The triangles as they lie on a texture, seen from any side: one picture."""
    check_size(size)
    check.floats("uv_map.coordinates", uv_map.coordinates, "U 2")
    check.indices("uv_map.triangles", uv_map.triangles, "F 3", of="U")
    coordinates = uv_map.coordinates.detach()
    u, v = coordinates.unbind(1)
    flat = torch.stack((u * size[1], (1 - v) * size[0], torch.ones_like(u)), dim=1)[None]
    camera = Camera(coordinates.new_ones(1), coordinates.new_zeros(1, 2))
    return rasterize(flat, uv_map.triangles, camera, size, cull=False)


def _sizes(texture: Tensor) -> list[tuple[int, int]]:
    """Height and width of the texture at every size, down to one texel."""
    sizes = [(texture.shape[2], texture.shape[3])]
    while max(sizes[-1]) > 1:
        sizes.append((max(sizes[-1][0] // 2, 1), max(sizes[-1][1] // 2, 1)))
    return sizes


def _table(sizes: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """For each size, where its texels begin, its height and its width."""
    rows, first = [], 0
    for height, width in sizes:
        rows.append((first, height, width))
        first += height * width
    return rows


def _flatten_pyramid(texture: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
    levels = [texture]
    for size in sizes[1:]:
        levels.append(F.adaptive_avg_pool2d(levels[-1], size))
    return torch.cat([level.flatten(2) for level in levels], dim=2).movedim(1, 0).flatten(1)


def _level(slopes: list[Tensor], texture: Tensor) -> Tensor:
    """The size `(P,)`, from 0 for the finest, at which the longer axis of a pixel's footprint is one texel.

    The slopes `(P,)` are those of u in x and y, and of v in x and y.
    """
    height, width = texture.shape[2:]
    clean = [slope.nan_to_num(0.0, _LARGEST, -_LARGEST).clamp(-_LARGEST, _LARGEST) for slope in slopes]
    du, dv = [slope * width for slope in clean[:2]], [slope * height for slope in clean[2:]]  # texels per pixel
    # The largest singular value of the two by two slopes: it does not change when the picture is turned.
    uu, uv, vv = (a[0] * b[0] + a[1] * b[1] for a, b in ((du, du), (du, dv), (dv, dv)))
    spread = ((uu - vv).square() + 4 * uv.square() + _SMALLEST_FOOTPRINT**4).sqrt()
    return 0.5 * ((uu + vv + spread) / 2).clamp_min(_SMALLEST_FOOTPRINT**2).log2()


def _neighbours(position: Tensor, count: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The two of `count` texels between whose centres a position in [0, 1] is, each with its share."""
    # NaN compares false: it is read as 0, without a gradient.
    clean = torch.where(position.abs() < torch.inf, position, 0.0)
    texel = (clean * count - 0.5).clamp(torch.zeros_like(clean), (count - 1).to(clean.dtype))
    before = texel.detach().floor()
    index, share = before.long(), texel - before
    return (index, 1 - share), ((index + 1).minimum(count - 1), share)
