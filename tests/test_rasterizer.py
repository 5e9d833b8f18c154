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
"""The rasterizer: exact pixels, a brute force as referee, gradients against finite differences, bad input."""

import math

import pytest
import torch
from conftest import sphere
from torch import Tensor

from modeling_facegpt.camera import Camera
from modeling_facegpt.rasterizer import Fragments, interpolate, pixel_points, rasterize

pytestmark = pytest.mark.usefixtures("backend")
CLOCKWISE = torch.tensor([[0, 1, 2]])  # with y down, as seen on the picture: a front face


def camera_of(count: int, dtype: torch.dtype = torch.float64) -> Camera:
    """At depth 1 its pixels are metres, counted from the upper left corner."""
    return Camera(torch.ones(count, dtype=dtype), torch.zeros(count, 2, dtype=dtype))


def flat(*corners: tuple[float, float], depth: float = 1.0) -> Tensor:
    """Vertices `(1, V, 3)` whose pixel positions are the corners."""
    return torch.tensor([[(x * depth, y * depth, depth) for x, y in corners]], dtype=torch.float64)


def draw(vertices: Tensor, triangles: Tensor, side: int, **settings) -> Fragments:
    return rasterize(vertices, triangles, camera_of(len(vertices), vertices.dtype), (side, side), **settings)


def ball(
    count: int, side: int, rings: int = 20, dtype: torch.dtype = torch.float64, roughness: float = 0.03
) -> tuple[Tensor, Tensor]:
    """Bumpy spheres that fill most of a picture, in the space of `camera_of`."""
    unit, triangles = sphere(rings, rings + 7)
    generator = torch.Generator().manual_seed(rings)
    bumps = 1 + roughness * torch.randn(count, len(unit), 1, generator=generator, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))
    turn = turn * torch.linalg.det(turn)[:, None, None]
    placed = (unit.double() * bumps) @ turn * 0.35 + torch.tensor([0.5, 0.52, 1.7], dtype=torch.float64)
    placed = placed * torch.tensor([side * 1.7, side * 1.7, 1.0], dtype=torch.float64)
    return placed.to(dtype), triangles


def brute_force(vertices: Tensor, triangles: Tensor, side: int, cull: bool) -> tuple[Tensor, Tensor]:
    """Every pixel centre against every triangle, in float64: number and depth of the nearest."""
    vertices = vertices.double()
    pixels = (vertices[..., :2] / vertices[..., 2:])[:, triangles]  # (N, F, 3, 2)
    ticks = torch.arange(side, dtype=torch.float64) + 0.5
    center = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1).view(-1, 1, 1, 2)
    numbers, depths = [], []
    for corner, z in zip(pixels, vertices[:, triangles, 2], strict=True):
        x, y = (corner - center).unbind(-1)  # (H * W, F, 3)
        edge = x.roll(-1, -1) * y.roll(-2, -1) - y.roll(-1, -1) * x.roll(-2, -1)
        area = edge.sum(-1)
        inside = ((edge <= 0).all(-1) & (area < 0)) | ((edge >= 0).all(-1) & (area > 0) & (not cull))
        depth = torch.where(inside, area / (edge / z).sum(-1), torch.inf)
        nearest, number = depth.min(dim=1)
        numbers.append(torch.where(nearest.isfinite(), number, -1).view(side, side))
        depths.append(torch.where(nearest.isfinite(), nearest, 0.0).view(side, side))
    return torch.stack(numbers), torch.stack(depths)


def test_a_triangle_covers_exactly_these_pixels() -> None:
    fragments = draw(flat((0.5, 0.5), (4.5, 0.5), (0.5, 4.5)), torch.tensor([[0, 1, 2]]), 6, cull=False)
    expected = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    covered = (fragments.triangle_index[0] >= 0).long()
    # Centres on the upper and the left edge belong to the triangle; on the diagonal, which is a right edge, none does.
    torch.testing.assert_close(covered[:4], expected)
    assert covered[4:].sum() == 0


