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
"""What a 3DMM's shapes are like beside those of ICT-FaceKit, a model of real scans: expressions and variety."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from modeling_facegpt.mesh import vertex_normals
from modeling_facegpt.morphable_model import MorphableModel

from .morphable_model import (
    FACE_VERTICES,
    NOSE_RADIUS,
    NOSE_TIP,
    STABLE_LANDMARKS,
    nearest_surface_points,
    similarity_between,
)

# Regions of anny-head in which people of both models are compared.
COMPARED_REGIONS = ("lips", "nose", "cheeks", "eyelids", "ears", "forehead", "brows", "beard", "face")


class IctFace(NamedTuple):
    """The outer skin of ICT-FaceKit's mean face, metres, laid on a 3DMM's mean face by landmarks."""

    points: Tensor  # (P, 3)
    triangles: Tensor  # (F, 3)
    identity_basis: Tensor  # (K, P, 3)
    expressions: dict[str, Tensor]  # ARKit's name -> (P, 3)
    landmarks: Tensor  # (68, 3)


def load_ict(path: Path, model: MorphableModel) -> IctFace:
    """Read `ict_facekit_light.npz` and lay its mean face on that of `model`, rotated and moved, its size kept."""
    data = np.load(path)
    vertices = torch.from_numpy(data["vertices"]) / 100.0
    landmarks = vertices[torch.from_numpy(data["landmarks68"]).long()]
    stable = list(STABLE_LANDMARKS)
    target = model.landmarks(model.template[None])[0, stable]
    _, rotation, _ = similarity_between(landmarks[stable], target)
    shift = target.mean(0) - rotation @ landmarks[stable].mean(0)
    triangles = torch.from_numpy(data["tri"].astype(np.int64))

    def turned(basis: str) -> Tensor:
        values = torch.from_numpy(data[basis][:, :FACE_VERTICES].astype(np.float32)) / 100.0
        return values @ rotation.T

    moves = dict(zip((str(name) for name in data["expression_names"]), turned("expression_basis"), strict=True))
    return IctFace(
        points=vertices[:FACE_VERTICES] @ rotation.T + shift,
        triangles=triangles[(triangles < FACE_VERTICES).all(1)],
        identity_basis=turned("identity_basis"),
        expressions=_arkit_names(moves),
        landmarks=landmarks @ rotation.T + shift,
    )


def _arkit_names(moves: dict[str, Tensor]) -> dict[str, Tensor]:
    """ICT-FaceKit's halves `_L` and `_R` under ARKit's names; where ARKit knows one shape, both halves added."""
    named: dict[str, Tensor] = {}
    for name, move in moves.items():
        stem, _, side = name.partition("_")
        if stem in ("browInnerUp", "cheekPuff"):
            named[stem] = named[stem] + move if stem in named else move
        else:
            named[stem + {"L": "Left", "R": "Right", "": ""}[side]] = move
    return named


def mirror_errors(model: MorphableModel) -> dict[str, float]:
    """How far each expression is from the mirror image of its opposite (or of itself), millimetres, worst vertex."""
    names = list(model.config.expression_names)
    mirror = model.mirrored_vertices
    errors = {}
    for index, name in enumerate(names):
        opposite = name.replace("Left", "*").replace("Right", "Left").replace("*", "Right")
        image = model.expression_basis[names.index(opposite)][mirror] * torch.tensor([-1.0, 1.0, 1.0])
        errors[name] = 1e3 * float((model.expression_basis[index] - image).norm(dim=-1).max())
    return errors


def expression_amplitudes(model: MorphableModel, ict: IctFace) -> dict[str, float]:
    """Root mean square motion of the face's skin, over its area, of each expression over that of ICT-FaceKit's."""
    ours = _area_near_nose(model.template, _skin_triangles(model), model.landmarks(model.template[None])[0, NOSE_TIP])
    theirs = _area_near_nose(ict.points, ict.triangles, ict.landmarks[NOSE_TIP])
    ratios = {}
    for name, move in zip(model.config.expression_names, model.expression_basis, strict=True):
        if name in ict.expressions:
            ratios[name] = float(_mean_square(move, ours).sqrt() / _mean_square(ict.expressions[name], theirs).sqrt())
    return ratios


def _skin_triangles(model: MorphableModel) -> Tensor:
    return model.triangles[(model.region("skin") > 0.5)[model.triangles].all(1)]


def _area_near_nose(points: Tensor, triangles: Tensor, nose: Tensor) -> Tensor:
    """A third of the area of the triangles around each vertex, `(V,)`; 0 farther than 95 mm from the nose's tip."""
    first, second, third = points[triangles].unbind(1)
    area = torch.linalg.cross(second - first, third - first).norm(dim=1) / 6
    total = torch.zeros(len(points)).index_add(0, triangles.flatten(), area.repeat_interleave(3))
    return total * ((points - nose).norm(dim=1) < NOSE_RADIUS)


