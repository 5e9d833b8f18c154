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
"""Several faces in one picture: the nearest is seen, each in its own light, and gradients reach all that are seen."""

import math

import pytest
import torch
from test_renderer import POSE_AND_LIGHT, scene, side_light, striped
from torch import Tensor

from modeling_facegpt.backends import CANDIDATES, REFERENCE, availability, use_backend
from modeling_facegpt.camera import Camera
from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.group_renderer import render_group
from modeling_facegpt.mesh import Mesh
from modeling_facegpt.renderer import render_mesh
from modeling_facegpt.texture import Texture, UVMap

SIDE = 32


def crowd(dtype: torch.dtype = torch.float64) -> tuple[Mesh, FaceParameters, Camera, Tensor]:
    """Picture 0: nobody. Picture 1: face 1 before face 0. Picture 2: face 2 alone."""
    mesh, parameters, camera = scene(3, SIDE, rings=8, dtype=dtype)
    parameters = side_light(parameters)
    light = parameters.light * torch.tensor([[1.0], [0.7], [0.4]], dtype=dtype)
    translation = torch.tensor([[0.05, 0.0, 0.9], [-0.04, 0.02, 0.7], [0.0, 0.0, 0.6]], dtype=dtype)
    log_focal = torch.tensor([[0.3], [0.1], [-0.2]], dtype=dtype)
    parameters = parameters._replace(light=light, translation=translation, log_focal=log_focal)
    return striped(mesh), parameters, camera, torch.tensor([1, 1, 2])


def layers(mesh: Mesh, parameters: FaceParameters, camera: Camera, owner: Tensor):
    """Each face alone in a picture of its own."""
    return render_mesh(mesh, parameters, Camera(*(field[owner] for field in camera)), (SIDE, SIDE))


def test_the_nearest_face_is_seen() -> None:
    mesh, parameters, camera, owner = crowd()
    group = render_group(mesh, parameters, camera, owner, (SIDE, SIDE))
    alone = layers(mesh, parameters, camera, owner)
    depth = torch.where(alone.mask > 0, alone.depth, torch.inf)[:, 0]
    nearest = torch.stack([torch.full_like(depth[0], torch.inf), depth[:2].amin(0), depth[2]])
    shown = torch.stack(
        [torch.full_like(depth[0], -1).long(), depth[:2].argmin(0), torch.full_like(depth[0], 2).long()]
    )
    shown = torch.where(nearest.isfinite(), shown, -1)
    assert torch.equal(group.face_index, shown)
    assert {0, 1, 2, -1} == set(group.face_index.unique().tolist())
    for face in range(3):
        here = group.face_index[owner[face]] == face
        for field in ("image", "depth", "normals", "mask"):
            together, single = (getattr(render, field).movedim(1, -1) for render in (group.render, alone))
            torch.testing.assert_close(together[owner[face]][here], single[face][here])
        assert torch.equal(group.render.triangle_index[owner[face]][here], alone.triangle_index[face][here])
    assert (group.render.image[0] == 0).all() and (group.render.triangle_index[0] == -1).all()


@pytest.mark.parametrize("silhouettes", [False, True])
def test_faces_of_their_own_are_those_of_the_renderer(silhouettes: bool) -> None:
    mesh, parameters, camera, _ = crowd()
    attributes = mesh.vertices[:1, :, :2]
    group = render_group(
        mesh, parameters, camera, torch.arange(3), (SIDE, SIDE), silhouettes=silhouettes, attributes=attributes
    )
    alone = render_mesh(mesh, parameters, camera, (SIDE, SIDE), silhouettes=silhouettes, attributes=attributes)
    for together, single in zip(group.render, alone, strict=True):
        torch.testing.assert_close(together, single)


def test_the_order_of_faces_does_not_show() -> None:
    mesh, parameters, camera, owner = crowd()
    order = torch.tensor([2, 1, 0])
    turned = Mesh(mesh.vertices[order], mesh.albedo[order], mesh.triangles)
    other = render_group(turned, FaceParameters(*(g[order] for g in parameters)), camera, owner[order], (SIDE, SIDE))
    group = render_group(mesh, parameters, camera, owner, (SIDE, SIDE))
    torch.testing.assert_close(other.render.image, group.render.image)
    numbers = torch.cat((order, torch.tensor([-1])))
    assert torch.equal(numbers[other.face_index], group.face_index)


