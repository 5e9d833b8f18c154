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
"""How sure the head may be: its standard deviations against its errors on held-out renders, and their calibration.

A head that was trained to say its variance is surer on what it was trained on than on anything else, and its errors
are not quite Gaussian. So each number of the code gets a factor on its standard deviation by which intervals of a
given coverage cover as many held-out faces as they say. What few faces say of one number is drawn towards what its
group says, as far as chance explains the difference (empirical Bayes; Efron & Morris 1973).
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from modeling_facegpt.face_detection import FaceDetector, View, check_photos
from modeling_facegpt.face_head import encode
from modeling_facegpt.face_parameters import (
    FaceParameters,
    parameter_sizes,
    parameters_to_vector,
    vector_to_parameters,
)
from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.processing_facegpt import FaceGPTProcessor

from ..pictures.data_engine import DataEngine
from .held_out import face_model_on_cpu, held_out_seed
from .reconstruction import PICTURES_TOGETHER, RENDERED_SIDE, held_out_batches, to_images

COVERAGE = 0.9
_CALIBRATION, _EVALUATION = 2, 3  # apart from each other, and from other evaluations' renders
_LEAST_RATIO = 1e-3  # of an error to its standard deviation; a number that never errs is not made infinitely sure


class HeldOutFaces(NamedTuple):
    """N faces of renders, as their crops show them, and as they are."""

    code: Tensor  # (N, P)
    log_variance: Tensor  # (N, P) of the code
    true_code: Tensor  # (N, P)
    parameters: Tensor  # (N, P)
    standard_deviation: Tensor  # (N, P) of the parameters
    true_parameters: Tensor  # (N, P)


@torch.no_grad()
def find_held_out_faces(
    model: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, *, pictures: int, seed: int
) -> HeldOutFaces:
    """The likeliest face that is found in each of `pictures` renders of one face; renders without any are left out."""
    engine = DataEngine(face_model_on_cpu(model), RENDERED_SIDE * model.config.render_size, seed)
    detector = FaceDetector(model, processor, PICTURES_TOGETHER)
    columns = []
    for batch in held_out_batches(engine, pictures, faces=1):
        seen = check_photos(to_images(batch.pictures))
        [whole] = detector.read([[detector.view_photo(photo)] for photo in seen])
        first = [part[0] for part in whole]
        rows = [row for row, detections in enumerate(first) if len(detections.probability)]
        chosen = [_likeliest(first[row].parameters, first[row].probability) for row in rows]
        crops = [
            crop for row, face in zip(rows, chosen, strict=True) for crop in detector.frame_crops(seen[row], face)
        ]
        [[detections]] = detector.read([[View(crop, 1) for crop in crops]])
        kept = [number for number, look in enumerate(detections) if len(look.probability)]
        true = batch.face_targets[[rows[number] for number in kept]]
        cameras = torch.stack([crops[number].camera for number in kept])
        columns.append(
            HeldOutFaces(
                code=torch.cat([detections[number].code for number in kept]),
                log_variance=torch.cat([detections[number].log_variance for number in kept]),
                true_code=encode(
                    vector_to_parameters(true, model.face_model.config), cameras, model.face_model.config
                ),
                parameters=torch.cat([parameters_to_vector(detections[number].parameters) for number in kept]),
                standard_deviation=torch.cat(
                    [parameters_to_vector(detections[number].standard_deviation) for number in kept]
                ),
                true_parameters=true,
            )
        )
    return HeldOutFaces(*(torch.cat(parts).cpu() for parts in zip(*columns, strict=True)))


def _likeliest(faces: FaceParameters, probability: Tensor) -> FaceParameters:
    best = probability.argmax()[None]
    return FaceParameters(*(group[best] for group in faces))


def fit_log_variance_offset(
    errors: Tensor, log_variance: Tensor, sizes: tuple[int, ...], coverage: float = COVERAGE
) -> Tensor:
    """What to add to the log-variances `(P,)` so that intervals of the given coverage cover as much.

    Args:
        errors (`torch.Tensor` of shape `(N, P)`): what the head said less what is true, of N faces.
        log_variance (`torch.Tensor` of shape `(N, P)`): what it said about them.
        sizes (`tuple[int, ...]`): how many of the P numbers each group has, in their order.
        coverage (`float`): in (0, 1).

    Raises:
        ValueError: if there are too few faces to see that coverage in.
    """
    faces = errors.shape[0]
    least = math.ceil(round(1 / (1 - coverage), 6))
    if faces < least:
        raise ValueError(f"got {faces} faces to calibrate on, wanted at least {least}")
    ratio = errors.abs() * (-0.5 * log_variance).exp()
    width = NormalDist().inv_cdf(0.5 + coverage / 2)
    needed = (ratio.quantile(coverage, dim=0).clamp(min=_LEAST_RATIO) / width).log()  # (P,)
    # Of the logarithm of a Gaussian's quantile, from N samples.
    density = 2 * NormalDist().pdf(width)
    chance = coverage * (1 - coverage) / faces / (density * width) ** 2
    groups = [_shrink_to_mean(group, chance) for group in needed.split(list(sizes))]
    return 2 * torch.cat(groups)


def _shrink_to_mean(values: Tensor, chance: float) -> Tensor:
    """`values (K,)`, each known up to a variance of `chance`, drawn towards their mean."""
    if len(values) < 2:
        return values
    mean = values.mean()
    real = (values.var() - chance).clamp(min=0)
    return mean + (values - mean) * real / (real + chance)


def calibrate(
    model: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, *, pictures: int = 600
) -> FaceGPTForConditionalGeneration:
    """Fit the offset anew and set it in `model` and its configuration; the weights stay as they are."""
    faces = find_held_out_faces(model, processor, pictures=pictures, seed=held_out_seed(0) + _CALIBRATION)
    sizes = parameter_sizes(model.face_model.config)
    change = fit_log_variance_offset(faces.code - faces.true_code, faces.log_variance, sizes)
    before = torch.tensor(model.face_head.log_variance_offset, dtype=change.dtype)
    offset = [round(value, 4) for value in (before + change).tolist()]
    model.face_head.calibrate(offset)
    model.config.log_variance_offset = offset
    return model


def evaluate_uncertainty(
    model: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, *, pictures: int = 600, seed: int = 0
) -> dict[str, float]:
    """How honest the standard deviations are on renders that neither training nor calibration saw.

    Returns:
        `dict`: for each group of `FaceParameters`, how many of the true numbers lie within the 90 % intervals around
        those found, in per cent; the rank correlation (Spearman) over faces of the standard deviation and the error,
        each the root mean square over the group; and the mean error of the third of the faces that it is least sure
        of, over that of the third that it is surest of.
    """
    faces = find_held_out_faces(model, processor, pictures=pictures, seed=held_out_seed(seed) + _EVALUATION)
    config = model.face_model.config
    error = vector_to_parameters((faces.parameters - faces.true_parameters).abs(), config)
    said = vector_to_parameters(faces.standard_deviation, config)
    width = NormalDist().inv_cdf(0.5 + COVERAGE / 2)
    results = {"faces": float(len(faces.code))}
    for name in FaceParameters._fields:
        if not getattr(error, name).shape[1]:
            continue
        covered = (getattr(error, name) <= width * getattr(said, name)).float().mean()
        results[f"{name}: within the 90 % interval, %"] = 100 * float(covered)
        size, unsure = (getattr(part, name).square().mean(1).sqrt() for part in (error, said))
        results[f"{name}: rank correlation of deviation and error"] = rank_correlation(unsure, size)
        results[f"{name}: error of the least sure third over the surest"] = _third_ratio(unsure, size)
    return results


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Spearman's coefficient of two `(N,)` without ties."""
    ranks = torch.stack([values.argsort().argsort().cpu().double() for values in (one, other)])
    return float(torch.corrcoef(ranks)[0, 1])


def _third_ratio(unsure: Tensor, size: Tensor) -> float:
    ordered = size[unsure.argsort()]
    third = len(ordered) // 3
    return float(ordered[-third:].mean() / ordered[:third].mean().clamp(min=1e-12))
