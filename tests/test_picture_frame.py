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
"""Square pictures cut from photographs: a point painted in the photograph lies where the affine map says."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from modeling_facegpt.picture_frame import PictureFrame, frame_square, image_to_tensor, tensor_to_image

SIZE = 112


def spot(width: int, height: int, x: float, y: float, radius: float) -> Image.Image:
    """A soft red spot around a point (pixel centres at .5) on black."""
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    brightness = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))
    red = Image.fromarray((255 * brightness).round().astype(np.uint8))
    black = Image.new("L", (width, height))
    return Image.merge("RGB", (red, black, black))


def spot_middle(picture: Tensor) -> tuple[float, float]:
    """Where the red has its middle; padding is grey, so it does not count."""
    weight = picture[0] - picture[1]
    at = torch.arange(picture.shape[-1]) + 0.5
    return float((weight.sum(0) * at).sum() / weight.sum()), float((weight.sum(1) * at).sum() / weight.sum())


@pytest.mark.parametrize(
    ("width", "height", "centre", "side"),
    [
        (400, 300, (200.0, 150.0), 400.0),
        (301, 407, (150.5, 203.5), 407.0),
        (400, 300, (181.3, 140.7), 133.7),
        (400, 300, (200.0, 150.0), 37.3),
        (3000, 2000, (1003.4, 702.2), 1511.9),
        (400, 300, (30.0, 20.0), 250.0),
        (400, 300, (390.0, 290.0), 250.0),
    ],
)
def test_painted_point_lies_where_the_affine_map_says(
    width: int, height: int, centre: tuple[float, float], side: float
):
    x = min(max(centre[0] + 0.13 * side, 0.2 * side), width - 0.2 * side)
    y = min(max(centre[1] - 0.11 * side, 0.2 * side), height - 0.2 * side)
    frame = frame_square(spot(width, height, x, y, 0.03 * side), centre, side, size=SIZE)
    scale, offset_x, offset_y = frame.affine.tolist()
    found = spot_middle(frame.picture)
    assert found == pytest.approx((scale * x + offset_x, scale * y + offset_y), abs=0.05)


def test_camera_is_the_photographs_in_units_of_the_side():
    frame = frame_square(Image.new("RGB", (400, 300)), (100.0, 150.0), 200.0, size=SIZE, focal=500.0)
    assert frame.camera.tolist() == pytest.approx([2.5, 1.0, 0.5])
    assert frame.affine.tolist() == pytest.approx([0.56, 0.0, -28.0])
    default = frame_square(Image.new("RGB", (400, 300)), (200.0, 150.0), 400.0, size=SIZE)
    assert default.camera.tolist() == pytest.approx([1.2, 0.5, 0.5])


def test_outside_of_the_photograph_is_grey():
    white = Image.new("RGB", (100, 50), (255, 255, 255))
    picture = frame_square(white, (50.0, 25.0), 100.0, size=100).picture
    assert picture[:, :25].eq(127 / 255).all() and picture[:, 75:].eq(127 / 255).all()
    assert picture[:, 25:75].eq(1).all()
    assert frame_square(white, (500.0, 25.0), 100.0, size=100).picture.eq(127 / 255).all()
    assert frame_square(white, (50.0, 25.0), 1e7, size=100).picture.eq(127 / 255).all()


def test_shrinking_does_not_alias():
    stripes = np.zeros((1120, 1120, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    picture = frame_square(Image.fromarray(stripes), (560.0, 560.0), 1120.0, size=SIZE).picture
    assert picture.std() < 0.01 and picture.mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("side", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_square_is_refused(side: float):
    with pytest.raises(ValueError, match="positive side"):
        frame_square(Image.new("RGB", (10, 10)), (5.0, 5.0), side, size=SIZE)


def test_processor_frames_the_whole_photograph_and_a_face(processor):
    photograph = spot(640, 427, 400.3, 200.8, 9.0)
    whole: PictureFrame = processor.frame_photograph(photograph)
    assert whole.affine.tolist() == pytest.approx([0.175, 0.0, (640 - 427) / 2 * 0.175])
    face = processor.frame_face(photograph, torch.tensor([350.0, 150.0, 450.0, 270.0]), 700.0)
    assert face.affine[0].item() == pytest.approx(112 / (120 * processor.crop_scale))
    middle = face.affine[0] * torch.tensor([400.0, 210.0]) + face.affine[1:]
    assert middle.tolist() == pytest.approx([56, 56])
    expected = (face.affine[0] * torch.tensor([400.3, 200.8]) + face.affine[1:]).tolist()
    assert spot_middle(face.picture) == pytest.approx(tuple(expected), abs=0.05)


def test_tensor_and_image_are_each_others_inverse():
    picture = torch.randint(0, 256, (3, 5, 7), generator=torch.Generator().manual_seed(0)) / 255
    assert torch.equal(image_to_tensor(tensor_to_image(picture)), picture)
