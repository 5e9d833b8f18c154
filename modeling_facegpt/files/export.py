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
"""Writes reconstructed faces to files: GLB, OBJ and PLY meshes, and the JSON with every number.

A mesh's frame is that of `face_scene`. Colours are the reflectance of the skin, without the photograph's light: linear
in GLB, sRGB in OBJ and PLY, as their readers expect.
"""

import io
import json
import re

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..face_scene import FaceScene, build_scene, place_in_scene
from ..gltf import GENERATOR, encode_glb, licence_line
from ..mesh import vertex_normals
from ..morphable_model import MorphableModel
from ..reconstruction import Reconstruction
from ..shading import linear_to_srgb
from .result_files import PNG_MARK

MESH_SUFFIXES = (".glb", ".obj", ".ply")

# A list of numbers that `json` spread over lines; inside a string a line break would be escaped.
_NUMBERS = re.compile(r"\[\n([-+.,\deE\s]+)\]")


def encode_mesh(
    face_model: MorphableModel, reconstruction: Reconstruction, suffix: str, *, neutral: bool = False
) -> bytes:
    """The faces of one photograph as the content of a mesh file.

    Args:
        face_model (`MorphableModel`): the 3DMM.
        reconstruction (`Reconstruction`): at least one face.
        suffix (`".glb"`, `".obj"` or `".ply"`): the kind of file. Only GLB keeps expressions apart from identity.
        neutral (`bool`): without expression, turn of the eyes, and turn of the head.

    Raises:
        ValueError: if the kind of file is unknown, there is no face, or a number is not finite.
    """
    if suffix not in MESH_SUFFIXES:
        raise ValueError(f"got the file suffix {suffix!r}, but meshes are written as {', '.join(MESH_SUFFIXES)}")
    if suffix == ".glb":
        return encode_glb(face_model, reconstruction, neutral=neutral)
    if not len(reconstruction.probability):
        raise ValueError("got a reconstruction without a face, and a mesh file needs at least one")
    scene = build_scene(face_model, reconstruction, neutral=neutral)
    licence = licence_line(face_model)
    if suffix == ".obj":
        return _scene_to_obj(face_model, scene, licence)
    return _scene_to_ply(scene, licence)


def encode_document(document: dict) -> bytes:
    """A result as JSON text.

    Raises:
        ValueError: if a number in it is not finite.
    """
    try:
        text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise ValueError(
            "got numbers that are not finite; the checkpoint is damaged or diverged in training"
        ) from error
    return (_NUMBERS.sub(lambda numbers: f"[{' '.join(numbers[1].split())}]", text) + "\n").encode()


def encode_png(image: Image.Image) -> bytes:
    """A picture of results as the content of a PNG file, marked as FaceGPT's."""
    mark = PngInfo()
    mark.add_text(*PNG_MARK)
    content = io.BytesIO()
    image.save(content, "PNG", pnginfo=mark)
    return content.getvalue()


def _scene_to_obj(face_model: MorphableModel, scene: FaceScene, licence: str) -> bytes:
    """Wavefront text with colours behind the positions, as most readers understand, and texture coordinates.

    It is written here, as trimesh writes colours or texture coordinates and not both, and these for vertices alone.
    """
    positions, normals, colors = _placed_columns(scene)
    corners = scene.triangles.cpu().numpy() + 1
    uv_corners = face_model.get_buffer("uv_triangles").cpu().numpy() + 1
    lines = [f"# {GENERATOR}; {licence}; metres, y up"]
    lines += ["vt {:.6f} {:.6f}".format(*point) for point in face_model.get_buffer("uv_coordinates").tolist()]
    for face in range(len(positions)):
        lines.append(f"o face_{face + 1}")
        rows = np.concatenate((positions[face], colors[face]), axis=-1).tolist()
        lines += ["v {:.7f} {:.7f} {:.7f} {:.4f} {:.4f} {:.4f}".format(*row) for row in rows]
        lines += ["vn {:.5f} {:.5f} {:.5f}".format(*row) for row in normals[face].tolist()]
        first = face * positions.shape[1]
        both = np.concatenate((corners + first, uv_corners), axis=-1).tolist()
        lines += [f"f {a}/{i}/{a} {b}/{j}/{b} {c}/{k}/{c}" for a, b, c, i, j, k in both]
    return ("\n".join(lines) + "\n").encode()


def _scene_to_ply(scene: FaceScene, licence: str) -> bytes:
    """Binary, little-endian, all faces as one mesh."""
    # Loading it takes half a second, for which only whoever writes such a file has to wait.
    from trimesh import Trimesh
    from trimesh.exchange.ply import export_ply

    positions, normals, colors = _placed_columns(scene)
    faces, count = positions.shape[:2]
    triangles = scene.triangles.cpu().numpy() + count * np.arange(faces)[:, None, None]
    mesh = Trimesh(
        positions.reshape(-1, 3),
        triangles.reshape(-1, 3),
        vertex_normals=normals.reshape(-1, 3),
        vertex_colors=(colors.reshape(-1, 3) * 255).round().astype(np.uint8),
        process=False,  # vertices stay as many as they are, and in their order
    )
    start, _, rest = export_ply(mesh, vertex_normal=True).partition(b"comment ")
    return start + f"comment {GENERATOR}; {licence}; metres, y up\ncomment ".encode() + rest


def _placed_columns(scene: FaceScene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, normals and sRGB colours `(N, V, 3)` in the scene's frame."""
    placed = place_in_scene(scene.vertices, scene)
    normals = vertex_normals(placed, scene.triangles)
    colors = linear_to_srgb(scene.albedo)
    return placed.cpu().numpy(), normals.cpu().numpy(), colors.cpu().numpy()
