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
from .backends import backend_for
from .camera import Camera
from .face_parameters import FaceParameters
from .mesh import Mesh, topology_of
from .renderer import (
    LitFaces,
    LitPoints,
    RenderOutput,
    check_faces,
    draw_faces,
    draw_points,
    light_faces,
    light_points,
)
from .texture import Texture


class GroupRender(NamedTuple):
    """B pictures of any number of faces each."""

    render: RenderOutput  # of B pictures; `triangle_index` counts within the mesh of the face that is seen
    face_index: Tensor  # (B, H, W) int64 number of the face that each pixel shows, -1 on the background


class _Places(NamedTuple):
    """Where N faces are among the slots of B pictures, as many in each as the fullest picture needs."""

    owner: Tensor  # (N,) int64 picture
    slot: Tensor  # (N,) int64 slot of that picture
    pictures: int
    slots: int

    def gather(self, rows: Tensor, empty: float) -> Tensor:
        """Rows `(N, ...)` as `(B, slots, ...)`."""
        gathered = rows.new_full((self.pictures, self.slots, *rows.shape[1:]), empty)
        return gathered.index_put((self.owner, self.slot), rows)


def render_group(
    mesh: Mesh,
    parameters: FaceParameters,
    camera: Camera,
    owner: Tensor,
    size: tuple[int, int],
    *,
    silhouettes: bool = False,
    attributes: Tensor | None = None,
    texture: Texture | None = None,
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
        texture (`Texture`, *optional*): of each face, or one for all; multiplies the albedo, as for `render_mesh`.
        depth_bias (`torch.Tensor` of shape `(F,)`, *optional*): metres, see `rasterize`.

    Returns:
        `GroupRender`.
    """
    check = check_faces(mesh, parameters).floats("camera.focal", camera.focal, "B")
    check.floats("camera.principal_point", camera.principal_point, "B 2").indices("owner", owner, "N", of="B")
    if attributes is not None:
        check.floats("attributes", attributes, "1|N V *")
        attributes = attributes.expand(len(owner), -1, -1)
    places = _Places(owner, *_slots(owner, camera.focal.shape[0]))
    triangles = topology_of(mesh.triangles).repeated(places.slots, mesh.vertices.shape[1])
    backend = backend_for(mesh.vertices) if texture is None and depth_bias is None else None
    more = None if attributes is None else places.gather(attributes, 0.0).flatten(1, 2)
    if backend and backend.render:
        lit = light_points(backend.render, mesh, parameters, Camera(*(field[owner] for field in camera)))
        lit = LitPoints(places.gather(lit.points, -1.0).flatten(1, 2), places.gather(lit.values, 0.0).flatten(1, 2))
        render = draw_points(backend.render, lit, triangles, size, silhouettes, more)
    else:
        render = draw_faces(
            _side_by_side(light_faces(mesh, parameters), places),
            triangles,
            camera,
            size,
            silhouettes=silhouettes,
            attributes=more,
            texture=None if texture is None else _texture_of_slots(texture, places, check),
            depth_bias=None if depth_bias is None else depth_bias.repeat(places.slots),
        )
    return _separate(render, places, mesh.triangles.shape[0])


def _side_by_side(faces: LitFaces, places: _Places) -> LitFaces:
    """The faces of each picture as one."""
    # A face's own focal length is that of the picture for points that are farther to the side.
    scale = faces.focal_scale[:, None]
    stretch = torch.cat((scale, scale, torch.ones_like(scale)), dim=1)
    return LitFaces(
        vertices=places.gather(faces.vertices * stretch[:, None], -1.0).flatten(1, 2),
        normals=places.gather(faces.normals, 0.0).flatten(1, 2),
        color=places.gather(faces.color, 0.0).flatten(1, 2),
        focal_scale=faces.focal_scale.new_ones(places.pictures),
    )


def _texture_of_slots(texture: Texture, places: _Places, check: ArgumentCheck) -> Texture | None:
    """The texture of the triangles of all slots; none where there is no face."""
    check.floats("texture.colors", texture.colors, "1|N 3 h w")
    if places.slots == 0:
        return None
    uv_map = texture.uv_map._replace(triangles=texture.uv_map.triangles.repeat(places.slots, 1))
    colors = texture.colors if texture.colors.shape[0] == 1 else places.gather(texture.colors, 0.0)
    return Texture(colors, uv_map)


def _slots(owner: Tensor, pictures: int) -> tuple[Tensor, int, int]:
    """The slot `(N,)` of each face among those of its picture, how many pictures there are, and slots in each."""
    members = torch.nn.functional.one_hot(owner, pictures) if owner.numel() else owner.new_zeros(0, pictures)
    slot = (members.cumsum(0) - 1).gather(1, owner[:, None])[:, 0]
    return slot, pictures, int(members.sum(0).max()) if members.numel() else 0


def _separate(render: RenderOutput, places: _Places, triangles: int) -> GroupRender:
    """Tell the faces of each picture apart by the numbers of their triangles."""
    owner = places.owner
    face_of_slot = owner.new_full((render.image.shape[0], places.slots + 1), -1)
    face_of_slot[owner, places.slot] = torch.arange(owner.numel(), device=owner.device)
    seen = render.triangle_index >= 0
    slot = render.triangle_index.div(max(triangles, 1), rounding_mode="floor")
    shown = torch.where(seen, slot, places.slots)
    face_index = face_of_slot.gather(1, shown.flatten(1)).view_as(shown)
    inside = torch.where(seen, render.triangle_index - slot * triangles, -1)
    return GroupRender(render._replace(triangle_index=inside), face_index)
