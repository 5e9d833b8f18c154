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
"""From a mesh and the parameters of its pose, light and camera to a picture."""

from typing import NamedTuple

import torch
from torch import Tensor

from .backends import Backend, backend_for
from .camera import Camera, place_in_camera
from .face_parameters import FaceParameters
from .mesh import Mesh, vertex_normals
from .rasterizer import NEAR, Fragments, check_scene, interpolate, pixel_points, rasterize
from .rotations import rotation_6d_to_matrix
from .scanline import Settings
from .shading import linear_to_srgb, shade
from .silhouettes import blend_silhouettes
from .topology import topology_of

# Numbers outside are no face but an accident of training or of a file: they are read as 0 and get no gradient.
_LARGEST = 1e6
_LARGEST_LOG_FOCAL = 8.0


class RenderOutput(NamedTuple):
    """Pictures of N faces, one each."""

    image: Tensor  # (N, 3, H, W) sRGB in [0, 1], 0 on the background
    mask: Tensor  # (N, 1, H, W) 1 where the face is; soft at outlines with `silhouettes`
    depth: Tensor  # (N, 1, H, W) metres along the camera's z axis, 0 on the background
    normals: Tensor  # (N, 3, H, W) camera frame with y up and z towards the viewer, 0 on the background
    triangle_index: Tensor  # (N, H, W) int64, -1 on the background
    attributes: Tensor | None = None  # (N, C, H, W) the given vertex attributes, 0 on the background


def render_mesh(
    mesh: Mesh,
    parameters: FaceParameters,
    camera: Camera,
    size: tuple[int, int],
    *,
    silhouettes: bool = False,
    attributes: Tensor | None = None,
) -> RenderOutput:
    """Draw each face of `mesh` into its own picture.

    Differentiable with respect to vertices, albedo, attributes, camera and the parameters light, rotation, translation
    and log_focal. The mask has a gradient only with `silhouettes`.

    Args:
        mesh (`Mesh`): N faces in model space.
        parameters (`FaceParameters`): of the same faces.
        camera (`Camera`): of N pictures; `parameters.log_focal` scales its focal length.
        size (`tuple[int, int]`): height and width in pixels.
        silhouettes (`bool`): blend colour and mask along outlines, so that the picture has a gradient to them too.
            Leave it off for a loss that looks at the face's interior only.
        attributes (`torch.Tensor` of shape `(N, V, C)` or `(1, V, C)`, *optional*): more to carry to the pixels.

    Returns:
        `RenderOutput`.
    """
    parameters = parameters._replace(
        light=_sane(parameters.light), rotation=_sane(parameters.rotation), translation=_sane(parameters.translation)
    )
    if backend := backend_for(mesh.vertices):
        return _render_fused(backend, mesh, parameters, camera, size, silhouettes, attributes)
    good = _is_sane(mesh.vertices).all(-1, keepdim=True)
    vertices = torch.where(good, mesh.vertices, 0.0)
    placed = torch.where(good, place_in_camera(vertices, parameters.rotation, parameters.translation), -1.0)
    camera = _true_camera(camera, parameters)
    fragments = rasterize(placed, mesh.triangles, camera, size)
    normals = vertex_normals(vertices, mesh.triangles) @ rotation_6d_to_matrix(parameters.rotation).mT
    color = shade(_sane(mesh.albedo), normals, parameters.light)
    columns = [color, normals]
    if attributes is not None:
        columns.append(_one_per_face(attributes, normals))
    planes = interpolate(torch.cat(columns, dim=-1), mesh.triangles, fragments)
    image, mask = _encode(planes[:, :3]), (fragments.triangle_index >= 0).to(planes.dtype)[:, None]
    if silhouettes:
        image, mask = _blend(image, mask, color, pixel_points(placed, camera), mesh.triangles, fragments)
    return RenderOutput(
        image=image,
        mask=mask,
        depth=fragments.depth[:, None],
        normals=_unit(planes[:, 3:6]),
        triangle_index=fragments.triangle_index,
        attributes=None if attributes is None else planes[:, 6:],
    )


