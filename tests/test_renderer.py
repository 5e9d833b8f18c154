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
"""Whole pictures: what is drawn, what has a gradient, and what bad numbers do."""

import math

import pytest
import torch
from conftest import sphere
from torch import Tensor

from modeling_facegpt.camera import Camera, place_in_camera, project
from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.mesh import Mesh
from modeling_facegpt.renderer import RenderOutput, composite, render_mesh
from modeling_facegpt.shading import linear_to_srgb
from modeling_facegpt.texture import Texture, UVMap

pytestmark = pytest.mark.usefixtures("backend")
GRAY = 0.5
GRAY_SRGB = 0.735357


def scene(count: int, side: int, rings: int = 12, dtype=torch.float64) -> tuple[Mesh, FaceParameters, Camera]:
    """Gray spheres of radius 0.1 m, 0.6 m away, which fill 0.6 of the picture, under white light of radiance 1."""
    unit, triangles = sphere(rings, rings + 7)
    vertices = (unit.to(dtype) * 0.1).expand(count, -1, -1)
    empty = torch.zeros(count, 0, dtype=dtype)
    light = torch.zeros(count, 27, dtype=dtype)
    light[:, :3] = math.sqrt(4 * math.pi)
    parameters = FaceParameters(
        identity=empty,
        albedo=empty,
        expression=empty,
        light=light,
        rotation=torch.tensor([[1.0, 0.2, 0.1, -0.2, 1.0, 0.3]], dtype=dtype).expand(count, -1),
        translation=torch.tensor([[0.003, -0.002, 0.6]], dtype=dtype).expand(count, -1),
        log_focal=torch.zeros(count, 1, dtype=dtype),
        gaze=empty,
    )
    camera = Camera(torch.full((count,), 1.8 * side, dtype=dtype), torch.full((count, 2), side / 2, dtype=dtype))
    return Mesh(vertices, torch.full_like(vertices, GRAY), triangles), parameters, camera


def side_light(parameters: FaceParameters) -> FaceParameters:
    light = parameters.light.clone()
    light[:, 9:12] = torch.tensor([0.9, 0.5, -0.4], dtype=light.dtype)
    return parameters._replace(light=light)


def striped(mesh: Mesh) -> Mesh:
    return mesh._replace(albedo=0.5 + 0.3 * torch.sin(15 * mesh.vertices))


def test_a_gray_sphere_in_white_light_is_a_gray_disk() -> None:
    mesh, parameters, camera = scene(2, 48)
    render = render_mesh(mesh, parameters, camera, (48, 48))
    inside = render.mask[:, 0] == 1
    torch.testing.assert_close(
        render.image.movedim(1, -1)[inside], torch.full((int(inside.sum()), 3), GRAY_SRGB).double(), atol=1e-5, rtol=0
    )
    assert (render.image.movedim(1, -1)[~inside] == 0).all()
    radius = 1.8 * 48 * 0.1 / math.sqrt(0.6**2 - 0.1**2)
    assert inside[0].sum().item() == pytest.approx(math.pi * radius**2, rel=0.04)
    assert 0.499 < render.depth[render.mask == 1].min() < 0.51


def test_shapes_and_types_are_those_of_the_record() -> None:
    mesh, parameters, camera = scene(3, 24, dtype=torch.float32)
    attributes = mesh.vertices[:1, :, :2]
    render = render_mesh(mesh, parameters, camera, (20, 24), attributes=attributes)
    shapes = [tuple(field.shape) for field in render]
    assert shapes == [(3, 3, 20, 24), (3, 1, 20, 24), (3, 1, 20, 24), (3, 3, 20, 24), (3, 20, 24), (3, 2, 20, 24)]
    assert render.image.dtype == torch.float32 and render.triangle_index.dtype == torch.int64
    assert render_mesh(mesh, parameters, camera, (20, 24)).attributes is None


def test_normals_face_the_viewer() -> None:
    mesh, parameters, camera = scene(1, 48)
    render = render_mesh(mesh, parameters, camera, (48, 48))
    inside = render.mask[:, 0] == 1
    normals = render.normals.movedim(1, -1)
    torch.testing.assert_close(normals[inside].norm(dim=-1), torch.ones(int(inside.sum())).double())
    assert normals[0, 24, 24, 2] > 0.99
    upper, left = normals[0, 13, 24], normals[0, 24, 13]
    assert upper[1] > 0.5 and left[0] < -0.5


