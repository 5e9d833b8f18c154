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
"""The equations of the fit of a linear 3DMM to landmarks: projection, Jacobian, objective, and Gauss-Newton's system.

Everything here is for N faces at once. Matrices turn model space into camera space with y down and z forward.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .rotations import matrix_to_rotation_6d

POSE_SIZE = 7  # turn about the camera's x, y, z; translation; log-focal offset
TOLERANCE = 3.0  # standard deviations from which on a landmark is trusted less
NEAREST = 0.05  # metres before the camera


class LandmarkModel(NamedTuple):
    """The landmarks of a 3DMM as a linear model of their own."""

    mean: Tensor  # (L, 3) metres, model space
    basis: Tensor  # (L, 3, K + E) identity, then expression
    num_identity: int  # K
    bounded: bool  # expressions are activations in [0, 1]


class FitState(NamedTuple):
    """Where the fit of N faces stands."""

    rotation: Tensor  # (N, 3, 3) model space to camera space, y down
    translation: Tensor  # (N, 3)
    log_focal: Tensor  # (N, 1)
    shape: Tensor  # (N, K + E)


class FitProblem(NamedTuple):
    """What is minimised; precisions are 0 where nothing is known."""

    model: LandmarkModel
    points: Tensor  # (N, L, 2); 0 where not known
    precision: Tensor  # (N, L) of landmarks
    focal: Tensor  # (N,)
    centre: Tensor  # (N, 2)
    prior: FitState
    rotation_precision: Tensor  # (N, 6) of the first two columns of the matrix with y up
    pose_precision: Tensor  # (N, 4) translation and log-focal offset
    shape_precision: Tensor  # (N, K + E)


class Projection(NamedTuple):
    """Landmarks before the camera."""

    turned: Tensor  # (N, L, 3) turned, not yet moved
    placed: Tensor  # (N, L, 3) camera space
    focal: Tensor  # (N,) pixels
    points: Tensor  # (N, L, 2) pixels


class Jacobian(NamedTuple):
    """Derivatives of the pixel positions of L landmarks, x and y of one after the other."""

    pose: Tensor  # (N, 2L, POSE_SIZE)
    shape: Tensor  # (N, 2L, K + E)


def normal_equations(problem: FitProblem, state: FitState) -> tuple[Tensor, Tensor]:
    """Gauss-Newton's Hessian `(N, Q, Q)` in float64 and the gradient `(N, Q)` of the objective."""
    projection = project_landmarks(problem, state)
    weight = (problem.precision * trust_of(squared_errors(problem, projection))).sqrt()
    pose, shape = jacobian_of(problem, state, projection, weight)
    residual = ((projection.points - problem.points) * weight[..., None]).flatten(1)[..., None]
    hessian, gradient = _prior_equations(problem, state)
    corner = pose.mT @ shape
    hessian[:, :POSE_SIZE, :POSE_SIZE] += pose.mT @ pose
    hessian[:, :POSE_SIZE, POSE_SIZE:] += corner
    hessian[:, POSE_SIZE:, :POSE_SIZE] += corner.mT
    hessian[:, POSE_SIZE:, POSE_SIZE:] += shape.mT @ shape
    return hessian, gradient + torch.cat((pose.mT @ residual, shape.mT @ residual), dim=1)[..., 0]


def jacobian_of(problem: FitProblem, state: FitState, projection: Projection, weight: Tensor) -> Jacobian:
    """Derivatives by turn, translation and log-focal offset, and by identity and expression, each landmark's times its
    weight `(N, L)`. Weights are taken in early, where there are few numbers: memory is what this costs."""
    x, y, z = projection.placed.unbind(-1)
    scale, zero = weight * projection.focal[:, None] / z, torch.zeros_like(z)
    by_place = torch.stack((scale, zero, -scale * x / z, zero, scale, -scale * y / z), dim=-1).unflatten(-1, (2, 3))
    by_turn = -by_place @ skew(projection.turned)
    by_focal = ((projection.points - problem.centre[:, None]) * weight[..., None])[..., None]
    by_shape = (by_place @ state.rotation[:, None]) @ problem.model.basis  # (N, L, 2, K + E)
    return Jacobian(torch.cat((by_turn, by_place, by_focal), dim=-1).flatten(1, 2), by_shape.flatten(1, 2))


