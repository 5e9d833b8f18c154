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
"""The data engine: a pure function of its seed, true to its labels, without faces where it says so."""

import pytest
import torch
from facegpt_trainer.pictures import data_engine
from facegpt_trainer.pictures.data_engine import LEAST_SEEN, DataEngine, PictureBatch, _Heads, _shown_faces
from facegpt_trainer.pictures.face_sampler import ExpressionSampler, sample_light, sample_scenes
from facegpt_trainer.pictures.scenery import noise, sample_backgrounds, soft_step

from modeling_facegpt import MorphableModel
from modeling_facegpt.camera import Camera
from modeling_facegpt.face_parameters import FaceParameters, vector_to_parameters
from modeling_facegpt.reconstruction import landmarks_in_photo


@pytest.fixture
def engine(face_model: MorphableModel) -> DataEngine:
    return DataEngine(face_model, 64, seed=3)


def landmarks(engine: DataEngine, batch: PictureBatch) -> torch.Tensor:
    """The 68 landmarks of the labels, in pictures' sides."""
    parameters = vector_to_parameters(batch.face_targets, engine.face_model.config)
    return landmarks_in_photo(
        engine.face_model, parameters, Camera(batch.picture_cameras[:, 0], batch.picture_cameras[:, 1:])
    )


def test_a_batch_follows_from_seed_and_number(engine: DataEngine, face_model: MorphableModel):
    again = DataEngine(face_model, 64, seed=3).batch(5, 6)
    for one, two in zip(engine.batch(5, 6), again, strict=True):
        assert torch.equal(one.nan_to_num(), two.nan_to_num())
    assert not torch.equal(engine.batch(6, 6).pictures, again.pictures)


def test_imagined_faces_are_those_that_would_be_drawn(engine: DataEngine):
    close_up, counts = torch.tensor([True, False, False, True] * 4), torch.tensor([1, 1, 0, 0] * 4)
    batch = engine.compose(torch.Generator().manual_seed(7), close_up, counts)
    cameras, faces = engine.imagine(torch.Generator().manual_seed(7), close_up, counts)
    assert torch.equal(faces, batch.face_targets) and torch.equal(cameras, batch.picture_cameras) and len(faces) == 8


def test_drawing_changes_no_face_that_it_was_given(engine: DataEngine):
    generator = torch.Generator().manual_seed(7)
    heads = engine._sample_heads(generator, torch.ones(3, dtype=torch.bool), torch.ones(3, dtype=torch.long))
    before = [group.clone() for group in heads.parameters]
    engine._draw_heads(generator, torch.zeros(3, 3, 64, 64), heads)
    assert all(torch.equal(one, two) for one, two in zip(before, heads.parameters, strict=True))


