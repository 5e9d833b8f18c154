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
"""The fit of a 3DMM to landmarks and a prior."""

import pytest
import torch

from modeling_facegpt.camera import Camera
from modeling_facegpt.face_fit import (
    FittedFaces,
    LandmarkEvidence,
    _pose_problem,
    _start,
    fit_faces,
    landmark_model,
    morphable_model_prior,
)
from modeling_facegpt.face_parameters import FaceParameters, select_faces
from modeling_facegpt.fit_equations import (
    FitProblem,
    FitState,
    LandmarkModel,
    advance,
    jacobian_of,
    normal_equations,
    objective_of,
    project_landmarks,
)
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.reconstruction import landmarks_in_photo
from modeling_facegpt.rotations import matrix_to_rotation_6d, rotation_6d_to_matrix, yaw_pitch_roll_to_matrix

SIDE = 640.0


@pytest.fixture(scope="module")
def head() -> MorphableModel:
    return MorphableModel.from_pretrained("hub/anny-head").eval()


@pytest.fixture(scope="module")
def model(head: MorphableModel) -> LandmarkModel:
    return landmark_model(head)


def true_faces(head: MorphableModel, faces: int, seed: int = 0) -> FaceParameters:
    generator = torch.Generator().manual_seed(seed)
    mean, _ = morphable_model_prior(head, faces)
    angles = 0.35 * torch.randn(3, faces, generator=generator)
    expression = torch.rand(mean.expression.shape, generator=generator)
    return mean._replace(
        identity=torch.randn(mean.identity.shape, generator=generator),
        expression=0.7 * expression * (torch.rand(expression.shape, generator=generator) < 0.12),
        rotation=matrix_to_rotation_6d(yaw_pitch_roll_to_matrix(*angles)),
        translation=torch.tensor([0.02, -0.03, 0.9]) + 0.03 * torch.randn(faces, 3, generator=generator),
        log_focal=0.05 * torch.randn(faces, 1, generator=generator),
    )


def cameras(faces: int) -> Camera:
    return Camera(torch.full((faces,), 1.2 * SIDE), torch.full((faces, 2), SIDE / 2))


def see(head: MorphableModel, faces: FaceParameters, deviation: float = 1.0) -> LandmarkEvidence:
    points = landmarks_in_photo(head, faces, cameras(len(faces.identity)), "468")
    return LandmarkEvidence(points, torch.full(points.shape[:2], 2 * torch.tensor(deviation).log().item()))


def fit(head: MorphableModel, model: LandmarkModel, evidence: LandmarkEvidence, **settings) -> FittedFaces:
    faces = len(evidence.points)
    return fit_faces(model, evidence, cameras(faces), *morphable_model_prior(head, faces), **settings)


def in_doubles(problem: FitProblem) -> FitProblem:
    model = problem.model._replace(mean=problem.model.mean.double(), basis=problem.model.basis.double())
    numbers = {name: value.double() for name, value in problem._asdict().items() if isinstance(value, torch.Tensor)}
    return problem._replace(model=model, prior=FitState(*(part.double() for part in problem.prior)), **numbers)


def pixel_errors(fitted: FittedFaces, points: torch.Tensor) -> torch.Tensor:
    return (fitted.landmarks - points).norm(dim=-1).mean(-1)


