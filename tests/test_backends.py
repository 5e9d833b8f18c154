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
"""Backends against the reference: the same pixels to the bit, the same gradients, in any number of threads, forked."""

import os
from collections.abc import Iterator

import pytest
import torch
from conftest import REPOSITORY
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from modeling_facegpt.backends import CANDIDATES, REFERENCE, VARIABLE, availability, chosen_backend, use_backend
from modeling_facegpt.camera import Camera
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.rasterizer import interpolate, pixel_points, rasterize
from modeling_facegpt.silhouettes import blend_silhouettes

FAST = [name for name in CANDIDATES if availability(name, "cpu").usable]
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def head() -> tuple[Tensor, Tensor]:
    """The default head, looking at a camera half a metre away, and its triangles."""
    model = MorphableModel.from_pretrained(REPOSITORY / "hub/anny-head")
    template = model.get_buffer("template").double()
    middle = (template.amax(0) + template.amin(0)) / 2
    down = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    return (template - middle) * down + torch.tensor([0.0, 0.0, 0.5]), model.get_buffer("triangles")


def turned(vertices: Tensor, count: int) -> Tensor:
    """A batch of the mesh, each turned about its own axis."""
    generator = torch.Generator().manual_seed(3)
    turn, _ = torch.linalg.qr(torch.eye(3).double() + 0.4 * torch.randn(count, 3, 3, generator=generator).double())
    turn = turn * turn.diagonal(dim1=-2, dim2=-1).sign()[:, None]
    middle = torch.tensor([0.0, 0.0, 0.5], dtype=torch.float64)
    return (vertices - middle) @ turn * torch.linalg.det(turn)[:, None, None] + middle


def camera_of(count: int, side: int, dtype: torch.dtype) -> Camera:
    return Camera(torch.full((count,), 1.6 * side, dtype=dtype), torch.full((count, 2), side / 2, dtype=dtype))


def draw(vertices: Tensor, triangles: Tensor, side: int, cull: bool = True) -> dict[str, Tensor]:
    """Everything that a backend computes, and the gradients."""
    vertices = vertices.clone().requires_grad_()
    colors = torch.sin(40 * vertices.detach()).requires_grad_()
    camera = camera_of(len(vertices), side, vertices.dtype)
    fragments = rasterize(vertices, triangles, camera, (side, side), cull=cull)
    planes = interpolate(colors, triangles, fragments)
    blended = blend_silhouettes(planes, colors, pixel_points(vertices, camera), triangles, fragments)
    ramp = torch.linspace(-1, 1, side, dtype=vertices.dtype)
    loss = (blended * ramp).sum() + (fragments.depth * ramp).sum() + (fragments.barycentrics.square() * ramp).sum()
    grad_vertices, grad_colors = torch.autograd.grad(loss, (vertices, colors))
    return {**fragments._asdict(), "blended": blended, "grad_vertices": grad_vertices, "grad_colors": grad_colors}


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("cull", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("side", [64, 224])
def test_a_backend_agrees_with_the_reference(
    name: str, cull: bool, dtype: torch.dtype, side: int, head: tuple[Tensor, Tensor]
) -> None:
    vertices = turned(head[0], 3).to(dtype)
    with use_backend(REFERENCE):
        expected = draw(vertices, head[1], side, cull)
    with use_backend(name):
        found = draw(vertices, head[1], side, cull)
    assert torch.equal(found["triangle_index"], expected["triangle_index"])
    for field in set(expected) - {"triangle_index"}:
        error = (found[field] - expected[field]).norm() / expected[field].norm()
        assert error < TOLERANCE[dtype], field


@pytest.mark.parametrize(("side", "count"), [(64, 2), pytest.param(224, 1, marks=pytest.mark.slow)])
def test_every_pixel_of_the_head_agrees_with_a_brute_force(
    side: int, count: int, head: tuple[Tensor, Tensor], backend: str
) -> None:
    vertices = turned(head[0], count)
    index = rasterize(vertices.float(), head[1], camera_of(count, side, torch.float32), (side, side)).triangle_index
    points = pixel_points(vertices.float().double(), camera_of(count, side, torch.float64))
    for picture, corners in zip(index, points[:, head[1]], strict=True):
        for row in range(side):
            assert torch.equal(picture[row], brute_force_row(corners, row, side))


def brute_force_row(corners: Tensor, row: int, side: int) -> Tensor:
    """The nearest front face `(W,)` at each pixel centre of a row, of triangles with corners `(F, 3, 3)`."""
    x, y, z = corners.unbind(-1)
    number = ((y.amin(1) <= row + 0.5) & (y.amax(1) >= row + 0.5)).nonzero().squeeze(1)
    if not len(number):
        return torch.full((side,), -1)
    x, y, z = x[number] - (torch.arange(side).double() + 0.5)[:, None, None], y[number] - row - 0.5, z[number]
    edge = x.roll(-1, -1) * y.roll(-2, -1) - y.roll(-1, -1) * x.roll(-2, -1)
    inside = (edge <= 0).all(-1) & (edge.sum(-1) < 0)
    depth = torch.where(inside, edge.sum(-1) / (edge / z).sum(-1), torch.inf)
    nearest, at = depth.min(dim=1)
    return torch.where(nearest.isfinite(), number[at], -1)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize(("threads", "count"), [(1, 3), (2, 3), (3, 1)])
def test_twenty_runs_are_equal_to_the_bit(name: str, threads: int, count: int, head: tuple[Tensor, Tensor]) -> None:
    torch.set_num_threads(threads)
    vertices = turned(head[0], count).float()
    with use_backend(name):
        first = draw(vertices, head[1], 64)
        for _ in range(19):
            again = draw(vertices, head[1], 64)
            assert all(torch.equal(again[field], first[field]) for field in first)


@pytest.mark.parametrize("name", FAST)
def test_threads_do_not_show(name: str, head: tuple[Tensor, Tensor]) -> None:
    vertices = turned(head[0], 2).float()
    with use_backend(name):
        torch.set_num_threads(1)
        alone = draw(vertices, head[1], 50)
        torch.set_num_threads(5)  # more bands than pictures
        together = draw(vertices, head[1], 50)
    for field in alone:
        if field.startswith("grad"):
            largest = alone[field].abs().max().item()
            torch.testing.assert_close(together[field], alone[field], rtol=1e-3, atol=1e-5 * largest)
        else:
            assert torch.equal(together[field], alone[field])


@pytest.mark.parametrize("name", FAST)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_draws_after_its_parent_did(name: str, head: tuple[Tensor, Tensor]) -> None:
    torch.set_num_threads(2)
    vertices = turned(head[0], 4).float()
    with use_backend(name):
        expected = draw(vertices, head[1], 64)
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)  # PyTorch's own threads do not outlive a fork; a `DataLoader` does the same
            again = draw(vertices, head[1], 64)
            os._exit(0 if all(torch.equal(again[field], expected[field]) for field in again) else 1)
        assert all(torch.equal(value, expected[field]) for field, value in draw(vertices, head[1], 64).items())
        assert os.waitpid(child, 0)[1] == 0


