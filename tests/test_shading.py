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
"""Spherical harmonics and colour spaces: known values, and gradients that stay finite."""

import math

import pytest
import torch
from kornia.color import rgb_to_linear_rgb
from scipy.special import sph_harm_y
from torch import Tensor

from modeling_facegpt.shading import linear_to_srgb, shade, spherical_harmonics


def unit_vectors(count: int) -> Tensor:
    vectors = torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return vectors / vectors.norm(dim=-1, keepdim=True)


def test_harmonics_are_the_textbook_ones() -> None:
    normals = unit_vectors(20)
    polar = torch.acos(normals[:, 2]).numpy()
    azimuth = torch.atan2(normals[:, 1], normals[:, 0]).numpy()
    columns = []
    for degree, order in ((0, 0), (1, -1), (1, 0), (1, 1), (2, -2), (2, -1), (2, 0), (2, 1), (2, 2)):
        value = sph_harm_y(degree, abs(order), polar, azimuth)
        # The real form, without the Condon-Shortley phase that scipy has.
        sign = (-1) ** order * math.sqrt(2) if order else 1
        columns.append(torch.from_numpy(sign * (value.imag if order < 0 else value.real)))
    torch.testing.assert_close(spherical_harmonics(normals), torch.stack(columns, dim=-1))


def test_light_of_radiance_one_from_everywhere_shows_the_albedo() -> None:
    light = torch.zeros(2, 27, dtype=torch.float64)
    light[:, :3] = math.sqrt(4 * math.pi)
    albedo = torch.rand(2, 20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(shade(albedo, unit_vectors(20).expand(2, -1, -1), light), albedo)


@pytest.mark.parametrize(("coefficient", "axis"), [(1, 1), (2, 2), (3, 0)])
def test_light_from_a_direction_brightens_that_side(coefficient: int, axis: int) -> None:
    light = torch.zeros(1, 9, 3)
    light[0, coefficient] = 1
    normals = torch.eye(3)[None]
    color = shade(torch.ones(1, 3, 3), normals, light.flatten(1))[0, :, 0]
    assert color.argmax() == axis
    assert shade(torch.ones(1, 3, 3), -normals, light.flatten(1))[0, axis, 0] == -color[axis]


def test_srgb_has_its_standard_values() -> None:
    linear = torch.tensor([0.0, 0.0031308, 0.214041, 1.0], dtype=torch.float64)[:, None].expand(-1, 3)
    expected = torch.tensor([0.0, 0.04045, 0.5, 1.0], dtype=torch.float64)[:, None].expand(-1, 3)
    torch.testing.assert_close(linear_to_srgb(linear), expected, atol=1e-5, rtol=0)


def test_decoding_undoes_it() -> None:
    color = torch.rand(2, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rgb_to_linear_rgb(linear_to_srgb(color)), color, atol=1e-6, rtol=0)


def test_encoding_has_a_finite_gradient_everywhere() -> None:
    color = torch.cat((torch.zeros(1), torch.linspace(-0.5, 1.5, 101))).requires_grad_()
    (gradient,) = torch.autograd.grad(linear_to_srgb(color).sum(), color)
    assert gradient.isfinite().all()
