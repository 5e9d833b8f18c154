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
"""Two-dimensional scenery around rendered heads: backgrounds, shoulders, long hair, glasses, things in the way, and
what a camera does to a picture. All procedural, all for a whole batch at once, all from one generator.

Pictures are (B, 3, S, S) sRGB in [0, 1]; positions are in units of the picture's side.
"""

import math

import torch
import torch.nn.functional as F
from kornia.color import rgb_to_grayscale
from torch import Tensor

from .face_sampler import chance, normal, uniform


def pixel_grid(side: int) -> Tensor:
    """Pixel centres `(2, S, S)`, x and y planes, in [0, 1]."""
    centre = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    return torch.stack((x, y))


def noise(generator: torch.Generator, pictures: int, channels: int, cells: int, side: int) -> Tensor:
    """Smooth noise `(B, C, S, S)` about N(0, 1) with `cells` bumps along a side."""
    coarse = torch.randn(pictures, channels, cells + 1, cells + 1, generator=generator)
    return F.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)


def soft_step(distance: Tensor, side: int, softness: float = 1.0) -> Tensor:
    """Coverage in [0, 1] of a shape from the signed distance to its edge (picture sides, negative inside)."""
    return (0.5 - distance * side / softness).clamp(0.0, 1.0)


def blend(picture: Tensor, coverage: Tensor, colour: Tensor) -> Tensor:
    """`colour` (broadcast to `(B, 3, S, S)`) over `picture` where `coverage (B, 1, S, S)` is."""
    return picture + coverage * (colour - picture)


def sample_backgrounds(generator: torch.Generator, pictures: int, side: int) -> Tensor:
    """Studio gradients, blurred rooms, hard-edged shapes and textures `(B, 3, S, S)`.

    What is out of focus is drawn at half the size.
    """
    blurred = side // 2
    x, y = pixel_grid(blurred)
    slope = normal(generator, 0.25, pictures, 2, 1, 1)
    gradient = (slope[:, :1] * (x - 0.5) + slope[:, 1:] * (y - 0.5))[:, None, 0]
    picture = _colours(generator, pictures) + gradient * uniform(generator, 0.2, 1.0, pictures, 3, 1, 1)
    for cells, amplitude in ((3, 0.14), (8, 0.08), (28, 0.05)):
        strength = uniform(generator, 0.0, 1.6 * amplitude, pictures, 1, 1, 1) * chance(
            generator, 0.6, pictures, 1, 1, 1
        )
        tint = 1 + normal(generator, 0.4, pictures, 3, 1, 1)
        picture = picture + strength * tint * noise(generator, pictures, 1, cells, blurred)
    for _ in range(3):
        picture = _draw_random_shape(generator, picture, probability=0.5)
    picture = F.interpolate(picture, size=(side, side), mode="bilinear", align_corners=False)
    sharp = chance(generator, 0.6, pictures).nonzero()[:, 0]
    drawn = picture[sharp]
    for _ in range(2):
        drawn = _draw_random_shape(generator, drawn, probability=0.7)
    return picture.index_copy(0, sharp, drawn).clamp(0.0, 1.0)


def _colours(generator: torch.Generator, pictures: int) -> Tensor:
    """Mostly muted colours `(B, 3, 1, 1)`, some vivid."""
    grey = uniform(generator, 0.03, 1.0, pictures, 1, 1, 1)
    vivid = torch.where(chance(generator, 0.3, pictures, 1, 1, 1), 0.3, 0.08)
    return (grey + vivid * torch.randn(pictures, 3, 1, 1, generator=generator)).clamp(0.0, 1.0)


