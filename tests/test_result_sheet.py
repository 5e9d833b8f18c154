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
"""The sheet that shows a result."""

import numpy as np
import pytest
import torch
from PIL import Image
from reconstructions import make_reconstruction

from modeling_facegpt.files.result_sheet import _choose_window, result_sheet

SIZE = (400, 300)


@pytest.mark.parametrize("faces", [1, 2, 3])
def test_panels_stand_side_by_side(face_model, face_parameters, faces):
    photograph = Image.new("RGB", SIZE, (0, 0, 255))
    sheet = result_sheet(photograph, face_model, make_reconstruction(face_parameters, faces=faces, size=SIZE))
    assert sheet.mode == "RGB" and sheet.height < 600 < sheet.width
    pixels = np.asarray(sheet).astype(int)
    is_blue = (pixels == (0, 0, 255)).all(-1)
    assert is_blue[100:400, 20:200].all()  # the photograph alone
    assert not is_blue[:, -500:].any()  # a view without it


def test_the_window_keeps_to_the_photograph():
    window = _choose_window(torch.tensor([[10.0, 100.0, 60.0, 160.0]]), SIZE)
    left, top, right, bottom = window.box
    assert left == 0 and 0 <= top < 100 and 60 < right <= SIZE[0] and 160 < bottom <= SIZE[1]
    assert window.size[1] == 512
    assert window.size[0] / window.size[1] == pytest.approx((right - left) / (bottom - top), rel=0.01)


def test_the_window_of_a_face_outside_is_the_whole_photograph():
    assert _choose_window(torch.tensor([[900.0, 900.0, 950.0, 950.0]]), SIZE).box == (0, 0, *SIZE)


def test_a_wide_window_is_not_too_wide():
    window = _choose_window(torch.tensor([[0.0, 100.0, 4000.0, 300.0]]), (4000, 400))
    assert window.size[0] <= 768
