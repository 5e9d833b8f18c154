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
"""Textures: known colours at known places, true footprints, seams, gradients, baking and filling."""

import math

import pytest
import torch
from test_rasterizer import ball, camera_of, draw, flat
from torch import Tensor

from modeling_facegpt.camera import Camera
from modeling_facegpt.rasterizer import Fragments, interpolate, pixel_points, rasterize
from modeling_facegpt.texture import (
    TexelFootprint,
    Texture,
    UVMap,
    bake_texture,
    fill_texture,
    sample_texture,
    texel_footprint,
    texture_at_vertices,
)

SQUARE = torch.tensor([[0, 2, 1], [0, 3, 2]])
CORNERS = torch.tensor(
    [[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]], dtype=torch.float64
)  # of a picture, from (0, 0)


def everywhere(coordinates: Tensor, slope: Tensor) -> TexelFootprint:
    """A footprint without background."""
    return TexelFootprint(coordinates, slope, torch.ones_like(coordinates[:, 0], dtype=torch.bool))


def footprint_of(coordinates: Tensor, texels: float, texture: Tensor) -> TexelFootprint:
    """Coordinates `(P, 2)` as one row of pixels, each of which sees so many texels in x and y."""
    slope = torch.zeros(1, 2, 2, 1, len(coordinates), dtype=coordinates.dtype)
    slope[:, 0, 0], slope[:, 1, 1] = texels / texture.shape[3], texels / texture.shape[2]
    return everywhere(coordinates.T[None, :, None], slope)


def receding_plane(side: int) -> tuple[Tensor, Tensor, UVMap]:
    """A square that fills the picture, three times as far at its right edge, and its texture coordinates."""
    corners = [(0, 0, 1.0), (3 * side, 0, 3.0), (3 * side, 3 * side, 3.0), (0, side, 1.0)]
    return torch.tensor([corners], dtype=torch.float64), SQUARE, UVMap(CORNERS, SQUARE)


def footprint(vertices: Tensor, triangles: Tensor, uv_map: UVMap, camera: Camera, side: int) -> TexelFootprint:
    fragments = rasterize(vertices, triangles, camera, (side, side))
    return texel_footprint(pixel_points(vertices, camera), triangles, fragments, uv_map)


