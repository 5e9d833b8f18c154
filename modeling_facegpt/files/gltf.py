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
"""Writes faces as binary glTF: vertex colours, texture coordinates, the expressions as morph targets by name.

One node per face holds its skin; eyes and teeth are children of it with materials of their own, and the same targets.

The base of each mesh is the person without expression; its weights show the expression of the photograph. One more
target, `photographed`, adds what the weights alone do not say: where the eyes look.
"""

import numpy as np
import pygltflib as gltf
import torch
from torch import Tensor

from ..mesh import vertex_normals
from .face_scene import FaceScene, ScenePart
from .result_files import GENERATOR

PHOTOGRAPHED = "photographed"

_SMALLEST_MOVE = 1e-6  # metres; vertices that move less are left out of a morph target
_SMALLEST_TILT = 1e-3  # of a unit normal
# The eyeball is as wet and smooth as the clear cornea over it, which is no surface of its own.
_ROUGHNESS = {"skin": 0.6, "eyes": 0.08, "teeth": 0.25}
_ALIGNMENT = 4


@torch.no_grad()
def scene_to_glb(scene: FaceScene, expression_names: list[str], *, copyright_line: str, extras: list[dict]) -> bytes:
    """A binary glTF 2.0 file.

    Args:
        scene (`FaceScene`): N faces with K expressions.
        expression_names (`list[str]`): K names.
        copyright_line (`str`): goes into `asset.copyright`.
        extras (`list[dict]`): N records of plain values, one for each face's node.
    """
    file = _GltfFile(copyright_line)
    indices = [file.add_indices(part.triangles) for part in scene.parts]
    weighted = torch.einsum("nk,nkvc->nvc", scene.expression, scene.expression_moves)
    rest = scene.vertices - scene.neutral_vertices - weighted
    has_rest = bool(rest.abs().max() > _SMALLEST_MOVE)
    names = expression_names + [PHOTOGRAPHED] * has_rest
    for face, extra in enumerate(extras):
        moves = torch.cat((scene.expression_moves[face], rest[face, None]))[: len(names)]
        tilts = _normal_changes(scene.neutral_vertices[face], moves, scene.triangles)
        weights = scene.expression[face].tolist() + [1.0] * has_rest
        meshes = []
        for part, part_indices in zip(scene.parts, indices, strict=True):
            primitive = file.add_part(scene, face, part, (_plain(moves), tilts))
            primitive.indices = part_indices
            meshes.append(gltf.Mesh(primitives=[primitive], weights=weights, extras={"targetNames": names}))
        file.add_face(meshes, scene.parts, _node_matrix(scene, face), extra)
    return file.to_bytes()


