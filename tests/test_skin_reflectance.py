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
"""Skin has the colours of people, from the darkest to the lightest."""

import pytest
import torch

from modeling_facegpt.skin_reflectance import DARKEST, LIGHTEST, hue_degrees, linear_to_lab, skin_of_lightness


def test_white_grey_and_primaries_have_their_known_places():
    colours = torch.tensor([[1.0, 1.0, 1.0], [0.2140, 0.2140, 0.2140], [1.0, 0.0, 0.0]])
    expected = torch.tensor([[100.0, 0.0, 0.0], [53.39, 0.0, 0.0], [53.24, 80.09, 67.20]])
    assert torch.allclose(linear_to_lab(colours), expected, atol=0.15)


def test_skin_of_every_lightness_has_that_lightness_and_the_hue_of_people():
    lightness = torch.linspace(DARKEST, LIGHTEST, 30)
    lab = linear_to_lab(skin_of_lightness(lightness, torch.zeros(30), torch.zeros(30)))
    assert torch.allclose(lab[:, 0], lightness, atol=0.2)
    hue = hue_degrees(lab)
    assert hue[2:].min() > 50 and hue.max() < 60
    assert lab[:, 1].min() > 5 and lab[:, 1].max() < 13  # a*


@pytest.mark.parametrize("lightness", [30.0, 50.0, 70.0])
def test_more_blood_is_redder_at_the_same_lightness(lightness):
    blood = torch.tensor([-2.0, 0.0, 2.0])
    lab = linear_to_lab(skin_of_lightness(torch.full((3,), lightness), blood, torch.zeros(3)))
    assert (lab[1:, 1] > lab[:-1, 1]).all() and (lab[:, 0] - lightness).abs().max() < 0.2