def test_an_outline_over_another_face_is_blended_with_it() -> None:
    mesh, parameters, camera, owner = crowd()
    hard = render_group(mesh, parameters, camera, owner, (SIDE, SIDE))
    soft = render_group(mesh, parameters, camera, owner, (SIDE, SIDE), silhouettes=True)
    covered = -torch.nn.functional.max_pool2d(-hard.render.mask, 3, stride=1, padding=1) == 1  # no background near
    changed = ((soft.render.image - hard.render.image).abs() > 1e-3).any(1, keepdim=True) & covered
    between = torch.nn.functional.max_pool2d((hard.face_index[:, None] == 1).double(), 3, stride=1, padding=1) == 1
    assert changed[1].sum() > 10
    assert not (changed & ~between).any()


def test_gradients_agree_with_finite_differences() -> None:
    mesh, parameters, camera, owner = crowd()

    def picture(vertices, albedo, light, rotation, translation, log_focal, focal, center):
        changed = parameters._replace(light=light, rotation=rotation, translation=translation, log_focal=log_focal)
        drawn = render_group(Mesh(vertices, albedo, mesh.triangles), changed, Camera(focal, center), owner, (12, 12))
        return drawn.render.image, drawn.render.depth, drawn.render.normals

    camera = Camera(camera.focal * 12 / SIDE, camera.principal_point * 12 / SIDE)
    free = (mesh.vertices, mesh.albedo, *(getattr(parameters, name) for name in POSE_AND_LIGHT), *camera)
    inputs = tuple(tensor.clone().requires_grad_() for tensor in free)
    assert torch.autograd.gradcheck(picture, inputs, eps=1e-8, rtol=1e-3, atol=1e-4, fast_mode=True)


def test_a_hidden_face_has_no_gradient() -> None:
    mesh, parameters, camera = scene(2, SIDE, rings=8)
    translation = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.9]], dtype=torch.float64)
    albedo = mesh.albedo.clone().requires_grad_()
    one = Camera(camera.focal[:1], camera.principal_point[:1])
    group = render_group(
        mesh._replace(albedo=albedo),
        parameters._replace(translation=translation),
        one,
        torch.zeros(2).long(),
        (SIDE, SIDE),
    )
    (gradient,) = torch.autograd.grad(group.render.image.sum(), albedo)
    assert (gradient[0] != 0).any() and (gradient[1] == 0).all()


def test_a_biased_face_part_comes_first() -> None:
    """Equal spheres at one place show the first of them, unless the other has the smaller depth."""
    mesh, parameters, camera = scene(2, SIDE, rings=8)
    one, owner = Camera(camera.focal[:1], camera.principal_point[:1]), torch.zeros(2).long()
    same = render_group(mesh, parameters, one, owner, (SIDE, SIDE))
    assert same.face_index.unique().tolist() == [-1, 0]
    bias = torch.zeros(len(mesh.triangles), dtype=torch.float64)
    assert torch.equal(render_group(mesh, parameters, one, owner, (SIDE, SIDE), depth_bias=bias)[1], same[1])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e20])
@pytest.mark.parametrize("where", ["vertices", "albedo", *POSE_AND_LIGHT])
def test_a_bad_face_does_not_spoil_the_other(value: float, where: str) -> None:
    mesh, parameters, camera, owner = crowd(torch.float32)
    inputs = {"vertices": mesh.vertices, "albedo": mesh.albedo, **{n: getattr(parameters, n) for n in POSE_AND_LIGHT}}
    inputs = {name: tensor.clone() for name, tensor in inputs.items()}
    inputs[where].view(3, -1)[0] = value
    inputs = {name: tensor.requires_grad_() for name, tensor in inputs.items()}
    changed = parameters._replace(**{name: inputs[name] for name in POSE_AND_LIGHT})
    bad = Mesh(inputs["vertices"], inputs["albedo"], mesh.triangles)
    group = render_group(bad, changed, camera, owner, (SIDE, SIDE), silhouettes=True)
    assert all(field.isfinite().all() for field in group.render[:4])
    good = render_group(mesh, parameters, camera, owner, (SIDE, SIDE), silhouettes=True)
    torch.testing.assert_close(group.render.image[2], good.render.image[2])
    if where == "vertices":
        assert 0 not in group.face_index
    gradients = torch.autograd.grad(group.render.image.sum() + group.render.depth.sum(), list(inputs.values()))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_no_faces_and_no_pictures() -> None:
    mesh, parameters, camera = scene(0, SIDE, rings=4)
    none = torch.zeros(0, dtype=torch.int64)
    assert render_group(mesh, parameters, camera, none, (8, 8)).face_index.shape == (0, 8, 8)
    two = Camera(torch.ones(2).double(), torch.zeros(2, 2).double())
    empty = render_group(mesh, parameters, two, none, (8, 8), silhouettes=True)
    assert (empty.face_index == -1).all() and empty.render.image.shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    "owner", [torch.tensor([0, 1, 3]), torch.tensor([0, -1, 2]), torch.tensor([0, 1]), torch.ones(3)]
)
def test_wrong_owners_are_named(owner: Tensor) -> None:
    mesh, parameters, camera, _ = crowd()
    with pytest.raises(ValueError, match="owner"):
        render_group(mesh, parameters, camera, owner, (8, 8))


