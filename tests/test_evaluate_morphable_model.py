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
"""The fit of a 3DMM to foreign scans: its geometry on known answers, and a scan that the 3DMM itself made."""

import pytest
import torch
from facegpt_trainer.evaluation.morphable_model import (
    closest_on_triangles,
    fit_scan,
    load_ict_faces,
    nearest_surface_points,
    similarity_between,
)

from modeling_facegpt import MorphableModel
from modeling_facegpt.rotations import yaw_pitch_roll_to_matrix
from tests.conftest import REPOSITORY, sphere

ICT_FACEKIT = REPOSITORY.parent / "shared" / "data" / "morphable_models" / "ict_facekit" / "ict_facekit_light.npz"


def test_similarity_is_found_again():
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(20, 3, generator=generator)
    turn = yaw_pitch_roll_to_matrix(torch.tensor(0.5), torch.tensor(-0.3), torch.tensor(0.2))
    scale, rotation, translation = similarity_between(source, 1.7 * source @ turn.T + torch.tensor([1.0, 2.0, 3.0]))
    assert torch.allclose(scale, torch.tensor(1.7), atol=1e-5)
    assert torch.allclose(rotation, turn, atol=1e-5)
    assert torch.allclose(translation, torch.tensor([1.0, 2.0, 3.0]), atol=1e-5)


def test_a_mirrored_copy_is_not_fitted_by_a_reflection():
    source = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    _, rotation, _ = similarity_between(source, source * torch.tensor([-1.0, 1.0, 1.0]))
    assert torch.allclose(torch.linalg.det(rotation), torch.tensor(1.0), atol=1e-5)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0.2, 0.3, 5.0), (0.5, 0.2, 0.3)),  # above the inside
        ((-1.0, -1.0, 0.0), (1.0, 0.0, 0.0)),  # nearest to a corner
        ((0.5, -2.0, 1.0), (0.5, 0.5, 0.0)),  # nearest to an edge
        ((2.0, 2.0, 0.0), (0.0, 0.5, 0.5)),  # nearest to the slanted edge
    ],
)
def test_closest_point_of_a_triangle(point, expected):
    corners = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    assert torch.allclose(closest_on_triangles(torch.tensor([point]), corners)[0], torch.tensor(expected), atol=1e-6)


def test_nearest_points_of_a_sphere_lie_under_the_points():
    vertices, triangles = sphere(30, 40)
    points = 1.5 * torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    index, weights = nearest_surface_points(points, vertices, triangles)
    nearest = (weights[:, :, None] * vertices[triangles[index]]).sum(1)
    assert (nearest - points / 1.5).norm(dim=1).max() < 0.05
    assert (nearest - points).norm(dim=1).sub(0.5).abs().max() < 0.01


def test_a_face_of_the_3dmm_itself_is_fitted_closely():
    model = MorphableModel.from_pretrained(REPOSITORY / "hub" / "anny-head")
    identity = 0.8 * torch.randn(1, model.config.num_identity, generator=torch.Generator().manual_seed(0))
    vertices = model.neutral(identity)
    skin = (model.region("face") > 0.3) & (model.region("skin") > 0.9)
    result = fit_scan(model, 1.1 * vertices[0, skin][::2], 1.1 * model.landmarks(vertices)[0], steps=4)
    assert result.median < 0.4 < result.mean_face and result.coefficient_rms < 1.0


@pytest.mark.skipif(not ICT_FACEKIT.exists(), reason="ICT-FaceKit is not at hand")
def test_a_foreign_face_is_fitted_better_than_by_the_mean_face():
    model = MorphableModel.from_pretrained(REPOSITORY / "hub" / "anny-head")
    [(points, landmarks)] = load_ict_faces(ICT_FACEKIT, 1, torch.Generator().manual_seed(0))
    result = fit_scan(model, points[::4], landmarks, steps=3)
    assert result.median < 0.75 < result.mean_face and result.coefficient_rms < 1.0
