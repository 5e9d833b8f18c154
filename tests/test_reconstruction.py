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
"""Boxes around faces, and which detections are one and the same face."""

import torch
from reconstructions import make_reconstruction

from modeling_facegpt.face_parameters import FaceParameters, select_faces
from modeling_facegpt.reconstruction import (
    distinct_faces,
    face_boxes,
    landmarks_in_photo,
    poses_agree,
)
from modeling_facegpt.rotations import matrix_to_rotation_6d, yaw_pitch_roll_to_matrix


def test_a_box_is_the_landmarks_extent_enlarged():
    landmarks = torch.tensor([[[10.0, 20.0], [30.0, 60.0], [20.0, 40.0]]])
    torch.testing.assert_close(face_boxes(landmarks, 1.5), torch.tensor([[5.0, 10.0, 35.0, 70.0]]))


def test_of_two_detections_of_one_face_the_likelier_stays():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 0, 60, 10], [9, 9, 19, 19]])
    kept = distinct_faces(boxes, torch.tensor([0.6, 0.9, 0.7, 0.8]))
    assert kept.tolist() == [False, True, True, True]


def test_a_chain_of_overlaps_loses_only_its_middle():
    boxes = torch.tensor([[0.0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])
    assert distinct_faces(boxes, torch.tensor([0.9, 0.5, 0.8])).tolist() == [True, False, True]


def seen_twice(face_model, face_parameters, offset: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Two people whose heads are `offset` metres apart, each found twice with errors below what is said of them: the
    boxes of the four, and which poses agree."""
    generator = torch.Generator().manual_seed(0)
    one = select_faces(face_parameters, torch.zeros(4, dtype=torch.long))
    turn = torch.deg2rad(torch.tensor([25.0, 25.0, -15.0, -15.0]))
    still = torch.zeros(4)
    place = torch.tensor([[0.0, 0.0, 0.6]] * 2 + [[offset, 0.01, 0.72]] * 2)
    deviation = FaceParameters(*(torch.full_like(group, 0.03) for group in one))
    faces = one._replace(
        rotation=matrix_to_rotation_6d(yaw_pitch_roll_to_matrix(turn, still, still)),
        translation=place + 0.004 * torch.randn(4, 3, generator=generator),
    )
    camera = make_reconstruction(one, faces=4).camera
    return face_boxes(landmarks_in_photo(face_model, faces, camera)), poses_agree(faces, deviation)


def test_one_face_behind_another_is_kept_and_second_sights_are_not(face_model, face_parameters):
    boxes, alike = seen_twice(face_model, face_parameters, offset=0.03)
    probability = torch.tensor([0.9, 0.8, 0.7, 0.95])
    assert distinct_faces(boxes, probability).tolist() == [False, False, False, True]  # the boxes nearly hide that
    assert distinct_faces(boxes, probability, alike=alike).tolist() == [True, False, False, True]


def test_faces_in_one_place_are_one_however_they_are_posed(face_model, face_parameters):
    boxes, alike = seen_twice(face_model, face_parameters, offset=0.03)
    one_place = boxes[:1].expand(4, 4)
    assert distinct_faces(one_place, torch.tensor([0.9, 0.8, 0.7, 0.6]), alike=alike).sum() == 1


def test_no_detections_are_no_faces():
    assert distinct_faces(torch.zeros(0, 4), torch.zeros(0)).shape == (0,)