def test_log_focal_is_a_longer_lens_and_no_deformation() -> None:
    mesh, parameters, camera = scene(1, SIDE)
    doubled = parameters._replace(log_focal=torch.full_like(parameters.log_focal, math.log(2.0)))
    group = render_group(mesh, doubled, camera, torch.zeros(1).long(), (SIDE, SIDE))
    alone = render_mesh(mesh, doubled, camera, (SIDE, SIDE))
    torch.testing.assert_close(group.render.normals, alone.normals)
    torch.testing.assert_close(group.render.depth, alone.depth)


def textured(mesh: Mesh, count: int) -> Texture:
    """As many textures, each of other colours."""
    colors = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(5), dtype=mesh.vertices.dtype)
    return Texture(colors, UVMap(0.5 + mesh.vertices[0, :, :2] / 0.25, mesh.triangles))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("silhouettes", [False, True])
def test_every_face_wears_its_own_texture(count: int, silhouettes: bool) -> None:
    mesh, parameters, camera, owner = crowd()
    texture = textured(mesh, count)
    options = {"silhouettes": silhouettes, "texture": texture}
    apart = render_group(mesh, parameters, camera, torch.arange(3), (SIDE, SIDE), **options)
    alone = render_mesh(mesh, parameters, camera, (SIDE, SIDE), **options)
    torch.testing.assert_close(apart.render.image, alone.image)
    plain = render_mesh(mesh, parameters, camera, (SIDE, SIDE), silhouettes=silhouettes)
    assert (plain.image - alone.image).abs().max() > 0.1
    group = render_group(mesh, parameters, camera, owner, (SIDE, SIDE), texture=texture)
    single = render_mesh(mesh, parameters, Camera(*(field[owner] for field in camera)), (SIDE, SIDE), texture=texture)
    for face in range(3):
        here = group.face_index[owner[face]] == face
        assert here.any()
        colors = group.render.image[owner[face]][:, here], single.image[face][:, here]
        torch.testing.assert_close(*colors)


def test_a_texture_of_a_group_has_a_gradient() -> None:
    mesh, parameters, camera, owner = crowd()
    texture = textured(mesh, 3)
    colors = texture.colors.requires_grad_()
    group = render_group(mesh, parameters, camera, owner, (SIDE, SIDE), texture=texture)
    (gradient,) = torch.autograd.grad(group.render.image[1].sum(), colors)
    assert (gradient[:2].abs().sum((1, 2, 3)) > 0).all() and (gradient[2] == 0).all()


def test_a_texture_without_faces_and_a_wrong_one() -> None:
    mesh, parameters, camera, owner = crowd()
    nobody = Mesh(mesh.vertices[:0], mesh.albedo[:0], mesh.triangles)
    nothing = FaceParameters(*(field[:0] for field in parameters))
    empty = render_group(nobody, nothing, camera, owner[:0], (SIDE, SIDE), texture=textured(mesh, 1))
    assert (empty.render.image == 0).all()
    with pytest.raises(ValueError, match="texture.colors"):
        render_group(mesh, parameters, camera, owner, (SIDE, SIDE), texture=textured(mesh, 2))


@pytest.mark.parametrize("name", [name for name in CANDIDATES if availability(name, "cpu").usable])
@pytest.mark.parametrize("silhouettes", [False, True])
def test_a_backend_draws_groups_as_the_reference_does(name: str, silhouettes: bool) -> None:
    mesh, parameters, camera, owner = crowd()
    weight = torch.randn(3, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(6)).double()
    attributes = mesh.vertices[..., :2]

    def draw(backend: str) -> list[Tensor]:
        free = [mesh.vertices, mesh.albedo, *(getattr(parameters, name) for name in POSE_AND_LIGHT)]
        free = [tensor.detach().clone().requires_grad_() for tensor in free]
        pose = parameters._replace(**dict(zip(POSE_AND_LIGHT, free[2:], strict=True)))
        moved, options = Mesh(free[0], free[1], mesh.triangles), {"silhouettes": silhouettes, "attributes": attributes}
        with use_backend(backend):
            group = render_group(moved, pose, camera, owner, (SIDE, SIDE), **options)
        loss = (torch.cat((group.render.image, group.render.mask), dim=1) * weight).sum()
        drawn = [field for field in group.render if field is not None]
        return [*drawn, group.face_index, *torch.autograd.grad(loss, free)]

    for found, expected in zip(draw(name), draw(REFERENCE), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
