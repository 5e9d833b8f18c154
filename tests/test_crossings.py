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
"""Crossing surfaces, counted on triangles whose crossings are known."""

import torch
from facegpt_trainer.evaluation.crossings import count_crossings

FLAT = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
FIRST, SECOND = torch.tensor([[0, 1, 2]]), torch.tensor([[3, 4, 5]])


def upright(x: float, low: float, high: float) -> torch.Tensor:
    return torch.tensor([[x, 0.2, low], [x, 0.4, low], [x, 0.3, high]])


def test_a_triangle_through_another_counts_once_and_one_beside_or_above_it_does_not():
    for other, expected in ((upright(0.2, -1.0, 1.0), 1), (upright(2.0, -1.0, 1.0), 0), (upright(0.2, 0.1, 1.0), 0)):
        vertices = torch.cat((FLAT, other))
        assert count_crossings(vertices, FIRST, SECOND) == count_crossings(vertices, SECOND, FIRST) == expected
        assert count_crossings(vertices, torch.cat((FIRST, SECOND)), None) == expected


def test_touching_and_neighbouring_triangles_do_not_count():
    vertices = torch.cat((FLAT, upright(0.2, 0.0, 1.0)))
    assert count_crossings(vertices, FIRST, SECOND) == 0
    assert count_crossings(vertices, FIRST, torch.tensor([[0, 4, 5]])) == 0


def test_two_spheres_cross_along_a_ring_and_not_when_one_holds_the_other():
    from tests.conftest import sphere

    points, triangles = sphere(12, 16)
    both = torch.cat((triangles, triangles + len(points)))
    apart = torch.cat((points, points + torch.tensor([1.0, 0.0, 0.0])))
    assert count_crossings(apart, both, None) > 20
    assert count_crossings(torch.cat((points, 0.5 * points)), both, None) == 0