def test_the_global_generator_is_left_alone(engine: DataEngine):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    engine.batch(0, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_count_the_faces(engine: DataEngine):
    counts = torch.tensor([0, 1, 3, 2])
    batch = engine.compose(torch.Generator().manual_seed(0), torch.tensor([False, True, False, False]), counts)
    assert (
        len(batch.face_targets) == len(batch.picture_cameras) == len(batch.face_landmarks) == int(batch.counts.sum())
    )
    assert (batch.counts <= counts).all() and batch.counts[:2].tolist() == [0, 1]
    assert batch.pictures.shape == (4, 3, 64, 64)
    assert batch.pictures.min() >= 0 and batch.pictures.max() <= 1
    assert batch.face_targets.isfinite().all()


def test_faces_of_a_picture_come_from_left_to_right(engine: DataEngine):
    counts = torch.full((8,), 3)
    batch = engine.compose(torch.Generator().manual_seed(1), torch.zeros(8, dtype=torch.bool), counts)
    middle = landmarks(engine, batch).mean(1)[:, 0].view(8, 3)
    assert (middle.diff(dim=1) > 0).float().mean() > 0.9


def test_a_face_is_drawn_where_its_label_says(face_model: MorphableModel):
    """Two pictures that differ in the face alone differ inside the box of its landmarks far more than outside."""
    engine = DataEngine(face_model, 64, seed=0)
    close_up = torch.ones(6, dtype=torch.bool)
    batch = engine.compose(torch.Generator().manual_seed(2), close_up, torch.ones(6, dtype=torch.long))
    points = landmarks(engine, batch)
    middle = points.mean(1)
    assert (middle - 0.5).abs().max() < 0.35
    assert ((points.amax(1) - points.amin(1)) > 0.2).all()


def test_pictures_without_a_face_have_no_labels(engine: DataEngine):
    batch = engine.compose(
        torch.Generator().manual_seed(0), torch.zeros(12, dtype=torch.bool), torch.zeros(12, dtype=torch.long)
    )
    assert batch.face_targets.shape == (0, engine.parameter_count)
    assert batch.pictures.flatten(1).std(1).min() > 0.001


def test_scenes_place_faces_in_their_pictures():
    placement = sample_scenes(torch.Generator().manual_seed(0), torch.tensor([1] * 500 + [4] * 500))
    assert ((placement.position > -0.1) & (placement.position < 1.1)).all()
    assert placement.size[:500].mean() > placement.size[500:].mean()


def test_heads_overlap_in_some_scenes():
    placement = sample_scenes(torch.Generator().manual_seed(0), torch.tensor([2] * 1000))
    left, right = placement.position.unflatten(0, (1000, 2)).unbind(1)
    assert (left[:, 0] < right[:, 0]).float().mean() > 0.98  # reading order
    width = 0.75 * placement.size.unflatten(0, (1000, 2)).mean(1)
    overlap = ((right - left).abs() < width[:, None] * torch.tensor([1.0, 1.3])).all(-1)
    assert 0.1 < overlap.float().mean() < 0.4


def test_bystanders_of_close_ups_are_drawn_but_not_labelled(engine: DataEngine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data_engine, "BYSTANDER_SHARE", 1.0)
    close_up, counts = torch.ones(8, dtype=torch.bool), torch.ones(8, dtype=torch.long)
    heads = engine._sample_heads(engine.generator(5), close_up, counts)
    assert heads.is_face.tolist() == [True, False] * 8
    assert sorted(heads.rank.tolist()) == [0] * 8 + [1] * 8
    depth = heads.parameters.translation[:, 2] / (heads.picture_cameras[:, 0] * heads.parameters.log_focal[:, 0].exp())
    assert (depth[heads.rank == 0] > depth[heads.rank == 1]).all()  # what looks smaller is drawn first
    batch = engine.compose(engine.generator(5), close_up, counts)
    assert batch.face_targets.shape == (8, engine.parameter_count)
    assert batch.landmarks_seen.shape == (8, 68)


def test_faces_that_others_hide_are_not_counted(engine: DataEngine):
    counts = torch.full((24,), 4)
    batch = engine.compose(engine.generator(3), torch.zeros(24, dtype=torch.bool), counts)
    seen = batch.landmarks_seen.mean(-1)
    assert len(seen) == len(batch.face_targets) == len(batch.glasses) == int(batch.counts.sum()) < 4 * 24
    assert (batch.counts >= 1).all()
    best = torch.stack([part.amax() for part in seen.split(batch.counts.tolist())])
    assert (seen[~torch.isin(seen, best)] >= LEAST_SEEN).all()


def test_one_of_several_faces_always_counts():
    nothing = FaceParameters(*[torch.zeros(4, 0)] * len(FaceParameters._fields))
    owners, ranks = torch.tensor([0, 0, 0, 1]), torch.zeros(4)
    heads = _Heads(nothing, torch.zeros(4, 3), owners, torch.tensor([True, True, False, True]), ranks, None)
    seen = torch.zeros(4, 68)
    seen[1, :3], seen[2] = 1, 1
    assert _shown_faces(heads, seen).tolist() == [False, True, False, True]
    seen[0, : round(LEAST_SEEN * 68) + 1] = 1
    assert _shown_faces(heads, seen).tolist() == [True, False, False, True]


def test_expressions_are_mirrored_names_and_within_range(face_model: MorphableModel):
    sampler = ExpressionSampler(face_model.config)
    names = face_model.config.expression_names
    assert sampler.mirror[names.index("mouthSmileLeft")] == names.index("mouthSmileRight")
    assert sampler.mirror[names.index("jawOpen")] == names.index("jawOpen")
    activations = sampler.sample(torch.Generator().manual_seed(0), 2000)
    assert activations.min() >= 0 and activations.max() <= 1
    smile = activations[:, names.index("mouthSmileLeft")]
    assert 0.2 < (smile > 0.3).float().mean() < 0.7


def test_light_brightens_every_face():
    light = sample_light(torch.Generator().manual_seed(0), 500)
    assert light.shape == (500, 27)
    assert (light[:, :3] > 0).all()


def test_backgrounds_differ_and_stay_in_range():
    pictures = sample_backgrounds(torch.Generator().manual_seed(0), 16, 32)
    assert pictures.shape == (16, 3, 32, 32)
    assert pictures.min() >= 0 and pictures.max() <= 1
    assert torch.pdist(pictures.flatten(1)).min() > 0


def test_noise_is_smooth_and_standard():
    field = noise(torch.Generator().manual_seed(0), 64, 1, 4, 32)
    assert abs(field.mean()) < 0.1
    assert field.diff(dim=-1).abs().mean() < 0.3 * field.std()


def test_soft_step_covers_inside_half_at_the_edge_and_nothing_outside():
    assert soft_step(torch.tensor([-0.1, 0.0, 0.1]), 100).tolist() == [1.0, 0.5, 0.0]
