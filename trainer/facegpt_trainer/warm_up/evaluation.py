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
"""How well a warmed-up network reads faces that it never saw, each figure beside what knows nothing."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from modeling_facegpt.camera import Camera
from modeling_facegpt.face_fit import (
    FittedFaces,
    LandmarkEvidence,
    fit_faces,
    morphable_model_prior,
)
from modeling_facegpt.face_head import decode, parameter_standard_deviation
from modeling_facegpt.face_parameters import concatenate_faces, vector_to_parameters
from modeling_facegpt.fit_equations import LandmarkModel
from modeling_facegpt.morphable_model import MorphableModel

from ..pictures.crop_augmentation import Views, cameras_in_views, cut, points_in_views, steady_views
from ..pictures.portrait_shards import Portraits, decode_pictures
from ..pictures.portrait_stream import GREY, PhotographPortraits, steady_crops
from .network import FaceReading, PortraitNetwork
from .objective import ShapeMetric

# Of 68 landmarks those that people and MediaPipe place alike: corners of eyes and mouth, lips' middle, nose.
WELL_DEFINED = (36, 39, 42, 45, 48, 54, 51, 57, 31, 35, 33)
OUTER_EYE_CORNERS = (33, 263)  # of MediaPipe's 468
AT_ONCE = 32
FITTED_AT_ONCE = 8  # what a processor's cache holds
SAME_PHOTOGRAPH = 2.0  # per cent of the eyes' distance, by which landmarks of one photograph differ at most
FIT_SIDE = 100.0  # pixels of a crop in the fit, which is the same whatever they are


class HumanPoints(NamedTuple):
    """Points that people placed on some of the photographs."""

    rows: Tensor  # (H,) of the photographs
    points: Tensor  # (H, 11, 2) in sides of the steady crops
    columns: Tensor  # (11,) of the 468 landmarks


class Photographs(NamedTuple):
    """Photographs as they are read."""

    crops: Tensor  # (M, 3, S, S)
    landmarks: Tensor  # (M, 468, 2) in sides of the crop, placed by a machine
    person: Tensor  # (M,)
    cameras: Tensor  # (M, 3) in sides of the crop


class Renders(NamedTuple):
    """Held-out renders as they are read."""

    crops: Tensor  # (M, 3, S, S)
    landmarks: Tensor  # (M, 468, 2)
    identity: Tensor  # (M, num_identity)
    cameras: Tensor  # (M, 3)


def prepare_photographs(photographs: PhotographPortraits, side: int) -> Photographs:
    """Steady crops."""
    crops, landmarks = steady_crops(photographs, side)
    views = steady_views(photographs.landmarks)
    cameras = cameras_in_views(photographs.picture_cameras, views, photographs.pixels.shape[-1])
    return Photographs(crops, landmarks, photographs.person, cameras)


def people_seen_twice(photographs: PhotographPortraits) -> tuple[Tensor, Tensor]:
    """Rows `(P,)` of two photographs of each person who has two that are not the same one scanned twice."""
    first, second = [], []
    for person in (torch.bincount(photographs.person) > 1).nonzero()[:, 0]:
        rows = (photographs.person == person).nonzero()[:2, 0]
        points = photographs.landmarks[rows] - photographs.landmarks[rows].mean(1, keepdim=True)
        if normalised_mean_error(points[:1], points[1:]) > SAME_PHOTOGRAPH:
            first.append(rows[0])
            second.append(rows[1])
    empty = torch.zeros(0, dtype=torch.long)
    return (torch.stack(first), torch.stack(second)) if first else (empty, empty)


def prepare_renders(portraits: Portraits, face_model: MorphableModel, side: int) -> Renders:
    """Steady crops of upright held-out renders."""
    lean = portraits.frame[:, 3]
    views = steady_views(portraits.landmarks, torch.zeros_like(lean))
    pictures = decode_pictures(portraits.jpeg)
    crops = [
        cut(pictures[rows], Views(*(part[rows] for part in views)), side, torch.full((len(rows), 3, 1, 1), GREY))
        for rows in torch.arange(len(pictures)).split(AT_ONCE)
    ]
    identity = vector_to_parameters(portraits.face_targets, face_model.config).identity
    cameras = cameras_in_views(portraits.picture_cameras, views, pictures.shape[-1])
    return Renders(torch.cat(crops), points_in_views(portraits.landmarks, views), identity, cameras)


def human_points(file: Path, photographs: PhotographPortraits) -> HumanPoints:
    """Those of the London set, in sides of the steady crops."""
    views = steady_views(photographs.landmarks)
    with np.load(file) as data:
        columns = torch.tensor(data["mediapipe68_idx"][list(WELL_DEFINED)].astype(np.int64))
        names = [Path(str(name)).name for name in data["human_files"]]
        placed = torch.tensor(data["human68_approx"][:, list(WELL_DEFINED)], dtype=torch.float32)
        stored = {Path(str(name)).name: row for row, name in enumerate(data["files"])}
        machine = torch.tensor(data["mediapipe478"][[stored[name] for name in names], :468, :2])
    rows = torch.tensor([photographs.names.index(name) for name in names])
    placed = _into_portraits(placed, machine, photographs.landmarks[rows])
    return HumanPoints(rows, points_in_views(placed, Views(*(part[rows] for part in views))), columns)


@torch.no_grad()
def read_all(network: PortraitNetwork, crops: Tensor, fast: bool = False) -> FaceReading:
    """Readings of crops `(M, 3, S, S)`, some at once."""
    network.eval()
    readings = [network(part, fast) for part in crops.split(AT_ONCE)]
    network.train()
    return FaceReading(*(torch.cat(parts) for parts in zip(*readings, strict=True)))


def fit_readings(
    model: LandmarkModel, reading: FaceReading, cameras: Tensor, face_model: MorphableModel, *, from_head: bool
) -> FittedFaces:
    """Faces fitted to the landmarks that were read.

    Args:
        model (`LandmarkModel`): of the 3DMM.
        reading (`FaceReading`): of M crops.
        cameras (`torch.Tensor` of shape `(M, 3)`): of the crops, in their sides.
        face_model (`MorphableModel`): the 3DMM.
        from_head (`bool`): with the face head's Gaussian as prior; else with the 3DMM's.
    """
    fitted = [
        _fit_some(model, FaceReading(*(part[rows] for part in reading)), cameras[rows], face_model, from_head)
        for rows in torch.arange(len(cameras)).split(FITTED_AT_ONCE)
    ]
    parameters, deviations, *others = zip(*fitted, strict=True)
    return FittedFaces(
        concatenate_faces(list(parameters)), concatenate_faces(list(deviations)), *(torch.cat(part) for part in others)
    )


def _fit_some(
    model: LandmarkModel, reading: FaceReading, cameras: Tensor, face_model: MorphableModel, from_head: bool
) -> FittedFaces:
    evidence = LandmarkEvidence(FIT_SIDE * reading.landmarks, reading.landmark_log_variance + 2 * math.log(FIT_SIDE))
    prior = morphable_model_prior(face_model, len(cameras))
    if from_head:
        mean = decode(reading.code, cameras, face_model.config)
        prior = mean, parameter_standard_deviation(reading.code_log_variance, mean, cameras, face_model.config)
    return fit_faces(model, evidence, Camera(FIT_SIDE * cameras[:, 0], FIT_SIDE * cameras[:, 1:]), *prior)


def covered(reading: FaceReading, landmarks: Tensor) -> float:
    """Share in per cent of landmarks `(M, L, 2)` inside the circle that should hold 90 % of them."""
    squared = (reading.landmarks - landmarks).square().sum(-1) / reading.landmark_log_variance.exp()
    return 100 * float((squared < -2 * math.log(0.1)).float().mean())


def normalised_mean_error(points: Tensor, true: Tensor, landmarks: Tensor | None = None) -> float:
    """Mean distance of points `(M, L, 2)` over the distance of the outer eye corners, in per cent.

    Args:
        points, true (`torch.Tensor`): found, and where they are.
        landmarks (`torch.Tensor` of shape `(M, 468, 2)`, *optional*): of which the eye corners are taken; default:
            `true`.
    """
    left, right = (true if landmarks is None else landmarks)[:, OUTER_EYE_CORNERS].unbind(1)
    unit = (left - right).norm(dim=-1)
    return 100 * float(((points - true).norm(dim=-1).mean(1) / unit).mean())


def explained_shape(metric: ShapeMetric, found: Tensor, true: Tensor) -> float:
    """R squared of neutral shapes against the mean face's, in per cent."""
    error = metric.squared_distance(found, true).sum()
    return 100 * (1 - float(error / metric.squared_distance(true, torch.zeros_like(true)).sum()))


