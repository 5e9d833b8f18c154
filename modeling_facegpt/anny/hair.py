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
"""What grows on anny's head or is put on it: where brows, beard, hair and lipstick lie and how far they stand off."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..mesh import vertex_normals
from ..person_faces import AXIS_NAMES, COLOUR_AXES
from .regions import ball, smooth_step
from .source import AnnyHead

OFFSET_NAMES = ("hair-volume", "side-hair-volume", "beard-volume", "folds-depth")
FRINGE = 0.045  # metres from the usual hairline to the end of the longest fringe
RECESSION = 0.11  # metres that hair goes back until only a wreath is left
FOLD_HALF_WIDTH = 0.0035
# Lines of the left half of a face, in metres from the midpoint between the eyes: x, y; and how deep each one is.
FOLD_LINES = (
    ("nasolabial", 1.0, ((0.0175, -0.0440), (0.0240, -0.0560), (0.0305, -0.0680), (0.0335, -0.0780))),
    ("marionette", 0.7, ((0.0275, -0.0800), (0.0300, -0.0900), (0.0310, -0.1000))),
    ("under the eye", 0.7, ((0.0160, -0.0120), (0.0250, -0.0200), (0.0360, -0.0190), (0.0450, -0.0120))),
    ("crow's feet", 0.5, ((0.0520, 0.0040), (0.0600, 0.0090))),
    ("crow's feet", 0.5, ((0.0530, -0.0040), (0.0610, -0.0080))),
    ("between the brows", 0.6, ((0.0070, 0.0120), (0.0075, 0.0260))),
    ("forehead", 0.6, ((0.0000, 0.0390), (0.0180, 0.0395), (0.0360, 0.0370))),
    ("forehead", 0.6, ((0.0000, 0.0520), (0.0180, 0.0520), (0.0340, 0.0490))),
)


class Layers(NamedTuple):
    """What lies over the skin; see `MorphableModel`."""

    names: tuple[str, ...]
    masks: Tensor  # (L, V)
    orders: Tensor  # (L, V)
    softness: Tensor  # (L,)
    amounts: tuple[str, ...]  # of each layer, the quantity that is its amount
    colours: tuple[tuple[str, ...], ...]  # of each layer, the quantities that its colour follows
    axes: Tensor  # (L, 3, 3) log colour per unit of each of them
    constants: Tensor  # (L, 3) log colour where all of them are 0


def paint_layers(points: Tensor, regions: dict[str, Tensor]) -> Layers:
    """Brows, moustache, beard, lipstick, hair over the ears and hair of the mean head `(V, 3)`, the lowest first."""
    axes = torch.tensor(COLOUR_AXES)
    rose, dark = torch.tensor([-0.95, -2.45, -2.10]), torch.tensor([-2.1, -4.3, -3.7])
    lipstick = torch.stack((dark - rose, torch.zeros(3), torch.zeros(3)))
    zero, none = torch.zeros(3), torch.zeros(len(points))
    beard, moustache = beard_mask(points, regions)
    scalp = regions["skin"] * (1 - regions["ears"])
    hair, beard_colours = _colours("hair"), _colours("beard")
    rows = (
        ("brows", (1.25 * regions["brows"]).clamp(max=1), none, 1.0, "brows", _colours("brow"), axes, zero),
        ("moustache", moustache, none, 1.0, "moustache", beard_colours, axes, zero),
        ("beard", beard, none, 1.0, "beard", beard_colours, axes, zero),
        ("lipstick", regions["lips"], none, 1.0, "lipstick", ("lipstick-depth",), lipstick, rose),
        ("side hair", side_hair_mask(points, regions), none, 1.0, "side-hair", hair, axes, zero),
        ("hair", scalp, hair_order(points), 0.13, "hair-reach", hair, axes, zero),
    )
    names, masks, orders, softness, amounts, colours, turned, constants = zip(*rows, strict=True)
    return Layers(
        names,
        torch.stack(masks),
        torch.stack(orders),
        torch.tensor(softness),
        amounts,
        colours,
        torch.stack(turned),
        torch.stack(constants),
    )


def _colours(part: str) -> tuple[str, ...]:
    return tuple(f"{part}-{axis}" for axis in AXIS_NAMES)


def hairline(points: Tensor) -> Tensor:
    """Metres `(V,)` above the usual hairline: over the forehead, back at the temples, before the ears, at the nape."""
    x, y, z = points.unbind(1)
    front = y - 0.075 + 3.5 * (x.abs() - 0.012).clamp(min=0).square() - 0.55 * (x.abs() - 0.047).clamp(min=0)
    side = -0.056 + 0.50 * y - z
    low = y + 0.022 + 2.2 * (-z - 0.062).clamp(min=0)
    nape = y + 0.098
    return torch.minimum(torch.maximum(front, side), torch.minimum(low, nape))


def hair_order(points: Tensor) -> Tensor:
    """Reach of the hair `(V,)` from which on it covers each vertex: 1 at the end of a fringe, 0 at the hairline, below
    it first over the temples and at the crown, last on the sides."""
    x, y, z = points.unbind(1)
    above = hairline(points)
    fringe = (y > 0.02) & (z > -0.045)
    before = torch.where(fringe, -above / FRINGE, torch.full_like(above, 9.0).where(above < -0.006, 0.0 * above))
    crown = ((points - torch.tensor([0.0, 0.100, -0.125])).norm(dim=1) / 0.075).clamp(max=1)
    back = (above / RECESSION).clamp(0, 1)
    behind = -0.12 - 0.60 * torch.minimum(back, 0.35 + 0.65 * crown)
    wreath = smooth_step(y, 0.072, 0.048) * smooth_step(z, -0.030, -0.062)
    return torch.where(above > 0, behind + (-1.12 - behind) * wreath, before)


def side_hair_mask(points: Tensor, regions: dict[str, Tensor]) -> Tensor:
    """Where hair hangs that covers the ears, `(V,)`: from the temples down to the jaw, and all around the back."""
    y, z = points[:, 1], points[:, 2]
    edge = -0.050 + 0.12 * (y + 0.02).clamp(max=0.0)
    return regions["skin"] * _behind(z, edge, 0.006) * smooth_step(y, -0.108, -0.092)


def _behind(depth: Tensor, edge: Tensor, half: float) -> Tensor:
    ratio = ((edge + half - depth) / (2 * half)).clamp(0, 1)
    return ratio.square() * (3 - 2 * ratio)


def beard_mask(points: Tensor, regions: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Where beard and moustache grow, `(V,)` each."""
    x, y, z = points[:, 0].abs(), points[:, 1], points[:, 2]
    bare = 1 - regions["lips"]
    skin = regions["skin"] * (1 - regions["ears"])
    cheek = -0.030 - 1.05 * (0.064 - x).clamp(min=0)  # from before the ear down to the corner of the mouth
    cheek = cheek.clamp(min=-0.072)
    upper = torch.where(x < 0.022, torch.full_like(y, -0.0835), cheek)
    below = ((upper - y) / 0.007 + 0.5).clamp(0, 1)
    jaw = smooth_step(z, -0.072, -0.056) * smooth_step(y + 0.35 * (z + 0.02).clamp(max=0), -0.142, -0.124)
    soul = ball(points, (0.0, -0.088, 0.02), (0.009, 0.006, 0.02))
    beard = skin * bare * torch.maximum(below * jaw, soul)
    moustache = skin * bare * ball(points, (0.011, -0.0590, 0.022), (0.017, 0.0058, 0.02))
    corners = skin * bare * ball(points, (0.028, -0.0740, 0.012), (0.0055, 0.011, 0.02))
    return beard, torch.maximum(moustache, corners)