def test_light_from_the_right_brightens_the_right() -> None:
    mesh, parameters, camera = scene(1, 48)
    image = render_mesh(mesh, side_light(parameters), camera, (48, 48)).image[0, 0]
    assert image[24, 33] > image[24, 24] > image[24, 15]


def test_attributes_land_where_their_vertices_do() -> None:
    mesh, parameters, camera = scene(2, 48)
    placed = place_in_camera(mesh.vertices, parameters.rotation, parameters.translation)
    render = render_mesh(mesh, parameters, camera, (48, 48), attributes=placed)
    assert render.attributes is not None
    points = render.attributes.flatten(2).mT  # (N, H * W, 3)
    inside = render.mask.flatten(1) == 1
    ticks = torch.arange(48, dtype=torch.float64) + 0.5
    center = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1).view(-1, 2).expand(2, -1, -1)
    torch.testing.assert_close(project(points, camera)[inside], center[inside])


def test_log_focal_scales_the_picture() -> None:
    mesh, parameters, camera = scene(1, 48)
    doubled = parameters._replace(log_focal=torch.full_like(parameters.log_focal, math.log(2.0)))
    wide = render_mesh(mesh, parameters, camera._replace(focal=camera.focal * 2), (48, 48))
    torch.testing.assert_close(render_mesh(mesh, doubled, camera, (48, 48)).image, wide.image)


def test_composite_shows_face_and_background() -> None:
    mesh, parameters, camera = scene(1, 24)
    render = render_mesh(mesh, parameters, camera, (24, 24))
    laid = composite(render, torch.ones_like(render.image))
    assert (laid[render.mask.expand_as(laid) == 0] == 1).all()
    torch.testing.assert_close(laid[render.mask.expand_as(laid) == 1], render.image[render.mask.expand_as(laid) == 1])


def wrapped(mesh: Mesh, colors: Tensor) -> Texture:
    """A texture seen from the front: its coordinates are the vertices' x and y."""
    return Texture(colors, UVMap(0.5 + mesh.vertices[0, :, :2] / 0.25, mesh.triangles))


