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
"""The Triton backend against the reference: through Triton's interpreter on the CPU, compiled where there is a GPU."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_rasterizer import BAD, ball, camera_of, flat
from test_renderer import scene
from torch import Tensor

from modeling_facegpt import backends
from modeling_facegpt import rasterizer as reference
from modeling_facegpt.mesh import Mesh, topology_of
from modeling_facegpt.rasterizer import Fragments, pixel_points
from modeling_facegpt.renderer import render_mesh
from modeling_facegpt.scanline import Settings

pytest.importorskip("triton", reason="needs the package triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
REPOSITORY = Path(__file__).parents[1]
KERNELS = (
    "find_visible",
    "write_fragments",
    "sum_point_gradients",
    "carry_attributes",
    "write_barycentric_gradients",
    "sum_attribute_gradients",
    "sum_corners",
)


def test_the_interpreter_agrees_with_the_reference() -> None:
    """The other tests of this file, in a process of its own: the interpreter is chosen before the first import."""
    if INTERPRETED:
        pytest.skip("runs in the interpreter already")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled in the interpreter")
def test_kernels_compile_where_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a Hopper GPU: the reference's arithmetic, rounded after each operation, and one atomic in all."""
    from triton.backends.compiler import GPUTarget  # type: ignore[import-not-found]
    from triton.compiler import ASTSource, compile  # type: ignore[import-not-found]

    from modeling_facegpt.kernels import triton_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    integers = ("corners", "keys", "index", "first", "corner")
    types = {name: "*i64" for name in integers} | {"boxes": "*i32", "near": "fp32"}
    types |= {name: "i32" for name in ("vertices", "triangles", "height", "width", "channels", "area")}
    options = {"block": 64, "cull": True, "biased": True}
    atomics = 0
    for name in KERNELS:
        kernel = getattr(triton_kernels, name)
        chosen = {(place,): options[a] for place, a in enumerate(kernel.arg_names) if a in options}
        signature = {a: "constexpr" if a in options else types.get(a, "*fp32") for a in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=signature, constexprs=chosen)
        built = compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False})
        code = built.asm["ptx"]
        assert "fma.rn.f32" not in code and "div.full.f32" not in code and "div.approx" not in code
        atomics += code.count("atom.")
    assert atomics == 1


