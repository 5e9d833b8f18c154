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
"""Smooth random fields on the face: Gaussian processes with a squared-exponential kernel over 3D positions."""

import torch
from torch import Tensor


def smooth_modes(points: Tensor, mirror: Tensor, weights: Tensor, scale: float, count: int) -> tuple[Tensor, Tensor]:
    """The strongest eigenfunctions of a Gaussian process on a surface, each even or odd under left-right mirroring.

    Args:
        points (`torch.Tensor` of shape `(V, 3)`): metres.
        mirror (`torch.Tensor` of shape `(V,)`): index of each vertex's mirror image.
        weights (`torch.Tensor` of shape `(V,)`): amplitude of the process at each vertex; it is 0 outside of the face.
        scale (`float`): length over which the field stays alike, metres.
        count (`int`): number of eigenfunctions of either parity.

    Returns:
        Even and odd modes, `(count, V)` each, scaled so that their sum with N(0, 1) weights is the process.
    """
    anchors = _spread_points(points, mirror, weights, 500)
    cross = _kernel(points, points[anchors], scale)  # (V, A)
    crossed = _kernel(points, points[mirror[anchors]], scale)
    modes = [_nystrom((cross + sign * crossed) / 2, anchors, weights, count) for sign in (1.0, -1.0)]
    return modes[0], modes[1]


def _kernel(first: Tensor, second: Tensor, scale: float) -> Tensor:
    return (-torch.cdist(first.double(), second.double()).square() / (2 * scale**2)).exp()


def _nystrom(kernel: Tensor, anchors: Tensor, weights: Tensor, count: int) -> Tensor:
    """Modes `(count, V)` of the kernel from its columns `(V, A)` at the anchors."""
    values, vectors = torch.linalg.eigh(kernel[anchors] + 1e-9 * torch.eye(len(anchors), dtype=torch.float64))
    values, vectors = values[-count:].flip(0), vectors[:, -count:].flip(1)
    # Signs of eigenvectors are arbitrary; fix them so that builds agree.
    vectors = vectors * vectors.sum(0).sign().where(vectors.sum(0) != 0, torch.ones(count, dtype=torch.float64))
    modes = kernel @ vectors / values.clamp_min(1e-12).sqrt()
    return (modes * weights.double()[:, None]).T.float()


def _spread_points(points: Tensor, mirror: Tensor, weights: Tensor, count: int) -> Tensor:
    """Indices of points spread by farthest-point sampling over one half of the face."""
    candidates = torch.nonzero((weights > 0.05) & (points[:, 0] >= -1e-6)).flatten()
    places = points[candidates]
    chosen = [0]
    distance = torch.full((len(candidates),), torch.inf)
    for _ in range(min(count, len(candidates)) - 1):
        distance = torch.minimum(distance, (places - places[chosen[-1]]).square().sum(1))
        chosen.append(int(distance.argmax()))
    return candidates[torch.tensor(chosen)]