class _Pictures(Dataset):
    """Draws in whatever process it is asked."""

    def __init__(self, vertices: Tensor, triangles: Tensor):
        self.vertices, self.triangles = vertices, triangles

    def __len__(self) -> int:
        return len(self.vertices)

    def __getitem__(self, index: int) -> Tensor:
        return draw(self.vertices[index : index + 1], self.triangles, 48)["blended"].detach()


@pytest.mark.parametrize("name", FAST)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_workers_draw_while_their_parent_does(name: str, head: tuple[Tensor, Tensor]) -> None:
    torch.set_num_threads(2)
    pictures = _Pictures(turned(head[0], 6).float(), head[1])
    with use_backend(name):
        expected = [pictures[index] for index in range(len(pictures))]
        loader = DataLoader(pictures, batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60)
        for index, picture in enumerate(loader):
            assert torch.equal(picture, expected[index])
            assert torch.equal(pictures[index], expected[index])


def test_the_environment_names_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, REFERENCE)
    assert chosen_backend("cpu") == REFERENCE
    monkeypatch.setenv(VARIABLE, "")
    assert chosen_backend("cpu") == (FAST or [REFERENCE])[0]
    monkeypatch.setenv(VARIABLE, "opengl")
    with pytest.raises(ValueError, match="opengl"):
        chosen_backend("cpu")


def test_a_block_names_a_backend() -> None:
    with use_backend(REFERENCE):
        assert chosen_backend("cpu") == REFERENCE
        with use_backend(None):
            assert chosen_backend("cpu") == (FAST or [REFERENCE])[0]
        assert chosen_backend("cpu") == REFERENCE
    with pytest.raises(ValueError, match="opengl"), use_backend("opengl"):
        pass


def test_a_backend_for_another_device_says_so() -> None:
    assert chosen_backend("xpu") == REFERENCE
    with use_backend("numba"), pytest.raises(ValueError, match="draws on cpu, not on cuda"):
        chosen_backend("cuda")


def test_without_the_package_there_is_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = CANDIDATES["numba"]._replace(package="no_such_package")
    monkeypatch.setitem(CANDIDATES, "absent", absent)
    assert availability("absent", "cpu") == (False, "no_such_package is not installed")
    with use_backend("absent"), pytest.raises(ValueError, match="no_such_package is not installed"):
        chosen_backend("cpu")