class _GltfFile:
    """A document that grows, and its one binary buffer."""

    def __init__(self, copyright_line: str):
        self.document = gltf.GLTF2(
            asset=gltf.Asset(generator=GENERATOR, copyright=copyright_line),
            scene=0,
            nodes=[],
        )
        self.roots: list[int] = []  # the nodes that are no other's children: faces
        self.materials: dict[str, int] = {}
        self.blob = bytearray()
        self.sparse: dict[tuple[int, bytes, bytes, bool], int] = {}  # accessors that several faces share

    def add_indices(self, triangles: Tensor) -> int:
        corners = triangles.cpu().numpy().flatten()
        corners = corners.astype(_index_type(int(corners.max())))
        return self._add_accessor(corners, gltf.SCALAR, gltf.ELEMENT_ARRAY_BUFFER)

    def add_part(
        self, scene: FaceScene, face: int, part: ScenePart, targets: tuple[np.ndarray, np.ndarray]
    ) -> gltf.Primitive:
        """One part of a face, with its share of the K morph `targets`: moves and changes of normals, `(K, V, 3)`."""
        index = part.vertices.cpu().numpy()
        return gltf.Primitive(
            attributes=self._add_vertices(scene, face, part),
            material=self._material(part.name),
            targets=[
                gltf.Attributes(
                    POSITION=self.add_sparse(move[index], _SMALLEST_MOVE, bounds=True),
                    NORMAL=self.add_sparse(tilt[index], _SMALLEST_TILT),
                )
                for move, tilt in zip(*targets, strict=True)
            ],
        )

    def _add_vertices(self, scene: FaceScene, face: int, part: ScenePart) -> gltf.Attributes:
        normals = vertex_normals(scene.neutral_vertices[face, None], scene.triangles)[0]
        # glTF wants unit normals: a vertex of no area gets any.
        normals = torch.where(normals.any(-1, keepdim=True), normals, normals.new_tensor([0.0, 0.0, 1.0]))
        attributes = gltf.Attributes(
            POSITION=self._add_accessor(_plain(scene.neutral_vertices[face, part.vertices]), bounds=True),
            NORMAL=self._add_accessor(_plain(normals[part.vertices])),
            COLOR_0=self._add_accessor(_plain(scene.albedo[face, part.vertices])),
        )
        if part.uv_coordinates is not None:
            # glTF counts v from the picture's top.
            place = part.uv_coordinates * part.uv_coordinates.new_tensor([1.0, -1.0]) + part.uv_coordinates.new_tensor(
                [0.0, 1.0]
            )
            attributes.TEXCOORD_0 = self._add_accessor(_plain(place), gltf.VEC2)
        return attributes

    def _material(self, name: str) -> int:
        """The number of the material of a part, made at its first use."""
        if name not in self.materials:
            self.materials[name] = len(self.document.materials)
            surface = gltf.PbrMetallicRoughness(metallicFactor=0.0, roughnessFactor=_ROUGHNESS[name])
            # The head is open at the neck, and rows of teeth are open behind, so their insides are seen as well.
            self.document.materials.append(
                gltf.Material(name=name, pbrMetallicRoughness=surface, doubleSided=name != "eyes")
            )
        return self.materials[name]

    def add_sparse(self, values: np.ndarray, smallest: float, *, bounds: bool = False) -> int:
        """An accessor that stores only the rows of `values (V, 3)` with a number of at least `smallest`."""
        rows = np.flatnonzero((np.abs(values) >= smallest).any(-1))
        stored = values[rows]
        key = (len(values), rows.tobytes(), stored.tobytes(), bounds)
        if key in self.sparse:
            return self.sparse[key]
        accessor = self._describe(values, gltf.FLOAT, gltf.VEC3)
        if bounds:
            ends = np.concatenate((stored, np.zeros((1 if len(rows) < len(values) else 0, 3), np.float32)))
            accessor.min, accessor.max = ends.min(0).tolist(), ends.max(0).tolist()
        if len(rows):
            indices = rows.astype(_index_type(len(values)))
            accessor.sparse = gltf.Sparse(
                count=len(rows),
                indices=gltf.AccessorSparseIndices(
                    bufferView=self._add_view(indices), byteOffset=0, componentType=_component_type(indices)
                ),
                values=gltf.AccessorSparseValues(bufferView=self._add_view(stored), byteOffset=0),
            )
        self.sparse[key] = self._add(accessor)
        return self.sparse[key]

    def add_face(
        self, meshes: list[gltf.Mesh], parts: tuple[ScenePart, ...], matrix: list[float] | None, extra: dict
    ) -> None:
        """The node of a face, which holds its first mesh, and below it one node for each other."""
        face = gltf.Node(name=f"face_{len(self.roots) + 1}", matrix=matrix, extras=extra)
        self.roots.append(len(self.document.nodes))
        self.document.nodes.append(face)
        for mesh, part in zip(meshes, parts, strict=True):
            node = face
            if part is not parts[0]:
                node = gltf.Node(name=f"{face.name}_{part.name}")
                face.children.append(len(self.document.nodes))
                self.document.nodes.append(node)
            mesh.name, node.mesh = node.name, len(self.document.meshes)
            self.document.meshes.append(mesh)

    def to_bytes(self) -> bytes:
        self.document.scenes = [gltf.Scene(nodes=self.roots)]
        self.document.buffers = [gltf.Buffer(byteLength=len(self.blob))]
        self.document.set_binary_blob(bytes(self.blob))
        return b"".join(self.document.save_to_bytes())

    def _add_accessor(
        self, values: np.ndarray, kind: str = gltf.VEC3, target: int = gltf.ARRAY_BUFFER, *, bounds: bool = False
    ) -> int:
        accessor = self._describe(values, _component_type(values), kind)
        accessor.bufferView, accessor.byteOffset = self._add_view(values, target), 0
        if bounds:
            accessor.min, accessor.max = values.min(0).tolist(), values.max(0).tolist()
        return self._add(accessor)

    def _describe(self, values: np.ndarray, component_type: int, kind: str) -> gltf.Accessor:
        return gltf.Accessor(byteOffset=None, componentType=component_type, count=len(values), type=kind)

    def _add(self, accessor: gltf.Accessor) -> int:
        self.document.accessors.append(accessor)
        return len(self.document.accessors) - 1

    def _add_view(self, values: np.ndarray, target: int | None = None) -> int:
        view = gltf.BufferView(buffer=0, byteOffset=len(self.blob), byteLength=values.nbytes, target=target)
        self.blob += values.tobytes()
        self.blob += bytes(-len(self.blob) % _ALIGNMENT)
        self.document.bufferViews.append(view)
        return len(self.document.bufferViews) - 1


def _normal_changes(vertices: Tensor, moves: Tensor, triangles: Tensor) -> np.ndarray:
    """What full activation of each of the K `moves (K, V, 3)` adds to the normals: `(K, V, 3)`."""
    return _plain(vertex_normals(vertices + moves, triangles) - vertex_normals(vertices[None], triangles))


def _node_matrix(scene: FaceScene, face: int) -> list[float] | None:
    """Column by column, as glTF has it; `None` for a face that stays where it is."""
    matrix = torch.eye(4)
    matrix[:3, :3], matrix[:3, 3] = scene.rotation[face], scene.translation[face]
    return None if torch.equal(matrix, torch.eye(4)) else matrix.mT.flatten().tolist()


def _plain(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _index_type(largest: int) -> type[np.unsignedinteger]:
    # 65535 itself is reserved by glTF.
    return np.uint16 if largest < 65535 else np.uint32


def _component_type(values: np.ndarray) -> int:
    return {np.float32: gltf.FLOAT, np.uint16: gltf.UNSIGNED_SHORT, np.uint32: gltf.UNSIGNED_INT}[values.dtype.type]