def test_landmarks_without_noise_are_met_and_the_shape_comes_near(head: MorphableModel, model: LandmarkModel):
    true = true_faces(head, 6)
    evidence = see(head, true, 0.1)
    fitted = fit(head, model, evidence, steps=8, dependent_landmarks=1.0)
    assert pixel_errors(fitted, evidence.points).max() < 0.05
    turned = rotation_6d_to_matrix(fitted.parameters.rotation).mT @ rotation_6d_to_matrix(true.rotation)
    angle = ((turned.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1).acos()
    assert torch.rad2deg(angle).max() < 2.0
    shapes = [
        head.landmarks(head.neutral(identity), "468") for identity in (true.identity, fitted.parameters.identity)
    ]
    mean = model.mean - model.mean.mean(0)
    true_shape, found = (shape - shape.mean(1, keepdim=True) for shape in shapes)
    assert (found - true_shape).square().sum() < 0.35 * (true_shape - mean).square().sum()


def test_projection_is_that_of_the_renderer(head: MorphableModel, model: LandmarkModel):
    fitted = fit(head, model, see(head, true_faces(head, 3)))
    again = landmarks_in_photo(head, fitted.parameters, cameras(3), "468")
    # A closing lid leaves the person's own shape, which the fit's linear model does not know.
    lids = torch.zeros(1, head.config.num_vertices, 3)
    lids[0, :, : len(head.closing_weights)] = head.closing_weights.mT
    steady = head.landmarks(lids, "468")[0].sum(-1) < 1e-3
    assert 300 < steady.sum() < 468
    torch.testing.assert_close(fitted.landmarks[:, steady], again[:, steady], atol=0.02, rtol=0)
    torch.testing.assert_close(fitted.landmarks, again, atol=0.3, rtol=0)


def test_jacobian_equals_finite_differences(head: MorphableModel, model: LandmarkModel):
    true = true_faces(head, 2)
    doubles = LandmarkModel(model.mean.double(), model.basis.double(), model.num_identity, model.bounded)
    problem = _pose_problem(doubles, see(head, true), cameras(2), *morphable_model_prior(head, 2), 1.0)
    state, _ = _start(problem._replace(model=model), morphable_model_prior(head, 2)[1])
    state = type(state)(*(part.double() for part in state))
    state = state._replace(shape=0.3 + 0.2 * torch.rand(state.shape.shape, dtype=torch.float64))
    projection = project_landmarks(problem, state)
    parts = jacobian_of(problem, state, projection, torch.ones(2, 468, dtype=torch.float64))
    jacobian = torch.cat(parts, dim=-1).unflatten(1, (468, 2))
    numbers = jacobian.shape[-1]
    for number in [*range(7), 7, 60, model.num_identity + 8, numbers - 1]:
        step = torch.zeros(2, numbers, dtype=torch.float64)
        step[:, number] = 1e-6
        difference = (
            project_landmarks(problem, advance(problem, state, step)).points
            - project_landmarks(problem, advance(problem, state, -step)).points
        ) / 2e-6
        torch.testing.assert_close(jacobian[..., number], difference, rtol=1e-4, atol=1e-3)


def test_gradient_is_that_of_the_robust_objective(head: MorphableModel, model: LandmarkModel):
    evidence = see(head, true_faces(head, 2))
    evidence.points[0, 5] += 60.0
    mean, deviation = morphable_model_prior(head, 2)
    mean = mean._replace(translation=torch.tensor([[0.0, 0.0, 0.8]]).expand(2, 3))
    deviation = deviation._replace(rotation=torch.full((2, 6), 0.2), translation=torch.full((2, 3), 0.1))
    problem = _pose_problem(model, evidence, cameras(2), mean, deviation, 1.0)
    problem = in_doubles(problem)
    state = problem.prior._replace(shape=torch.full_like(problem.prior.shape, 0.2))
    turned = torch.tensor([[0.1, -0.05, 0.08]], dtype=torch.float64).expand(2, 3)
    state = advance(problem, state, torch.nn.functional.pad(turned, (0, 4 + state.shape.shape[1])))
    _, gradient = normal_equations(problem, state)
    for number in [0, 1, 2, 3, 5, 6, 7, 90, model.num_identity + 10]:
        step = torch.zeros_like(gradient)
        step[:, number] = 1e-6
        ahead, behind = (objective_of(problem, advance(problem, state, sign * step)) for sign in (1, -1))
        torch.testing.assert_close(gradient[:, number], (ahead - behind) / 2e-6, rtol=1e-4, atol=1e-3)


def test_a_batch_equals_its_faces_one_by_one(head: MorphableModel, model: LandmarkModel):
    evidence = see(head, true_faces(head, 5))
    evidence = evidence._replace(points=evidence.points + torch.randn(evidence.points.shape))
    together = fit(head, model, evidence)
    for face in range(5):
        alone = fit(head, model, LandmarkEvidence(*(part[face : face + 1] for part in evidence)))
        torch.testing.assert_close(alone.landmarks[0], together.landmarks[face], atol=0.05, rtol=0)
        torch.testing.assert_close(
            alone.parameters.identity[0], together.parameters.identity[face], atol=0.01, rtol=0.01
        )


def test_unknown_landmarks_are_ignored(head: MorphableModel, model: LandmarkModel):
    true = true_faces(head, 2)
    evidence = see(head, true)
    spoiled = evidence.points.clone()
    spoiled[:, ::3] = torch.nan
    unsure = evidence.log_variance.clone()
    unsure[:, 1::3] = torch.inf
    fitted = fit(head, model, LandmarkEvidence(spoiled, unsure))
    assert all(part.isfinite().all() for part in fitted.parameters)
    assert pixel_errors(fitted, evidence.points).max() < 1.5
    assert (fitted.trust[:, ::3] == 0).all() and (fitted.trust[:, 1::3] == 0).all()


def test_wild_landmarks_are_trusted_less(head: MorphableModel, model: LandmarkModel):
    evidence = see(head, true_faces(head, 3))
    wild = evidence.points.clone()
    wild[:, :40] += 80.0
    fitted = fit(head, model, evidence._replace(points=wild), steps=8, dependent_landmarks=1.0)
    assert fitted.trust[:, :40].max() < 0.1 < 0.8 < fitted.trust[:, 40:].mean()
    assert (fitted.landmarks - evidence.points)[:, 40:].norm(dim=-1).mean() < 1.0


def test_expressions_stay_within_their_bounds(head: MorphableModel, model: LandmarkModel):
    true = true_faces(head, 4)
    true = true._replace(expression=torch.where(true.expression > 0, 1.0, 0.0))
    fitted = fit(head, model, see(head, true, 0.3), steps=6)
    assert fitted.parameters.expression.min() >= 0.0 and fitted.parameters.expression.max() <= 1.0


def test_no_face_ends_worse_than_it_began(head: MorphableModel, model: LandmarkModel):
    generator = torch.Generator().manual_seed(3)
    points = SIDE * torch.rand(16, 468, 2, generator=generator)  # no face looks like this
    evidence = LandmarkEvidence(points, 6 * torch.randn(16, 468, generator=generator))
    fitted = fit(head, model, evidence)
    assert (fitted.objective <= fitted.start_objective).all()
    assert all(part.isfinite().all() for part in fitted.parameters)
    assert all(part.isfinite().all() for part in (fitted.standard_deviation.identity, fitted.landmarks))


def test_a_sure_prior_is_kept_and_an_unsure_one_is_not(head: MorphableModel, model: LandmarkModel):
    true = true_faces(head, 2)
    evidence = see(head, true_faces(head, 2, seed=5))
    sure = FaceParameters(*(torch.full_like(part, 1e-3) for part in true))
    kept = fit_faces(model, evidence, cameras(2), true, sure, dependent_landmarks=1e4)
    torch.testing.assert_close(kept.parameters.identity, true.identity, atol=0.05, rtol=0)
    torch.testing.assert_close(kept.parameters.translation, true.translation, atol=0.02, rtol=0)
    unsure = FaceParameters(*(torch.ones_like(part) for part in true))
    assert pixel_errors(fit_faces(model, evidence, cameras(2), true, unsure), evidence.points).max() < 2.0


def test_uncertainty_shrinks_with_evidence_and_holds_the_truth(head: MorphableModel, model: LandmarkModel):
    true = true_faces(head, 24)
    generator = torch.Generator().manual_seed(1)
    evidence = see(head, true, 2.0)
    evidence = evidence._replace(points=evidence.points + 2.0 * torch.randn(24, 468, 2, generator=generator))
    fitted = fit(head, model, evidence, steps=6, dependent_landmarks=1.0)
    deviation = fitted.standard_deviation.identity
    assert (deviation < 1.0).all()
    inside = (fitted.parameters.identity - true.identity).abs() < 1.645 * deviation
    assert 0.85 < inside.float().mean() < 0.95
    less = fit(head, model, LandmarkEvidence(evidence.points, evidence.log_variance + 3.0), steps=6)
    assert (less.standard_deviation.identity > deviation - 1e-4).all()


def test_a_face_without_landmarks_is_its_prior(head: MorphableModel, model: LandmarkModel):
    true = true_faces(head, 2)
    evidence = see(head, true)
    evidence.points[1] = torch.nan
    deviation = FaceParameters(*(torch.full_like(part, 0.5) for part in true))
    fitted = fit_faces(model, evidence, cameras(2), true, deviation)
    for found, given in zip(
        select_faces(fitted.parameters, slice(1, 2)), select_faces(true, slice(1, 2)), strict=True
    ):
        torch.testing.assert_close(found, given, atol=1e-5, rtol=0)
    torch.testing.assert_close(fitted.standard_deviation.identity[1], deviation.identity[1], atol=1e-3, rtol=0)


@pytest.mark.parametrize("known", [0, 5])
def test_without_pose_and_landmarks_a_face_is_refused(head: MorphableModel, model: LandmarkModel, known: int):
    evidence = see(head, true_faces(head, 2))
    evidence.points[1, known:] = torch.nan
    with pytest.raises(ValueError, match="got face 1 with a pose that is not known"):
        fit(head, model, evidence)


def test_landmarks_in_one_place_are_refused_or_harmless(head: MorphableModel, model: LandmarkModel):
    evidence = LandmarkEvidence(torch.full((1, 468, 2), 100.0), torch.zeros(1, 468))
    try:
        fitted = fit(head, model, evidence)
    except ValueError as error:
        assert "landmarks that lie apart" in str(error)
    else:
        assert all(part.isfinite().all() for part in fitted.parameters)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda e, c: (LandmarkEvidence(e.points[:, :68], e.log_variance[:, :68]), c), "468 landmarks of each face"),
        (lambda e, c: (e, Camera(c.focal[:1], c.principal_point[:1])), "1 cameras"),
    ],
)
def test_what_does_not_match_is_refused(head: MorphableModel, model: LandmarkModel, spoil, message: str):
    evidence, camera = spoil(see(head, true_faces(head, 2)), cameras(2))
    with pytest.raises(ValueError, match=message):
        fit_faces(model, evidence, camera, *morphable_model_prior(head, 2))


def test_a_3dmm_without_bounds_and_expressions_of_its_own_is_fitted(face_model: MorphableModel):
    own = landmark_model(face_model)
    evidence = LandmarkEvidence(
        landmarks_in_photo(face_model, morphable_model_prior(face_model, 1)[0], cameras(1), "468"), torch.zeros(1, 468)
    )
    fitted = fit(face_model, own, evidence)
    assert pixel_errors(fitted, evidence.points).max() < 2.0
