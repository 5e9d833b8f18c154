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
"""OBJ and PLY files, and writing files whole or not at all."""

import io
from typing import Any

import numpy as np
import pytest
import trimesh
from reconstructions import make_reconstruction

from modeling_facegpt.files.export import encode_mesh
from modeling_facegpt.files.result_files import write_files
from modeling_facegpt.mesh import vertex_normals
from modeling_facegpt.shading import linear_to_srgb


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
@pytest.mark.parametrize("neutral", [False, True])
def test_mesh_files_read_back(face_model, face_parameters, suffix, neutral):
    reconstruction = make_reconstruction(face_parameters)
    content = encode_mesh(face_model, reconstruction, suffix, neutral=neutral)
    mesh: Any = trimesh.load(io.BytesIO(content), file_type=suffix[1:], process=False, maintain_order=True)
    parameters = reconstruction.parameters
    expected = face_model.neutral(parameters.identity) if neutral else face_model(parameters).vertices
    np.testing.assert_allclose(mesh.vertices, expected[0], atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, face_model.triangles)
    normals = vertex_normals(expected, face_model.triangles)[0]
    np.testing.assert_allclose(mesh.vertex_normals, normals, atol=1e-3)
    if suffix == ".ply":
        colors = linear_to_srgb(face_model.albedo(parameters.albedo))[0] * 255
        np.testing.assert_allclose(mesh.visual.vertex_colors[:, :3], colors, atol=0.51)


def test_obj_has_colours_and_texture_coordinates(face_model, face_parameters):
    lines = encode_mesh(face_model, make_reconstruction(face_parameters), ".obj").decode().splitlines()
    vertices = [line.split()[1:] for line in lines if line.startswith("v ")]
    colors = linear_to_srgb(face_model.albedo(face_parameters.albedo))[0]
    np.testing.assert_allclose(np.array(vertices, dtype=float)[:, 3:], colors, atol=1e-4)
    assert sum(line.startswith("vt ") for line in lines) == face_model.config.num_uv_coordinates
    corners = np.array([[corner.split("/") for corner in line.split()[1:]] for line in lines if line[:2] == "f "])
    np.testing.assert_array_equal(corners[..., 1].astype(int) - 1, face_model.uv_triangles)


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
def test_several_faces_share_a_file(face_model, face_parameters, suffix):
    content = encode_mesh(face_model, make_reconstruction(face_parameters, faces=3), suffix)
    mesh: Any = trimesh.load(io.BytesIO(content), file_type=suffix[1:], process=False, force="mesh")
    assert len(mesh.vertices) == 3 * face_model.config.num_vertices
    assert len(mesh.faces) == 3 * face_model.config.num_triangles
    assert mesh.extents[0] > 0.15 and mesh.bounds[1, 2] < -0.3  # side by side, before the camera


def test_what_cannot_be_written_is_refused(face_model, face_parameters):
    with pytest.raises(ValueError, match=r"'\.stl'"):
        encode_mesh(face_model, make_reconstruction(face_parameters), ".stl")
    with pytest.raises(ValueError, match="without a face"):
        encode_mesh(face_model, make_reconstruction(face_parameters, faces=0), ".glb")


def test_files_are_written_and_replaced(tmp_path):
    paths = [tmp_path / "a.json", tmp_path / "b.glb"]
    paths[0].write_bytes(b"old")
    write_files({paths[0]: b"new", paths[1]: b"mesh"})
    assert [path.read_bytes() for path in paths] == [b"new", b"mesh"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_a_failure_leaves_nothing_behind(tmp_path):
    old = tmp_path / "a.json"
    old.write_bytes(b"old")
    with pytest.raises(OSError, match="absent"):
        write_files({old: b"new", tmp_path / "absent" / "b.glb": b"mesh"})
    assert old.read_bytes() == b"old" and list(tmp_path.iterdir()) == [old]
