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

from modeling_facegpt.reconstruction import distinct_faces, face_boxes


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


def test_no_detections_are_no_faces():
    assert distinct_faces(torch.zeros(0, 4), torch.zeros(0)).shape == (0,)
