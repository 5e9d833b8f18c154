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
target, `photographed`, adds what the weights alone do not tell: where the eyes look. Each node tells the face's pose,
camera and parameters, from which `read_result` reads the face back.
"""

import json
import struct
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .face_scene import FaceScene, ScenePart, build_scene
from .mesh import vertex_normals
from .morphable_model import MorphableModel
from .reconstruction import Reconstruction, describe_pose, numbers_by_name

GENERATOR = "FaceGPT"  # by this, files of results are known again
PHOTOGRAPHED = "photographed"

_SMALLEST_MOVE = 1e-6  # metres; vertices that move less are left out of a morph target
_SMALLEST_TILT = 1e-3  # of a unit normal
# The eyeball is as wet and smooth as the clear cornea over it, which is no surface of its own.
_ROUGHNESS = {"skin": 0.6, "eyes": 0.08, "teeth": 0.25}
_ALIGNMENT = 4
_HEADER = struct.Struct("<4sII")  # magic, version, length of the file
_CHUNK_HEADER = struct.Struct("<I4s")  # length and kind
# glTF's numbers for what a buffer holds, and for the kinds of its numbers.
_VERTICES, _CORNERS = 34962, 34963
_COMPONENT_TYPES = {np.float32: 5126, np.uint16: 5123, np.uint32: 5125}


def encode_glb(face_model: MorphableModel, reconstruction: Reconstruction, *, neutral: bool = False) -> bytes:
    """The faces of one photograph, or of words, as the content of a GLB file: binary glTF 2.0.

    Args:
        face_model (`MorphableModel`): the 3DMM.
        reconstruction (`Reconstruction`): at least one face.
        neutral (`bool`): without expression, turn of the eyes, and turn of the head.

    Raises:
        ValueError: if there is no face, or a number is not finite.
    """
    if not len(reconstruction.probability):
        raise ValueError("got a reconstruction without a face, and a mesh file needs at least one")
    scene = build_scene(face_model, reconstruction, neutral=neutral)
    return scene_to_glb(
        scene,
        list(face_model.config.expression_names or []),
        copyright_line=licence_line(face_model),
        extras=describe_nodes(face_model, reconstruction),
    )


def licence_line(face_model: MorphableModel) -> str:
    """What a mesh file tells of the 3DMM that it is made of."""
    return f"3D face model {face_model.config.face_model_id}, {face_model.config.licence}"


def describe_nodes(face_model: MorphableModel, reconstruction: Reconstruction) -> list[dict]:
    """What the node of each face in a scene file tells: pose, camera, and the parameters to read it back from."""
    return [
        {
            **pose,
            "parameters": numbers_by_name(reconstruction.parameters, face),
            "face_model": face_model.config.face_model_id,
        }
        for face, pose in enumerate(describe_pose(reconstruction))
    ]


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
        shares = {"weights": scene.expression[face].tolist() + [1.0] * has_rest, "extras": {"targetNames": names}}
        meshes = []
        for part, corners in zip(scene.parts, indices, strict=True):
            primitive = {**file.add_part(scene, face, part, (_plain(moves), tilts)), "indices": corners}
            meshes.append({"primitives": [primitive], **shares})
        file.add_face(meshes, scene.parts, _node_matrix(scene, face), extra)
    return file.to_bytes()


class _GltfFile:
    """A document that grows, and its one binary buffer."""

    def __init__(self, copyright_line: str):
        self.asset = {"generator": GENERATOR, "version": "2.0", "copyright": copyright_line}
        self.roots: list[int] = []  # the nodes that are no other's children: faces
        self.materials: dict[str, int] = {}  # numbers by name
        self.nodes: list[dict[str, Any]] = []
        self.meshes: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.views: list[dict[str, Any]] = []
        self.blob = bytearray()
        self.sparse: dict[tuple[int, bytes, bytes, bool], int] = {}  # accessors that several faces share

    def add_indices(self, triangles: Tensor) -> int:
        corners = triangles.cpu().numpy().flatten()
        corners = corners.astype(_index_type(int(corners.max())))
        return self._add_accessor(corners, "SCALAR", _CORNERS)

    def add_part(
        self, scene: FaceScene, face: int, part: ScenePart, targets: tuple[np.ndarray, np.ndarray]
    ) -> dict[str, Any]:
        """One part of a face, with its share of the K morph `targets`: moves and changes of normals, `(K, V, 3)`."""
        index = part.vertices.cpu().numpy()
        return {
            "attributes": self._add_vertices(scene, face, part),
            "material": self.materials.setdefault(part.name, len(self.materials)),
            "targets": [
                {
                    "POSITION": self.add_sparse(move[index], _SMALLEST_MOVE, bounds=True),
                    "NORMAL": self.add_sparse(tilt[index], _SMALLEST_TILT),
                }
                for move, tilt in zip(*targets, strict=True)
            ],
        }

    def _add_vertices(self, scene: FaceScene, face: int, part: ScenePart) -> dict[str, int]:
        normals = vertex_normals(scene.neutral_vertices[face, None], scene.triangles)[0]
        # glTF wants unit normals: a vertex of no area gets any.
        normals = torch.where(normals.any(-1, keepdim=True), normals, normals.new_tensor([0.0, 0.0, 1.0]))
        attributes = {
            "POSITION": self._add_accessor(_plain(scene.neutral_vertices[face, part.vertices]), bounds=True),
            "NORMAL": self._add_accessor(_plain(normals[part.vertices])),
            "COLOR_0": self._add_accessor(_plain(scene.albedo[face, part.vertices])),
        }
        if part.uv_coordinates is not None:
            across, up = part.uv_coordinates.unbind(-1)
            # glTF counts v from the picture's top.
            attributes["TEXCOORD_0"] = self._add_accessor(_plain(torch.stack((across, 1 - up), dim=-1)), "VEC2")
        return attributes

    def add_sparse(self, values: np.ndarray, smallest: float, *, bounds: bool = False) -> int:
        """An accessor that stores only the rows of `values (V, 3)` with a number of at least `smallest`."""
        rows = np.flatnonzero((np.abs(values) >= smallest).any(-1))
        stored = values[rows]
        key = (len(values), rows.tobytes(), stored.tobytes(), bounds)
        if key in self.sparse:
            return self.sparse[key]
        accessor: dict[str, Any] = {"componentType": _component_type(values), "count": len(values), "type": "VEC3"}
        if bounds:
            accessor |= _bounds(np.concatenate((stored, np.zeros((int(len(rows) < len(values)), 3), np.float32))))
        if len(rows):
            indices = rows.astype(_index_type(len(values)))
            accessor["sparse"] = {
                "count": len(rows),
                "indices": {"bufferView": self._add_view(indices), "componentType": _component_type(indices)},
                "values": {"bufferView": self._add_view(stored)},
            }
        self.sparse[key] = self._add(accessor)
        return self.sparse[key]

    def add_face(
        self, meshes: list[dict[str, Any]], parts: tuple[ScenePart, ...], matrix: list[float] | None, extra: dict
    ) -> None:
        """The node of a face, which holds its first mesh, and below it one node for each other."""
        name = f"face_{len(self.roots) + 1}"
        face: dict[str, Any] = {"name": name, "extras": extra} | ({} if matrix is None else {"matrix": matrix})
        self.roots.append(len(self.nodes))
        self.nodes.append(face)
        for mesh, part in zip(meshes, parts, strict=True):
            node: dict[str, Any] = face
            if part is not parts[0]:
                node = {"name": f"{name}_{part.name}"}
                face.setdefault("children", []).append(len(self.nodes))
                self.nodes.append(node)
            node["mesh"] = len(self.meshes)
            self.meshes.append({"name": node["name"], **mesh})

    def to_bytes(self) -> bytes:
        document = {
            "asset": self.asset,
            "scene": 0,
            "scenes": [{"nodes": self.roots}],
            "nodes": self.nodes,
            "meshes": self.meshes,
            "materials": [_material(name) for name in self.materials],
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.blob)}],
        }
        text = json.dumps(document, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()
        chunks = _chunk(b"JSON", text, b" ") + _chunk(b"BIN\0", bytes(self.blob), b"\0")
        return _HEADER.pack(b"glTF", 2, _HEADER.size + len(chunks)) + chunks

    def _add_accessor(
        self, values: np.ndarray, kind: str = "VEC3", target: int = _VERTICES, *, bounds: bool = False
    ) -> int:
        accessor = {
            "bufferView": self._add_view(values, target),
            "componentType": _component_type(values),
            "count": len(values),
            "type": kind,
        }
        return self._add(accessor | _bounds(values) if bounds else accessor)

    def _add(self, accessor: dict[str, Any]) -> int:
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def _add_view(self, values: np.ndarray, target: int | None = None) -> int:
        view = {"buffer": 0, "byteOffset": len(self.blob), "byteLength": values.nbytes}
        self.views.append(view if target is None else {**view, "target": target})
        self.blob += values.astype(values.dtype.newbyteorder("<")).tobytes()
        self.blob += bytes(-len(self.blob) % _ALIGNMENT)
        return len(self.views) - 1


def _material(name: str) -> dict[str, Any]:
    surface = {"metallicFactor": 0.0, "roughnessFactor": _ROUGHNESS[name]}
    # The head is open at the neck, and rows of teeth are open behind, so their insides are seen as well.
    return {"name": name, "pbrMetallicRoughness": surface, "doubleSided": name != "eyes"}


def _chunk(kind: bytes, content: bytes, filling: bytes) -> bytes:
    """A chunk of a GLB file, filled up to a multiple of four bytes."""
    content += filling * (-len(content) % _ALIGNMENT)
    return _CHUNK_HEADER.pack(len(content), kind) + content


def _bounds(values: np.ndarray) -> dict[str, list[float]]:
    return {"min": values.min(0).tolist(), "max": values.max(0).tolist()}


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
    return _COMPONENT_TYPES[values.dtype.type]
