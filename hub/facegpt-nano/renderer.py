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

from .argument_checks import ArgumentCheck, check_size
from .backends import FusedRenderer, backend_for
from .camera import Camera, place_in_camera
from .face_parameters import FaceParameters
from .mesh import Mesh, topology_of, vertex_normals
from .rasterizer import Fragments, interpolate, pixel_points, rasterize, sane_camera
from .rotations import rotation_6d_to_matrix
from .scanline import NEAR, Settings
from .shading import linear_to_srgb, shade
from .silhouettes import blend_silhouettes
from .texture import Texture, texture_factors

_LARGEST_LOG_FOCAL = 8.0
# Numbers outside are no face but an accident of training or of a file: they are read as 0 and get no gradient.
_LARGEST = 1e6


class RenderOutput(NamedTuple):
    """Pictures of N faces, one each."""

    image: Tensor  # (N, 3, H, W) sRGB in [0, 1], 0 on the background
    mask: Tensor  # (N, 1, H, W) 1 where the face is; soft at outlines with `silhouettes`
    depth: Tensor  # (N, 1, H, W) metres along the camera's z axis, 0 on the background
    normals: Tensor  # (N, 3, H, W) camera frame with y up and z towards the viewer, 0 on the background
    triangle_index: Tensor  # (N, H, W) int64, -1 on the background
    attributes: Tensor | None = None  # (N, C, H, W) the given vertex attributes, 0 on the background


class LitFaces(NamedTuple):
    """Faces that stand before the camera, in their light."""

    vertices: Tensor  # (N, V, 3) camera space, metres; -1 where they cannot be drawn
    normals: Tensor  # (N, V, 3) unit, camera frame with y up and z towards the viewer
    color: Tensor  # (N, V, 3) linear, may leave [0, 1]
    focal_scale: Tensor  # (N,) by how much they change the focal length of their camera


class LitPoints(NamedTuple):
    """The same, as a fused renderer wants them."""

    points: Tensor  # (N, V, 3) x and y in pixels, and depth in metres; -1 where they cannot be drawn
    values: Tensor  # (N, V, 6) linear colour, and normal with y up


def render_mesh(
    mesh: Mesh,
    parameters: FaceParameters,
    camera: Camera,
    size: tuple[int, int],
    *,
    silhouettes: bool = False,
    attributes: Tensor | None = None,
    texture: Texture | None = None,
    depth_bias: Tensor | None = None,
) -> RenderOutput:
    """Draw each face of `mesh` into its own picture.

    Differentiable with respect to vertices, albedo, attributes, texture, camera and the parameters light, rotation,
    translation and log_focal. The mask has a gradient only with `silhouettes`.

    Args:
        mesh (`Mesh`): N faces in model space.
        parameters (`FaceParameters`): of the same faces.
        camera (`Camera`): of N pictures; `parameters.log_focal` scales its focal length.
        size (`tuple[int, int]`): height and width in pixels.
        silhouettes (`bool`): blend colour and mask along outlines, so that the picture has a gradient to them too.
            Leave it off for a loss that looks at the face's interior only.
        attributes (`torch.Tensor` of shape `(N, V, C)` or `(1, V, C)`, *optional*): more to carry to the pixels.
        texture (`Texture`, *optional*): multiplies the albedo, pixel by pixel. Outlines show it as it is at vertices.
        depth_bias (`torch.Tensor` of shape `(F,)`, *optional*): metres, see `rasterize`. Outlines go by
            true depths: keep `silhouettes` off where a biased layer is far from what it hides.

    Returns:
        `RenderOutput`.
    """
    backend = backend_for(mesh.vertices) if texture is None and depth_bias is None else None
    if backend and backend.render:
        lit = light_points(backend.render, mesh, parameters, camera)
        return draw_points(backend.render, lit, mesh.triangles, size, silhouettes, attributes)
    return draw_faces(
        light_faces(mesh, parameters),
        mesh.triangles,
        camera,
        size,
        silhouettes=silhouettes,
        attributes=attributes,
        texture=texture,
        depth_bias=depth_bias,
    )


def draw_faces(
    faces: LitFaces,
    triangles: Tensor,
    camera: Camera,
    size: tuple[int, int],
    *,
    silhouettes: bool = False,
    attributes: Tensor | None = None,
    texture: Texture | None = None,
    depth_bias: Tensor | None = None,
) -> RenderOutput:
    """The second half of `render_mesh`, whose arguments these are."""
    check = ArgumentCheck().floats("vertices", faces.vertices, "N V 3").floats("camera.focal", camera.focal, "N")
    camera = camera._replace(focal=sane(camera.focal) * faces.focal_scale)
    fragments = rasterize(faces.vertices, triangles, camera, size, depth_bias=depth_bias)
    columns = [faces.color, faces.normals]
    if attributes is not None:
        check.floats("attributes", attributes, "1|N V *")
        columns.append(attributes.expand(faces.color.shape[0], -1, -1))
    planes = interpolate(torch.cat(columns, dim=-1), triangles, fragments)
    linear, color = planes[:, :3], faces.color
    if texture is not None:
        texture = texture._replace(colors=sane(texture.colors))
        of_pixels, of_vertices = texture_factors(texture, pixel_points(faces.vertices, camera), triangles, fragments)
        linear, color = linear * of_pixels, color * of_vertices
    image, mask = encode_colors(linear), (fragments.triangle_index >= 0).to(planes.dtype)[:, None]
    if silhouettes:
        points = pixel_points(faces.vertices, camera)
        image, mask = blend_picture(image, mask, color, points, triangles, fragments)
    return RenderOutput(
        image=image,
        mask=mask,
        depth=fragments.depth[:, None],
        normals=unit(planes[:, 3:6]),
        triangle_index=fragments.triangle_index,
        attributes=None if attributes is None else planes[:, 6:],
    )