def _draw_random_shape(generator: torch.Generator, picture: Tensor, probability: float) -> Tensor:
    """One turned box, ellipse or stripe pattern per picture, sharp or out of focus."""
    pictures, side = len(picture), picture.shape[-1]
    x, y = _turned(pixel_grid(side), uniform(generator, -0.1, 1.1, pictures, 2), normal(generator, 0.5, pictures))
    width, height = uniform(generator, -3.5, -0.6, 2, pictures, 1, 1).exp()
    box = torch.maximum(x.abs() - width, y.abs() - height)
    oval = ((x / width).square() + (y / height).square() - 1) * torch.minimum(width, height) / 2
    shape = torch.where(chance(generator, 0.4, pictures, 1, 1), oval, box)
    stripes = (x * uniform(generator, 15, 120, pictures, 1, 1)).sin() > 0
    softness = uniform(generator, 0.0, 2.5, pictures, 1, 1).exp()
    coverage = (0.5 - shape * side / softness).clamp(0, 1) * chance(generator, probability, pictures, 1, 1)
    coverage = torch.where(chance(generator, 0.12, pictures, 1, 1), coverage * stripes, coverage)
    return blend(picture, coverage[:, None], _colours(generator, pictures))


def _turned(grid: Tensor, centre: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """The grid `(2, S, S)` in frames at `centre (B, 2)` turned by `angle (B,)`: x and y, each `(B, S, S)`."""
    x = grid[0] - centre[:, 0, None, None]
    y = grid[1] - centre[:, 1, None, None]
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return cosine * x + sine * y, cosine * y - sine * x


class HeadFrame:
    """A frame that sticks to each head in its picture: origin between the eyes, one unit the apparent size of 0.2 m,
    x to the right of the picture, y down along the head."""

    def __init__(self, side: int, position: Tensor, size: Tensor, roll: Tensor):
        x, y = _turned(pixel_grid(side), position, roll)
        self.unit = size[:, None, None]
        self.x, self.y = x / self.unit, y / self.unit  # (N, S, S)
        self.side = side

    def cover(self, distance: Tensor, softness: float = 1.5) -> Tensor:
        """Coverage `(N, 1, S, S)` of a shape given by its signed distance `(N, S, S)` in head units."""
        return soft_step(distance * self.unit, self.side, softness)[:, None]


def draw_body(generator: torch.Generator, picture: Tensor, frame: HeadFrame, skin: Tensor) -> Tensor:
    """Neck and shoulders in clothes: jacket, shirt or bare neckline, and sometimes a tie, behind each head."""
    faces = len(picture)
    x, y = frame.x, frame.y
    top = uniform(generator, 0.85, 1.1, faces, 1, 1)
    width = uniform(generator, 0.85, 1.35, faces, 1, 1)
    slope = uniform(generator, 0.25, 0.5, faces, 1, 1)
    neck = torch.maximum(x.abs() - uniform(generator, 0.24, 0.32, faces, 1, 1), 0.45 - y)
    picture = blend(picture, frame.cover(neck, 2.0), skin * uniform(generator, 0.6, 0.95, faces, 1, 1, 1))
    shoulders = top - y + slope * (x / width).square() + 40 * (x.abs() - width).clamp(min=0)
    worn = chance(generator, 0.93, faces, 1, 1, 1)
    cloth = _colours(generator, faces) * (1 + 0.08 * noise(generator, faces, 1, 12, frame.side))
    picture = blend(picture, worn * frame.cover(shoulders, 2.0), cloth)
    opening = (1.75 * top - y).clamp(min=0) * uniform(generator, 0.2, 0.6, faces, 1, 1)
    collar = torch.maximum(shoulders, x.abs() - opening)
    is_open = chance(generator, 0.65, faces, 1, 1, 1)
    shirt = torch.where(chance(generator, 0.6, faces, 1, 1, 1), uniform(generator, 0.75, 1.0, faces, 1, 1, 1), skin)
    picture = blend(picture, is_open * frame.cover(collar, 2.0), shirt)
    tied = is_open * chance(generator, 0.4, faces, 1, 1, 1)
    return blend(picture, tied * frame.cover(torch.maximum(collar, x.abs() - 0.07), 2.0), _colours(generator, faces))


def draw_hair_behind(generator: torch.Generator, picture: Tensor, frame: HeadFrame, hair: Tensor) -> Tensor:
    """Long or voluminous hair that shows around and below the head."""
    faces = len(picture)
    x, y = frame.x, frame.y
    radius = uniform(generator, 0.5, 0.72, faces, 1, 1)
    length = uniform(generator, 0.3, 1.3, faces, 1, 1)
    wave = 0.04 * noise(generator, faces, 1, 9, frame.side)[:, 0]
    crown = (x.square() + (y + 0.15).square()).sqrt() - radius
    narrow = uniform(generator, 0.85, 1.05, faces, 1, 1)
    curtain = torch.maximum(torch.maximum(x.abs() - radius * narrow, y - length), -0.1 - y)
    shape = torch.minimum(crown, curtain) + wave
    return blend(picture, frame.cover(shape, 3.0), _strands(generator, hair, frame.side))


def draw_hair_in_front(generator: torch.Generator, picture: Tensor, frame: HeadFrame, hair: Tensor) -> Tensor:
    """Strands over the cheeks, a fringe over the forehead, or both."""
    faces = len(picture)
    x, y = frame.x, frame.y
    wave = 0.05 * noise(generator, faces, 1, 10, frame.side)[:, 0]
    inner = uniform(generator, 0.3, 0.46, faces, 1, 1) + normal(generator, 0.04, faces, 1, 1) * x.sign()
    length = uniform(generator, 0.1, 1.2, faces, 1, 1)
    strands = torch.maximum((x.abs() - inner - 0.15).abs() - 0.15, (y - length).abs() - length - 0.35)
    strands = torch.where(chance(generator, 0.6, faces, 1, 1), strands + wave, 1.0)
    line = -uniform(generator, 0.12, 0.38, faces, 1, 1) + x * normal(generator, 0.25, faces, 1, 1)
    fringe = torch.maximum(y - line, (x.square() + (y + 0.1).square()).sqrt() - 0.5)
    fringe = torch.where(chance(generator, 0.55, faces, 1, 1), fringe + wave, 1.0)
    return blend(picture, frame.cover(torch.minimum(strands, fringe), 2.0), _strands(generator, hair, frame.side))


def _strands(generator: torch.Generator, hair: Tensor, side: int) -> Tensor:
    """Hair colour `(N, 3, 1, 1)` with light and dark strands that run down."""
    strands = torch.randn(len(hair), 1, 5, 33, generator=generator)
    strands = F.interpolate(strands, size=(side, side), mode="bilinear", align_corners=False)
    return hair * (1 + 0.2 * strands)


def draw_glasses(generator: torch.Generator, picture: Tensor, eyes: Tensor) -> Tensor:
    """Frames, bridge, temples and now and then tinted glass, around projected eye centres `(N, 2, 2)`."""
    faces, side = len(picture), picture.shape[-1]
    grid = pixel_grid(side)
    across = eyes[:, 1] - eyes[:, 0]
    unit = across.norm(dim=-1).clamp(min=1e-3)[:, None, None]
    angle = torch.atan2(across[:, 1], across[:, 0])
    width = uniform(generator, 0.32, 0.44, faces, 1, 1)
    height = uniform(generator, 0.2, 0.38, faces, 1, 1)
    power = uniform(generator, 2.0, 5.0, faces, 1, 1)
    thick = uniform(generator, 0.015, 0.06, faces, 1, 1)
    x, y = (part / unit for part in _turned(grid, eyes.mean(1), angle))
    # The two glasses mirror each other about the bridge.
    scaled = ((x.abs() - 0.5) / width).abs().clamp(min=1e-4).pow(power) + ((y - 0.05) / height).abs().pow(power)
    glass = (scaled.pow(1 / power) - 1) * torch.minimum(width, height)
    bridge = torch.maximum((y + 0.02).abs() - thick, x.abs() - 0.2)
    temples = torch.maximum((y + 0.04 - 0.05 * (x.abs() - 0.9)).abs() - thick, (x.abs() - 1.08).abs() - 0.2)
    frame = torch.minimum(torch.minimum(glass.abs() - thick, bridge), temples)
    tint = uniform(generator, 0.0, 0.35, faces, 1, 1, 1) * chance(generator, 0.3, faces, 1, 1, 1)
    tint = torch.where(chance(generator, 0.08, faces, 1, 1, 1), 0.85, tint)
    picture = blend(picture, tint * soft_step(glass * unit, side)[:, None], _colours(generator, faces) * 0.5)
    dark = uniform(generator, 0.0, 0.3, faces, 1, 1, 1)
    colour = torch.where(chance(generator, 0.6, faces, 1, 1, 1), dark, _colours(generator, faces))
    return blend(picture, soft_step(frame * unit, side)[:, None], colour)


def draw_occluders(generator: torch.Generator, picture: Tensor, frame: HeadFrame, skin: Tensor) -> Tensor:
    """Hands (fingers side by side), or microphones, cards and cups, in front of faces."""
    faces = len(picture)
    x = frame.x - normal(generator, 0.45, faces, 1, 1)
    y = frame.y - uniform(generator, -0.3, 0.9, faces, 1, 1)
    angle = normal(generator, 0.8, faces, 1, 1)
    u, v = angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x
    finger = ((u + 0.2).remainder(0.1) - 0.05).abs() - 0.046
    hand = torch.maximum(torch.maximum(finger, u.abs() - 0.2), v.abs() - 0.3)
    width, height = uniform(generator, 0.08, 0.4, 2, faces, 1, 1)
    thing = torch.maximum(u.abs() - width, v.abs() - height)
    is_hand = chance(generator, 0.5, faces, 1, 1)
    colour = torch.where(is_hand[:, None], skin, _colours(generator, faces))
    return blend(picture, frame.cover(torch.where(is_hand, hand, thing)), colour)


def expose(generator: torch.Generator, picture: Tensor) -> Tensor:
    """What cameras and files do: exposure, white balance, contrast, grey film, blur, small originals, noise."""
    pictures = len(picture)
    gain = normal(generator, 0.12, pictures, 1, 1, 1) + normal(generator, 0.04, pictures, 3, 1, 1)
    gamma = normal(generator, 0.15, pictures, 1, 1, 1).exp()
    picture = (picture * gain.exp()).clamp(1e-4, 1.0).pow(gamma)
    luminance = rgb_to_grayscale(picture)
    saturation = torch.where(
        chance(generator, 0.1, pictures, 1, 1, 1), 0.0, uniform(generator, 0.7, 1.25, pictures, 1, 1, 1)
    )
    picture = luminance + saturation * (picture - luminance)
    picture = _blur_some(generator, picture)
    grain = torch.randn(picture.shape, generator=generator)
    picture = picture + grain * uniform(generator, 0.0, 0.03, pictures, 1, 1, 1)
    return picture.clamp(0.0, 1.0)


def _blur_some(generator: torch.Generator, picture: Tensor) -> Tensor:
    """Half of the pictures stay sharp, the others are blurred a little or come from a smaller original."""
    pictures, side = len(picture), picture.shape[-1]
    wide = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    # Binomial, along rows and then columns: sums of shifted pictures are ten times as fast as a grouped convolution.
    rows = (wide[..., :-2] + wide[..., 2:]) / 4 + wide[..., 1:-1] / 2
    smooth = (rows[..., :-2, :] + rows[..., 2:, :]) / 4 + rows[..., 1:-1, :] / 2
    small = F.interpolate(picture, size=(side // 2, side // 2), mode="area")
    small = F.interpolate(small, size=(side, side), mode="bilinear", align_corners=False)
    kind = torch.rand(pictures, 1, 1, 1, generator=generator)
    strength = uniform(generator, 0.3, 1.0, pictures, 1, 1, 1)
    target = torch.where(kind < 0.45, picture, torch.where(kind < 0.85, smooth, small))
    return picture + strength * (target - picture)


def roll_in_picture(rotation_matrix: Tensor) -> Tensor:
    """How far the head's up axis leans in the picture (radians, clockwise positive), from matrices `(N, 3, 3)`."""
    return torch.atan2(rotation_matrix[:, 0, 1], rotation_matrix[:, 1, 1].clamp(min=1e-3)).clamp(-math.pi, math.pi)
