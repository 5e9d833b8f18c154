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
"""Tables of a mesh's triangles: against plain loops, and built no more often than needed."""

import gc
import weakref

import pytest
import torch
from conftest import sphere

from modeling_facegpt.mesh import topology_of


def test_edges_have_the_triangles_on_both_sides() -> None:
    triangles = torch.tensor([[0, 1, 2], [2, 1, 3]])
    edges = topology_of(triangles).edges
    found = {tuple(row) for row in torch.stack(edges, dim=1).tolist()}
    assert found == {(0, 1, 0, 2), (1, 2, 0, 1), (2, 0, 0, 2), (1, 3, 1, 2), (3, 2, 1, 2)}


def test_a_closed_mesh_has_no_boundary() -> None:
    _, triangles = sphere(6, 7)
    edges = topology_of(triangles).edges
    assert len(edges.start) == len(triangles) * 3 // 2
    assert edges.second.max() < len(triangles)


def test_every_vertex_has_its_corners_in_order() -> None:
    triangles = torch.tensor([[0, 1, 4], [4, 1, 2]])  # no triangle has vertex 3
    first, corner = topology_of(triangles).vertex_corners
    corners = [corner[first[v] : first[v + 1]].tolist() for v in range(5)]
    assert corners == [[0], [1, 4], [5], [], [2, 3]]


def test_it_is_built_once_per_tensor() -> None:
    triangles = torch.tensor([[0, 1, 2]])
    assert topology_of(triangles) is topology_of(triangles)
    assert topology_of(triangles.clone()) is not topology_of(triangles)


def test_a_changed_tensor_gets_a_new_one() -> None:
    triangles = torch.tensor([[0, 1, 2]])
    before = topology_of(triangles)
    triangles[0, 2] = 3
    assert before.highest == 2 and topology_of(triangles).highest == 3


def test_it_dies_with_its_tensor() -> None:
    triangles = torch.tensor([[0, 1, 2]])
    kept = weakref.ref(topology_of(triangles))
    del triangles
    gc.collect()
    assert kept() is None


def test_tensors_of_inference_mode_are_taken() -> None:
    with torch.inference_mode():
        assert topology_of(torch.tensor([[0, 1, 2]])).highest == 2


def test_no_triangles_have_no_edges() -> None:
    topology = topology_of(torch.zeros(0, 3, dtype=torch.int64))
    assert all(len(column) == 0 for column in (*topology.edges, topology.vertex_corners.corner))


@pytest.mark.parametrize("triangles", [torch.zeros(3, dtype=torch.int64), torch.zeros(1, 3)])
def test_what_are_no_triangles_is_refused(triangles: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="triangles"):
        topology_of(triangles)
