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
"""Edits: gates that leave what is not touched bit for bit, and undo."""

import pytest
import torch
from torch import Tensor

from modeling_facegpt import FaceParameters, MorphableModelConfig
from modeling_facegpt.camera import default_picture_cameras
from modeling_facegpt.face_editing import (
    FRESH,
    FaceEdits,
    ReferencePointer,
    apply_edits,
    changed_groups,
    chosen_references,
    faces_back,
    spread_over_groups,
    sum_over_groups,
)
from modeling_facegpt.face_encoder import find_faces
from modeling_facegpt.face_head import encode
from modeling_facegpt.face_parameters import parameter_sizes, parameters_to_vector, vector_to_parameters

GROUPS = FaceParameters._fields


@pytest.fixture
def vectors(face_parameters: FaceParameters) -> Tensor:
    """Three faces, turned a little, so that no group is at a round number."""
    turn = torch.tensor([[0.9, 0.1, -0.42, -0.09, 0.995, 0.03]]).expand(3, 6)
    return parameters_to_vector(face_parameters._replace(rotation=turn, log_focal=torch.full((3, 1), 0.03)))


@pytest.mark.parametrize("group", range(len(GROUPS)))
def test_shut_groups_stay_bit_for_bit(vectors: Tensor, group: int, face_model_config: MorphableModelConfig):
    gates = torch.full((3, len(GROUPS)), -1.0)
    gates[:, group] = 1.0
    change = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    edited = apply_edits(vectors, FaceEdits(change, gates), default_picture_cameras(3, vectors), face_model_config)
    before, after = (vector_to_parameters(faces, face_model_config) for faces in (vectors, edited))
    for name, old, new in zip(GROUPS, before, after, strict=True):
        assert torch.equal(old, new) == (name != GROUPS[group]), name
    assert changed_groups(edited, vectors, face_model_config).sum(-1).tolist() == [1, 1, 1]
    assert after.expression.min() >= 0 and after.expression.max() <= 1


def test_the_whole_change_of_the_code_is_made(vectors: Tensor, face_model_config: MorphableModelConfig):
    cameras = torch.tensor([[1.4, 0.4, 0.6]]).expand(3, 3)
    codes = encode(vector_to_parameters(vectors, face_model_config), cameras, face_model_config)
    wanted = codes.roll(1, 0)
    edits = FaceEdits(wanted - codes, torch.ones(3, len(GROUPS)))
    edited = vector_to_parameters(apply_edits(vectors, edits, cameras, face_model_config), face_model_config)
    torch.testing.assert_close(encode(edited, cameras, face_model_config), wanted, rtol=1e-4, atol=1e-4)


def test_undo_is_exact(vectors: Tensor, face_model_config: MorphableModelConfig):
    """An edit, then all gates shut on the face before it."""
    open_gates, shut = torch.ones(3, len(GROUPS)), torch.full((3, len(GROUPS)), -1.0)
    change = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    cameras = default_picture_cameras(3, vectors)
    edited = apply_edits(vectors, FaceEdits(change, open_gates), cameras, face_model_config)
    assert not torch.equal(edited, vectors)
    undone = apply_edits(vectors, FaceEdits(change, shut), cameras, face_model_config)
    assert torch.equal(undone, vectors)


def test_values_of_groups(face_model_config: MorphableModelConfig):
    sizes = parameter_sizes(face_model_config)
    values = torch.arange(8.0).expand(2, 8)
    spread = spread_over_groups(values, face_model_config)
    assert spread.shape == (2, sum(sizes)) and spread[0].unique_consecutive().tolist() == list(range(8))
    torch.testing.assert_close(sum_over_groups(spread, face_model_config), values * torch.tensor(sizes))


def test_the_pointer_sees_only_earlier_faces_of_its_own_dialogue():
    places = find_faces(torch.tensor([[7, 1, 7, 7], [7, 7, 1, 1]]), 7)
    pointer = ReferencePointer(6, 4)
    numbers = torch.tensor([0, 2, 4])
    scores = pointer(torch.randn(3, 6), torch.randn(5, 6), faces_back(places, numbers))
    assert scores.isfinite().tolist() == [
        [True, False, False, False, False, False],
        [True, True, True, False, False, False],
        [True, False, False, False, True, False],
    ]


def test_the_pointer_can_say_one_further_back():
    places = find_faces(torch.tensor([[7] * 20]), 7)
    pointer = ReferencePointer(6, 4)
    with torch.no_grad():
        for weight in pointer.parameters():
            weight.zero_()
        pointer.query.bias.fill_(1.0)
        pointer.slots.weight[2] = 1.0
        scores = pointer(torch.randn(20, 6), torch.randn(20, 6), faces_back(places, torch.arange(20)))
    assert chosen_references(scores, places).tolist() == [FRESH, FRESH, *range(18)]


def test_the_pointer_tells_faces_apart_by_their_states():
    """It learns to point to the face whose state looks like the query, wherever it stands."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pointer = ReferencePointer(8, 16)
        optimizer = torch.optim.AdamW(pointer.parameters(), lr=1e-2)
        back = torch.tensor([[3, 2, 1]]).expand(64, 3)
        for _ in range(150):
            keys = torch.randn(3, 8)
            meant = torch.randint(3, (64,))
            scores = pointer(keys[meant] + 0.1 * torch.randn(64, 8), keys, back)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(scores, 1 + meant).backward()
            optimizer.step()
        hits = 0
        for _ in range(50):
            keys, meant = torch.randn(3, 8), torch.randint(3, (64,))
            hits += int((pointer(keys[meant], keys, back).argmax(-1) == 1 + meant).sum())
    assert hits > 0.9 * 50 * 64
