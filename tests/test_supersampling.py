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
"""Supersampling: means of a finer picture, in the conventions of the coarse one."""

import pytest
import torch
from test_renderer import scene, striped

from modeling_facegpt.camera import Camera
from modeling_facegpt.renderer import RenderOutput, composite, render_mesh
from modeling_facegpt.supersampling import supersample


def render(side: int, factor: int) -> RenderOutput:
    mesh, parameters, camera = scene(2, side, rings=24)

    def draw(camera: Camera, size: tuple[int, int]) -> RenderOutput:
        return render_mesh(striped(mesh), parameters, camera, size, attributes=mesh.vertices[:1])

    return supersample(draw, camera, (side, side), factor=factor)


def test_a_factor_of_one_changes_nothing() -> None:
    mesh, parameters, camera = scene(2, 24, rings=24)
    plain = render_mesh(striped(mesh), parameters, camera, (24, 24), attributes=mesh.vertices[:1])
    for ours, expected in zip(render(24, 1), plain, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("factor", [2, 3])
def test_pixels_are_means_and_stay_where_they_are(factor: int) -> None:
    fine, coarse, plain = render(24 * factor, 1), render(24, factor), render(24, 1)
    torch.testing.assert_close(coarse.image, torch.nn.functional.avg_pool2d(fine.image, factor))
    torch.testing.assert_close(coarse.mask, torch.nn.functional.avg_pool2d(fine.mask, factor))
    inside = (coarse.mask == 1) & (plain.mask == 1)
    assert (coarse.depth - plain.depth)[inside].abs().max() < 0.02
    assert (coarse.image - plain.image)[inside.expand_as(plain.image)].abs().mean() < 0.02
    shown = coarse.mask > 0
    assert (coarse.depth[shown] > 0.49).all() and (coarse.depth[~shown] == 0).all()  # the background pulls at none
    torch.testing.assert_close(coarse.normals.norm(dim=1, keepdim=True)[shown], torch.ones(int(shown.sum())).double())
    assert coarse.triangle_index.shape == (2, 24, 24) and coarse.triangle_index.dtype == torch.int64


def test_a_factor_of_three_asks_the_pixels_middle() -> None:
    assert torch.equal(render(24, 3).triangle_index, render(24, 1).triangle_index)


def test_coverage_comes_closer_to_the_truth() -> None:
    truth = torch.nn.functional.avg_pool2d(render(256, 1).mask, 8)
    errors = [(render(32, factor).mask - truth).abs().sum() for factor in (1, 2, 4)]
    assert errors[0] > 1.5 * errors[1] > 2 * errors[2]


def test_compositing_is_exact() -> None:
    coarse, fine = render(16, 2), render(32, 1)
    background = torch.full((1, 3, 1, 1), 0.8, dtype=torch.float64)
    laid = torch.nn.functional.avg_pool2d(composite(fine, background.expand(1, 3, 32, 32)), 2)
    torch.testing.assert_close(composite(coarse, background.expand(1, 3, 16, 16)), laid)


def test_gradients_pass_through_the_means() -> None:
    mesh, parameters, camera = scene(1, 12, rings=6)
    translation = parameters.translation.clone().requires_grad_()
    moving = parameters._replace(translation=translation)
    soft = supersample(
        lambda camera, size: render_mesh(mesh, moving, camera, size, silhouettes=True), camera, (12, 12), factor=2
    )
    (gradient,) = torch.autograd.grad(soft.mask.sum(), translation)
    assert gradient[0, 2] < 0  # farther away is smaller


@pytest.mark.parametrize("factor", [0, -1, 1.5, float("nan"), None])
def test_wrong_factors_are_named(factor) -> None:
    with pytest.raises(ValueError, match="factor"):
        render(8, factor)