class Recognition(NamedTuple):
    """How well two pictures of each of P people are told from pairs of different people."""

    auc: float  # 0.5: not at all
    rank_1: float  # per cent of the people whose second picture is the nearest to their first
    spread: float  # of people, of random people of the 3DMM, in per cent
    within_over_between: float  # distance of a person's two pictures over that of different people


def recognise(metric: ShapeMetric, first: Tensor, second: Tensor) -> Recognition:
    """By the distance of the shapes of identities `(P, K)` in two pictures of each person."""
    distance = metric.squared_distance(first[:, None], second[None]).sqrt()  # (P, P)
    same = distance.diagonal()
    others = distance[~torch.eye(len(distance), dtype=torch.bool)]
    auc = (same[:, None] < others[None]).float().mean() + 0.5 * (same[:, None] == others[None]).float().mean()
    nearest = distance.argmin(1) == torch.arange(len(distance))
    # Two random people of the 3DMM are sqrt(2) times as far apart as one is from the mean.
    random_pair = (2 * metric.factor.square().sum()).sqrt()
    return Recognition(
        float(auc),
        100 * float(nearest.float().mean()),
        100 * float(others.square().mean().sqrt() / random_pair),
        float(same.mean() / others.mean()) if float(others.mean()) else float("nan"),
    )