def light_faces(mesh: Mesh, parameters: FaceParameters) -> LitFaces:
    """Place each face before the camera and light it, whatever numbers are in `mesh` and `parameters`."""
    check_faces(mesh, parameters)
    light, rotation = sane(parameters.light), sane(parameters.rotation)
    good = is_sane(mesh.vertices).all(-1, keepdim=True)
    vertices = torch.where(good, mesh.vertices, 0.0)
    placed = torch.where(good, place_in_camera(vertices, rotation, sane(parameters.translation)), -1.0)
    normals = vertex_normals(vertices, mesh.triangles) @ rotation_6d_to_matrix(rotation).mT
    return LitFaces(placed, normals, shade(sane(mesh.albedo), normals, light), _focal_scale(parameters))


def light_points(fused: FusedRenderer, mesh: Mesh, parameters: FaceParameters, camera: Camera) -> LitPoints:
    """The first step of a fused renderer: each face before the camera `(N,)` of its own, in its light."""
    check = check_faces(mesh, parameters).floats("camera.focal", camera.focal, "N")
    check.floats("camera.principal_point", camera.principal_point, "N 2")
    camera = sane_camera(camera._replace(focal=sane(camera.focal) * _focal_scale(parameters)))
    rotation = rotation_6d_to_matrix(sane(parameters.rotation))
    light, translation = sane(parameters.light), sane(parameters.translation)
    given = mesh.vertices, mesh.albedo, light, rotation, translation, camera, NEAR, topology_of(mesh.triangles)
    return LitPoints(*fused.shade_points(*given))


def draw_points(
    fused: FusedRenderer,
    lit: LitPoints,
    triangles: Tensor,
    size: tuple[int, int],
    silhouettes: bool,
    attributes: Tensor | None,
) -> RenderOutput:
    """The second step: the same pictures as those of `draw_faces`."""
    check_size(size)
    topology = topology_of(triangles)
    points, values = lit
    carried = values[..., :0]
    if attributes is not None:
        ArgumentCheck().floats("points", points, "N V 3").floats("attributes", attributes, "1|N V *")
        carried = attributes.to(values.dtype).expand(len(values), -1, -1)
    settings = Settings(*size, near=NEAR, cull=True)
    index, depth, mask, image, normals, carried = fused.draw(points, values, carried, topology, settings)
    if silhouettes:
        image, mask = fused.blend(image, mask, values, points, topology, index, depth)
    carried = None if attributes is None else carried
    return RenderOutput(image, mask, depth[:, None], normals, triangle_index=index, attributes=carried)


def check_faces(mesh: Mesh, parameters: FaceParameters) -> ArgumentCheck:
    """Raise `ValueError` for a mesh and parameters that are not of the same N faces."""
    check = ArgumentCheck().floats("mesh.vertices", mesh.vertices, "N V 3").floats("mesh.albedo", mesh.albedo, "N V 3")
    check.indices("mesh.triangles", mesh.triangles, "F 3", of="V")
    for name, size in (("light", "27"), ("rotation", "6"), ("translation", "3"), ("log_focal", "1")):
        check.floats(f"parameters.{name}", getattr(parameters, name), f"N {size}")
    return check


def _focal_scale(parameters: FaceParameters) -> Tensor:
    return sane(parameters.log_focal[:, 0]).clamp(-_LARGEST_LOG_FOCAL, _LARGEST_LOG_FOCAL).exp()


def composite(render: RenderOutput, background: Tensor) -> Tensor:
    """Lay the face over a background of sRGB `(N or 1, 3, H, W)`, for display: a loss masks instead of compositing."""
    check = (
        ArgumentCheck().floats("render.image", render.image, "N 3 H W").floats("render.mask", render.mask, "N 1 H W")
    )
    check.floats("background", background, "1|N 3 H W")
    # The image is already blended with black where the mask is not 1.
    return render.image + (1 - render.mask) * background


def is_sane(numbers: Tensor) -> Tensor:
    """Where numbers can be part of a face; not where they are NaN."""
    return numbers.abs() < _LARGEST


def sane(numbers: Tensor) -> Tensor:
    """The numbers, 0 where they cannot be part of a face."""
    return torch.where(is_sane(numbers), numbers, 0.0)


def encode_colors(linear: Tensor) -> Tensor:
    """sRGB in [0, 1] of linear colours, whose first dimension is pictures."""
    # Few at a time: the many steps of the curve then stay in the cache.
    return torch.cat([linear_to_srgb(part.clamp(0, 1)) for part in linear.split(4)])


def blend_picture(
    image: Tensor, mask: Tensor, color: Tensor, points: Tensor, triangles: Tensor, fragments: Fragments
) -> tuple[Tensor, Tensor]:
    """Blend picture and mask along silhouettes; `color (N, V, 3)` is what the picture shows of the vertices."""
    # Blended as encoded: `composite` is then exact, and no gradient is steep because the background is black.
    rows = torch.cat((encode_colors(color), torch.ones_like(color[..., :1])), dim=-1)
    blended = blend_silhouettes(torch.cat((image, mask), dim=1), rows, points, triangles, fragments).clamp(0, 1)
    return blended[:, :3], blended[:, 3:]


def unit(planes: Tensor) -> Tensor:
    """Planes `(N, 3, H, W)` scaled to length 1; zero stays zero."""
    x, y, z = planes.unbind(1)
    return planes * (x * x + y * y + z * z).clamp_min(1e-12).rsqrt()[:, None]
