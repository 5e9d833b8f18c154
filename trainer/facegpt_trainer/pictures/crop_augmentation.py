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
"""Crops around faces for training: cut, turned and shifted at random, then spoiled as photographs are.

Everything works on a batch at once. A crop is described by a similarity of the plane, which landmarks, cameras, poses
and lights of the labels follow exactly.
"""

import io
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.rotations import matrix_to_rotation_6d, rotation_6d_to_matrix, rotation_about_axis

from .face_sampler import chance, normal, uniform
from .scenery import HeadFrame, blend, draw_occluders, expose

FACE_MARGIN = 1.5  # side of a crop over the longer side of the box around its 468 landmarks
TURNED_SHARE = 0.12  # of the crops, which lean any way
COVERED_SHARE = 0.3
SMALL_ORIGINAL_SHARE = 0.2
JPEG_SHARE = 0.3

# Of each harmonic the index of its sine and cosine about the viewing axis, and how many waves they have.
_AXIAL_PAIRS = ((1, 3, 1), (5, 7, 1), (4, 8, 2))


class Views(NamedTuple):
    """B crops: squares in their pictures."""

    centre: Tensor  # (B, 2) pixels of the picture
    side: Tensor  # (B,) pixels of the picture
    angle: Tensor  # (B,) radians by which the content turns clockwise


def steady_views(landmarks: Tensor, angle: Tensor | None = None) -> Views:
    """The crops that an upright face is read from, of landmarks `(B, L, 2)` in pixels; NaN: not known."""
    angle = landmarks.new_zeros(len(landmarks)) if angle is None else angle
    turned = landmarks @ _turn(angle).mT
    low, high = (_extreme(turned, largest) for largest in (False, True))
    centre = ((low + high) / 2)[:, None] @ _turn(angle)
    return Views(centre[:, 0], FACE_MARGIN * (high - low).amax(-1), angle)


def random_views(generator: torch.Generator, landmarks: Tensor) -> Views:
    """Crops as a detector that errs would cut them, some of them leaning or upside down."""
    count = len(landmarks)
    lean = normal(generator, 0.2, count).clamp(-0.6, 0.6)
    any_way = uniform(generator, -torch.pi, torch.pi, count)
    views = steady_views(landmarks, torch.where(chance(generator, TURNED_SHARE, count), any_way, lean))
    shift = normal(generator, 0.035, count, 2).clamp(-0.1, 0.1)
    return Views(
        views.centre + shift * views.side[:, None],
        views.side * normal(generator, 0.09, count).clamp(-0.2, 0.25).exp(),
        views.angle,
    )


def cut(pictures: Tensor, views: Views, side: int, fill: Tensor) -> Tensor:
    """Crops `(B, 3, side, side)` in [0, 1] of pictures `(B, 3, S, S)` uint8.

    Args:
        pictures (`torch.Tensor`): where the crops come from.
        views (`Views`): the crops.
        side (`int`): of a crop, in its own pixels.
        fill (`torch.Tensor` of shape `(B, 3, 1, 1)`): what is shown beyond the border.
    """
    steps = (torch.arange(side) + 0.5) / side - 0.5
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    grid = torch.stack((x, y), dim=-1).flatten(0, 1) * views.side[:, None, None]
    places = grid @ _turn(views.angle) + views.centre[:, None]
    places = (2 * places / pictures.shape[-1] - 1).unflatten(1, (side, side))
    shifted = pictures.float() / 255 - fill
    return F.grid_sample(shifted, places, align_corners=False, padding_mode="zeros") + fill


def points_in_views(points: Tensor, views: Views) -> Tensor:
    """Points `(B, L, 2)` in pixels of the pictures, in sides of the crops."""
    return ((points - views.centre[:, None]) @ _turn(views.angle).mT) / views.side[:, None, None] + 0.5


def cameras_in_views(picture_cameras: Tensor, views: Views, picture_side: int) -> Tensor:
    """Cameras `(B, 3)` of the crops, in their sides, of those of the pictures, in theirs."""
    centre = points_in_views(picture_cameras[:, None, 1:] * picture_side, views)[:, 0]
    return torch.cat((picture_cameras[:, :1] * picture_side / views.side[:, None], centre), dim=-1)


def turn_faces(parameters: FaceParameters, angle: Tensor) -> FaceParameters:
    """The same faces before a camera that leans, so that in its picture they turn clockwise by `angle` `(N,)`."""
    flat = F.pad(_turn(angle), (0, 1, 0, 1))
    flat[:, 2, 2] = 1.0
    rotation = rotation_about_axis(-angle, 2) @ rotation_6d_to_matrix(parameters.rotation)
    return parameters._replace(
        rotation=matrix_to_rotation_6d(rotation),
        translation=(flat @ parameters.translation[..., None])[..., 0],
        light=_turn_light(parameters.light, -angle),
    )


def spoil(generator: torch.Generator, crops: Tensor, points: Tensor, angle: Tensor) -> Tensor:
    """Things in the way, small originals, exposure, grain and compression over crops `(B, 3, S, S)` in [0, 1].

    Args:
        generator (`torch.Generator`): the only source of chance.
        crops (`torch.Tensor`): sRGB.
        points (`torch.Tensor` of shape `(B, L, 2)`): landmarks in sides of the crops; NaN: not known.
        angle (`torch.Tensor` of shape `(B,)`): by which the heads lean.
    """
    crops = _cover_some(generator, crops, points, angle)
    crops = _shrink_some(generator, crops)
    crops = expose(generator, crops)
    return _compress_some(generator, crops)