def test_the_shared_diagonal_of_a_square_is_drawn_once() -> None:
    square = flat((0, 0), (8, 0), (8, 8), (0, 8))
    fragments = draw(square, torch.tensor([[0, 2, 1], [0, 3, 2]]), 8)
    assert (fragments.triangle_index >= 0).all()
    assert (fragments.triangle_index == 0).sum() in (28, 36)


def test_front_faces_are_counter_clockwise_with_y_up() -> None:
    triangle = flat((1, 1), (1, 7), (7, 7))  # down, then right: counter-clockwise for a viewer
    assert (draw(triangle, torch.tensor([[0, 1, 2]]), 8).triangle_index >= 0).any()
    assert (draw(triangle, torch.tensor([[0, 2, 1]]), 8).triangle_index < 0).all()
    assert (draw(triangle, torch.tensor([[0, 2, 1]]), 8, cull=False).triangle_index >= 0).any()


def test_interpolation_is_perspective_correct() -> None:
    """A plane that recedes to the right: half-way on the picture is not half-way on the plane."""
    near, far, side = 1.0, 3.0, 8
    corners = [(0, 0, near), (0, side * near, near), (side * far, side * far, far), (side * far, 0, far)]
    vertices = torch.tensor([corners], dtype=torch.float64)
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    fragments = draw(vertices, triangles, side)
    along = interpolate(torch.tensor([[[0.0], [0.0], [1.0], [1.0]]], dtype=torch.float64), triangles, fragments)
    t = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    expected = (t / far) / ((1 - t) / near + t / far)
    torch.testing.assert_close(along[0, 0], expected.expand(side, side))
    torch.testing.assert_close(fragments.depth[0], (near + expected * (far - near)).expand(side, side))


def test_the_nearer_triangle_hides_the_other() -> None:
    vertices = torch.cat((flat((0, 0), (0, 8), (8, 8), depth=2.0), flat((0, 0), (0, 8), (8, 8), depth=1.0)), dim=1)
    fragments = draw(vertices, torch.tensor([[0, 1, 2], [3, 4, 5]]), 8)
    assert fragments.triangle_index.unique().tolist() == [-1, 1]


def test_at_equal_depth_the_lowest_number_wins() -> None:
    triangle = flat((0, 0), (0, 8), (8, 8))
    fragments = draw(torch.cat((triangle, triangle), dim=1), torch.tensor([[3, 4, 5], [0, 1, 2]]), 8)
    assert fragments.triangle_index.unique().tolist() == [-1, 0]


def test_a_bias_decides_between_layers_that_touch() -> None:
    """It changes what is seen, not where it is, and what is farther behind than the bias stays hidden."""
    layers = [flat((0, 0), (0, 8), (8, 8), depth=depth) for depth in (2.0, 2.0, 2.5)]
    vertices, triangles = torch.cat(layers, dim=1), torch.arange(9).view(3, 3)
    for bias, seen in (((0.0, 1e-3, 0.0), 1), ((0.0, -1e-3, 0.0), 0), ((0.0, 0.0, 0.4), 0), ((0.1, 0.2, 0.8), 2)):
        fragments = draw(vertices, triangles, 8, depth_bias=torch.tensor(bias, dtype=torch.float64))
        assert fragments.triangle_index.unique().tolist() == [-1, seen]
        assert fragments.depth.unique().tolist() == [0.0, (2.0, 2.0, 2.5)[seen]]


def test_a_bias_of_nothing_changes_nothing() -> None:
    vertices, triangles = ball(3, 24)
    plain, biased = (
        draw(vertices, triangles, 24),
        draw(vertices, triangles, 24, depth_bias=torch.zeros(len(triangles)).double()),
    )
    assert torch.equal(plain.triangle_index, biased.triangle_index)
    for one, other in zip(plain, biased, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)  # backends round differently


