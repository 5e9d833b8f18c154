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
"""GLB files, read back by other programs' libraries."""

import io
from typing import Any

import numpy as np
import pygltflib
import pytest
import torch
import trimesh
from reconstructions import make_reconstruction

from modeling_facegpt import MorphableModel, MorphableModelConfig
from modeling_facegpt.files.export import encode_mesh
from modeling_facegpt.gltf import PHOTOGRAPHED
from modeling_facegpt.rotations import matrix_to_rotation_6d, yaw_pitch_roll_to_matrix

COMPONENTS = {5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}


@pytest.fixture
def parameters(face_parameters):
    angle = torch.tensor([0.3, -0.3, 0.0])
    rotation = matrix_to_rotation_6d(yaw_pitch_roll_to_matrix(angle, angle, angle))
    return face_parameters._replace(rotation=rotation, gaze=torch.full((3, 4), 0.3))


def view_bytes(document, view: int, count: int, component: int, width: int) -> np.ndarray:
    blob = document.binary_blob()
    start = document.bufferViews[view].byteOffset
    values = np.frombuffer(blob, COMPONENTS[component], count * width, start)
    return values.reshape(count, width)


def read_accessor(document, index: int) -> np.ndarray:
    accessor = document.accessors[index]
    width = WIDTHS[accessor.type]
    if accessor.bufferView is not None:
        return view_bytes(document, accessor.bufferView, accessor.count, accessor.componentType, width)
    values = np.zeros((accessor.count, width), np.float32)
    if accessor.sparse is not None:
        sparse = accessor.sparse
        indices = sparse.indices
        rows = view_bytes(document, indices.bufferView, sparse.count, indices.componentType, 1)[:, 0]
        assert (np.diff(rows.astype(int)) > 0).all()
        values[rows] = view_bytes(document, sparse.values.bufferView, sparse.count, accessor.componentType, width)
    return values


def shown_vertices(document, mesh) -> np.ndarray:
    """What a viewer shows: base plus weighted targets."""
    primitive = mesh.primitives[0]
    base = read_accessor(document, primitive.attributes.POSITION)
    moves = [read_accessor(document, target["POSITION"]) for target in primitive.targets]
    return base + sum(weight * move for weight, move in zip(mesh.weights, moves, strict=True))


def load(content: bytes) -> Any:
    return pygltflib.GLTF2.load_from_bytes(content)


def test_weights_and_targets_show_the_reconstructed_face(face_model, parameters):
    reconstruction = make_reconstruction(parameters)
    document = load(encode_mesh(face_model, reconstruction, ".glb"))
    mesh = document.meshes[0]
    assert mesh.extras["targetNames"] == [*face_model.config.expression_names, PHOTOGRAPHED]
    np.testing.assert_allclose(mesh.weights[:-1], parameters.expression[0], rtol=1e-6)
    expected = face_model(reconstruction.parameters).vertices[0]
    np.testing.assert_allclose(shown_vertices(document, mesh), expected, atol=1e-5)
    base = read_accessor(document, mesh.primitives[0].attributes.POSITION)
    np.testing.assert_allclose(base, face_model.neutral(parameters.identity)[0], atol=1e-7)


def test_neutral_file_keeps_the_targets_at_rest(face_model, parameters):
    document = load(encode_mesh(face_model, make_reconstruction(parameters), ".glb", neutral=True))
    mesh = document.meshes[0]
    assert mesh.extras["targetNames"] == face_model.config.expression_names
    assert not any(mesh.weights)


def test_colours_are_the_linear_albedo(face_model, parameters):
    document = load(encode_mesh(face_model, make_reconstruction(parameters), ".glb"))
    colors = read_accessor(document, document.meshes[0].primitives[0].attributes.COLOR_0)
    np.testing.assert_allclose(colors, face_model.albedo(parameters.albedo)[0], rtol=1e-6)


def test_the_file_keeps_the_rules_of_gltf(face_model, parameters):
    document = load(encode_mesh(face_model, make_reconstruction(parameters, faces=3), ".glb"))
    assert document.asset.version == "2.0" and "CC0-1.0" in document.asset.copyright
    for view in document.bufferViews:
        assert view.byteOffset % 4 == 0 and view.byteOffset + view.byteLength <= document.buffers[0].byteLength
    for mesh in document.meshes:
        primitive = mesh.primitives[0]
        positions = [primitive.attributes.POSITION, *(target["POSITION"] for target in primitive.targets)]
        for index in positions:
            values = read_accessor(document, index)
            np.testing.assert_array_equal(document.accessors[index].min, values.min(0))
            np.testing.assert_array_equal(document.accessors[index].max, values.max(0))
        normals = read_accessor(document, primitive.attributes.NORMAL)
        np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    for roots in document.scenes[0].nodes:
        node = document.nodes[roots]
        shown = [document.meshes[document.nodes[child].mesh].primitives[0] for child in (roots, *node.children)]
        count = sum(len(read_accessor(document, primitive.indices)) for primitive in shown)
        assert count == 3 * face_model.config.num_triangles