def _prior_equations(problem: FitProblem, state: FitState) -> tuple[Tensor, Tensor]:
    """The prior's part of Hessian and gradient."""
    turn = six_number_derivative(state.rotation)  # (N, 6, 3)
    moved = six_numbers(state.rotation) - six_numbers(problem.prior.rotation)
    weighted = (turn * problem.rotation_precision[..., None]).mT
    precision = torch.cat((problem.pose_precision, problem.shape_precision), dim=-1)
    hessian = torch.nn.functional.pad(precision, (3, 0)).diag_embed()
    hessian[:, :3, :3] = weighted @ turn
    others = precision * difference(state, problem.prior)
    gradient = torch.cat(((weighted @ moved[..., None])[..., 0], others), dim=-1)
    return hessian.double(), gradient.double()


def advance(problem: FitProblem, state: FitState, step: Tensor) -> FitState:
    turn, translation, log_focal, shape = step.split([3, 3, 1, step.shape[-1] - POSE_SIZE], dim=-1)
    return FitState(
        rotation=turn_matrix(turn) @ state.rotation,
        translation=state.translation + translation,
        log_focal=state.log_focal + log_focal,
        shape=within_bounds(problem.model, state.shape + shape),
    )


def objective_of(problem: FitProblem, state: FitState) -> Tensor:
    """Negative logarithm of the posterior `(N,)`; infinite where a landmark is behind the camera."""
    projection = project_landmarks(problem, state)
    errors = squared_errors(problem, projection)
    landmarks = TOLERANCE**2 * (errors / TOLERANCE**2).log1p().sum(-1)
    moved = six_numbers(state.rotation) - six_numbers(problem.prior.rotation)
    precision = torch.cat((problem.pose_precision, problem.shape_precision), dim=-1)
    prior = (problem.rotation_precision * moved.square()).sum(-1)
    prior = prior + (precision * difference(state, problem.prior).square()).sum(-1)
    total = 0.5 * (landmarks + prior)
    return torch.where((projection.placed[..., 2] > NEAREST).all(-1) & total.isfinite(), total, torch.inf)


def project_landmarks(problem: FitProblem, state: FitState) -> Projection:
    turned = landmark_shape(problem.model, state.shape) @ state.rotation.mT
    placed = turned + state.translation[:, None]
    focal = problem.focal * state.log_focal[:, 0].exp()
    points = focal[:, None, None] * placed[..., :2] / placed[..., 2:] + problem.centre[:, None]
    return Projection(turned, placed, focal, points)


def squared_errors(problem: FitProblem, projection: Projection) -> Tensor:
    """Over the landmarks' variances, `(N, L)`."""
    return (projection.points - problem.points).square().sum(-1) * problem.precision


def trust_of(squared_errors: Tensor) -> Tensor:
    return 1 / (1 + squared_errors / TOLERANCE**2)


def landmark_shape(model: LandmarkModel, coefficients: Tensor) -> Tensor:
    """Landmarks `(N, L, 3)` in model space of coefficients `(N, K + E)`."""
    moved = coefficients @ model.basis.flatten(0, 1).mT
    return model.mean + moved.unflatten(-1, (-1, 3))


def difference(state: FitState, prior: FitState) -> Tensor:
    """Translation, log-focal offset, identity and expression less the prior's, `(N, 4 + K + E)`."""
    parts = zip(state[1:], prior[1:], strict=True)
    return torch.cat([now - before for now, before in parts], dim=-1)


def within_bounds(model: LandmarkModel, shape: Tensor) -> Tensor:
    if not model.bounded:
        return shape
    identity, expression = shape.tensor_split([model.num_identity], dim=-1)
    return torch.cat((identity, expression.clamp(0.0, 1.0)), dim=-1)


def flip_axes(matrix: Tensor) -> Tensor:
    """Rotations with y up and z to the viewer to rotations with y down and z forward, and back."""
    return matrix * matrix.new_tensor([[1.0], [-1.0], [-1.0]])


def six_numbers(rotation: Tensor) -> Tensor:
    """The six numbers of the parameters."""
    return matrix_to_rotation_6d(flip_axes(rotation))


def six_number_derivative(rotation: Tensor) -> Tensor:
    """Derivatives `(N, 6, 3)` of these six numbers by turns before the camera."""
    signs = rotation.new_tensor([1.0, -1.0, -1.0])[:, None]
    return torch.cat([-signs * skew(rotation[..., column]) for column in (0, 1)], dim=1)


def turn_matrix(turn: Tensor) -> Tensor:
    """Rotation matrices `(N, 3, 3)` by Rodrigues' formula; the vectors `(N, 3)` are axes times angles in radians."""
    angle = turn.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    axis = skew(turn / angle)
    sine, cosine = angle.sin()[..., None], angle.cos()[..., None]
    return torch.eye(3).to(turn) + sine * axis + (1 - cosine) * (axis @ axis)


def skew(vector: Tensor) -> Tensor:
    """Matrices `(..., 3, 3)` whose product is the cross product with vectors `(..., 3)`."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))