@pytest.mark.parametrize("faces", [1, 2, 200_000])
def test_any_number_of_triangles_is_drawn(faces: int) -> None:
    if faces <= 2:
        triangles = torch.tensor([[0, 2, 1], [0, 3, 2]])[:faces]
        vertices = flat((0, 0), (8, 0), (8, 8), (0, 8)).float()
        expected = 8 * 8 if faces == 2 else 8 * 8 / 2
    else:
        vertices, triangles = ball(1, 8, rings=313, dtype=torch.float32, roughness=0.0)
        expected = math.pi * (1.7 * 8 * 0.35 / math.sqrt(1.7**2 - 0.35**2)) ** 2
        assert len(triangles) >= faces
    fragments = draw(vertices.requires_grad_(), triangles, 8)
    assert int((fragments.triangle_index >= 0).sum()) == pytest.approx(expected, rel=0.15)
    (gradient,) = torch.autograd.grad(fragments.depth.sum(), vertices)
    assert gradient.isfinite().all() and (gradient != 0).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cull", [True, False])
def test_every_pixel_agrees_with_the_brute_force(dtype: torch.dtype, cull: bool) -> None:
    vertices, triangles = ball(3, 24, rings=12, dtype=dtype)
    fragments = draw(vertices, triangles, 24, cull=cull)
    number, depth = brute_force(vertices, triangles, 24, cull)
    assert (fragments.triangle_index != number).sum() == 0
    torch.testing.assert_close(fragments.depth.double(), depth, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=0)


def test_a_closed_mesh_has_no_holes() -> None:
    """Thousands of triangles smaller than a pixel; each row of the outline is one run of pixels."""
    vertices, triangles = ball(1, 64, rings=80, dtype=torch.float32, roughness=0.0)
    covered = draw(vertices, triangles, 64).triangle_index[0] >= 0
    rows = covered.any(1).nonzero().squeeze(1).tolist()
    assert len(rows) > 5
    for row in rows:
        columns = covered[row].nonzero().squeeze(1)
        assert len(columns) == columns[-1] - columns[0] + 1


def test_weights_sum_to_one_where_there_is_a_face() -> None:
    vertices, triangles = ball(2, 32, dtype=torch.float32)
    fragments = draw(vertices, triangles, 32)
    covered = fragments.triangle_index >= 0
    torch.testing.assert_close(fragments.barycentrics.sum(1), covered.float())
    assert (fragments.barycentrics >= 0).all()


def test_interpolating_positions_gives_the_pixel_centres_back() -> None:
    vertices, triangles = ball(3, 32)
    fragments = draw(vertices, triangles, 32)
    x, y, z = interpolate(vertices, triangles, fragments).unbind(1)
    covered = fragments.triangle_index >= 0
    ticks = (torch.arange(32, dtype=torch.float64) + 0.5).expand(3, 32, 32)
    torch.testing.assert_close((x / z)[covered], ticks[covered])
    torch.testing.assert_close((y / z)[covered], ticks.mT[covered])
    torch.testing.assert_close(z, fragments.depth)


def test_chunks_do_not_show() -> None:
    vertices, triangles = ball(9, 24)
    together = draw(vertices, triangles, 24)
    for image in range(9):
        alone = draw(vertices[image : image + 1], triangles, 24)
        for whole, part in zip(together, alone, strict=True):
            assert torch.equal(whole[image], part[0])


