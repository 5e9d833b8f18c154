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
"""Vertex normals: against a plain loop, and with finite gradients where there is no normal."""

import torch
from conftest import sphere
from torch import Tensor

from modeling_facegpt.mesh import vertex_normals


def bumpy_spheres(count: int) -> tuple[Tensor, Tensor]:
    unit, triangles = sphere(4, 5)
    noise = torch.randn(count, *unit.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return unit.double() + 0.1 * noise, triangles


def test_normals_are_the_area_weighted_sums_of_the_triangles() -> None:
    vertices, triangles = bumpy_spheres(3)
    expected = torch.zeros_like(vertices)
    for a, b, c in triangles.tolist():
        weighted = torch.linalg.cross(vertices[:, b] - vertices[:, a], vertices[:, c] - vertices[:, a])
        for corner in (a, b, c):
            expected[:, corner] += weighted
    expected = expected / expected.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(vertex_normals(vertices, triangles), expected)


def test_normals_point_out_of_a_sphere() -> None:
    unit, triangles = sphere(30, 40)
    assert ((vertex_normals(unit[None], triangles)[0] * unit).sum(-1) > 0.99).all()


def test_normals_are_differentiable() -> None:
    vertices, triangles = bumpy_spheres(2)
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, triangles), vertices.requires_grad_(), fast_mode=True)


def test_a_vertex_without_area_has_no_normal_and_no_gradient() -> None:
    vertices = torch.zeros(1, 4, 3, requires_grad=True)
    normals = vertex_normals(vertices, torch.tensor([[0, 1, 2]]))
    assert (normals == 0).all()
    (gradient,) = torch.autograd.grad(normals.sum(), vertices)
    assert gradient.isfinite().all()