def centred_cosine(first: Tensor, second: Tensor) -> tuple[float, float]:
    """AUC and rank-1 (per cent) by the cosine of identities `(P, K)`, less the mean of all."""
    mean = torch.cat((first, second)).mean(0)
    a, b = (torch.nn.functional.normalize(part - mean, dim=-1) for part in (first, second))
    likeness = a @ b.T
    others = likeness[~torch.eye(len(likeness), dtype=torch.bool)]
    auc = (likeness.diagonal()[:, None] > others[None]).float().mean()
    return float(auc), 100 * float((likeness.argmax(1) == torch.arange(len(a))).float().mean())


def placed_mean_face(mean: Tensor, landmarks: Tensor) -> Tensor:
    """The mean face's landmarks `(L, 3)` where a weak-perspective camera fits them best to landmarks `(M, L, 2)`:
    what knows nothing of a face but its place and pose."""
    model = torch.cat((mean, torch.ones_like(mean[:, :1])), dim=-1)
    affine = torch.linalg.lstsq(model.expand(len(landmarks), -1, -1), landmarks).solution  # (M, 4, 2)
    # The nearest scaled rotation's two rows.
    left, _, right = torch.linalg.svd(affine[:, :3], full_matrices=False)
    scale = torch.linalg.matrix_norm(affine[:, :3]) / 2**0.5
    turned = mean @ (scale[:, None, None] * (left @ right))
    return turned - turned.mean(1, keepdim=True) + landmarks.mean(1, keepdim=True)


def _into_portraits(points: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Points of photographs where the portraits cut from them have them: both have `before` and `after` in common."""
    low, high = before.amin(1, keepdim=True), before.amax(1, keepdim=True)
    new_low, new_high = after.amin(1, keepdim=True), after.amax(1, keepdim=True)
    return (points - low) / (high - low) * (new_high - new_low) + new_low
