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
"""Figures: right on cases that are known, and printed for a checkpoint that has learned nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from facegpt_trainer.evaluation.reconstruction import (
    ShapeErrors,
    _aligned_error,
    _angle_between,
    _error,
    _explained,
    evaluate_photographs,
    evaluate_presence,
    evaluate_renders,
)
from facegpt_trainer.pictures.data_engine import DataEngine
from PIL import Image

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor, MorphableModel
from modeling_facegpt.camera import Camera
from modeling_facegpt.face_parameters import FaceParameters, parameter_sizes, select_faces, vector_to_parameters
from modeling_facegpt.reconstruction import Reconstruction
from modeling_facegpt.rotations import rotation_about_axis


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three photographs, one of them of the training part of its folder."""
    names = ["congress/A000001.jpg", "congress/A000008.jpg", "london/001_03.jpg"]
    points = np.stack(np.meshgrid(np.linspace(40, 80, 17), np.linspace(40, 70, 4)), axis=-1).reshape(68, 2)
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (120, 150), (90, 120, 150)).save(tmp_path / name)
    np.savez(
        tmp_path / "landmarks.npz",
        files=names,
        mediapipe68=np.stack([points] * 3),
        human_files=names[2:],
        human68_approx=points[None],
    )
    return tmp_path


def test_error_is_in_per_cent_of_the_outer_eye_distance():
    target = torch.zeros(68, 2)
    target[45, 0] = 50.0
    assert _error(target + torch.tensor([3.0, 4.0]), target, range(68)) == pytest.approx(10.0)


def test_a_similarity_is_no_error():
    points = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    moved = 1.3 * points @ rotation_about_axis(torch.tensor(0.4), 1).T + torch.tensor([1.0, -2.0, 3.0])
    assert _aligned_error(moved, points) < 1e-5
    noise = 0.01 * torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    assert 0.01 < _aligned_error(points + noise, points) < 0.02


def test_training_photographs_are_left_out(
    eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, data: Path
):
    figures = evaluate_photographs(eager_facegpt, processor, data)
    assert figures["photographs"] == 2
    assert figures["a face found, % of photographs"] == 100
    assert {name.split(":")[0] for name in figures if ":" in name} == {"congress", "london"}
    assert evaluate_photographs(eager_facegpt, processor, data, subset="all")["photographs"] == 3


def test_renders_give_errors_of_checkpoint_and_mean_face(
    eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    figures = evaluate_renders(eager_facegpt, processor, pictures=4)
    assert figures["not found, %"] == 0
    assert figures["vertex error, mm"] > 0 and figures["vertex error of the mean face, mm"] > 0
    assert 0 < figures["head rotation, degrees off"] < 180
    assert evaluate_renders(eager_facegpt, processor, pictures=4) == figures
    assert evaluate_renders(eager_facegpt, processor, pictures=4, seed=1) != figures
    assert all(figures[f"{group} explained, %"] < 100 for group in ("identity", "expression", "albedo", "light"))


def test_errors_stand_beside_expression_alone(face_model: MorphableModel, face_parameters: FaceParameters):
    """A face whose expression alone is right: its identity adds nothing, and says so."""
    true = select_faces(face_parameters, slice(0, 1))
    shapes = ShapeErrors([], [], [], [], [])
    shapes.add(face_model, true._replace(identity=torch.zeros_like(true.identity)), true)
    figures = shapes.figures()
    assert figures["the same with the identity set to zero, mm"] == figures["vertex error, mm"] > 0
    assert figures["neutral shapes below the mean face, %"] == pytest.approx(0.0, abs=1e-3)
    exact = ShapeErrors([], [], [], [], [])
    exact.add(face_model, true, true)
    figures = exact.figures()
    assert figures["vertex error, mm"] < 1e-3 < figures["the same with the identity set to zero, mm"]
    assert figures["neutral shapes below the mean face, %"] > 99
    assert figures["below the mean face, %"] > 99


def test_a_checkpoint_that_finds_nothing_is_told(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, monkeypatch: pytest.MonkeyPatch
):
    none = Reconstruction(
        size=(224, 224),
        camera=Camera(torch.zeros(0), torch.zeros(0, 2)),
        parameters=vector_to_parameters(
            torch.zeros(0, sum(parameter_sizes(facegpt.face_model.config))), facegpt.face_model.config
        ),
        standard_deviation=None,
        probability=torch.zeros(0),
    )
    monkeypatch.setattr(facegpt, "reconstruct", lambda images, *arguments, **settings: [none] * len(images))
    assert evaluate_renders(facegpt, processor, pictures=2)["not found, %"] == 100


def test_what_is_known_exactly_is_explained_wholly(face_model: MorphableModel):
    engine = DataEngine(face_model, 32, seed=0)
    batch = engine.compose(torch.Generator().manual_seed(0), torch.ones(4, dtype=torch.bool), torch.ones(4).long())
    true = vector_to_parameters(batch.face_targets, face_model.config)
    assert all(value == pytest.approx(100.0) for value in _explained(true, true).values())
    average = true._replace(light=true.light.mean(0).expand_as(true.light))
    assert _explained(average, true)["light explained, %"] == pytest.approx(0.0, abs=1e-3)
    assert _angle_between(true.rotation[:1], true.rotation[:1]) == pytest.approx(0.0, abs=0.1)


def test_a_model_that_sees_faces_everywhere_is_caught(
    eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, data: Path
):
    figures = evaluate_presence(eager_facegpt, processor, data, pictures=4)
    assert figures["none found, % of them"] == 0
    assert figures["pieces of photographs without a face"] >= 2