def _render_fused(
    backend: Backend,
    mesh: Mesh,
    parameters: FaceParameters,
    camera: Camera,
    size: tuple[int, int],
    silhouettes: bool,
    attributes: Tensor | None,
) -> RenderOutput:
    """The same picture in two steps, one per vertex and one per pixel."""
    camera = _true_camera(camera, parameters)
    check_scene(mesh.vertices, camera, size)
    topology = topology_of(mesh.triangles).check(mesh.vertices)
    settings = Settings(*size, near=NEAR, cull=True)
    count, dtype = len(mesh.vertices), mesh.vertices.dtype
    rotation = rotation_6d_to_matrix(parameters.rotation).to(dtype).expand(count, 3, 3)
    light, translation = parameters.light.to(dtype).expand(count, 27), parameters.translation.to(dtype)
    albedo = mesh.albedo.to(dtype).expand_as(mesh.vertices)
    given = mesh.vertices, albedo, light, rotation, translation.expand(count, 3), camera, settings.near, topology
    points, values = backend.shade_points(*given)
    if attributes is not None:
        values = torch.cat((values, _one_per_face(attributes, mesh.vertices)), dim=-1)
    index, depth, image, normals, carried = backend.draw(points, values, topology, settings)
    mask = (index >= 0).to(dtype)[:, None]
    if silhouettes:
        rows = torch.cat((linear_to_srgb(values[..., :3].clamp(0, 1)), torch.ones_like(values[..., :1])), dim=-1)
        planes = torch.cat((image, mask), dim=1)
        blended = backend.blend(planes, rows, points, topology, index, depth).clamp(0, 1)
        image, mask = blended[:, :3], blended[:, 3:]
    return RenderOutput(
        image=image,
        mask=mask,
        depth=depth[:, None],
        normals=normals,
        triangle_index=index,
        attributes=None if attributes is None else carried,
    )


def composite(render: RenderOutput, background: Tensor) -> Tensor:
    """Lay the face over a background of sRGB `(N, 3, H, W)`, for display: a loss masks instead of compositing."""
    # The image is already blended with black where the mask is not 1.
    return render.image + (1 - render.mask) * background


def _encode(linear: Tensor) -> Tensor:
    # Few at a time: the many steps of the curve then stay in the cache.
    return torch.cat([linear_to_srgb(part.clamp(0, 1)) for part in linear.split(4)])


def _blend(
    image: Tensor, mask: Tensor, color: Tensor, points: Tensor, triangles: Tensor, fragments: Fragments
) -> tuple[Tensor, Tensor]:
    """Blend picture and mask along silhouettes; `color (N, V, 3)` is what the picture shows of the vertices."""
    # Blended as encoded: `composite` is then exact, and no gradient is steep because the background is black.
    rows = torch.cat((_encode(color), torch.ones_like(color[..., :1])), dim=-1)
    blended = blend_silhouettes(torch.cat((image, mask), dim=1), rows, points, triangles, fragments).clamp(0, 1)
    return blended[:, :3], blended[:, 3:]


def _unit(planes: Tensor) -> Tensor:
    """Planes `(N, 3, H, W)` scaled to length 1; zero stays zero."""
    x, y, z = planes.unbind(1)
    return planes * (x * x + y * y + z * z).clamp_min(1e-12).rsqrt()[:, None]


def _one_per_face(attributes: Tensor, normals: Tensor) -> Tensor:
    count, vertices, _ = normals.shape
    if attributes.dim() != 3 or attributes.shape[0] not in (1, count) or attributes.shape[1] != vertices:
        raise ValueError(
            f"got attributes of shape {tuple(attributes.shape)}; give ({count}, {vertices}, C) or (1, {vertices}, C)"
        )
    return attributes.expand(count, -1, -1)


def _true_camera(camera: Camera, parameters: FaceParameters) -> Camera:
    offset = _sane(parameters.log_focal[:, 0]).clamp(-_LARGEST_LOG_FOCAL, _LARGEST_LOG_FOCAL)
    return camera._replace(focal=camera.focal * offset.exp())


def _is_sane(numbers: Tensor) -> Tensor:
    return numbers.abs() < _LARGEST  # false for NaN


def _sane(numbers: Tensor) -> Tensor:
    return torch.where(_is_sane(numbers), numbers, 0.0)
