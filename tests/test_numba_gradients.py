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
"""The numba backend's short way back, against the reference: it must not show who looks at barycentrics on the way."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from modeling_facegpt.backends import REFERENCE, availability, use_backend
from modeling_facegpt.camera import Camera
from modeling_facegpt.rasterizer import Fragments, interpolate, rasterize

pytestmark = pytest.mark.skipif(not availability("numba", "cpu").usable, reason="needs numba")
SIDE = 24


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def scene(channels: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Two pictures of a crumpled sheet, its colours, and its triangles."""
    generator = torch.Generator().manual_seed(channels)
    row, column = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    flat = torch.stack((column, row), dim=-1).reshape(-1, 2).to(dtype) / 5 - 0.5
    depth = 2 + 0.1 * torch.rand(2, 36, 1, generator=generator, dtype=dtype)
    flat = flat + 0.05 * torch.rand(2, 36, 2, generator=generator, dtype=dtype)
    at = (row[:-1, :-1] * 6 + column[:-1, :-1]).flatten()
    triangles = torch.cat((torch.stack((at, at + 1, at + 6), 1), torch.stack((at + 1, at + 7, at + 6), 1)))
    vertices = torch.cat((flat * depth, depth), dim=-1)
    colors = torch.rand(2, 36, channels, generator=generator, dtype=dtype)
    return vertices.requires_grad_(), colors.requires_grad_(), triangles.flip(1)


def drawn(vertices: Tensor, triangles: Tensor) -> Fragments:
    camera = Camera(vertices.new_full((2,), 20.0), vertices.new_full((2, 2), SIDE / 2))
    return rasterize(vertices, triangles, camera, (SIDE, SIDE))


def ramp(planes: Tensor) -> Tensor:
    """A loss whose gradient is another one at every pixel."""
    return (planes * torch.linspace(-1, 2, planes.numel(), dtype=planes.dtype).view(planes.shape)).sum()


def both(task: Callable[[], tuple[Tensor, ...]]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    with use_backend(REFERENCE):
        expected = task()
    with use_backend("numba"):
        return task(), expected


def assert_same(task: Callable[[], tuple[Tensor, ...]]) -> None:
    for found, expected in zip(*both(task), strict=True):
        assert expected.abs().sum() > 0
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_gradients_are_those_of_the_reference(channels: int, threads: int) -> None:
    torch.set_num_threads(threads)
    vertices, colors, triangles = scene(channels)

    def task() -> tuple[Tensor, ...]:
        planes = interpolate(colors, triangles, drawn(vertices, triangles))
        return torch.autograd.grad(ramp(planes), (vertices, colors))

    assert_same(task)


def test_finite_differences_agree() -> None:
    vertices, colors, triangles = scene(2)
    with use_backend("numba"):
        index = drawn(vertices, triangles).triangle_index

        def loss(place: Tensor, values: Tensor) -> Tensor:
            fragments = drawn(place, triangles)
            assert torch.equal(fragments.triangle_index, index)
            return ramp(interpolate(values, triangles, fragments))

        assert torch.autograd.gradcheck(loss, (vertices, colors), eps=1e-7, atol=1e-6)


def test_barycentrics_can_be_asked_for_their_gradient() -> None:
    vertices, colors, triangles = scene(3)

    def task() -> tuple[Tensor, ...]:
        fragments = drawn(vertices, triangles)
        loss = ramp(interpolate(colors, triangles, fragments))
        [shares] = torch.autograd.grad(loss, fragments.barycentrics, retain_graph=True)
        return (shares * 1, *torch.autograd.grad(loss, (vertices, colors)))

    assert_same(task)


def test_the_gradient_of_barycentrics_is_a_tensor_like_others() -> None:
    vertices, colors, triangles = scene(3)

    def task() -> tuple[Tensor, ...]:
        fragments = drawn(vertices, triangles)
        loss = ramp(interpolate(colors, triangles, fragments))
        [shares] = torch.autograd.grad(loss, fragments.barycentrics)
        assert shares.shape == fragments.barycentrics.shape and "tensor(" in repr(shares)
        return torch.from_numpy(shares.numpy()), shares + shares, torch.stack([shares, 2 * shares]).sum(0)

    assert_same(task)


def test_a_hook_on_barycentrics_is_heard() -> None:
    vertices, colors, triangles = scene(3)

    def task() -> tuple[Tensor, ...]:
        fragments = drawn(vertices, triangles)
        fragments.barycentrics.register_hook(lambda gradient: 3 * gradient)
        return torch.autograd.grad(ramp(interpolate(colors, triangles, fragments)), (vertices, colors))

    assert_same(task)


def test_two_pictures_of_the_same_fragments_and_their_depth_add_up() -> None:
    vertices, colors, triangles = scene(3)

    def task() -> tuple[Tensor, ...]:
        fragments = drawn(vertices, triangles)
        one, other = (interpolate(values, triangles, fragments) for values in (colors, colors.square()))
        loss = ramp(one) + ramp(other.square()) + ramp(fragments.depth) + ramp(fragments.barycentrics)
        return torch.autograd.grad(loss, (vertices, colors))

    assert_same(task)


def test_depth_adds_to_a_picture() -> None:
    vertices, colors, triangles = scene(3)

    def task() -> tuple[Tensor, ...]:
        fragments = drawn(vertices, triangles)
        loss = ramp(interpolate(colors, triangles, fragments)) + ramp(fragments.depth)
        return torch.autograd.grad(loss, (vertices, colors))

    assert_same(task)


def test_fragments_of_other_triangles_go_the_long_way() -> None:
    vertices, colors, triangles = scene(3)
    seams = triangles.flip(0)  # as many triangles, whose corners carry other values

    def task() -> tuple[Tensor, ...]:
        planes = interpolate(colors, seams, drawn(vertices, triangles))
        return torch.autograd.grad(ramp(planes), (vertices, colors))

    assert_same(task)


def test_another_index_goes_the_long_way() -> None:
    vertices, colors, triangles = scene(3)

    def task() -> tuple[Tensor, ...]:
        fragments = drawn(vertices, triangles)
        index = fragments.triangle_index
        changed = fragments._replace(triangle_index=torch.where(index >= 0, (index + 1) % len(triangles), index))
        return torch.autograd.grad(ramp(interpolate(colors, triangles, changed)), (vertices, colors))

    assert_same(task)


def test_a_graph_that_is_kept_gives_the_same_twice() -> None:
    vertices, colors, triangles = scene(3, torch.float32)
    with use_backend("numba"):
        loss = ramp(interpolate(colors, triangles, drawn(vertices, triangles)))
        first = torch.autograd.grad(loss, (vertices, colors), retain_graph=True)
        again = torch.autograd.grad(loss, (vertices, colors))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