def random_texture(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("texels", [0.0, 0.3, 1.0, 5.0, 1e6])
@pytest.mark.parametrize("size", [(1, 1), (1, 8), (7, 5), (16, 16)])
def test_a_constant_texture_is_constant(size: tuple[int, int], texels: float) -> None:
    texture = torch.full((1, 3, *size), 0.3, dtype=torch.float64)
    colors = sample_texture(texture, footprint_of(4 * random_texture(50, 2) - 2, texels, texture))
    torch.testing.assert_close(colors, torch.full_like(colors, 0.3))


@pytest.mark.parametrize("texels", [0.5, 1.0, 1.5, 2.0, 3.7])
def test_a_ramp_is_exact_at_every_size(texels: float) -> None:
    """Means of a ramp are a ramp, so between them it stays one, up to half a texel from the border."""
    u, v = torch.meshgrid(*[(torch.arange(32, dtype=torch.float64) + 0.5) / 32] * 2, indexing="xy")
    texture = torch.stack((u, 1 - v))[None]
    coordinates = 0.1 + 0.8 * random_texture(50, 2)
    colors = sample_texture(texture, footprint_of(coordinates, texels, texture))
    torch.testing.assert_close(colors[0, :, 0].T, coordinates)


def test_texels_are_where_the_convention_says() -> None:
    """(0, 0) is the lower left corner of the texture, so its upper row is at v near 1."""
    texture = torch.arange(6.0, dtype=torch.float64).view(1, 1, 2, 3)
    centers = torch.tensor([[1 / 6, 0.75], [3 / 6, 0.75], [5 / 6, 0.25]], dtype=torch.float64)
    assert sample_texture(texture, footprint_of(centers, 1.0, texture)).flatten().tolist() == [0.0, 1.0, 5.0]
    beyond = torch.tensor([[-3.0, 0.25], [7.0, 9.0]], dtype=torch.float64)
    assert sample_texture(texture, footprint_of(beyond, 1.0, texture)).flatten().tolist() == [3.0, 2.0]


def test_each_size_halves_what_is_left_of_a_pattern() -> None:
    """Stripes of one texel: themselves at one texel per pixel, grey from two on, half-way between in the middle."""
    texture = (torch.arange(16) % 2).double().expand(1, 1, 16, 16)
    dark = torch.tensor([[8.5 / 16, 0.5]], dtype=torch.float64)
    for texels, expected in ((0.1, 0.0), (1.0, 0.0), (math.sqrt(2), 0.25), (2.0, 0.5), (50.0, 0.5)):
        assert sample_texture(texture, footprint_of(dark, texels, texture)).item() == pytest.approx(expected, abs=1e-9)


def test_the_longer_axis_decides_and_turning_does_not() -> None:
    texture = random_texture(1, 2, 64, 64)
    point = torch.tensor([[0.4, 0.6]], dtype=torch.float64)
    expected = sample_texture(texture, footprint_of(point, 5.0, texture))
    for degrees in (0.0, 30.0, 45.0, 90.0):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        slope = torch.tensor([[5 * c, -5 * s], [0.5 * s, 0.5 * c]], dtype=torch.float64) / 64
        seen = everywhere(point.T[None, :, None], slope[None, :, :, None, None])
        torch.testing.assert_close(sample_texture(texture, seen), expected)


def test_a_far_checkerboard_is_grey() -> None:
    texture = ((torch.arange(256)[:, None] + torch.arange(256)) % 2).double()[None, None]
    vertices, triangles, uv_map = receding_plane(16)
    colors = sample_texture(texture, footprint(vertices, triangles, uv_map, camera_of(1), 16))
    torch.testing.assert_close(colors, torch.full_like(colors, 0.5))


def test_coordinates_and_slopes_are_those_of_the_perspective() -> None:
    """u = t / (3 - 2 t) along the receding plane; its slope is 3 / (3 - 2 t)^2 over the side."""
    side = 8
    vertices, triangles, uv_map = receding_plane(side)
    seen = footprint(vertices, triangles, uv_map, camera_of(1), side)
    t = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    torch.testing.assert_close(seen.coordinates[0, 0], (t / (3 - 2 * t)).expand(side, side))
    torch.testing.assert_close(seen.slope[0, 0, 0], (3 / (3 - 2 * t).square() / side).expand(side, side))
    torch.testing.assert_close(seen.slope[0, 0, 1], torch.zeros(side, side, dtype=torch.float64))


def test_slopes_agree_with_a_camera_that_moves_a_little() -> None:
    vertices, triangles = ball(2, 24, rings=6)
    uv_map = UVMap(random_texture(vertices.shape[1], 2), triangles)
    seen = footprint(vertices, triangles, uv_map, camera_of(2), 24)
    before = draw(vertices, triangles, 24).triangle_index
    for axis in (0, 1):
        shift = torch.zeros(2, 2, dtype=torch.float64)
        shift[:, axis] = -1e-6
        camera = camera_of(2)._replace(principal_point=shift)
        moved = footprint(vertices, triangles, uv_map, camera, 24)
        same = (before >= 0) & (rasterize(vertices, triangles, camera, (24, 24)).triangle_index == before)
        numeric = ((moved.coordinates - seen.coordinates) / 1e-6).movedim(1, -1)[same]
        torch.testing.assert_close(seen.slope[:, :, axis].movedim(1, -1)[same], numeric, rtol=1e-4, atol=1e-6)


def tube(segments: int) -> tuple[Tensor, Tensor, UVMap]:
    """An upright tube around (0, 0, 4) whose last coordinates lie on its first vertices: `u` is its angle."""
    turn = torch.arange(segments, dtype=torch.float64) / segments
    ring = torch.stack((-(2 * torch.pi * turn).sin(), -torch.ones(segments), 4 - (2 * torch.pi * turn).cos()), dim=-1)
    vertices = torch.cat((ring, ring * torch.tensor([1.0, -1.0, 1.0])))
    first, last = torch.arange(segments), torch.arange(1, segments + 1)

    def strips(beside: Tensor, below: int) -> Tensor:
        upper = torch.stack((first, beside, first + below), dim=1)
        return torch.cat((upper, torch.stack((beside, beside + below, first + below), dim=1)))

    u = torch.arange(segments + 1, dtype=torch.float64) / segments
    coordinates = torch.cat((torch.stack((u, torch.ones_like(u)), 1), torch.stack((u, torch.zeros_like(u)), 1)))
    return vertices[None], strips(last % segments, segments), UVMap(coordinates, strips(last, segments + 1))


@pytest.mark.parametrize("texels", [16, 256])
def test_a_seam_does_not_show(texels: int) -> None:
    """The seam faces the camera; the texture is a wave that closes over it, and no pixel departs from the wave."""
    segments, side = 40, 48
    vertices, triangles, uv_map = tube(segments)
    camera = Camera(torch.tensor([60.0]).double(), torch.full((1, 2), side / 2).double())
    fragments = rasterize(vertices, triangles, camera, (side, side), cull=False)
    seen = texel_footprint(pixel_points(vertices, camera), triangles, fragments, uv_map)
    wave = 0.5 + 0.5 * torch.cos(2 * torch.pi * (torch.arange(texels, dtype=torch.float64) + 0.5) / texels)
    colors = sample_texture(wave.expand(1, 1, 8, texels), seen)[0, 0]
    x, _, z = interpolate(vertices, triangles, fragments)[0]
    covered = fragments.triangle_index[0] >= 0
    expected = 0.5 + 0.5 * (4 - z) / ((4 - z).square() + x.square()).sqrt()
    assert covered.sum() > 500 and x[covered].abs().min() < 0.05
    assert (colors - expected)[covered].abs().max() < 0.02
    joined = UVMap(uv_map.coordinates[: 2 * segments], triangles)  # what goes wrong without coordinates of its own
    wrong = sample_texture(
        wave.expand(1, 1, 8, texels), texel_footprint(pixel_points(vertices, camera), triangles, fragments, joined)
    )
    assert (wrong[0, 0] - expected)[covered].abs().max() > 0.3


def test_gradients_agree_with_finite_differences() -> None:
    """To texture, coordinates, vertices and camera, through the choice of the size too."""
    vertices, triangles = ball(2, 10, rings=3)
    coordinates = 0.05 + 0.9 * random_texture(vertices.shape[1], 2)
    texture = random_texture(2, 2, 16, 8)

    def picture(vertices: Tensor, coordinates: Tensor, texture: Tensor, center: Tensor) -> Tensor:
        seen = footprint(
            vertices, triangles, UVMap(coordinates, triangles), Camera(torch.ones(2).double(), center), 10
        )
        return sample_texture(texture, seen)

    inputs = (vertices, coordinates, texture, torch.zeros(2, 2, dtype=torch.float64))
    inputs = tuple(tensor.requires_grad_() for tensor in inputs)
    assert torch.autograd.gradcheck(picture, inputs, eps=1e-8, rtol=1e-3, atol=1e-4, fast_mode=True)


def test_a_texture_is_learned_from_a_picture() -> None:
    vertices, triangles, uv_map = receding_plane(16)
    seen = footprint(vertices, triangles, uv_map, camera_of(1), 16)
    target = sample_texture(random_texture(1, 3, 8, 8), seen)
    texture = torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([texture], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        (sample_texture(texture, seen) - target).square().mean().backward()
        optimizer.step()
    assert (sample_texture(texture, seen) - target).abs().max() < 0.02


def test_each_picture_has_its_own_texture() -> None:
    textures = torch.tensor([0.2, 0.7], dtype=torch.float64)[:, None, None, None].expand(2, 1, 4, 4)
    vertices, triangles, uv_map = receding_plane(6)
    seen = footprint(vertices.expand(2, -1, -1), triangles, uv_map, camera_of(2), 6)
    colors = sample_texture(textures, seen)
    torch.testing.assert_close(colors, textures[:, :, :1, :1].expand(2, 1, 6, 6))


def test_a_baked_texture_shows_what_the_vertices_do() -> None:
    vertices, triangles = ball(2, 128, rings=6)
    side = math.ceil(math.sqrt(len(triangles)))
    # Each triangle has a corner of a cell of its own, so every edge is a seam.
    cell = torch.stack((torch.arange(len(triangles)) % side, torch.arange(len(triangles)) // side), dim=-1).double()
    corners = torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]], dtype=torch.float64)
    uv_map = UVMap(((cell[:, None] + corners) / side).view(-1, 2), torch.arange(3 * len(triangles)).view(-1, 3))
    baked = bake_texture(vertices / 128, triangles, uv_map, (130, 130))
    fragments = draw(vertices, triangles, 128)
    seen = texel_footprint(pixel_points(vertices, camera_of(2)), triangles, fragments, uv_map)
    covered = (fragments.triangle_index >= 0)[:, None]
    difference = (sample_texture(baked, seen) - interpolate(vertices / 128, triangles, fragments)) * covered
    # Grazing pixels see several triangles at once, so their mean.
    assert difference.abs().mean() < 2e-3 and difference.abs().flatten()[::7].quantile(0.98) < 0.02


def test_unused_texels_take_colours_from_nearby() -> None:
    used = torch.zeros(16, 16, dtype=torch.bool)
    used[:8, :8], used[12:, 12:] = True, True
    texture = torch.full((1, 1, 16, 16), torch.nan, dtype=torch.float64)
    texture[..., :8, :8], texture[..., 12:, 12:] = 0.2, 0.9
    texture.requires_grad_()
    filled = fill_texture(texture, used)
    assert torch.equal(filled[..., used], texture[..., used])
    assert ((filled >= 0.2 - 1e-9) & (filled <= 0.9 + 1e-9)).all()
    assert filled[0, 0, 8, 3] < 0.4 and filled[0, 0, 11, 13] > 0.7
    assert torch.autograd.grad(filled.sum(), texture)[0].isfinite().all()
    assert (fill_texture(texture, torch.zeros_like(used)) == 0).all()


def test_colours_at_vertices() -> None:
    vertices, triangles, uv_map = receding_plane(4)
    texture = Texture(torch.arange(4.0, dtype=torch.float64).view(1, 1, 2, 2).expand(1, 3, 2, 2), uv_map)
    assert texture_at_vertices(texture, triangles, 5)[0, :, 0].tolist() == [0.0, 1.0, 3.0, 2.0, 0.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e20, -1e20])
