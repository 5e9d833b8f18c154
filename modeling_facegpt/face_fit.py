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
"""The fit: where landmarks are seen, and what a face is likely to be, become one face with its uncertainty.

A Gaussian over the parameters of the 3DMM (of the face head, or of the 3DMM itself) and one over landmarks in the
picture are joined by Gauss-Newton steps to the likeliest face (a maximum a posteriori estimate), for a batch at once.
The Jacobian is written down, not derived by autograd. Landmarks that no face explains are trusted less (iteratively
reweighted least squares with Cauchy's weights), expressions stay within their bounds, and a step that would make the
objective worse is shortened or not taken, so that a face never ends worse than it began.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .camera import Camera
from .face_parameters import FaceParameters
from .fit_equations import (
    POSE_SIZE,
    FitProblem,
    FitState,
    LandmarkModel,
    advance,
    flip_axes,
    landmark_shape,
    normal_equations,
    objective_of,
    project_landmarks,
    six_number_derivative,
    six_numbers,
    squared_errors,
    trust_of,
    within_bounds,
)
from .morphable_model import MorphableModel
from .rotations import rotation_6d_to_matrix

STEPS = 4
STEP_LENGTHS = (1.0, 0.5, 0.2, 0.05)  # of which the best is taken, if it is any good
# Errors of neighbouring landmarks go together: so many of them tell as much as one whose error is its own.
DEPENDENT_LANDMARKS = 8.0
LEAST_DEVIATION = 1e-3  # of a prior; surer ones would make the equations singular in float32
LEAST_LANDMARKS = 6  # from which a pose can be told where none is given
NEAREST_PLACE, FARTHEST_PLACE = 0.3, 1000.0  # metres; where a fit starts, whatever the landmarks say
DAMPING = 1e-6
EXPRESSION_DEVIATION = 0.35  # of the 3DMM's own prior, for activations in [0, 1]
LOG_FOCAL_DEVIATION = 0.15


class LandmarkEvidence(NamedTuple):
    """Where the L landmarks of N faces are seen. A landmark with NaN anywhere is not known."""

    points: Tensor  # (N, L, 2) pixels
    log_variance: Tensor  # (N, L) of either coordinate, squared pixels


class FittedFaces(NamedTuple):
    """N fitted faces."""

    parameters: FaceParameters  # what no landmark tells (albedo, light, gaze) as it was given
    standard_deviation: FaceParameters  # of each number, in its own unit
    landmarks: Tensor  # (N, L, 2) pixels
    trust: Tensor  # (N, L) in [0, 1], of each landmark; 0 where it is not known
    objective: Tensor  # (N,) negative logarithm of the posterior, up to a constant
    start_objective: Tensor  # (N,) the same of the start


@torch.no_grad()
def landmark_model(face_model: MorphableModel, kind: str = "468") -> LandmarkModel:
    """The landmarks of `kind` of a 3DMM; compute it once. Landmarks on eyeballs do not follow the gaze."""

    def at_landmarks(basis: Tensor) -> Tensor:
        return face_model.landmarks(basis, kind).permute(1, 2, 0)  # (L, 3, components)

    bases = [face_model.identity_basis]
    if face_model.config.num_expression:
        bases.append(face_model.expression_basis)
    return LandmarkModel(
        mean=face_model.landmarks(face_model.template[None], kind)[0],
        basis=torch.cat([at_landmarks(basis) for basis in bases], dim=-1).contiguous(),
        num_identity=face_model.config.num_identity,
        bounded=face_model.config.expression_range == "unit",
    )


def morphable_model_prior(face_model: MorphableModel, faces: int) -> tuple[FaceParameters, FaceParameters]:
    """Mean and standard deviation of `faces` faces of which nothing is known; infinite for a pose."""
    config, like = face_model.config, face_model.template

    def full(size: int, value: float) -> Tensor:
        return like.new_full((faces, size), value)

    expression = EXPRESSION_DEVIATION if config.expression_range == "unit" else 1.0
    upright = like.new_tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]).expand(faces, 6)
    mean = FaceParameters(
        identity=full(config.num_identity, 0.0),
        albedo=full(config.num_albedo, 0.0),
        expression=full(config.num_expression, 0.0),
        light=full(27, 0.0),
        rotation=upright,
        translation=like.new_tensor([0.0, 0.0, 1.0]).expand(faces, 3),
        log_focal=full(1, 0.0),
        gaze=full(2 * config.num_eyes, 0.0),
    )
    deviation = FaceParameters(
        identity=full(config.num_identity, 1.0),
        albedo=full(config.num_albedo, 1.0),
        expression=full(config.num_expression, expression),
        light=full(27, torch.inf),
        rotation=full(6, torch.inf),
        translation=full(3, torch.inf),
        log_focal=full(1, LOG_FOCAL_DEVIATION),
        gaze=full(2 * config.num_eyes, torch.inf),
    )
    return mean, deviation


@torch.no_grad()
def fit_faces(
    model: LandmarkModel,
    evidence: LandmarkEvidence,
    camera: Camera,
    mean: FaceParameters,
    deviation: FaceParameters,
    *,
    steps: int = STEPS,
    dependent_landmarks: float = DEPENDENT_LANDMARKS,
) -> FittedFaces:
    """The likeliest faces.

    Args:
        model (`LandmarkModel`): of `landmark_model`.
        evidence (`LandmarkEvidence`): N faces' landmarks in pixels.
        camera (`Camera`): of N pictures; the true focal length is `focal * exp(log_focal)`.
        mean, deviation (`FaceParameters`): the Gaussian over the parameters, N faces, such as the face head's or
            `morphable_model_prior`; infinite deviations say that nothing is known.
        steps (`int`): of Gauss-Newton, 1 or more; 3 to 6 are enough.
        dependent_landmarks (`float`): how many landmarks tell as much as one whose error is its own; 1 or more.

    Returns:
        `FittedFaces`: a face without known landmarks is the mean as it was given.

    Raises:
        ValueError: if there are no steps, numbers of faces or landmarks differ, or of a face neither
            the pose nor enough landmarks are known.
    """
    if steps < 1:
        raise ValueError(f"got steps={steps}, wanted 1 or more")
    problem = _pose_problem(model, evidence, camera, mean, deviation, dependent_landmarks)
    state, objective = _start(problem, deviation)
    start_objective = objective
    # The last step is short: what the equations before it say of the uncertainty holds after it.
    for _ in range(steps):
        hessian, gradient = normal_equations(problem, state)
        step = _bounded_step(problem, state, hessian, gradient)
        state, objective = _best_along(problem, state, step, objective)
    projection = project_landmarks(problem, state)
    known = problem.precision > 0
    return FittedFaces(
        parameters=_to_parameters(problem, state, mean),
        standard_deviation=_deviation(problem, state, hessian, deviation),
        landmarks=projection.points,
        trust=trust_of(squared_errors(problem, projection)) * known,
        objective=objective,
        start_objective=start_objective,
    )


def _pose_problem(
    model: LandmarkModel,
    evidence: LandmarkEvidence,
    camera: Camera,
    mean: FaceParameters,
    deviation: FaceParameters,
    dependent_landmarks: float,
) -> FitProblem:
    faces, landmarks = evidence.points.shape[:2]
    if landmarks != len(model.mean) or evidence.log_variance.shape != (faces, landmarks):
        raise ValueError(
            f"got landmarks of shape {tuple(evidence.points.shape)} and log-variances of shape "
            f"{tuple(evidence.log_variance.shape)}, wanted {len(model.mean)} landmarks of each face"
        )
    if not faces == len(camera.focal) == len(mean.identity) == len(deviation.identity):
        raise ValueError(
            f"got landmarks of {faces} faces, {len(camera.focal)} cameras, {len(mean.identity)} means and "
            f"{len(deviation.identity)} deviations; give one of each per face"
        )
    known = evidence.points.isfinite().all(-1) & evidence.log_variance.isfinite()
    variance = dependent_landmarks * evidence.log_variance.clamp(-20.0, 20.0).exp()
    inverse = [1 / part.float().clamp(min=LEAST_DEVIATION).square() for part in deviation]
    precision = FaceParameters(*inverse)
    return FitProblem(
        model=model,
        points=torch.where(known[..., None], evidence.points, 0.0).float(),
        precision=torch.where(known, 1 / variance, 0.0).float(),
        focal=camera.focal.float(),
        centre=camera.principal_point.float(),
        prior=FitState(
            rotation=flip_axes(rotation_6d_to_matrix(mean.rotation.float())),
            translation=mean.translation.float(),
            log_focal=mean.log_focal.float(),
            shape=torch.cat((mean.identity, mean.expression), dim=-1).float(),
        ),
        rotation_precision=precision.rotation,
        pose_precision=torch.cat((precision.translation, precision.log_focal), dim=-1),
        shape_precision=torch.cat((precision.identity, precision.expression), dim=-1),
    )


def _start(problem: FitProblem, deviation: FaceParameters) -> tuple[FitState, Tensor]:
    """The prior's mean, or the prior's shape placed where the landmarks are: what explains more."""
    prior = problem.prior._replace(shape=within_bounds(problem.model, problem.prior.shape))
    objective = objective_of(problem, prior)
    unknown = ~(deviation.rotation.isfinite().all(-1) & deviation.translation.isfinite().all(-1))
    objective = torch.where(unknown, torch.inf, objective)
    enough = ((problem.precision > 0).sum(-1) >= LEAST_LANDMARKS).nonzero()[:, 0]
    if len(enough):
        placed = _place_by_landmarks(_rows(problem, enough), FitState(*(part[enough] for part in prior)))
        whole = FitState(*(old.index_copy(0, enough, new) for old, new in zip(prior, placed, strict=True)))
        placed_objective = torch.full_like(objective, torch.inf).index_copy(
            0, enough, objective_of(problem, whole)[enough]
        )
        prior, objective = _better(prior, objective, whole, placed_objective)
    if not objective.isfinite().all():
        row = int((~objective.isfinite()).nonzero()[0, 0])
        raise ValueError(
            f"got face {row} with a pose that is not known and without {LEAST_LANDMARKS} landmarks that lie apart; "
            "give its landmarks, or a prior of its pose"
        )
    return prior, objective


def _place_by_landmarks(problem: FitProblem, state: FitState) -> FitState:
    """Pose by a weak-perspective camera: the scaled rotation nearest to the affine map that fits best."""
    weight = problem.precision / problem.precision.sum(-1, keepdim=True)
    seen = (problem.points - problem.centre[:, None]) / (problem.focal * state.log_focal[:, 0].exp())[:, None, None]
    shape = landmark_shape(problem.model, state.shape)
    shape_mean, seen_mean = (weight[..., None] * shape).sum(1), (weight[..., None] * seen).sum(1)
    shape, seen = shape - shape_mean[:, None], seen - seen_mean[:, None]
    moments = (weight[..., None] * shape).mT @ shape  # (N, 3, 3)
    ridge = 1e-6 * moments.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None] * torch.eye(3).to(moments)
    affine = torch.linalg.solve(moments + ridge, (weight[..., None] * shape).mT @ seen).mT  # (N, 2, 3)
    left, values, right = torch.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    rotation = torch.cat((rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]), dim=1)
    depth = (1 / values.mean(-1).clamp(min=1e-9)).clamp(NEAREST_PLACE, FARTHEST_PLACE)
    middle = torch.cat((seen_mean, torch.ones_like(depth)[:, None]), dim=-1) * depth[:, None]
    return state._replace(rotation=rotation, translation=middle - (rotation @ shape_mean[..., None])[..., 0])


def _bounded_step(problem: FitProblem, state: FitState, hessian: Tensor, gradient: Tensor) -> Tensor:
    """The step `(N, Q)` to the minimum of the quadratic within the bounds: expressions that would leave them stop
    there, and the others make the best of it."""
    step = _solve(hessian, -gradient)
    if not problem.model.bounded:
        return step.float()
    low, high = _room(problem.model, state.shape, step.dtype)
    stopped = (step < low) | (step > high)
    if stopped.any():
        fixed = torch.where(stopped, torch.minimum(torch.maximum(step, low), high), 0.0)
        free = (~stopped).to(step)
        right = free * (-gradient - (hessian @ fixed[..., None])[..., 0])
        reduced = hessian * free[:, :, None] * free[:, None, :] + (1 - free).diag_embed()
        step = _solve(reduced, right) + fixed
    return torch.minimum(torch.maximum(step, low), high).float()


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solutions `(N, Q)` of symmetric equations by Cholesky, scaled to a diagonal of 1 and damped."""
    scale = matrix.diagonal(dim1=-2, dim2=-1).clamp(min=1e-12).rsqrt()
    scaled = matrix * scale[:, :, None] * scale[:, None, :]
    scaled = scaled + DAMPING * torch.eye(matrix.shape[-1]).to(scaled)
    factor, failed = torch.linalg.cholesky_ex(scaled)
    step = torch.cholesky_solve((right * scale)[..., None], factor)[..., 0] * scale
    return torch.where(((failed == 0)[:, None]) & step.isfinite(), step, 0.0)


