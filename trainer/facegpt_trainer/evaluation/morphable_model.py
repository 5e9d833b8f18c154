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
"""How well a 3DMM's identity basis fits faces that it was not made from: random ICT-FaceKit identities."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from modeling_facegpt.mesh import vertex_normals
from modeling_facegpt.morphable_model import MorphableModel

NOSE_RADIUS = 0.095
NOSE_TIP = 30
FACE_VERTICES = 9409
# iBUG points that lie on the same spot of any face: eye corners, nose, mouth corners and lips.
STABLE_LANDMARKS = (27, 30, 31, 33, 35, 36, 39, 42, 45, 48, 51, 54, 57)
# Millimetres: noise that the fit assumes; it sets the ridge penalty.
NOISE = 1.0
TANGENT_WEIGHT = 0.1
OUTLIER = 5e-3


class FitResult(NamedTuple):
    """One fitted scan."""

    median: float  # millimetres, point to surface
    mean_face: float  # millimetres, the same for the mean face
    coefficient_rms: float


class _Surface(NamedTuple):
    """The outer skin of a 3DMM: what a scan can show."""

    template: Tensor  # (V, 3)
    basis: Tensor  # (K, V, 3)
    triangles: Tensor  # (F, 3)


def load_ict_faces(path: Path, count: int, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Random identities of ICT-FaceKit: points `(P, 3)` around the nose and 68 landmarks `(68, 3)`, metres."""
    data = np.load(path)
    coefficients = torch.randn(count, len(data["identity_basis"]), generator=generator)
    basis = torch.from_numpy(data["identity_basis"].astype(np.float32))
    vertices = torch.from_numpy(data["vertices"]) + torch.einsum("nk,kvc->nvc", coefficients, basis)
    vertices = vertices / 100.0  # centimetres
    faces = []
    for face in vertices:
        landmarks = face[torch.from_numpy(data["landmarks68"]).long()]
        points = face[:FACE_VERTICES]
        near = (points - landmarks[NOSE_TIP]).norm(dim=1) < NOSE_RADIUS
        faces.append((points[near], landmarks))
    return faces