def parted(face_model):
    """The face model with a row of teeth and with a seam in its texture."""
    settings = face_model.config.to_dict()
    names = ["teeth" if name == "lips" else name for name in settings["region_names"]]
    settings |= {"region_names": names, "num_uv_coordinates": settings["num_uv_coordinates"] + 1}
    model = MorphableModel(MorphableModelConfig(**settings))
    state = face_model.state_dict()
    uv_triangles = state["uv_triangles"].clone()
    uv_triangles[0, 0] = settings["num_uv_coordinates"] - 1
    uv = torch.cat((state["uv_coordinates"], torch.tensor([[0.25, 0.75]])))
    model.load_state_dict(state | {"uv_coordinates": uv, "uv_triangles": uv_triangles})
    return model


def test_eyes_and_teeth_are_nodes_with_materials_of_their_own(face_model, parameters):
    model = parted(face_model)
    document = load(encode_mesh(model, make_reconstruction(parameters), ".glb"))
    face, eyes, teeth = document.nodes
    assert document.scenes[0].nodes == [0] and face.children == [1, 2]
    assert [face.name, eyes.name, teeth.name] == ["face_1", "face_1_eyes", "face_1_teeth"]
    meshes = [document.meshes[node.mesh] for node in document.nodes]
    materials = [document.materials[mesh.primitives[0].material] for mesh in meshes]
    assert [material.name for material in materials] == ["skin", "eyes", "teeth"]
    assert materials[1].pbrMetallicRoughness.roughnessFactor < 0.2 < materials[0].pbrMetallicRoughness.roughnessFactor
    assert all(mesh.extras == meshes[0].extras and mesh.weights == meshes[0].weights for mesh in meshes)
    # Every triangle of the 3DMM, once, at the places of its corners.
    corners = []
    for mesh in meshes:
        positions = shown_vertices(document, mesh)
        corners.append(positions[read_accessor(document, mesh.primitives[0].indices).reshape(-1, 3).astype(int)])
    wanted = model(make_reconstruction(parameters).parameters).vertices[0][model.triangles].numpy()
    found = np.concatenate(corners)
    assert len(found) == len(wanted)
    np.testing.assert_allclose(found.sum((1, 2))[found.sum((1, 2)).argsort()], np.sort(wanted.sum((1, 2))), atol=1e-5)


def test_texture_coordinates_are_written_with_v_from_the_top(face_model, parameters):
    model = parted(face_model)
    document = load(encode_mesh(model, make_reconstruction(parameters), ".glb"))
    primitive = document.meshes[0].primitives[0]
    places = read_accessor(document, primitive.attributes.TEXCOORD_0)
    base = read_accessor(document, primitive.attributes.POSITION)
    assert len(places) == len(base)
    seam = np.abs(places - np.array([0.25, 0.25])).max(1).argmin()
    np.testing.assert_allclose(places[seam], [0.25, 0.25], atol=1e-6)
    vertex = model.triangles[0, 0]
    np.testing.assert_allclose(base[seam], model.neutral(parameters.identity)[0, vertex], atol=1e-6)


def test_normals_follow_the_expression(face_model, parameters):
    """At full activation of one shape, base normal plus target is about the normal of the moved mesh."""
    document = load(encode_mesh(face_model, make_reconstruction(parameters), ".glb"))
    primitive = document.meshes[0].primitives[0]
    moved = read_accessor(document, primitive.attributes.POSITION) + read_accessor(
        document, primitive.targets[2]["POSITION"]
    )
    normals = read_accessor(document, primitive.attributes.NORMAL) + read_accessor(
        document, primitive.targets[2]["NORMAL"]
    )
    expected = trimesh.Trimesh(moved, face_model.triangles.numpy(), process=False).vertex_normals
    assert (normals * expected).sum(-1).min() > 0.98


def test_another_library_opens_it(face_model, parameters):
    content = encode_mesh(face_model, make_reconstruction(parameters, faces=2), ".glb")
    scene: Any = trimesh.load(io.BytesIO(content), file_type="glb")
    faces = [mesh for name, mesh in scene.geometry.items() if not name.endswith("_eyes")]
    assert len(faces) == 2
    assert sum(len(mesh.faces) for mesh in scene.geometry.values()) == 2 * face_model.config.num_triangles
    for mesh in faces:
        assert 0.1 < mesh.extents[1] < 0.4  # metres, upright


def test_nodes_stand_where_the_faces_were(face_model, parameters):
    single = load(encode_mesh(face_model, make_reconstruction(parameters), ".glb"))
    assert single.nodes[0].matrix is None
    several = load(encode_mesh(face_model, make_reconstruction(parameters, faces=3), ".glb"))
    roots = [several.nodes[root] for root in several.scenes[0].nodes]
    matrices = [np.array(node.matrix).reshape(4, 4).T for node in roots]
    expected = parameters.translation * torch.tensor([1.0, -1.0, -1.0])
    np.testing.assert_allclose([matrix[:3, 3] for matrix in matrices], expected, atol=1e-6)
    assert [node.extras["yaw"] for node in roots] == pytest.approx([17.189, -17.189, 0.0], abs=1e-3)
