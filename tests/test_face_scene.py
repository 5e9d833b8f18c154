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
"""Where faces stand in a scene."""

import copy

import pytest
import torch
from reconstructions import make_reconstruction

from modeling_facegpt.camera import Camera, place_in_camera, project
from modeling_facegpt.face_scene import build_scene, place_in_scene
from modeling_facegpt.reconstruction import true_camera
from modeling_facegpt.rotations import matrix_to_rotation_6d, yaw_pitch_roll_to_matrix


@pytest.fixture
def posed(face_parameters):
    angles = torch.tensor([[0.5, -0.2, 0.1], [0.0, 0.3, -0.4], [-0.7, 0.0, 0.0]])
    return face_parameters._replace(
        rotation=matrix_to_rotation_6d(yaw_pitch_roll_to_matrix(*angles.unbind(-1))),
        log_focal=torch.tensor([[0.1], [-0.2], [0.0]]),
        gaze=torch.full((3, 4), 0.2),
    )


def test_one_face_stands_frontal_at_the_origin(face_model, posed):
    scene = build_scene(face_model, make_reconstruction(posed))
    torch.testing.assert_close(place_in_scene(scene.vertices, scene), scene.vertices)
    torch.testing.assert_close(scene.vertices, face_model(make_reconstruction(posed).parameters).vertices)


def test_several_faces_stand_as_in_the_photograph(face_model, posed):
    """Seen through one camera, every face is on its place in the picture and as large as there."""
    reconstruction = make_reconstruction(posed, faces=3)
    scene = build_scene(face_model, reconstruction)
    seen = place_in_scene(scene.vertices, scene) * torch.tensor([1.0, -1.0, -1.0])
    own = true_camera(reconstruction.parameters, reconstruction.camera)
    common = Camera(own.focal.log().mean().exp().expand(3), own.principal_point)
    parameters = reconstruction.parameters
    placed = place_in_camera(face_model(parameters).vertices, parameters.rotation, parameters.translation)
    origin = scene.translation[:, None] * torch.tensor([1.0, -1.0, -1.0])
    expected = project(parameters.translation[:, None], own)
    torch.testing.assert_close(project(origin, common), expected, rtol=0, atol=1e-3)
    # A head's own depth is not stretched, so the rest is only about where it was.
    torch.testing.assert_close(project(seen, common), project(placed, own), rtol=0, atol=8.0)


def test_neutral_takes_expression_gaze_and_rotation_away(face_model, posed):
    scene = build_scene(face_model, make_reconstruction(posed, faces=2), neutral=True)
    torch.testing.assert_close(scene.vertices, face_model.neutral(posed.identity[:2]))
    assert not scene.expression.any()
    torch.testing.assert_close(scene.rotation, torch.eye(3).expand(2, 3, 3))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(face_model, posed, value):
    broken = posed._replace(identity=torch.full_like(posed.identity, value))
    with pytest.raises(ValueError, match="not finite"):
        build_scene(face_model, make_reconstruction(broken))


def test_arkit_looks_turn_the_eyeball(face_model, face_parameters):
    """The left eye's own vertices, and no others, move to the subject's left or up."""
    named = copy.deepcopy(face_model)
    named.config.expression_names[:2] = ["eyeLookOutLeft", "eyeLookUpLeft"]
    scene = build_scene(named, make_reconstruction(face_parameters))
    turns = scene.expression_moves[0, :2] - face_model.get_buffer("expression_basis")[:2]
    eyeball = face_model.get_buffer("eyeball_vertices")[0]
    others = torch.ones(len(turns[0]), dtype=torch.bool).index_fill(0, eyeball, False)
    assert turns[:, others].abs().max() < 1e-6
    centre = face_model.neutral(face_parameters.identity)[0, eyeball].mean(0)
    assert turns[:, eyeball].norm(dim=-1).amax(-1).min() > 1e-3
    assert torch.linalg.cross(scene.neutral_vertices[0, eyeball] - centre, turns[0, eyeball])[:, 1].sum() > 0
    assert torch.linalg.cross(scene.neutral_vertices[0, eyeball] - centre, turns[1, eyeball])[:, 0].sum() < 0
