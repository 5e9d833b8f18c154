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
"""Several faces in one picture, where nearer ones hide what is behind them."""

from typing import NamedTuple

import torch
from torch import Tensor

from .argument_checks import ArgumentCheck
from .camera import Camera
from .face_parameters import FaceParameters
from .mesh import Mesh
from .renderer import LitFaces, RenderOutput, draw_faces, light_faces


class GroupRender(NamedTuple):
    """B pictures of any number of faces each."""

    render: RenderOutput  # of B pictures; `triangle_index` counts within the mesh of the face that is seen
    face_index: Tensor  # (B, H, W) int64 number of the face that each pixel shows, -1 on the background


def render_group(
    mesh: Mesh,
    parameters: FaceParameters,
    camera: Camera,
    owner: Tensor,
    size: tuple[int, int],
    *,
    silhouettes: bool = False,
    attributes: Tensor | None = None,
    depth_bias: Tensor | None = None,
) -> GroupRender:
    """Draw N faces into the B pictures that they belong to. Differentiable as `render_mesh` is.

    The faces of one picture are drawn as one mesh, so every outline is blended with what is behind it. Each picture
    costs as much as the one with most faces.

    Args:
        mesh (`Mesh`): N faces in model space.
        parameters (`FaceParameters`): of the same faces; each has its own light, pose and `log_focal`.
        camera (`Camera`): of B pictures.
        owner (`torch.Tensor` of shape `(N,)`): int64 number of the picture that each face is in.
        size (`tuple[int, int]`): height and width in pixels.
        silhouettes (`bool`): as for `render_mesh`; between faces too.
        attributes (`torch.Tensor` of shape `(N, V, C)` or `(1, V, C)`, *optional*): more to carry to the pixels.
        depth_bias (`torch.Tensor` of shape `(F,)`, *optional*): metres, see `rasterize`.

    Returns:
        `GroupRender`.
    """
    faces = light_faces(mesh, parameters)
    check = ArgumentCheck().floats("mesh.vertices", faces.vertices, "N V 3").floats("camera.focal", camera.focal, "B")
    check.indices("owner", owner, "N", of="B")
    if attributes is not None:
        check.floats("attributes", attributes, "1|N V *")
        attributes = attributes.expand(faces.vertices.shape[0], -1, -1)
    pictures, vertices = camera.focal.shape[0], faces.vertices.shape[1]
    slot, slots = _slots(owner, pictures)

    def gather(rows: Tensor, empty: float) -> Tensor:
        """Rows `(N, V, C)` as `(B, slots * V, C)`."""
        gathered = rows.new_full((pictures, slots, vertices, rows.shape[-1]), empty)
        return gathered.index_put((owner, slot), rows).flatten(1, 2)

    # A face's own focal length is that of the picture for points that are farther to the side.
    stretch = torch.cat((faces.focal_scale[:, None].expand(-1, 2), torch.ones_like(faces.focal_scale)[:, None]), dim=1)
    together = LitFaces(
        vertices=gather(faces.vertices * stretch[:, None], -1.0),
        normals=gather(faces.normals, 0.0),
        color=gather(faces.color, 0.0),
        focal_scale=torch.ones_like(camera.focal),
    )
    first_vertex = torch.arange(slots, device=owner.device)[:, None, None] * vertices
    render = draw_faces(
        together,
        (mesh.triangles + first_vertex).flatten(0, 1),
        camera,
        size,
        silhouettes=silhouettes,
        attributes=None if attributes is None else gather(attributes, 0.0),
        depth_bias=None if depth_bias is None else depth_bias.repeat(slots),
    )
    return _separate(render, owner, slot, slots, mesh.triangles.shape[0])


def _slots(owner: Tensor, pictures: int) -> tuple[Tensor, int]:
    """The place `(N,)` of each face among those of its picture, and how many places the fullest picture needs."""
    members = torch.nn.functional.one_hot(owner, pictures) if owner.numel() else owner.new_zeros(0, pictures)
    place = (members.cumsum(0) - 1).gather(1, owner[:, None])[:, 0]
    return place, int(members.sum(0).max()) if members.numel() else 0


def _separate(render: RenderOutput, owner: Tensor, slot: Tensor, slots: int, triangles: int) -> GroupRender:
    """Tell the faces of each picture apart by the numbers of their triangles."""
    face_of_slot = owner.new_full((render.image.shape[0], slots + 1), -1)
    face_of_slot[owner, slot] = torch.arange(owner.numel(), device=owner.device)
    seen = render.triangle_index >= 0
    shown = torch.where(seen, render.triangle_index.div(max(triangles, 1), rounding_mode="floor"), slots)
    face_index = face_of_slot.gather(1, shown.flatten(1)).view_as(shown)
    inside = torch.where(seen, render.triangle_index % max(triangles, 1), -1)
    return GroupRender(render._replace(triangle_index=inside), face_index)
