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
"""Loss terms. Plain tensors in, unreduced values out: the model masks, averages per face, weights and sums.

Distances in a picture are measured in units of the picture's side, lengths on the face in metres, colours in sRGB.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .backends import backend_for

CHARBONNIER_WIDTH = 0.02  # sRGB; below it the photometric loss is quadratic, above it linear
OUTLIER_TOLERANCE = 3.0  # times the mean residual


def code_loss(code: Tensor, target: Tensor) -> Tensor:
    """Squared error `(N, P)` of codes. Its minimum is the mean of what a picture leaves open."""
    return (code - target).square()


def code_likelihood_loss(code: Tensor, log_variance: Tensor, target: Tensor) -> Tensor:
    """Gaussian negative log-likelihood `(N, P)` that trains the log-variance only.

    The mean is detached: `code_loss` trains it, else uncertain parameters would hardly be trained at all
    (Seitzer et al. 2022, "On the Pitfalls of Heteroscedastic Uncertainty Estimation").
    """
    return 0.5 * ((code.detach() - target).square() * (-log_variance).exp() + log_variance)


def reference_loss(scores: Tensor, target: Tensor) -> Tensor:
    """Cross entropy `(N,)` of scores `(N, K)`, minus infinity for what cannot be meant, and what is meant `(N,)`."""
    return F.cross_entropy(scores, target, reduction="none")


def gate_loss(gates: Tensor, opened: Tensor) -> Tensor:
    """Binary cross entropy `(E, G)` of the gates' log-odds and which of them are open."""
    return F.binary_cross_entropy_with_logits(gates, opened.to(gates), reduction="none")


def flow_loss(velocity: Tensor, target: Tensor) -> Tensor:
    """Squared error `(K, P)` of velocities. Its minimum is the mean velocity of all paths through a place, which is
    what carries noise to faces (Lipman et al. 2023, "Flow Matching for Generative Modeling")."""
    return (velocity - target).square()


def point_loss(points: Tensor, target: Tensor) -> Tensor:
    """Distances `(N, L)` of points `(N, L, 2 or 3)` in their own unit, zero where the target is not known (NaN)."""
    known = target.isfinite().all(-1)
    difference = points - torch.where(known[..., None], target, points.detach())
    return (difference.square().sum(-1) + 1e-12).sqrt() * known


def photometric_loss(image: Tensor, target: Tensor) -> Tensor:
    """Charbonnier distance `(N, 1, H, W)` of sRGB pictures `(N, 3, H, W)`, the mean over colours: quadratic for small
    errors, linear for large ones, so that hair, glasses and hands pull less than skin does."""
    squared = (image - target).square().mean(1, keepdim=True)
    return (squared + CHARBONNIER_WIDTH**2).sqrt() - CHARBONNIER_WIDTH


def inlier_weight(residual: Tensor, mask: Tensor, tolerance: float = OUTLIER_TOLERANCE) -> Tensor:
    """How much each pixel is trusted, `(N, 1, H, W)` in [0, 1], without gradient.

    The scale of the residual is its mean over the mask; weights are those of Geman and McClure, so a pixel `tolerance`
    times as bad as that counts a quarter. In the spirit of FOCUS (Li et al., CVPR 2023): outliers are estimated.
    """
    residual, mask = residual.detach(), mask.detach()
    scale = (residual * mask).sum((1, 2, 3), keepdim=True) / mask.sum((1, 2, 3), keepdim=True).clamp(min=1.0)
    return (1 + (residual / (tolerance * scale).clamp(min=1e-6)).square()).pow(-2)


def masked_photometric_loss(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean photometric loss `(N,)` over the masks, outliers trusted less, with a gradient to the pictures only.

    `photometric_loss` weighted by the mask and `inlier_weight`; what the target shows outside the mask does not count.

    Args:
        image (`torch.Tensor` of shape `(N, 3, H, W)`): sRGB.
        target (`torch.Tensor` of shape `(N, 3, H, W)`): sRGB.
        mask (`torch.Tensor` of shape `(N, 1, H, W)`): in [0, 1]. It is detached: else the mesh would shrink away from
            pixels that are hard to explain.
    """
    if image.dim() != 4 or image.shape[1] != 3 or target.shape != image.shape or mask.shape != image[:, :1].shape:
        shapes = tuple(tuple(tensor.shape) for tensor in (image, target, mask))
        raise ValueError(f"got image, target and mask of shapes {shapes}; give (N, 3, H, W) twice and (N, 1, H, W)")
    target, mask = target.detach().to(image.dtype), mask.detach().to(image.dtype)
    if (backend := backend_for(image)) and backend.masked_photometric_loss:
        return backend.masked_photometric_loss(image, target, mask, CHARBONNIER_WIDTH, OUTLIER_TOLERANCE)
    residual = photometric_loss(image, torch.where(mask == 0, image.detach(), target))
    weight = mask * inlier_weight(residual, mask)
    return (weight * residual).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1.0)


def prior_loss(code: Tensor) -> Tensor:
    """Squared codes `(N, P)`: minus twice the log of their N(0, 1) prior."""
    return code.square()


def light_colour_loss(light: Tensor) -> Tensor:
    """Squared deviation `(N, 9, 3)` of the light from grey: without it, skin colour and light colour trade places
    (as in Deng et al. 2019, "Accurate 3D Face Reconstruction with Weakly-Supervised Learning")."""
    bands = light.unflatten(-1, (9, 3))
    return (bands - bands.mean(-1, keepdim=True)).square()
