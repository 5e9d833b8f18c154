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
"""Bad input: every public function of the renderer answers any tensor with a picture or with a sentence."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_renderer import scene
from torch import Tensor

from modeling_facegpt.argument_checks import ArgumentCheck, check_positive, check_size
from modeling_facegpt.backends import CANDIDATES, REFERENCE, availability, use_backend
from modeling_facegpt.camera import Camera
from modeling_facegpt.group_renderer import render_group
from modeling_facegpt.mesh import Mesh, vertex_normals
from modeling_facegpt.rasterizer import Fragments, interpolate, pixel_points, rasterize
from modeling_facegpt.renderer import composite, render_mesh
from modeling_facegpt.shading import shade
from modeling_facegpt.silhouettes import blend_silhouettes
from modeling_facegpt.texture import TexelFootprint, UVMap, bake_texture, sample_texture, texel_footprint

BACKENDS = [name for name in (REFERENCE, *CANDIDATES) if availability(name, "cpu").usable]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.bool]
EXTREME = st.sampled_from([0.0, -0.0, 1.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e20, -1e20, 1e-30, 3e38])
COORDINATES = st.one_of(st.floats(-3, 3, width=32), EXTREME)


@st.composite
def odd_tensors(draw: st.DrawFn) -> Tensor:
    """Any small shape, any dtype, sometimes on another device."""
    shape = draw(st.lists(st.integers(0, 4), max_size=5))
    device = draw(st.sampled_from(["cpu", "cpu", "cpu", "meta"]))
    return torch.ones(shape, dtype=draw(st.sampled_from(DTYPES)), device=device)


def good_arguments() -> dict[str, dict]:
    """Arguments with which each function works."""
    mesh, parameters, camera = scene(2, 8, rings=3, dtype=torch.float32)
    vertices = mesh.vertices + parameters.translation[:, None]
    fragments = rasterize(vertices, mesh.triangles, camera, (8, 8))
    points = pixel_points(vertices, camera)
    colors = torch.rand(2, vertices.shape[1], 3)
    uv = {"coordinates": colors[0, :, :2], "uv_triangles": mesh.triangles}
    frame = {
        "vertices": vertices,
        "triangles": mesh.triangles,
        "focal": camera.focal,
        "center": camera.principal_point,
    }
    seen = {"index": fragments.triangle_index, "weights": fragments.barycentrics, "depth": fragments.depth}
    pose = {name: getattr(parameters, name) for name in ("light", "rotation", "translation", "log_focal")}
    face = {**frame, "vertices": mesh.vertices, "albedo": colors, **pose}
    return {
        "rasterize": {**frame, "depth_bias": torch.zeros(len(mesh.triangles))},
        "interpolate": {"attributes": colors, "triangles": mesh.triangles, **seen},
        "vertex_normals": {"vertices": vertices, "triangles": mesh.triangles},
        "shade": {"albedo": colors, "normals": colors, "light": parameters.light},
        "blend_silhouettes": {
            "planes": torch.zeros(2, 3, 8, 8),
            "attributes": colors,
            "points": points,
            "triangles": mesh.triangles,
            **seen,
        },
        "texel_footprint": {"points": points, "triangles": mesh.triangles, **seen, **uv},
        "sample_texture": {
            "texture": torch.rand(1, 3, 4, 4),
            "uv": torch.rand(2, 2, 8, 8),
            "slope": torch.rand(2, 2, 2, 8, 8),
            "covered": torch.ones(2, 8, 8, dtype=torch.bool),
        },
        "bake_texture": {"attributes": colors, "triangles": mesh.triangles, **uv},
        "render_mesh": {**face, "attributes": colors},
        "render_group": {**face, "owner": torch.tensor([1, 1])},
        "composite": {
            "image": torch.zeros(2, 3, 8, 8),
            "mask": torch.zeros(2, 1, 8, 8),
            "background": torch.zeros(2, 3, 8, 8),
        },
    }


GOOD = good_arguments()
MESH, PARAMETERS, CAMERA = scene(2, 8, rings=3, dtype=torch.float32)
PICTURE = render_mesh(MESH, PARAMETERS, CAMERA, (8, 8))


def seen_in(a: dict) -> Fragments:
    return Fragments(a["index"], a["weights"], a["depth"])


def drawn(a: dict, function, **more):
    parameters = PARAMETERS._replace(**{name: a[name] for name in ("light", "rotation", "translation", "log_focal")})
    mesh, camera = Mesh(a["vertices"], a["albedo"], a["triangles"]), Camera(a["focal"], a["center"])
    return function(mesh, parameters, camera, size=(8, 8), silhouettes=True, **more)


CALLS = {
    "rasterize": lambda a: rasterize(
        a["vertices"], a["triangles"], Camera(a["focal"], a["center"]), (8, 8), depth_bias=a["depth_bias"]
    ),
    "interpolate": lambda a: interpolate(a["attributes"], a["triangles"], seen_in(a)),
    "vertex_normals": lambda a: vertex_normals(**a),
    "shade": lambda a: shade(**a),
    "blend_silhouettes": lambda a: blend_silhouettes(
        a["planes"], a["attributes"], a["points"], a["triangles"], seen_in(a)
    ),
    "texel_footprint": lambda a: texel_footprint(
        a["points"], a["triangles"], seen_in(a), UVMap(a["coordinates"], a["uv_triangles"])
    ),
    "sample_texture": lambda a: sample_texture(a["texture"], TexelFootprint(a["uv"], a["slope"], a["covered"])),
    "bake_texture": lambda a: bake_texture(
        a["attributes"], a["triangles"], UVMap(a["coordinates"], a["uv_triangles"]), (8, 8)
    ),
    "render_mesh": lambda a: drawn(a, render_mesh, attributes=a["attributes"]),
    "render_group": lambda a: drawn(a, render_group, owner=a["owner"]),
    "composite": lambda a: composite(PICTURE._replace(image=a["image"], mask=a["mask"]), a["background"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_good_arguments_work(name: str) -> None:
    CALLS[name](GOOD[name])


@pytest.mark.parametrize("backend_name", BACKENDS)
@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_tensor_gives_a_result_or_a_sentence(name: str, backend_name: str, data: st.DataObject) -> None:
    argument = data.draw(st.sampled_from(sorted(GOOD[name])))
    odd = data.draw(odd_tensors())
    try:
        with use_backend(backend_name):
            CALLS[name]({**GOOD[name], argument: odd})
    except ValueError as error:
        assert str(error).startswith("got ") and "; give " in str(error)


@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_tensor_is_named(name: str) -> None:
    for argument, good in GOOD[name].items():
        for odd in (None, good.numpy(), good.tolist(), "face"):
            if odd is None and (name, argument) in {("rasterize", "depth_bias"), ("render_mesh", "attributes")}:
                continue
            with pytest.raises(ValueError, match="got .* of .*; give a tensor"):
                CALLS[name]({**GOOD[name], argument: odd})


@pytest.mark.parametrize("name", [name for name, arguments in GOOD.items() if "triangles" in arguments])
@settings(max_examples=20, deadline=None)
@given(index=st.one_of(st.integers(-(2**63), -1), st.integers(100, 2**63 - 1)), place=st.integers(0, 59))
def test_indices_out_of_range_are_named(name: str, index: int, place: int) -> None:
    triangles = GOOD[name]["triangles"].clone()
    triangles.view(-1)[place] = index
    with pytest.raises(ValueError, match="triangles"):
        CALLS[name]({**GOOD[name], "triangles": triangles})


@pytest.mark.parametrize("backend_name", BACKENDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_extreme_coordinates_are_drawn_or_dropped(backend_name: str, data: st.DataObject) -> None:
    with use_backend(backend_name):
        draw_extreme_coordinates(data)


def draw_extreme_coordinates(data: st.DataObject) -> None:
    """Whatever the coordinates and the camera: numbers stay finite, and a triangle of good ones is where it was."""
    corners = data.draw(st.lists(st.tuples(COORDINATES, COORDINATES, COORDINATES), min_size=3, max_size=6))
    lens = data.draw(st.tuples(st.sampled_from([2.0, 2.0, 2.0, 0.0, -1.0, float("nan"), float("inf"), 1e20]), EXTREME))
    good = [(-1.0, -1.0, 1.0), (-1.0, 1.0, 1.0), (1.0, 1.0, 1.0)]
    vertices = torch.tensor([good + corners, good + corners], dtype=torch.float32).requires_grad_()
    focal = torch.tensor([2.0, lens[0]], requires_grad=True)
    center = torch.tensor([[4.0, 4.0], [4.0, lens[1]]], requires_grad=True)
    triangles = torch.tensor([[0, 1, 2], [3, 4, 5], *[[3, 0, 4 + i] for i in range(len(corners) - 1)]])
    camera = Camera(focal, center)
    fragments = rasterize(vertices, triangles, camera, (8, 8), cull=False)
    points = pixel_points(vertices, camera)
    attributes = torch.rand(2, vertices.shape[1], 2, requires_grad=True)
    planes = interpolate(attributes, triangles, fragments)
    blended = blend_silhouettes(planes, attributes, points, triangles, fragments)
    footprint = texel_footprint(points, triangles, fragments, UVMap(attributes[0], triangles))
    results = [*fragments[1:], blended, sample_texture(torch.rand(1, 2, 8, 8), footprint)]
    assert all(result.isfinite().all() for result in results)
    total = torch.stack([result.sum() for result in results]).sum()
    for gradient in torch.autograd.grad(total, [vertices, focal, center, attributes]):
        assert gradient.isfinite().all()
    alone = rasterize(vertices[:1], triangles[:1], Camera(focal[:1], center[:1]), (8, 8), cull=False)
    here = fragments.triangle_index[0] == 0
    torch.testing.assert_close(fragments.depth[0][here], alone.depth[0][here])


@pytest.mark.parametrize("backend_name", BACKENDS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_extreme_faces_leave_pictures_and_gradients_finite(backend_name: str, data: st.DataObject) -> None:
    with use_backend(backend_name):
        draw_extreme_faces(data)


def draw_extreme_faces(data: st.DataObject) -> None:
    arguments = dict(GOOD["render_mesh"])
    del arguments["triangles"], arguments["attributes"]
    name = data.draw(st.sampled_from(sorted(arguments)))
    changed = {key: value.clone() for key, value in arguments.items()}
    flat = changed[name].view(-1)
    for place in data.draw(st.lists(st.integers(0, flat.numel() - 1), min_size=1, max_size=4)):
        flat[place] = data.draw(EXTREME)
    changed = {key: value.requires_grad_() for key, value in changed.items()}
    everything = {**GOOD["render_mesh"], **changed}
    mesh = Mesh(changed["vertices"], changed["albedo"], everything["triangles"])
    pose = {key: changed[key] for key in ("light", "rotation", "translation", "log_focal")}
    camera = Camera(changed["focal"], changed["center"])
    render = render_mesh(mesh, PARAMETERS._replace(**pose), camera, (8, 8), silhouettes=True)
    assert all(field.isfinite().all() for field in render[:4])
    total = torch.stack([field.sum() for field in render[:4]]).sum()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(total, list(changed.values())))


@pytest.mark.parametrize("size", [(0, 8), (8, -1), (8,), (8, 8, 8), (8.0, 8), "88", None, 8, (torch.tensor(8), 8)])
def test_wrong_sizes_are_named(size) -> None:
    with pytest.raises(ValueError, match="size"):
        check_size(size)


@pytest.mark.parametrize("near", [0.0, -1.0, float("nan"), float("inf"), None, "1"])
def test_wrong_near_planes_are_named(near) -> None:
    with pytest.raises(ValueError, match="near"):
        check_positive("near", near)
    with pytest.raises(ValueError, match="near"):
        rasterize(MESH.vertices, MESH.triangles, CAMERA, (8, 8), near=near)


def test_the_sentence_says_what_was_wanted() -> None:
    check = ArgumentCheck().floats("vertices", torch.zeros(2, 5, 3), "N V 3")
    with pytest.raises(ValueError) as caught:
        check.floats("camera.focal", torch.zeros(3, dtype=torch.float64), "N")
    assert str(caught.value) == "got camera.focal of shape (3,), float64 on cpu; give (N), float32 on cpu, where N = 2"


def test_indices_are_looked_at_again_when_they_change() -> None:
    index = torch.tensor([0, 1, 2])
    check = ArgumentCheck().floats("values", torch.zeros(3), "N")
    check.indices("index", index, "K", of="N").indices("index", index, "K", of="N")
    index[1] = 3
    with pytest.raises(ValueError, match="got index from 0 to 3; give numbers from 0 to 2"):
        check.indices("index", index, "K", of="N")
    check = ArgumentCheck().floats("values", torch.zeros(4), "N").indices("index", index, "K", of="N")
    with pytest.raises(ValueError, match="to 1, where M = 2"):
        check.floats("more", torch.zeros(2), "M").indices("index", index, "K", of="M")


def test_fragments_of_one_mesh_do_not_pass_for_those_of_a_smaller_one() -> None:
    fragments = rasterize(MESH.vertices + PARAMETERS.translation[:, None], MESH.triangles, CAMERA, (8, 8))
    highest = int(fragments.triangle_index.max())
    assert highest > 0
    interpolate(MESH.albedo, MESH.triangles[: highest + 1], fragments)
    with pytest.raises(ValueError, match="triangle_index"):
        interpolate(MESH.albedo, MESH.triangles[:highest], fragments)
