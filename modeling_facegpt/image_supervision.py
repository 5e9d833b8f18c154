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
"""How well renders agree with photographs, and what skin and light may look like.

Each term is computed where it has a weight, apart from the photometric one, which is always worth looking at.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor

from .camera import Camera
from .face_parameters import FaceParameters, rows_where, select_faces
from .losses import (
    feature_loss,
    masked_photometric_loss,
    mixture_photometric_loss,
    negative_light_loss,
    roughness_loss,
    skin_variation_loss,
    symmetry_loss,
)
from .mesh import Mesh
from .morphable_model import MorphableModel
from .output_facegpt import LossTerm
from .renderer import render_mesh

NOT_PLAIN_SKIN = ("lips", "brows", "lashes", "nostrils", "mouth_cavity")


class ImageComparison(NamedTuple):
    """How renders are compared with photographs."""

    size: int  # side of the pictures in pixels
    weights: Mapping[str, float]  # of terms by name
    see: Callable[[Tensor], tuple[Tensor, ...]] | None = None  # features (N, T, C) of sRGB pictures (N, 3, S, S)


def image_terms(
    face_model: MorphableModel,
    mesh: Mesh,
    parameters: FaceParameters,
    images: Tensor,
    cameras: Camera,
    comparison: ImageComparison,
) -> dict[str, LossTerm]:
    """Loss terms of faces before their photographs, averaged over each face's pixels and then over the faces.

    `photometric` trusts outliers less, `photometric_mixture` finds out how many there are and leaves them out,
    `perceptual` compares what a vision tower sees of the photograph and of the render laid over it.

    Args:
        face_model (`MorphableModel`): the 3DMM.
        mesh (`Mesh`): N faces.
        parameters (`FaceParameters`): of the same faces.
        images (`torch.Tensor` of shape `(N, 3, S, S)`): sRGB in [0, 1]; NaN for faces without one.
        cameras (`Camera`): of N pictures, in units of their side.
        comparison (`ImageComparison`): how to compare.
    """
    # NaN spreads to a sum, which is one pass over the pictures; `isfinite` of each pixel takes five.
    index = rows_where(images.flatten(1).sum(1, dtype=torch.float32).isfinite())
    size, weights = comparison.size, comparison.weights
    camera = Camera(cameras.focal[index] * size, cameras.principal_point[index] * size)
    chosen = Mesh(mesh.vertices[index], mesh.albedo[index], mesh.triangles)
    region = face_model.region("face")[None, :, None]
    render = render_mesh(chosen, select_faces(parameters, index), camera, (size, size), attributes=region)
    photographs, mask = images[index], cast(Tensor, render.attributes)  # 0 on the background, as the mask is
    terms = {"photometric": LossTerm.of(masked_photometric_loss(render.image, photographs, mask))}
    if weights.get("photometric_mixture"):
        terms["photometric_mixture"] = LossTerm.of(mixture_photometric_loss(render.image, photographs, mask))
    if weights.get("perceptual") and comparison.see is not None:
        terms["perceptual"] = LossTerm.of(_perceptual_distance(comparison.see, render.image, photographs, mask))
    return terms


def appearance_terms(
    face_model: MorphableModel, mesh: Mesh, light: Tensor, weights: Mapping[str, float]
) -> dict[str, LossTerm]:
    """Terms that hold without any photograph, averaged over the face region of N faces: `negative_light` of light
    `(N, 27)`, and of the skin `symmetry`, `skin_variation` and `skin_roughness`."""
    region = face_model.region("face").to(mesh.albedo)
    terms = {}
    if weights.get("negative_light"):
        terms["negative_light"] = LossTerm.of(negative_light_loss(light))
    if weights.get("symmetry"):
        mirrored = face_model.mirrored_vertices.to(mesh.triangles.device)
        terms["symmetry"] = _mean_over(symmetry_loss(mesh.albedo, mirrored), region)
    skin = region * _plain_skin(face_model).to(region)
    if weights.get("skin_variation"):
        terms["skin_variation"] = _mean_over(skin_variation_loss(mesh.albedo, skin), skin)
    if weights.get("skin_roughness"):
        inside = skin[mesh.triangles].amin(-1)
        terms["skin_roughness"] = _mean_over(roughness_loss(mesh.albedo, mesh.triangles).mean(-1), inside)
    return terms


def _perceptual_distance(
    see: Callable[[Tensor], tuple[Tensor, ...]], renders: Tensor, photographs: Tensor, mask: Tensor
) -> Tensor:
    """Of N faces, the mean over layers and places `(N,)`. The render stands in the photograph: else the tower would
    see that hair and background are missing."""
    if not len(renders):
        return renders.flatten(1).sum(-1)
    laid_over = torch.lerp(photographs, renders, mask.detach())
    with torch.no_grad():
        wanted = see(photographs)
    layers = zip(see(laid_over), wanted, strict=True)
    return torch.stack([feature_loss(seen, target).mean(-1) for seen, target in layers]).mean(0)


def _plain_skin(face_model: MorphableModel) -> Tensor:
    """Mask `(V,)` of skin that has one colour; everything where the 3DMM does not name its regions."""
    names = face_model.config.region_names
    skin = face_model.region("skin") if "skin" in names else torch.ones_like(face_model.template[:, 0])
    for name in NOT_PLAIN_SKIN:
        skin = skin * (1 - face_model.region(name)) if name in names else skin
    return skin


def _mean_over(values: Tensor, weight: Tensor) -> LossTerm:
    """Mean over N faces of values `(N, K)`, each weighted by `weight` `(K,)`."""
    return LossTerm.of(values @ weight / weight.sum().clamp(min=1e-6))
