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
"""Photographs for training: landmarks go where the pixels go."""

from pathlib import Path

import numpy as np
import pytest
import torch
from facegpt_trainer.photographs import (
    PhotographCuts,
    cut_photographs,
    load_photographs,
    mirror_landmark_order,
)
from PIL import Image

from modeling_facegpt import MorphableModel

POINTS = 468
GREEN = (0, 255, 0)  # no drawn background is as green


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photographs of 90 x 120 pixels with a green square, and a grid of landmarks."""
    rows, columns = np.divmod(np.arange(POINTS), 26)
    points = np.stack((30 + columns * 1.2, 40 + rows * 2.0), axis=-1).astype(np.float32)
    for name in ("a.jpg", "b8.jpg"):
        pixels = np.zeros((120, 90, 3), dtype=np.uint8)
        pixels[44:52, 36:44] = GREEN
        Image.fromarray(pixels).save(tmp_path / name, quality=95)
    np.savez(tmp_path / "landmarks.npz", files=["x/a.jpg", "x/b8.jpg"], mediapipe478=np.stack((points, points)))
    return tmp_path


def test_excluded_photographs_stay_out(folder: Path):
    photographs = load_photographs(folder, folder / "landmarks.npz", exclude=r"8\.jpg$")
    assert photographs.names == ["a.jpg"]
    assert photographs.landmarks.shape == (1, POINTS, 2)


def test_nothing_left_is_an_error(folder: Path):
    with pytest.raises(ValueError, match="no picture to train on"):
        load_photographs(folder, folder / "landmarks.npz", exclude="jpg")


def test_no_landmarks_and_no_boxes_is_an_error(folder: Path):
    with pytest.raises(ValueError, match="without landmarks and without boxes"):
        load_photographs(folder, None)


def test_landmarks_follow_the_pixels(folder: Path, face_model: MorphableModel):
    photographs = load_photographs(folder, folder / "landmarks.npz")
    # The middle of the green square, as a landmark, must stay in the middle of what is green.
    middle = torch.tensor([(40 + 15) / 120, 48 / 120]).expand(2, POINTS, 2)
    photographs = photographs._replace(landmarks=middle)
    count = 40
    generator = torch.Generator().manual_seed(0)
    cuts = cut_photographs(
        photographs,
        torch.zeros(count, dtype=torch.long),
        torch.arange(count) % 2 == 0,
        torch.zeros(count, dtype=torch.bool),
        generator,
        192,
        mirror_landmark_order(face_model),
    )
    green = (_greenness(cuts.originals) > 0.75).float()
    grid = (torch.arange(192) + 0.5) / 192
    total = green.sum((1, 2))
    centre = torch.stack(((green.sum(1) * grid).sum(-1) / total, (green.sum(2) * grid).sum(-1) / total), dim=-1)
    whole = total > 20
    assert whole.sum() > 30
    assert (cuts.landmarks[whole, 0] - centre[whole]).norm(dim=-1).max() < 0.02


def test_a_whole_photograph_is_seen_by_the_camera_that_its_user_would_assume(folder: Path, face_model: MorphableModel):
    cuts = _cut_many(folder, face_model, faceless=False)
    assert torch.equal(cuts.picture_cameras, torch.tensor([1.2, 0.5, 0.5]).expand(200, 3))
    extent = (cuts.landmarks.amax(1) - cuts.landmarks.amin(1)).amax(-1)
    assert extent.max() > 2 * extent.min()  # faces of many sizes
    assert ((cuts.landmarks.mean(1) > 0) & (cuts.landmarks.mean(1) < 1)).float().mean() > 0.98


def test_a_faceless_piece_shows_nothing_of_the_face(folder: Path, face_model: MorphableModel):
    face = np.zeros((120, 90, 3), dtype=np.uint8)
    face[36:76, 26:66] = GREEN  # the landmarks' box and a little more
    for name in ("a.jpg", "b8.jpg"):
        Image.fromarray(face).save(folder / name, quality=95)
    for close_up in (False, True):
        cuts = _cut_many(folder, face_model, faceless=True, close_up=close_up)
        assert _greenness(cuts.originals).max() < 0.9


def _greenness(pictures: torch.Tensor) -> torch.Tensor:
    """How much greener than anything else each pixel of `(B, 3, S, S)` is."""
    return pictures[:, 1] - torch.maximum(pictures[:, 0], pictures[:, 2])


def _cut_many(folder: Path, face_model: MorphableModel, *, faceless: bool, close_up: bool = False) -> PhotographCuts:
    return cut_photographs(
        load_photographs(folder, folder / "landmarks.npz"),
        torch.zeros(200, dtype=torch.long),
        torch.full((200,), close_up),
        torch.full((200,), faceless),
        torch.Generator().manual_seed(0),
        16,
        mirror_landmark_order(face_model),
    )


def test_mirroring_twice_is_nothing(face_model: MorphableModel):
    order = mirror_landmark_order(face_model)
    assert order.shape == (POINTS,)
    points = face_model.landmarks(face_model.template[None], "468")[0]
    flipped = points[order] * torch.tensor([-1.0, 1.0, 1.0])
    assert (flipped - points).norm(dim=-1).median() < 0.02
