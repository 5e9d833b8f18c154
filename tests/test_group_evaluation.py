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
"""Several faces in one picture, counted."""

import pytest
import torch
from facegpt_trainer.evaluation.groups import _matches, _overlaps, _true_boxes, evaluate_groups
from facegpt_trainer.evaluation.reconstruction import held_out_batches
from facegpt_trainer.pictures.data_engine import DataEngine

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor


def test_boxes_match_where_middles_are_near():
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    found = torch.tensor([[1.0, 1, 11, 11], [40, 0, 50, 10]])
    assert _matches(boxes, found).tolist() == [[True, False], [False, False]]
    assert _matches(boxes, found[:0]).shape == (2, 0)


def test_boxes_overlap_with_others_only():
    boxes = torch.tensor([[0.0, 0, 10, 10], [9, 9, 20, 20], [30, 0, 40, 10]])
    assert _overlaps(boxes).tolist() == [True, True, False]


def test_true_boxes_lie_around_what_is_drawn(face_model):
    engine = DataEngine(face_model, 64, seed=1)
    batch = next(held_out_batches(engine, 4, faces=2))
    boxes = _true_boxes(face_model, batch.face_targets, 64)
    assert boxes.shape == (8, 4)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert (middles[::2, 0] < middles[1::2, 0]).float().mean() >= 0.75  # reading order
    assert (middles > -16).all() and (middles < 80).all()


def test_figures_of_a_model(eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor):
    figures = evaluate_groups(eager_facegpt, processor, pictures=2)
    assert figures["faces"] == 2 * (2 + 3 + 4)
    assert 0 <= figures["found, % of them"] <= 100
    assert 0 <= figures["none where one was said to be, %"] <= 100


@pytest.mark.parametrize("faces", [2, 4])
def test_knowing_all_boxes_finds_all_faces(face_model, faces: int):
    engine = DataEngine(face_model, 64, seed=2)
    batch = next(held_out_batches(engine, 3, faces=faces))
    boxes = _true_boxes(face_model, batch.face_targets, 64)
    assert _matches(boxes, boxes).any(1).all()
