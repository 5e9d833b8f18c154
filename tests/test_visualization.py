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
"""Pictures for people."""

import math

import numpy as np
import torch
from PIL import Image
from reconstructions import make_reconstruction

from modeling_facegpt.face_parameters import select_faces
from modeling_facegpt.files.visualization import Window, draw_in_studio, draw_overlay
from modeling_facegpt.reconstruction import landmarks_in_photo

SIZE = (400, 300)
BLUE = Image.new("RGB", SIZE, (0, 0, 255))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(float)


def covered(image: Image.Image) -> np.ndarray:
    """Where something was laid over the blue photograph."""
    return pixels(image)[..., 0] > 40


def test_the_overlay_is_where_the_landmarks_are(face_model, face_parameters):
    reconstruction = make_reconstruction(face_parameters, size=SIZE)
    points = landmarks_in_photo(face_model, reconstruction.parameters, reconstruction.camera)[0].numpy()
    whole = covered(draw_overlay(BLUE, Window((0, 0, *SIZE), SIZE), face_model, reconstruction))
    rows, columns = whole.nonzero()
    assert abs(columns.mean() - points[:, 0].mean()) < 8 and abs(rows.mean() - points[:, 1].mean()) < 15
    assert not whole[:5].any() and not whole[:, -5:].any()


def test_a_window_shows_the_same_larger(face_model, face_parameters):
    reconstruction = make_reconstruction(face_parameters, size=SIZE)
    whole = draw_overlay(BLUE, Window((0, 0, *SIZE), SIZE), face_model, reconstruction)
    box = (60, 50, 260, 250)
    enlarged = draw_overlay(BLUE, Window(box, (400, 400)), face_model, reconstruction)
    assert np.abs(pixels(whole.crop(box)) - pixels(enlarged.reduce(2))).mean() < 2


def test_the_nearer_face_is_in_front(face_model, face_parameters):
    white, black = torch.full((4,), 3.0), torch.full((4,), -8.0)
    parameters = select_faces(face_parameters, slice(0, 2))._replace(
        albedo=torch.stack((black, white)), translation=torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.8]])
    )
    alone = make_reconstruction(parameters, size=SIZE)
    both = make_reconstruction(parameters, faces=2, size=SIZE)
    window = Window((0, 0, *SIZE), SIZE)
    middle = (170, 120, 230, 180)
    first, second = (draw_overlay(BLUE, window, face_model, item).crop(middle) for item in (alone, both))
    assert np.abs(pixels(first) - pixels(second)).max() < 2


def test_a_studio_view_fills_its_picture_upright(face_model, face_parameters):
    one = select_faces(face_parameters, slice(0, 1))
    front = pixels(draw_in_studio(face_model, one, 128, neutral=True))
    assert front.shape == (128, 128, 3)
    head = front[..., 0] - front[..., 2] > 20
    rows = np.flatnonzero(head.any(1))
    assert 100 < rows[-1] - rows[0] < 120 and abs(rows.mean() - 63.5) < 3


def test_a_turned_head_looks_to_its_left(face_model, face_parameters):
    """The tip of the face moves to the right of the picture."""
    nose = face_model.get_buffer("template")[:, 2].argmax()
    marked = type(face_model)(face_model.config)
    marked.load_state_dict(face_model.state_dict())
    marked.get_buffer("albedo_mean").fill_(-1.0)
    marked.get_buffer("albedo_mean")[nose] = torch.tensor([0.0, -9.0, -9.0])
    one = select_faces(face_parameters, slice(0, 1))
    one = one._replace(albedo=torch.zeros_like(one.albedo))

    def nose_column(yaw: float) -> float:
        view = pixels(draw_in_studio(marked, one, 128, yaw=yaw, neutral=True))
        return float(np.nonzero(view[..., 0] - view[..., 1] > 60)[1].mean())

    assert nose_column(math.radians(40)) > nose_column(0.0) + 10