def test_gradients_agree_with_finite_differences() -> None:
    vertices, triangles = ball(5, 12, rings=3)
    attributes = torch.rand(5, vertices.shape[1], 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    focal, center = (field.requires_grad_() for field in camera_of(5))

    def picture(vertices: Tensor, attributes: Tensor, focal: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
        fragments = rasterize(vertices, triangles, Camera(focal, center), (12, 12))
        return interpolate(attributes, triangles, fragments), fragments.depth

    inputs = (vertices.requires_grad_(), attributes.requires_grad_(), focal, center)
    assert torch.autograd.gradcheck(picture, inputs, eps=1e-7, rtol=1e-4, atol=1e-5, fast_mode=True)


def test_gradients_in_float32_are_those_of_float64() -> None:
    def gradient(dtype: torch.dtype) -> Tensor:
        vertices, triangles = ball(2, 32, dtype=dtype)
        fragments = draw(vertices.requires_grad_(), triangles, 32)
        picture = interpolate(vertices.detach() / 32, triangles, fragments)
        return torch.autograd.grad((picture**2).sum(), vertices)[0].double()

    exact = gradient(torch.float64)
    assert (gradient(torch.float32) - exact).norm() < 1e-3 * exact.norm()


def test_two_runs_are_equal_to_the_bit() -> None:
    def run() -> list[Tensor]:
        vertices, triangles = ball(5, 32, dtype=torch.float32)
        fragments = draw(vertices.requires_grad_(), triangles, 32)
        picture = interpolate(vertices, triangles, fragments)
        return [picture, *fragments, *torch.autograd.grad(picture.sin().sum(), vertices)]

    assert all(torch.equal(first, second) for first, second in zip(run(), run(), strict=True))


def test_fragments_that_were_changed_are_interpolated_as_they_are() -> None:
    vertices, triangles = ball(5, 24)
    fragments = draw(vertices.requires_grad_(), triangles, 24)
    before = interpolate(vertices, triangles, fragments)
    with torch.no_grad():
        fragments.barycentrics.mul_(2)
        fragments.triangle_index[:, :12] = -1
    after = interpolate(vertices, triangles, fragments)
    assert (after[:, :, :12] == 0).all()
    torch.testing.assert_close(after[:, :, 12:], 2 * before[:, :, 12:])


def test_attributes_may_be_of_more_vertices_than_were_drawn() -> None:
    vertices, triangles = ball(2, 24)
    colors = torch.randn(2, vertices.shape[1] + 3, 2, dtype=torch.float64)

    def pictures_and_gradients(points: Tensor, values: Tensor) -> tuple[Tensor, ...]:
        points, values = points.detach().requires_grad_(), values.detach().requires_grad_()
        planes = interpolate(values, triangles, draw(points, triangles, 24))
        to_points, to_values = torch.autograd.grad(planes.square().sum(), (points, values))
        return planes.detach(), to_points, to_values

    longer = torch.cat((vertices, vertices[:, -1:].expand(-1, 3, -1)), dim=1)
    for some, all_ in zip(
        pictures_and_gradients(vertices, colors), pictures_and_gradients(longer, colors), strict=True
    ):
        torch.testing.assert_close(some, all_[:, : some.shape[1]])


def test_nothing_passed_back_is_no_gradient() -> None:
    class Deaf(torch.autograd.Function):
        @staticmethod
        def forward(ctx, plane):
            return plane.clone()

        @staticmethod
        def backward(ctx, grad):
            return None

    vertices, triangles = ball(1, 16)
    vertices.requires_grad_()
    Deaf.apply(draw(vertices, triangles, 16).depth).sum().backward()
    assert vertices.grad is None or not vertices.grad.any()


def test_some_of_the_pictures_have_the_gradient_that_they_have_among_all() -> None:
    vertices, triangles = ball(5, 24)
    fragments = draw(vertices.requires_grad_(), triangles, 24)
    some = interpolate(vertices[1:3], triangles, Fragments(*(field[1:3] for field in fragments)))
    all_of_them = interpolate(vertices, triangles, fragments)[1:3]
    one, other = (
        torch.autograd.grad(picture.sin().sum(), vertices, retain_graph=True) for picture in (some, all_of_them)
    )
    torch.testing.assert_close(one, other)


BAD = [(value, axis) for value in (float("nan"), float("inf"), -float("inf"), 1e20, -1e20) for axis in range(3)]


@pytest.mark.parametrize(("value", "axis"), [*BAD, (0.0, 2), (1e-30, 2)])
def test_a_bad_coordinate_drops_its_triangles_only(value: float, axis: int) -> None:
    vertices, triangles = ball(2, 24, rings=6, dtype=torch.float32)
    before = draw(vertices, triangles, 24).triangle_index
    vertices[:, 3, axis] = value
    fragments = draw(vertices.requires_grad_(), triangles, 24)
    after = fragments.triangle_index
    touched = (triangles == 3).any(1)
    assert not touched[after[after >= 0]].any()
    untouched = (before >= 0) & ~touched[before]
    assert torch.equal(before[untouched], after[untouched])
    (gradient,) = torch.autograd.grad(fragments.barycentrics.square().sum() + fragments.depth.sum(), vertices)
    assert gradient.isfinite().all() and fragments.depth.isfinite().all() and fragments.barycentrics.isfinite().all()


def test_what_is_behind_the_camera_is_not_drawn() -> None:
    vertices, triangles = ball(1, 16)
    behind = vertices * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    assert (draw(behind, triangles, 16, cull=False).triangle_index == -1).all()
    assert (draw(vertices, triangles, 16, near=5.0).triangle_index == -1).all()


def test_degenerate_triangles_are_not_drawn() -> None:
    line = flat((1, 1), (4, 4), (7, 7))
    assert (draw(line, CLOCKWISE, 8, cull=False).triangle_index == -1).all()
    assert (draw(line, torch.tensor([[0, 0, 2]]), 8, cull=False).triangle_index == -1).all()


@pytest.mark.parametrize(("count", "faces"), [(0, 3), (2, 0), (0, 0)])
def test_nothing_to_draw_is_an_empty_picture(count: int, faces: int) -> None:
    vertices, triangles = ball(2, 16)
    vertices, triangles = vertices[:count].requires_grad_(), triangles[:faces]
    fragments = draw(vertices, triangles, 16)
    picture = interpolate(vertices, triangles, fragments)
    assert picture.shape == (count, 3, 16, 16)
    assert torch.autograd.grad(picture.sum(), vertices)[0].shape == vertices.shape


def test_vertices_that_cannot_be_drawn_are_marked_by_their_depth() -> None:
    vertices = torch.tensor([[[0.0, 0.0, 2.0], [float("nan"), 0.0, 2.0], [0.0, 0.0, -3.0]]], dtype=torch.float64)
    assert pixel_points(vertices, camera_of(1))[0, :, 2].tolist() == [2.0, -1.0, -1.0]


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"vertices": torch.zeros(4, 3)}, "vertices"),
        ({"vertices": torch.zeros(1, 4, 2)}, "vertices"),
        ({"vertices": torch.zeros(1, 4, 3, dtype=torch.float16)}, "vertices"),
        ({"triangles": torch.tensor([[0, 1, 2]], dtype=torch.int32)}, "triangles"),
        ({"triangles": torch.tensor([0, 1, 2])}, "triangles"),
        ({"triangles": torch.tensor([[0, 1, 4]])}, "triangles"),
        ({"triangles": torch.tensor([[0, 1, -1]])}, "triangles"),
        ({"size": (0, 8)}, "size"),
        ({"near": 0.0}, "near"),
        ({"depth_bias": torch.zeros(2)}, "depth_bias"),
        ({"camera": camera_of(2, torch.float32)}, "focal"),
        ({"camera": camera_of(1)}, "focal"),
    ],
)
def test_wrong_arguments_are_named(change: dict, argument: str) -> None:
    camera = camera_of(1, torch.float32)
    arguments = {"vertices": torch.zeros(1, 4, 3), "triangles": CLOCKWISE, "camera": camera, "size": (8, 8), **change}
    with pytest.raises(ValueError, match=argument):
        rasterize(**arguments)


@pytest.mark.parametrize(
    "attributes",
    [
        torch.zeros(3, 3),
        torch.zeros(2, 3, 1, dtype=torch.float64),
        torch.zeros(1, 3, 1),
        torch.zeros(1, 2, 1).double(),
    ],
)
def test_wrong_attributes_are_named(attributes: Tensor) -> None:
    fragments = draw(flat((0, 0), (0, 8), (8, 8)), CLOCKWISE, 8)
    with pytest.raises(ValueError, match="attributes|triangles"):
        interpolate(attributes, CLOCKWISE, fragments)