def _cover_some(generator: torch.Generator, crops: Tensor, points: Tensor, angle: Tensor) -> Tensor:
    """Hands, cards, boxes, microphones before some of the faces."""
    chosen = chance(generator, COVERED_SHARE, len(crops)).nonzero()[:, 0]
    low, high = (_extreme(points[chosen], largest) for largest in (False, True))
    kind = torch.rand(len(chosen), generator=generator)
    skin = crops[chosen].mean((2, 3), keepdim=True)
    covered = crops[chosen]
    for draw, lowest, highest in ((_draw_box, 0.0, 0.4), (_draw_microphone, 0.4, 0.6), (draw_occluders, 0.6, 1.0)):
        rows = ((kind >= lowest) & (kind < highest)).nonzero()[:, 0]
        part = HeadFrame(crops.shape[-1], (low + high)[rows] / 2, (high - low)[rows].amax(-1), angle[chosen][rows])
        covered = covered.index_copy(0, rows, draw(generator, covered[rows], part, skin[rows]))
    return crops.index_copy(0, chosen, covered.clamp(0, 1))


def _draw_box(generator: torch.Generator, picture: Tensor, frame: HeadFrame, skin: Tensor) -> Tensor:
    """A bar or a box along the head, over eyes, mouth or anything: black, grey, coloured or of noise."""
    faces = len(picture)
    width, height = uniform(generator, 0.1, 0.6, faces, 1, 1), uniform(generator, 0.06, 0.3, faces, 1, 1)
    x = frame.x - normal(generator, 0.15, faces, 1, 1)
    y = frame.y - uniform(generator, -0.45, 0.45, faces, 1, 1)
    cover = frame.cover(torch.maximum(x.abs() - width, y.abs() - height))
    plain = torch.rand(faces, 3, 1, 1, generator=generator) * chance(generator, 0.6, faces, 1, 1, 1)
    grain = torch.rand(picture.shape, generator=generator)
    return blend(picture, cover, torch.where(chance(generator, 0.15, faces, 1, 1, 1), grain, plain))


def _draw_microphone(generator: torch.Generator, picture: Tensor, frame: HeadFrame, skin: Tensor) -> Tensor:
    """A dark head on a stick that comes from below."""
    faces = len(picture)
    radius = uniform(generator, 0.05, 0.14, faces, 1, 1)
    x = frame.x - normal(generator, 0.2, faces, 1, 1)
    y = frame.y - uniform(generator, 0.1, 0.6, faces, 1, 1)
    x = x + normal(generator, 0.3, faces, 1, 1) * y
    ball = (x.square() + (0.75 * y).square()).sqrt() - radius
    stick = torch.maximum(x.abs() - 0.4 * radius, -y)
    shade = uniform(generator, 0.0, 0.35, faces, 1, 1, 1) * (1 + 0.3 * torch.randn(picture.shape, generator=generator))
    return blend(picture, frame.cover(torch.minimum(ball, stick)), shade.clamp(0, 1))


def _shrink_some(generator: torch.Generator, crops: Tensor) -> Tensor:
    """Some crops come from originals of two thirds to a quarter of their size."""
    side = crops.shape[-1]
    chosen = chance(generator, SMALL_ORIGINAL_SHARE, len(crops)).nonzero()[:, 0]
    small = int(side / float(uniform(generator, 1.5, 4.0, 1)))
    part = F.interpolate(crops[chosen], size=(small, small), mode="area")
    part = F.interpolate(part, size=(side, side), mode="bilinear", align_corners=False)
    return crops.index_copy(0, chosen, part)


def _compress_some(generator: torch.Generator, crops: Tensor) -> Tensor:
    """JPEG of quality 20 to 90 for some crops; the encoder itself, which is faster than what imitates it."""
    chosen = chance(generator, JPEG_SHARE, len(crops)).nonzero()[:, 0]
    quality = uniform(generator, 20, 90, len(chosen)).int().tolist()
    pixels = (crops[chosen] * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    done = np.stack([_compress(*one) for one in zip(pixels, quality, strict=True)]) if len(chosen) else pixels
    return crops.index_copy(0, chosen, torch.from_numpy(done).permute(0, 3, 1, 2).float() / 255)


def _compress(pixels: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _turn(angle: Tensor) -> Tensor:
    """Matrices `(B, 2, 2)` that turn points of a picture clockwise (y is down)."""
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack((cosine, -sine, sine, cosine), dim=-1).unflatten(-1, (2, 2))


def _extreme(points: Tensor, largest: bool) -> Tensor:
    """Least or largest coordinates `(B, 2)` of the points that are known."""
    known = torch.where(points.isfinite(), points, -torch.inf if largest else torch.inf)
    return known.amax(1) if largest else known.amin(1)


def _turn_light(light: Tensor, angle: Tensor) -> Tensor:
    """Harmonics `(N, 27)` turned about the viewing axis, from x towards y (which is up)."""
    bands = light.unflatten(-1, (9, 3)).clone()
    for sine, cosine, waves in _AXIAL_PAIRS:
        c, s = (waves * angle).cos()[:, None], (waves * angle).sin()[:, None]
        old_sine, old_cosine = light.unflatten(-1, (9, 3))[:, sine], light.unflatten(-1, (9, 3))[:, cosine]
        bands[:, cosine], bands[:, sine] = c * old_cosine - s * old_sine, s * old_cosine + c * old_sine
    return bands.flatten(1)