def similarity_between(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, rotation `(3, 3)` and translation `(3,)` that map `source` onto `target` (Umeyama 1991)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    centred = source - source_mean
    left, values, right = torch.linalg.svd((target - target_mean).T @ centred)
    sign = torch.ones(3)
    sign[2] = torch.linalg.det(left @ right).sign()
    rotation = left @ torch.diag(sign) @ right
    scale = (values * sign).sum() / centred.square().sum()
    return scale, rotation, target_mean - scale * rotation @ source_mean


def closest_on_triangles(points: Tensor, corners: Tensor) -> Tensor:
    """Barycentrics `(P, 3)` of the point of each triangle `(P, 3, 3)` that is nearest to each of `(P, 3)` points.

    Ericson, "Real-Time Collision Detection", section 5.1.5, with the plane's solution clamped to the nearest edge.
    """
    origin, first, second = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    offset = points - origin
    a, b, c = (first * first).sum(1), (first * second).sum(1), (second * second).sum(1)
    d, e = (first * offset).sum(1), (second * offset).sum(1)
    area = (a * c - b * b).clamp_min(1e-20)
    v, w = (c * d - b * e) / area, (a * e - b * d) / area
    plane = torch.stack((1 - v - w, v, w), dim=1)
    candidates = [_closest_on_edge(points, corners, i, (i + 1) % 3) for i in range(3)]
    distances = torch.stack([((bary[:, :, None] * corners).sum(1) - points).norm(dim=1) for bary in candidates])
    edge = torch.stack(candidates)[distances.argmin(0), torch.arange(len(points))]
    return torch.where((plane >= 0).all(1, keepdim=True), plane, edge)


def _closest_on_edge(points: Tensor, corners: Tensor, start: int, end: int) -> Tensor:
    edge = corners[:, end] - corners[:, start]
    along = ((points - corners[:, start]) * edge).sum(1) / edge.square().sum(1).clamp_min(1e-20)
    along = along.clamp(0, 1)
    barycentrics = torch.zeros(len(points), 3)
    barycentrics[:, start], barycentrics[:, end] = 1 - along, along
    return barycentrics


def nearest_surface_points(points: Tensor, vertices: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Triangle `(P,)` and barycentrics `(P, 3)` of the surface point nearest to each of `(P, 3)` points."""
    corners = vertices[triangles]
    centres = corners.mean(1)
    best = torch.full((len(points),), torch.inf)
    index, barycentrics = torch.zeros(len(points), dtype=torch.int64), torch.zeros(len(points), 3)
    candidates = torch.cat([torch.cdist(part, centres).topk(8, largest=False).indices for part in points.split(1024)])
    for column in candidates.unbind(1):
        weights = closest_on_triangles(points, corners[column])
        distance = ((weights[:, :, None] * corners[column]).sum(1) - points).norm(dim=1)
        better = distance < best
        best = torch.where(better, distance, best)
        index = torch.where(better, column, index)
        barycentrics = torch.where(better[:, None], weights, barycentrics)
    return index, barycentrics


def skin_surface(model: MorphableModel) -> _Surface:
    """The skin's triangles, without what lies inside the head."""
    skin = (model.region("skin") > 0.5)[model.triangles].all(1)
    return _Surface(model.template, model.identity_basis, model.triangles[skin])


def fit_scan(
    model: MorphableModel, points: Tensor, landmarks: Tensor, steps: int = 20, noise: float = NOISE
) -> FitResult:
    """Fit identity coefficients and a similarity to one scan by iterated closest points with a ridge penalty."""
    surface = skin_surface(model)
    stable = list(STABLE_LANDMARKS)
    scale, rotation, translation = similarity_between(
        landmarks[stable], model.landmarks(model.template[None])[0, stable]
    )
    points = scale * points @ rotation.T + translation
    aligned, zero = _align(points, surface, torch.zeros(len(surface.basis)), 10)
    mean_face = _distances(aligned, surface, zero).median()
    coefficients = zero
    for step in range(steps):
        sample = aligned[step % 3 :: 3]
        coefficients = _solve(sample, surface, coefficients, noise)
        aligned, _ = _align(aligned, surface, coefficients, 1)
    median = _distances(aligned, surface, coefficients).median()
    return FitResult(1e3 * float(median), 1e3 * float(mean_face), float(coefficients.square().mean().sqrt()))


def _shape(surface: _Surface, coefficients: Tensor) -> Tensor:
    return surface.template + torch.einsum("k,kvc->vc", coefficients, surface.basis)


def _nearest(points: Tensor, surface: _Surface, coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    vertices = _shape(surface, coefficients)
    index, weights = nearest_surface_points(points, vertices, surface.triangles)
    corners = surface.triangles[index]
    return corners, weights, (weights[:, :, None] * vertices[corners]).sum(1)


def _distances(points: Tensor, surface: _Surface, coefficients: Tensor) -> Tensor:
    return (_nearest(points, surface, coefficients)[2] - points).norm(dim=1)


def _align(points: Tensor, surface: _Surface, coefficients: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    for _ in range(steps):
        sample = points[::3]
        nearest = _nearest(sample, surface, coefficients)[2]
        inlier = (nearest - sample).norm(dim=1) < OUTLIER
        scale, rotation, translation = similarity_between(sample[inlier], nearest[inlier])
        points = scale * points @ rotation.T + translation
    return points, coefficients


def _solve(points: Tensor, surface: _Surface, coefficients: Tensor, noise: float) -> Tensor:
    """Ridge regression of the coefficients on the present correspondences: mostly the distance along the normal."""
    corners, weights, nearest = _nearest(points, surface, coefficients)
    normals = vertex_normals(_shape(surface, coefficients)[None], surface.triangles)[0]
    normal = (weights[:, :, None] * normals[corners]).sum(1)
    rows = torch.einsum("pi,kpic->kpc", weights, surface.basis[:, corners])  # (K, P, 3)
    target = points - (weights[:, :, None] * surface.template[corners]).sum(1)  # (P, 3)
    inlier = ((nearest - points).norm(dim=1) < OUTLIER).float()
    metric = normal[:, :, None] * normal[:, None, :] + TANGENT_WEIGHT * torch.eye(3)
    weighted = torch.einsum("kpc,pcd->kpd", rows, metric) * inlier[:, None] / (noise * 1e-3) ** 2
    # A scan's points are far from independent: about as many count as there are square centimetres.
    effective = 200.0 / len(points)
    matrix = effective * torch.einsum("kpc,lpc->kl", weighted, rows) + torch.eye(len(rows))
    return torch.linalg.solve(matrix, effective * torch.einsum("kpc,pc->k", weighted, target))


def evaluate_morphable_model(model: MorphableModel, ict_path: Path, count: int = 12, seed: int = 0) -> list[FitResult]:
    """Fit `count` random ICT-FaceKit identities, drawn by `seed`.

    Args:
        model (`MorphableModel`): with a region `skin` and 68 landmarks.
        ict_path (`Path`): `ict_facekit_light.npz`.
    """
    faces = load_ict_faces(ict_path, count, torch.Generator().manual_seed(seed))
    shown = tqdm(faces, desc="identities", disable=None)
    return [fit_scan(model, points, landmarks) for points, landmarks in shown]