@pytest.mark.parametrize("where", ["vertices", "coordinates"])
def test_bad_numbers_leave_gradients_finite(value: float, where: str) -> None:
    vertices, triangles = ball(2, 16, rings=5, dtype=torch.float32)
    inputs = {"vertices": vertices, "coordinates": random_texture(vertices.shape[1], 2).float()}
    inputs[where].view(-1)[::11] = value
    inputs = {name: tensor.requires_grad_() for name, tensor in inputs.items()}
    camera = Camera(torch.ones(2), torch.zeros(2, 2))
    texture = random_texture(1, 3, 8, 8).float().requires_grad_()
    seen = footprint(inputs["vertices"], triangles, UVMap(inputs["coordinates"], triangles), camera, 16)
    colors = sample_texture(texture, seen)
    assert colors.isfinite().all()
    gradients = torch.autograd.grad(colors.sum(), [texture, *inputs.values()])
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e20])
def test_bad_footprints_are_sampled_somewhere(value: float) -> None:
    texture = random_texture(1, 3, 8, 8)
    seen = footprint_of(torch.full((3, 2), value, dtype=torch.float64), value, texture)
    assert sample_texture(texture, seen).isfinite().all()


def test_nothing_is_no_colours() -> None:
    vertices, triangles, uv_map = receding_plane(4)
    seen = footprint(vertices[:0], triangles, uv_map, camera_of(0), 4)
    assert sample_texture(random_texture(1, 3, 4, 4), seen).shape == (0, 3, 4, 4)
    empty = UVMap(CORNERS[:0], SQUARE[:0])
    assert bake_texture(vertices, SQUARE[:0], empty, (4, 4)).shape == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"coordinates": torch.zeros(4, 3).double()}, "coordinates"),
        ({"coordinates": torch.zeros(4, 2)}, "coordinates"),
        ({"uv_triangles": torch.tensor([[0, 1, 2]])}, "triangles"),
        ({"uv_triangles": torch.tensor([[0, 1, 2], [0, 2, 4]])}, "triangles"),
        ({"texture": torch.zeros(3, 4, 4).double()}, "texture"),
        ({"texture": torch.zeros(2, 3, 4, 4).double()}, "texture"),
        ({"texture": torch.zeros(1, 3, 0, 4).double()}, "size"),
        ({"texture": torch.zeros(1, 3, 4, 4)}, "texture"),
    ],
)
def test_wrong_arguments_are_named(change: dict, argument: str) -> None:
    vertices, triangles, uv_map = receding_plane(4)
    uv_map = UVMap(change.get("coordinates", uv_map.coordinates), change.get("uv_triangles", uv_map.triangles))
    with pytest.raises(ValueError, match=argument):
        seen = footprint(vertices, triangles, uv_map, camera_of(1), 4)
        sample_texture(change.get("texture", torch.zeros(1, 3, 4, 4).double()), seen)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="used"):
        fill_texture(random_texture(1, 3, 4, 4), torch.ones(4, 5, dtype=torch.bool))


def test_fragments_of_another_mesh_are_refused() -> None:
    vertices, triangles, uv_map = receding_plane(4)
    fragments = draw(flat((0, 0), (0, 8), (8, 8), (8, 0)), torch.tensor([[0, 1, 2], [0, 2, 3], [0, 2, 3]]), 4)
    other = Fragments(torch.full_like(fragments.triangle_index, 2), fragments.barycentrics, fragments.depth)
    with pytest.raises(ValueError, match="triangle_index"):
        texel_footprint(pixel_points(vertices, camera_of(1)), triangles, other, uv_map)