def _mean_square(move: Tensor, area: Tensor) -> Tensor:
    return (move.square().sum(1) * area).sum() / area.sum()


def variety_by_region(model: MorphableModel, ict: IctFace, count: int = 200, seed: int = 0) -> dict[str, float]:
    """Standard deviation of shape along the normal over `count` random people, by region, over ICT-FaceKit's.

    Each person is rotated and moved, not scaled, onto the mean face first: pose is no shape.
    """
    generator = torch.Generator().manual_seed(seed)
    ours = _spread(model.template, model.identity_basis, model.triangles, model.region("face") > 0.5, count, generator)
    index, weights = nearest_surface_points(ict.points, model.template, model.triangles)
    corners = model.triangles[index]

    def on_ict(values: Tensor) -> Tensor:
        return (values[corners] * weights).sum(1)

    on_face = on_ict(model.region("face")) > 0.5
    near = (ict.points - (weights[..., None] * model.template[corners]).sum(1)).norm(dim=1) < 0.015
    theirs = _spread(ict.points, ict.identity_basis, ict.triangles, on_face & near, count, generator)
    ratios = {}
    for name in COMPARED_REGIONS:
        if name in model.config.region_names:
            region, image = model.region(name) * model.region("skin"), on_ict(model.region(name)) * near
            mean_theirs = (theirs * image).sum() / image.sum()
            ratios[name] = float(((ours * region).sum() / region.sum() / mean_theirs).sqrt())
    return ratios


def _spread(
    mean: Tensor, basis: Tensor, triangles: Tensor, on_face: Tensor, count: int, generator: torch.Generator
) -> Tensor:
    """Variance `(V,)` along the normal of random people, each laid rigidly on the mean face."""
    normals = vertex_normals(mean[None], triangles)[0]
    coefficients = torch.randn(count, len(basis), generator=generator)
    total = torch.zeros(len(mean))
    for person in coefficients:
        points = mean + torch.einsum("k,kvc->vc", person, basis)
        _, rotation, _ = similarity_between(points[on_face], mean[on_face])
        placed = (points - points[on_face].mean(0)) @ rotation.T + mean[on_face].mean(0)
        total = total + ((placed - mean) * normals).sum(1).square()
    return total / count


def texture_share(model: MorphableModel) -> float:
    """Share of the texture's square that its triangles cover; those that lie on each other count once each."""
    corners = model.uv_coordinates[model.uv_triangles]
    first, second = (corners[:, 1] - corners[:, 0]).unbind(1), (corners[:, 2] - corners[:, 0]).unbind(1)
    return float((first[0] * second[1] - first[1] * second[0]).abs().sum() / 2)


def shape_figures(model: MorphableModel, ict_path: Path) -> dict[str, float]:
    """Every figure of this module by name, for a 3DMM with anny-head's regions and ARKit's expressions."""
    ict = load_ict(ict_path, model)
    amplitudes = expression_amplitudes(model, ict)
    spread = {f"variety of shape over ICT-FaceKit's, {name}": r for name, r in variety_by_region(model, ict).items()}
    return {
        "eyeball's radius, mm": 1e3
        * float((model.template[model.eyeball_vertices[0]] - model.eye_centres[0]).norm(dim=1).mean()),
        "expression against its mirror image, mm, worst": max(mirror_errors(model).values()),
        "amplitude of an expression over ICT-FaceKit's, smallest": min(amplitudes.values()),
        "amplitude of an expression over ICT-FaceKit's, largest": max(amplitudes.values()),
        **spread,
        "share of the texture's square in use": texture_share(model),
    }
