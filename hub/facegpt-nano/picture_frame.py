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
"""Square pictures of known camera, cut from a photograph: what the model looks at and faces are rendered into."""

import math
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .camera import default_focal

GREY = (127, 127, 127)


class PictureFrame(NamedTuple):
    """A square picture cut from a photograph, and how it was cut."""

    picture: Tensor  # (3, S, S) sRGB in [0, 1]
    camera: Tensor  # (3,) focal length, principal point x and y, in units of the picture's side
    affine: Tensor  # (3,) scale, offset x and y: picture pixel = scale * photograph pixel + offset


class PictureNormalization(NamedTuple):
    """What a VLM's own processor does to a picture that already has the size it wants."""

    mean: Tensor  # (3, 1, 1)
    deviation: Tensor  # (3, 1, 1)
    placeholder: str  # what one image token becomes in the prompt


def frame_square(
    image: Image.Image, centre: tuple[float, float], side: float, *, size: int, focal: float | None = None
) -> PictureFrame:
    """The square of `side` pixels around `centre`, grey where it leaves the photograph.

    Args:
        image (`PIL.Image.Image`): RGB, upright.
        centre (`tuple[float, float]`): x and y in pixels of the photograph.
        side (`float`): in pixels of the photograph.
        size (`int`): side of the picture in its own pixels.
        focal (`float`, *optional*): focal length in pixels of the photograph; default 1.2 times the longer side.

    Raises:
        ValueError: if the square is not finite or has no area.
    """
    if not math.isfinite(sum(centre) + side) or side <= 0:
        raise ValueError(f"got a square of side {side} around {centre}; give finite numbers and a positive side")
    left, top = centre[0] - side / 2, centre[1] - side / 2
    known = default_focal(*image.size) if focal is None else focal
    return PictureFrame(
        picture=image_to_tensor(_cut_square(image, (left, top), side, size)),
        camera=torch.tensor([known, image.width / 2 - left, image.height / 2 - top]) / side,
        affine=torch.tensor([1.0, -left, -top]) * (size / side),
    )


def _cut_square(image: Image.Image, corner: tuple[float, float], side: float, size: int) -> Image.Image:
    """The square of the photograph at `corner`, `side` pixels wide, as `size` x `size` pixels.

    Only whole pixels of the result whose area lies in the photograph are drawn, the others are grey; so the map
    between the two is exactly the affine one, at any fraction of a pixel.
    """
    scale = size / side
    canvas = Image.new("RGB", (size, size), GREY)
    spans = [_span(start, length, scale, size) for start, length in zip(corner, image.size, strict=True)]
    (left, right), (top, bottom) = spans
    if right <= left or bottom <= top:
        return canvas
    box = [corner[0] + left / scale, corner[1] + top / scale, corner[0] + right / scale, corner[1] + bottom / scale]
    inside = (
        max(box[0], 0.0),
        max(box[1], 0.0),
        min(box[2], float(image.width)),
        min(box[3], float(image.height)),
    )
    # Bicubic in Pillow widens with the scale, so shrinking does not alias; huge photographs are averaged down first.
    part = image.resize((right - left, bottom - top), Image.Resampling.BICUBIC, box=inside, reducing_gap=3.0)
    canvas.paste(part, (left, top))
    return canvas


def _span(start: float, length: int, scale: float, size: int) -> tuple[int, int]:
    """First and last + 1 pixel of the picture, along one axis, that lie inside the photograph (but for rounding)."""
    first = math.ceil(max(-start * scale, 0.0) - 1e-4)
    last = math.floor(min((length - start) * scale, float(size)) + 1e-4)
    return first, last


def image_to_tensor(image: Image.Image) -> Tensor:
    """RGB image -> `(3, H, W)` in [0, 1]."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)


def tensor_to_image(picture: Tensor) -> Image.Image:
    """`(3, H, W)` in [0, 1] -> RGB image."""
    pixels = (picture.detach().cpu().clamp(0, 1) * 255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).numpy(), mode="RGB")