@pytest.fixture(
    params=[
        pytest.param("cpu", marks=pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1")),
        pytest.param("cuda", marks=pytest.mark.gpu),
    ]
)
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device(request.param)


def points_of(vertices: Tensor, device: torch.device) -> Tensor:
    camera = camera_of(len(vertices), torch.float32)
    return pixel_points(vertices.float(), camera).to(device).detach()


def draw_both(
    points: Tensor, triangles: Tensor, side: int, *, cull: bool = True, bias: Tensor | None = None
) -> tuple[Fragments, Fragments]:
    """Fragments of this backend and of the reference, which draws on the CPU."""
    from modeling_facegpt.kernels.triton_rasterizer import rasterize

    settings = Settings(side, side, 1e-3, cull)
    ours = rasterize(
        points, topology_of(triangles.to(points.device)), settings, None if bias is None else bias.to(points.device)
    )
    columns = points.cpu().unbind(-1)
    return Fragments(*ours), Fragments(*reference._Rasterize.apply(*columns, topology_of(triangles), bias, settings))


def assert_equal(ours: Fragments, expected: Fragments) -> None:
    assert torch.equal(ours.triangle_index.cpu(), expected.triangle_index)
    torch.testing.assert_close(ours.depth.cpu(), expected.depth, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.barycentrics.cpu(), expected.barycentrics, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("cull", [True, False])
def test_every_pixel_is_that_of_the_reference(device: torch.device, cull: bool) -> None:
    vertices, triangles = ball(2, 20, rings=7)
    ours, expected = draw_both(points_of(vertices, device), triangles, 20, cull=cull)
    assert_equal(ours, expected)
    assert (ours.triangle_index >= 0).sum() > 200


def test_edges_ties_and_bias_are_those_of_the_reference(device: torch.device) -> None:
    layers = torch.cat([flat((0, 0), (8, 0), (8, 8), (0, 8)), flat((0, 0), (8, 0), (8, 8), (0, 8))], dim=1)
    triangles = torch.tensor([[4, 6, 5], [4, 7, 6], [0, 2, 1], [0, 3, 2]])
    for bias in (None, torch.tensor([0.0, 0.0, 1e-3, 1e-3]), torch.tensor([3.0, 2.0, 1.0, 4.0])):
        ours, expected = draw_both(points_of(layers, device), triangles, 8, bias=bias)
        assert_equal(ours, expected)
        assert (ours.triangle_index >= 0).all()


@pytest.mark.parametrize(("value", "axis"), [*BAD[::4], (0.0, 2)])
def test_bad_coordinates_are_dropped_as_by_the_reference(device: torch.device, value: float, axis: int) -> None:
    vertices, triangles = ball(1, 12, rings=3)
    vertices[:, 3, axis] = value
    points = points_of(vertices, device).requires_grad_()
    ours, expected = draw_both(points, triangles, 12)
    assert_equal(Fragments(*(field.detach() for field in ours)), Fragments(*(field.detach() for field in expected)))
    (gradient,) = torch.autograd.grad(ours.barycentrics.square().sum() + ours.depth.sum(), points)
    assert gradient.isfinite().all()


def test_gradients_are_those_of_the_reference(device: torch.device) -> None:
    from modeling_facegpt.kernels.triton_rasterizer import interpolate

    side = 12
    vertices, triangles = ball(2, side, rings=3)
    generator = torch.Generator().manual_seed(0)
    attributes = torch.rand(2, vertices.shape[1], 4, generator=generator)
    weight, depth_weight = (torch.randn(2, channels, side, side, generator=generator) for channels in (4, 1))

    def gradients(place: torch.device, ours: bool) -> list[Tensor]:
        points = points_of(vertices, place).requires_grad_()
        values = attributes.to(place).requires_grad_()
        fragments = draw_both(points, triangles, side)[0 if ours else 1]
        seen = fragments.barycentrics, fragments.triangle_index
        if ours:
            picture = interpolate(values, *seen, topology_of(triangles.to(place)))
        else:
            picture = reference._Interpolate.apply(values, *seen, topology_of(triangles))
        loss = (picture * weight.to(place)).sum() + (fragments.depth * depth_weight[:, 0].to(place)).sum()
        return [picture.detach().cpu(), *(grad.cpu() for grad in torch.autograd.grad(loss, [points, values]))]

    first, again = gradients(device, True), gradients(device, True)
    for ours, expected in zip(first, gradients(torch.device("cpu"), False), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))  # no float is added by atomics


@pytest.mark.parametrize(("count", "faces"), [(0, 3), (1, 0)])
def test_nothing_to_draw_is_an_empty_picture(device: torch.device, count: int, faces: int) -> None:
    from modeling_facegpt.kernels.triton_rasterizer import interpolate

    vertices, triangles = ball(1, 8, rings=2)
    points = points_of(vertices[:count], device).requires_grad_()
    fragments = draw_both(points, triangles[:faces], 8)[0]
    topology = topology_of(triangles[:faces].to(device))
    planes = interpolate(points, fragments.barycentrics, fragments.triangle_index, topology)
    assert planes.shape == (count, 3, 8, 8) and (planes == 0).all()
    assert torch.autograd.grad(planes.sum(), points)[0].shape == points.shape


def test_it_draws_float32_only(device: torch.device) -> None:
    from modeling_facegpt.kernels.triton_rasterizer import can_draw

    assert can_draw(torch.zeros(1, 3, 3, device=device))
    assert not can_draw(torch.zeros(1, 3, 3, device=device, dtype=torch.float64))
    assert not can_draw(torch.zeros(1, 3, 3, device="meta"))


@pytest.fixture
def chosen(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Draw with this backend, in the interpreter too."""
    candidate = backends.CANDIDATES["triton"]._replace(device=device.type)
    monkeypatch.setitem(backends.CANDIDATES, "triton", candidate)
    backends._load.cache_clear()
    with backends.use_backend("triton"):
        yield
    backends._load.cache_clear()


@pytest.mark.parametrize("silhouettes", [False, True])
def test_the_renderer_draws_with_it(device: torch.device, chosen: None, silhouettes: bool) -> None:
    """Picture, mask and all gradients; outlines are the reference's, on what this backend has drawn."""
    side = 12
    mesh, parameters, camera = scene(2, side, rings=3, dtype=torch.float32)
    weight = torch.randn(2, 4, side, side, generator=torch.Generator().manual_seed(1))

    def draw(place: torch.device, name: str) -> list[Tensor]:
        free = [mesh.vertices, mesh.albedo, parameters.light, parameters.rotation, parameters.translation]
        free = [tensor.to(place).clone().requires_grad_() for tensor in free]
        moved = Mesh(free[0], free[1], mesh.triangles.to(place))
        pose = parameters._replace(light=free[2], rotation=free[3], translation=free[4])
        pose = type(pose)(*(field.to(place) for field in pose))
        lens = type(camera)(*(field.to(place) for field in camera))
        with backends.use_backend(name):
            render = render_mesh(moved, pose, lens, (side, side), silhouettes=silhouettes)
        loss = (torch.cat((render.image, render.mask), dim=1) * weight.to(place)).sum()
        return [tensor.detach().cpu() for tensor in (*render[:4], *torch.autograd.grad(loss, free))]

    assert backends.backend_for(torch.zeros(1, device=device)) is not None
    for ours, expected in zip(draw(device, "triton"), draw(torch.device("cpu"), "torch"), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5 * max(1.0, expected.abs().max().item()))


def test_what_it_cannot_draw_the_reference_does(device: torch.device, chosen: None) -> None:
    assert backends.backend_for(torch.zeros(1, device=device, dtype=torch.float64)) is None


@pytest.mark.skipif(INTERPRETED, reason="the interpreter builds no launcher")
def test_without_a_launcher_there_is_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    from modeling_facegpt.kernels import triton_rasterizer

    def fail(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler\nat a place")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *shape, **options: torch.empty(*shape))
    monkeypatch.setattr(triton_rasterizer, "_launch", fail)
    for cache in (triton_rasterizer.launcher_problem, backends._load):
        cache.cache_clear()
    try:
        usable, reason = backends.availability("triton", "cuda")
        assert not usable and reason.endswith("(its launcher cannot be built: Failed to find C compiler)")
        assert backends.chosen_backend("cuda") == "torch"
        with backends.use_backend("triton"), pytest.raises(ValueError, match="C compiler.*choose 'torch'"):
            backends.chosen_backend("cuda")
    finally:
        for cache in (triton_rasterizer.launcher_problem, backends._load):
            cache.cache_clear()


@pytest.mark.skipif(INTERPRETED or torch.cuda.is_available(), reason="for machines without a GPU")
def test_without_a_gpu_it_says_so() -> None:
    assert backends.availability("triton", "cuda") == (False, "triton cannot be used (PyTorch sees no CUDA device)")
    assert backends.availability("triton", "cpu") == (False, "draws on cuda, not on cpu")
