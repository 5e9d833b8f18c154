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

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from facegpt_trainer.pictures.photograph_stream import TooManyProblemsError
from facegpt_trainer.pictures.photographs import (
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


def test_damaged_pictures_are_left_out_until_they_are_too_many(folder: Path, caplog: pytest.LogCaptureFixture):
    (folder / "c.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photograph")
    photographs = load_photographs(folder, folder / "landmarks.npz", most_problems=1)
    assert photographs.names == ["a.jpg", "b8.jpg"] and "c.jpg is damaged or cut off" in caplog.text
    with pytest.raises(
        TooManyProblemsError, match=r"got 1 of 3 photographs that cannot be used, where 0 may be: .*c\.jpg"
    ):
        load_photographs(folder, folder / "landmarks.npz", most_problems=0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda points: points + 500, "only 0 of the 478 landmarks of .*a.jpg lie inside its 90x120 pixels"),
        (lambda points: points / 120, "span .* pixels, wanted pixels, not shares"),
        (lambda points: np.where(points > 50, np.nan, points), "are not all numbers"),
    ],
)
def test_impossible_landmarks_leave_their_picture_out(
    folder: Path, change, sentence: str, caplog: pytest.LogCaptureFixture
):
    with np.load(folder / "landmarks.npz") as stored:
        points = np.stack([np.pad(rows, ((0, 10), (0, 0)), mode="edge") for rows in stored["mediapipe478"]])
    points[0] = change(points[0])
    np.savez(folder / "changed.npz", files=["a.jpg", "b8.jpg"], mediapipe478=points)
    assert load_photographs(folder, folder / "changed.npz").names == ["b8.jpg"]
    assert re.search(sentence, caplog.text)


def test_pictures_in_which_no_face_was_found_are_not_drawn(folder: Path):
    with np.load(folder / "landmarks.npz") as stored:
        points = stored["mediapipe478"].copy()
    points[1] = np.nan
    np.savez(folder / "changed.npz", files=["a.jpg", "b8.jpg"], mediapipe478=points)
    photographs = load_photographs(folder, folder / "changed.npz", most_problems=0)
    picked = photographs.pick(0, 20, torch.Generator().manual_seed(0))
    assert photographs.names == ["a.jpg", "b8.jpg"] and set(picked.names) == {"a.jpg"}
    np.savez(folder / "nobody.npz", files=["a.jpg", "b8.jpg"], mediapipe478=np.full_like(points, np.nan))
    with pytest.raises(ValueError, match="in none of whose pictures a face is known"):
        load_photographs(folder, folder / "nobody.npz")


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"files": ["a.jpg"], "points": np.zeros((1, 478, 2))}, "no .npz file with files"),
        (
            {"files": ["a.jpg"], "mediapipe478": np.zeros((1, 68, 2))},
            r"shape \(1, 68, 2\), wanted a row of 468",
        ),
        ({"files": ["a.jpg", "b.jpg"], "mediapipe478": np.zeros((1, 478, 2))}, "with 2 files and mediapipe478"),
    ],
)
def test_landmark_files_of_another_layout_are_refused(folder: Path, arrays: dict, sentence: str):
    np.savez(folder / "other.npz", **arrays)
    with pytest.raises(ValueError, match=sentence):
        load_photographs(folder, folder / "other.npz")


def test_what_is_no_folder_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="which is no folder"):
        load_photographs(tmp_path / "nowhere", None, box_of=lambda images: torch.zeros(len(images), 4))


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
