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
"""The triangle mesh that travels from the morphable model to the renderer and to files."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Mesh(NamedTuple):
    """Faces of one topology, in model space: right-handed, metres, +x the subject's left, +y up, +z out of the face."""

    vertices: Tensor  # (N, V, 3) metres
    albedo: Tensor  # (N, V, 3) linear RGB reflectance in [0, 1]
    triangles: Tensor  # (F, 3) int64, counter-clockwise seen from outside


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Area-weighted unit vertex normals, pointing outwards for counter-clockwise triangles.

    Args:
        vertices (`torch.Tensor` of shape `(N, V, 3)`): in any frame of right-handed axes.
        triangles (`torch.Tensor` of shape `(F, 3)`): vertex indices.

    Returns:
        `torch.Tensor` of shape `(N, V, 3)`; zero where a vertex belongs to no triangle of any area.
    """
    first, second, third = (vertices[:, triangles[:, corner]] for corner in range(3))
    weighted = torch.linalg.cross(second - first, third - first)
    normals = torch.zeros_like(vertices)
    for corner in range(3):
        normals = normals.index_add(1, triangles[:, corner], weighted)
    return F.normalize(normals, dim=-1)