@pytest.mark.parametrize("silhouettes", [False, True])
def test_a_texture_of_one_colour_is_an_albedo(silhouettes: bool) -> None:
    mesh, parameters, camera = scene(2, 32)
    color = torch.tensor([0.4, 0.8, 0.6], dtype=torch.float64)
    texture = wrapped(mesh, color[:, None, None].expand(1, 3, 16, 16))
    textured = render_mesh(mesh, side_light(parameters), camera, (32, 32), texture=texture, silhouettes=silhouettes)
    painted = mesh._replace(albedo=mesh.albedo * color)
    expected = render_mesh(painted, side_light(parameters), camera, (32, 32), silhouettes=silhouettes)
    for ours, theirs in zip(textured[:5], expected[:5], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_fine_texture_shows_more_than_vertices_can() -> None:
    """Stripes as fine as the mesh, where the sphere faces the camera, are where their coordinates say."""
    mesh, parameters, camera = scene(1, 64, rings=6)
    upright = torch.tensor([[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    parameters = parameters._replace(rotation=upright)
    stripes = 0.5 + 0.4 * torch.sin(2 * torch.pi * 4 * (torch.arange(128, dtype=torch.float64) + 0.5) / 128)
    texture = wrapped(mesh, stripes.expand(1, 3, 128, 128))
    white = mesh._replace(albedo=torch.ones_like(mesh.albedo))
    render = render_mesh(white, parameters, camera, (64, 64), texture=texture, attributes=mesh.vertices)
    assert render.attributes is not None
    wave = 0.5 + 0.4 * torch.sin(2 * torch.pi * 4 * (0.5 + render.attributes[:, :1] / 0.25))
    expected = linear_to_srgb(wave.expand(-1, 3, -1, -1))
    middle = slice(22, 42)
    assert (render.image[:, :1] - expected)[:, :, middle, middle].abs().max() < 0.03


def test_gradients_of_a_textured_picture_agree_with_finite_differences() -> None:
    mesh, parameters, camera = scene(1, 10, rings=3)
    generator = torch.Generator().manual_seed(0)
    colors = 0.2 + 0.6 * torch.rand(1, 3, 8, 8, generator=generator, dtype=torch.float64)

    def picture(vertices: Tensor, colors: Tensor, light: Tensor, rotation: Tensor) -> Tensor:
        changed = parameters._replace(light=light, rotation=rotation)
        moving = Mesh(vertices, mesh.albedo, mesh.triangles)
        return render_mesh(moving, changed, camera, (10, 10), texture=Texture(colors, fixed.uv_map)).image

    fixed = wrapped(mesh, colors)
    inputs = (mesh.vertices, colors, parameters.light, parameters.rotation)
    inputs = tuple(tensor.clone().requires_grad_() for tensor in inputs)
    assert torch.autograd.gradcheck(picture, inputs, eps=1e-8, rtol=1e-3, atol=1e-4, fast_mode=True)


def test_bad_texels_leave_picture_and_gradients_finite() -> None:
    mesh, parameters, camera = scene(1, 24, rings=5, dtype=torch.float32)
    colors = torch.full((1, 3, 8, 8), 0.5)
    colors.view(-1)[::5] = torch.tensor(BAD * 8)[: len(colors.view(-1)[::5])]
    colors, vertices = colors.requires_grad_(), mesh.vertices.clone().requires_grad_()
    moving = mesh._replace(vertices=vertices)
    render = render_mesh(moving, parameters, camera, (24, 24), texture=wrapped(mesh, colors), silhouettes=True)
    assert render.image.isfinite().all()
    gradients = torch.autograd.grad(render.image.sum(), [colors, vertices])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_biased_layer_shows_through() -> None:
    """A smaller sphere inside another one is seen where its triangles count as nearer than they are."""
    mesh, parameters, camera = scene(1, 24)
    inner = 0.9 * mesh.vertices
    count, faces = mesh.vertices.shape[1], len(mesh.triangles)
    both = Mesh(
        vertices=torch.cat((mesh.vertices, inner), dim=1),
        albedo=torch.cat((mesh.albedo, 0.5 * mesh.albedo), dim=1),
        triangles=torch.cat((mesh.triangles, mesh.triangles + count)),
    )
    bias = torch.cat((torch.zeros(faces), torch.full((faces,), 0.2))).double()
    assert render_mesh(both, parameters, camera, (24, 24)).triangle_index.max() < faces
    biased = render_mesh(both, parameters, camera, (24, 24), depth_bias=bias)
    assert biased.triangle_index[0, 12, 12] >= faces and biased.image[0, 0, 12, 12] < GRAY_SRGB - 0.1
    assert biased.depth[0, 0, 12, 12] == pytest.approx(0.51, abs=2e-3)


def test_gradients_agree_with_finite_differences() -> None:
    """To everything that a photograph can teach: shape, albedo, light, pose, camera."""
    mesh, parameters, camera = scene(2, 12, rings=3)
    mesh, parameters = striped(mesh), side_light(parameters)

    def picture(vertices, albedo, light, rotation, translation, log_focal, focal, center):
        changed = parameters._replace(light=light, rotation=rotation, translation=translation, log_focal=log_focal)
        render = render_mesh(Mesh(vertices, albedo, mesh.triangles), changed, Camera(focal, center), (12, 12))
        return render.image, render.depth, render.normals

    free = (mesh.vertices, mesh.albedo, *(getattr(parameters, name) for name in POSE_AND_LIGHT), *camera)
    inputs = tuple(tensor.clone().requires_grad_() for tensor in free)
    assert torch.autograd.gradcheck(picture, inputs, eps=1e-8, rtol=1e-3, atol=1e-4, fast_mode=True)


POSE_AND_LIGHT = ("light", "rotation", "translation", "log_focal")
BAD = [float("nan"), float("inf"), -float("inf"), 1e20, -1e20]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("where", ["vertices", "albedo", *POSE_AND_LIGHT])
@pytest.mark.parametrize("silhouettes", [False, True])
def test_bad_numbers_leave_picture_and_gradients_finite(value: float, where: str, silhouettes: bool) -> None:
    mesh, parameters, camera = scene(2, 24, rings=5, dtype=torch.float32)
    inputs = {"vertices": mesh.vertices, "albedo": mesh.albedo, **{n: getattr(parameters, n) for n in POSE_AND_LIGHT}}
    inputs = {name: tensor.clone() for name, tensor in inputs.items()}
    inputs[where].view(2, -1)[0, ::7] = value
    inputs = {name: tensor.requires_grad_() for name, tensor in inputs.items()}
    changed = parameters._replace(**{name: inputs[name] for name in POSE_AND_LIGHT})
    bad_mesh = Mesh(inputs["vertices"], inputs["albedo"], mesh.triangles)
    render = render_mesh(bad_mesh, changed, camera, (24, 24), silhouettes=silhouettes)
    assert all(field.isfinite().all() for field in render[:4])
    good = render_mesh(mesh, parameters, camera, (24, 24), silhouettes=silhouettes)
    torch.testing.assert_close(render.image[1], good.image[1])  # the other face does not notice
    loss = render.image.sum() + render.depth.sum() + render.normals.sum() + render.mask.sum()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, list(inputs.values())))


@pytest.mark.parametrize(
    ("where", "value"),
    [("focal", 0.0), ("focal", -40.0), *((where, value) for where in Camera._fields for value in BAD)],
)
@pytest.mark.parametrize("silhouettes", [False, True])
def test_a_bad_camera_leaves_its_picture_empty(where: str, value: float, silhouettes: bool) -> None:
    mesh, parameters, camera = scene(2, 24, rings=5, dtype=torch.float32)
    fields = {name: field.clone() for name, field in camera._asdict().items()}
    fields[where][0] = value
    fields = {name: field.requires_grad_() for name, field in fields.items()}
    vertices = mesh.vertices.clone().requires_grad_()
    render = render_mesh(
        mesh._replace(vertices=vertices), parameters, Camera(**fields), (24, 24), silhouettes=silhouettes
    )
    assert (render.triangle_index[0] == -1).all() and not render.image[0].any()
    good = render_mesh(mesh, parameters, camera, (24, 24), silhouettes=silhouettes)
    torch.testing.assert_close(render.image[1], good.image[1])
    gradients = torch.autograd.grad(render.image.sum() + render.depth.sum(), (vertices, *fields.values()))
    assert all(gradient.isfinite().all() and not gradient[0].any() for gradient in gradients)


def test_attributes_of_another_mesh_are_refused() -> None:
    mesh, parameters, camera = scene(2, 24)
    with pytest.raises(ValueError, match="attributes"):
        render_mesh(mesh, parameters, camera, (24, 24), attributes=mesh.vertices[:, :-1])


def test_no_faces_are_no_pictures() -> None:
    mesh, parameters, camera = scene(0, 24)
    for silhouettes in (False, True):
        assert render_mesh(mesh, parameters, camera, (24, 24), silhouettes=silhouettes).image.shape == (0, 3, 24, 24)


def moved(mesh: Mesh, direction: Tensor, step: float) -> Mesh:
    return mesh._replace(vertices=mesh.vertices + step * direction)


def directions(mesh: Mesh, pixel: float) -> dict[str, Tensor]:
    """Motions of the vertices by about one pixel."""
    x, y, z = mesh.vertices.unbind(-1)
    zero, one = torch.zeros_like(x), torch.full_like(x, pixel)
    return {
        "sideways": torch.stack((one, zero, zero), dim=-1),
        "up": torch.stack((zero, one, zero), dim=-1),
        "larger": mesh.vertices / 0.1 * pixel,
        "rolled": torch.stack((-y, x, zero), dim=-1) / 0.1 * pixel,
        "wobbling": torch.sin(60 * torch.stack((y, z, x), dim=-1)) * pixel,
    }


@pytest.mark.parametrize("part", ["image", "mask"])
def test_silhouettes_make_the_gradient_true(part: str) -> None:
    """The derivative of an unmasked loss, averaged over sub-pixel shifts: 30 % off without silhouettes."""
    side, cells = 48, 6
    mesh, parameters, camera = scene(1, side, rings=16)
    mesh, parameters = striped(mesh), side_light(parameters)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 6, 6, generator=generator, dtype=torch.float64)
    target = torch.nn.functional.interpolate(coarse, scale_factor=side // 6, mode="bilinear")
    pixel, step = 0.6 / camera.focal.item(), 0.25
    ways = directions(mesh, pixel)

    def loss(mesh: Mesh, shift: Tensor, silhouettes: bool) -> Tensor:
        shifted = camera._replace(principal_point=camera.principal_point + shift)
        picture: RenderOutput = render_mesh(mesh, parameters, shifted, (side, side), silhouettes=silhouettes)
        shown = picture.image if part == "image" else picture.mask
        return ((shown - target[:, : shown.shape[1]]) ** 2).sum()

    analytic = {silhouettes: torch.zeros(len(ways), dtype=torch.float64) for silhouettes in (False, True)}
    numeric = torch.zeros(len(ways), dtype=torch.float64)
    for shift in torch.cartesian_prod(*[torch.arange(cells, dtype=torch.float64) / cells] * 2)[:, None]:
        for silhouettes, sums in analytic.items():
            vertices = mesh.vertices.clone().requires_grad_()
            value = loss(mesh._replace(vertices=vertices), shift, silhouettes)
            gradient = torch.autograd.grad(value, vertices)[0] if value.requires_grad else torch.zeros_like(vertices)
            sums += torch.stack([(gradient * way).sum() for way in ways.values()]) / cells**2
        with torch.no_grad():
            change = [
                loss(moved(mesh, w, step), shift, True) - loss(moved(mesh, w, -step), shift, True)
                for w in ways.values()
            ]
        numeric += torch.stack(change) / (2 * step * cells**2)
    error = {s: ((a - numeric).square().mean().sqrt() / numeric.abs().max()).item() for s, a in analytic.items()}
    assert error[True] < 0.03
    assert error[False] > 0.1


def test_silhouettes_come_close_to_true_coverage() -> None:
    mesh, parameters, camera = scene(1, 32, rings=24)
    finer = Camera(camera.focal * 8, camera.principal_point * 8)
    truth = torch.nn.functional.avg_pool2d(render_mesh(mesh, parameters, finer, (256, 256)).mask, 8)
    hard = (render_mesh(mesh, parameters, camera, (32, 32)).mask - truth).abs().sum()
    soft = (render_mesh(mesh, parameters, camera, (32, 32), silhouettes=True).mask - truth).abs().sum()
    assert soft < 0.2 * hard


def test_silhouettes_leave_the_interior_alone() -> None:
    mesh, parameters, camera = scene(1, 32)
    hard = render_mesh(striped(mesh), parameters, camera, (32, 32))
    soft = render_mesh(striped(mesh), parameters, camera, (32, 32), silhouettes=True)
    inside = -torch.nn.functional.max_pool2d(-hard.mask, 3, stride=1, padding=1) == 1
    torch.testing.assert_close(soft.image[inside.expand_as(soft.image)], hard.image[inside.expand_as(hard.image)])
    assert ((soft.mask > 0) & (soft.mask < 1)).sum() > 20


def test_a_silhouette_shows_the_way_to_a_target() -> None:
    """A sphere that is 3 pixels off finds its place by its mask alone."""
    mesh, parameters, camera = scene(1, 32)
    target = render_mesh(mesh, parameters, camera, (32, 32), silhouettes=True).mask
    translation = (parameters.translation + torch.tensor([[0.03, -0.02, 0.05]])).requires_grad_()
    optimizer = torch.optim.Adam([translation], lr=4e-3)
    for _ in range(60):
        optimizer.zero_grad()
        moving = parameters._replace(translation=translation)
        ((render_mesh(mesh, moving, camera, (32, 32), silhouettes=True).mask - target) ** 2).mean().backward()
        optimizer.step()
    torch.testing.assert_close(translation.detach(), parameters.translation, atol=4e-3, rtol=0)