def _best_along(problem: FitProblem, state: FitState, step: Tensor, objective: Tensor) -> tuple[FitState, Tensor]:
    """The best of some lengths of a step; the longest for faces that none helps is none."""
    best, best_objective = state, objective
    for length in STEP_LENGTHS:
        trial = advance(problem, state, length * step)
        best, best_objective = _better(best, best_objective, trial, objective_of(problem, trial))
        if length == 1.0 and bool((best_objective < objective).all()):
            break  # nearly always: the other lengths are not needed
    return best, best_objective


def _deviation(problem: FitProblem, state: FitState, hessian: Tensor, given: FaceParameters) -> FaceParameters:
    """Standard deviation of each number, from the inverse of the Hessian at the minimum."""
    scale = hessian.diagonal(dim1=-2, dim2=-1).clamp(min=1e-12).rsqrt()
    scaled = hessian * scale[:, :, None] * scale[:, None, :] + DAMPING * torch.eye(hessian.shape[-1]).to(hessian)
    covariance = torch.cholesky_inverse(torch.linalg.cholesky_ex(scaled).L) * scale[:, :, None] * scale[:, None, :]
    spread = covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt().float()
    turn = six_number_derivative(state.rotation).double()
    rotation = (turn @ covariance[:, :3, :3] @ turn.mT).diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt().float()
    identities = problem.model.num_identity
    return given._replace(
        identity=spread[:, POSE_SIZE : POSE_SIZE + identities],
        expression=spread[:, POSE_SIZE + identities :],
        rotation=rotation,
        translation=spread[:, 3:6],
        log_focal=spread[:, 6:7],
    )


