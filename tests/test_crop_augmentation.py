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
"""Crops for training: labels follow exactly what is done to the picture."""

import pytest
import torch
from facegpt_trainer.pictures.crop_augmentation import (
    Views,
    cameras_in_views,
    cut,
    points_in_views,
    random_views,
    spoil,
    steady_views,
    turn_faces,
)
from facegpt_trainer.pictures.data_engine import DataEngine, PortraitBatch

from modeling_facegpt.camera import Camera
from modeling_facegpt.face_parameters import vector_to_parameters
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.reconstruction import landmarks_in_photo
from modeling_facegpt.renderer import render_mesh

SIDE = 160


@pytest.fixture(scope="module")
def batch(face_model: MorphableModel) -> PortraitBatch:
    engine = DataEngine(face_model, SIDE, 1)
    return engine.portraits(engine.generator(0), 8, 2)


def test_labels_follow_the_crop(face_model: MorphableModel, batch: PortraitBatch):
    landmarks = batch.landmarks * SIDE
    views = random_views(torch.Generator().manual_seed(0), landmarks)
    views = views._replace(angle=torch.linspace(-3.1, 3.1, 16))
    faces = turn_faces(vector_to_parameters(batch.face_targets, face_model.config), views.angle)
    cameras = cameras_in_views(batch.picture_cameras, views, SIDE)
    found = landmarks_in_photo(face_model, faces, Camera(cameras[:, 0], cameras[:, 1:]), "468")
    torch.testing.assert_close(found, points_in_views(landmarks, views), atol=1e-4, rtol=0)


def test_pixels_follow_the_crop_and_the_light_turns_along(face_model: MorphableModel, batch: PortraitBatch):
    parameters = vector_to_parameters(batch.face_targets, face_model.config)
    cameras = batch.picture_cameras * SIDE
    mesh = face_model(parameters)
    render = render_mesh(mesh, parameters, Camera(cameras[:, 0], cameras[:, 1:]), (SIDE, SIDE))
    views = Views(torch.full((16, 2), SIDE / 2), torch.full((16,), float(SIDE)), torch.linspace(-3, 3, 16))
    pictures = (render.image * 255).round().to(torch.uint8)
    crops = cut(pictures, views, SIDE, torch.zeros(16, 3, 1, 1))
    turned = cameras_in_views(batch.picture_cameras, views, SIDE) * SIDE
    faces = turn_faces(parameters, views.angle)
    again = render_mesh(mesh, faces, Camera(turned[:, 0], turned[:, 1:]), (SIDE, SIDE))
    inside = (again.mask > 0) & (
        cut((render.mask * 255).to(torch.uint8), views, SIDE, torch.zeros(16, 1, 1, 1)) > 0.99
    )
    assert ((again.image - crops).abs() * inside).sum() / inside.sum() / 3 < 0.01


def test_steady_crops_hold_the_face_in_the_middle_however_it_leans(batch: PortraitBatch):
    landmarks = batch.landmarks * SIDE
    for angle in (0.0, 1.0, -2.5):
        points = points_in_views(landmarks, steady_views(landmarks, torch.full((16,), angle)))
        low, high = points.amin(1), points.amax(1)
        torch.testing.assert_close((low + high) / 2, torch.full((16, 2), 0.5), atol=1e-4, rtol=0)
        torch.testing.assert_close((high - low).amax(-1), torch.full((16,), 1 / 1.5), atol=1e-4, rtol=0)


def test_random_views_depend_on_the_generator_alone_and_some_lean_any_way():
    landmarks = 60 + 100 * torch.rand(1, 468, 2).expand(400, 468, 2)
    first, again = (random_views(torch.Generator().manual_seed(7), landmarks) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    leaning = (first.angle.abs() > 0.7).float().mean()
    assert 0.05 < leaning < 0.15


def test_spoiled_crops_are_pictures_still(batch: PortraitBatch):
    points = batch.landmarks
    spoiled = spoil(torch.Generator().manual_seed(1), batch.pictures, points, torch.zeros(16))
    assert spoiled.shape == batch.pictures.shape
    assert spoiled.min() >= 0 and spoiled.max() <= 1 and spoiled.isfinite().all()
    changed = (spoiled - batch.pictures).abs().mean((1, 2, 3))
    assert (changed > 0.002).all()


def test_one_crop_alone_is_cut_and_spoiled(batch: PortraitBatch):
    for seed in range(12):  # so that each kind of spoiling is asked for none and for one
        generator = torch.Generator().manual_seed(seed)
        spoiled = spoil(generator, batch.pictures[:1], batch.landmarks[:1], torch.zeros(1))
        assert spoiled.shape == (1, 3, SIDE, SIDE)