def fold_lines(points: Tensor) -> tuple[Tensor, Tensor]:
    """Depth `(V,)` of the lines that age draws, 1 in their middle, and of the swelling beside them."""
    place = torch.stack((points[:, 0].abs(), points[:, 1]), dim=1)
    front = smooth_step(points[:, 2], -0.035, -0.015)
    lines, beside = torch.zeros(len(points)), torch.zeros(len(points))
    for _, depth, curve in FOLD_LINES:
        distance = _distance_to(place, torch.tensor(curve)) / FOLD_HALF_WIDTH
        lines = torch.maximum(lines, depth * (-distance.square()).exp())
        beside = torch.maximum(beside, depth * (-(distance - 2.2).square()).exp())
    return lines * front, beside * front * (1 - lines)


def _distance_to(place: Tensor, curve: Tensor) -> Tensor:
    start, step = curve[:-1], curve[1:] - curve[:-1]
    along = (((place[:, None] - start) * step).sum(-1) / step.square().sum(-1)).clamp(0, 1)
    return (place[:, None] - start - along[..., None] * step).norm(dim=-1).amin(1)


def offset_basis(head: AnnyHead, points: Tensor, regions: dict[str, Tensor]) -> Tensor:
    """Displacements `(4, V, 3)` in metres by one millimetre of hair, side hair and beard, and by full folds."""
    normals = vertex_normals(points[None], head.triangles)[0]
    lines, beside = fold_lines(points)
    above = hairline(points)
    crown = regions["skin"] * (1 - regions["ears"]) * smooth_step(above, -0.004, 0.030)
    side = side_hair_mask(points, regions)
    beard, _ = beard_mask(points, regions)
    skin = regions["skin"] * (1 - regions["lips"]) * (1 - regions["eyelids"])
    fields = (
        1e-3 * crown[:, None] * torch.nn.functional.normalize(normals + torch.tensor([0.0, 0.35, 0.0]), dim=1),
        1e-3 * side[:, None] * _outward(points, normals),
        1e-3 * smooth_step(beard, 0.3, 1.0)[:, None] * normals,
        (skin * (0.5e-3 * beside - 1.1e-3 * lines))[:, None] * normals,
    )
    return torch.stack(fields)


def _outward(points: Tensor, normals: Tensor) -> Tensor:
    """Sideways and back, more at the height of the jaw, where hair hangs free of the neck."""
    free = 1 + 1.3 * smooth_step(points[:, 1], -0.01, -0.06)
    level = normals * torch.tensor([1.0, 0.3, 0.8])
    return level * free[:, None]