def _to_parameters(problem: FitProblem, state: FitState, mean: FaceParameters) -> FaceParameters:
    identities = problem.model.num_identity
    return mean._replace(
        identity=state.shape[:, :identities],
        expression=state.shape[:, identities:],
        rotation=six_numbers(state.rotation),
        translation=state.translation,
        log_focal=state.log_focal,
    )


def _better(old: FitState, old_objective: Tensor, new: FitState, new_objective: Tensor) -> tuple[FitState, Tensor]:
    better = new_objective < old_objective
    pairs = zip(new, old, strict=True)
    state = FitState(*(torch.where(better.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs))
    return state, torch.where(better, new_objective, old_objective)


def _rows(problem: FitProblem, index: Tensor) -> FitProblem:
    prior = FitState(*(part[index] for part in problem.prior))
    others = {name: getattr(problem, name)[index] for name in FitProblem._fields if name not in ("model", "prior")}
    return problem._replace(prior=prior, **others)


def _room(model: LandmarkModel, shape: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """How far each number `(N, Q)` may go down and up."""
    expression = shape[:, model.num_identity :].to(dtype)
    free = torch.full((len(shape), POSE_SIZE + model.num_identity), torch.inf, dtype=dtype, device=shape.device)
    return torch.cat((-free, -expression), dim=-1), torch.cat((free, 1 - expression), dim=-1)
