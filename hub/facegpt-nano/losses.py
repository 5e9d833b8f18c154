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
from .shading import shade

CHARBONNIER_WIDTH = 0.02  # sRGB; below it the photometric loss is quadratic, above it linear
OUTLIER_TOLERANCE = 3.0  # times the mean residual
LEAST_NOISE = 0.043  # sRGB; what no render explains of a face that it fits (FOCUS's fixed noise)
SEEN_SHARE = (0.5, 0.99)  # between which share of a face is taken to be seen before any pixel is looked at
NEIGHBOURHOOD = 5  # pixels
NEIGHBOUR_AGREEMENT = 2.0  # log-odds that neighbours who all agree add
EXPECTATION_STEPS = 10


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


def point_likelihood_loss(points: Tensor, log_variance: Tensor, target: Tensor, evenness: float = 0.5) -> Tensor:
    """Gaussian negative log-likelihood `(N, L)` of points in a plane, zero where the target is not known (NaN).

    Each term is weighted by its own variance to the power of `evenness`, detached: 0 is the likelihood itself, of
    which sure points take nearly all of the gradient; 1 makes the points' gradient that of a squared error (Seitzer
    et al. 2022, "On the Pitfalls of Heteroscedastic Uncertainty Estimation"). The minimum stays where it is.

    Args:
        points (`torch.Tensor` of shape `(N, L, 2)`): the means.
        log_variance (`torch.Tensor` of shape `(N, L)`): of either coordinate.
        target (`torch.Tensor` of shape `(N, L, 2)`): where they are.
        evenness (`float`): in [0, 1].
    """
    known = target.isfinite().all(-1)
    squared = (points - torch.where(known[..., None], target, points.detach())).square().sum(-1)
    likelihood = 0.5 * squared * (-log_variance).exp() + log_variance
    return likelihood * (evenness * log_variance.detach()).exp() * known


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
    target, mask = _as_given(image, target, mask)
    if (backend := backend_for(image)) and backend.masked_photometric_loss:
        return backend.masked_photometric_loss(image, target, mask, CHARBONNIER_WIDTH, OUTLIER_TOLERANCE)
    residual = photometric_loss(image, torch.where(mask == 0, image.detach(), target))
    return mean_where(residual, mask * inlier_weight(residual, mask))


def mixture_photometric_loss(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """As `masked_photometric_loss`, with pixels trusted by `face_probability`: it also holds where outliers are many,
    and lets go of them wholly."""
    target, mask = _as_given(image, target, mask)
    residual = photometric_loss(image, torch.where(mask == 0, image.detach(), target))
    return mean_where(residual, face_probability(image, target, mask))


@torch.no_grad()
def face_probability(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """How probable it is that a pixel of a photograph shows the rendered face and nothing before it, without gradient.

    A mixture that expectation-maximisation fits to each picture by itself: the face has the rendered colour and
    Gaussian noise, whose size is estimated and so is large while the render is still poor; an outlier (hair, glasses,
    a hand) has any colour. Occluders are connected, so pixels are drawn to what their neighbours are (mean field of a
    Potts model). In the spirit of FOCUS (Li et al., CVPR 2023), whose network is here the mixture's own estimate;
    outliers of any colour as in Schoenborn et al. 2017, "Markov Chain Monte Carlo for Automated Face Image Analysis".

    What the render has not found yet, such as an open mouth, is an outlier too: faces must roughly fit before this
    alone supervises them.

    Args:
        image (`torch.Tensor` of shape `(N, 3, H, W)`): renders, sRGB in [0, 1].
        target (`torch.Tensor` of shape `(N, 3, H, W)`): photographs, sRGB in [0, 1]; anything outside the mask.
        mask (`torch.Tensor` of shape `(N, 1, H, W)`): in [0, 1], where the render shows the face.

    Returns:
        `torch.Tensor` of shape `(N, 1, H, W)`: in [0, 1], 0 outside the mask.
    """
    squared = torch.where(mask == 0, 0.0, image - target).square().sum(1, keepdim=True)
    area = mask.sum((1, 2, 3), keepdim=True).clamp(min=1e-6)
    covered = F.avg_pool2d(mask, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2).clamp(min=1e-6)
    probability = mask * inlier_weight((squared / 3).sqrt(), mask)
    for _ in range(EXPECTATION_STEPS):
        trusted = probability.sum((1, 2, 3), keepdim=True)
        noise = ((squared * probability).sum((1, 2, 3), keepdim=True) / (3 * trusted.clamp(min=1e-6))).clamp(
            min=LEAST_NOISE**2
        )
        seen = (trusted / area).clamp(*SEEN_SHARE)
        log_density = -0.5 * squared / noise - 1.5 * (2 * torch.pi * noise).log()  # that of outliers is 1
        around = F.avg_pool2d(probability, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2) / covered
        agreement = NEIGHBOUR_AGREEMENT * (2 * around - 1)
        probability = mask * (seen.logit() + log_density + agreement).sigmoid()
    return probability


def mean_where(values: Tensor, weight: Tensor) -> Tensor:
    """Mean `(N,)` of values `(N, 1, H, W)` by their weights `(N, 1, H, W)`, which get no gradient; 0 where no pixel
    weighs. What is worth less than one pixel counts less."""
    weight = weight.detach()
    return (weight * values).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1.0)


def feature_loss(features: Tensor, target: Tensor) -> Tensor:
    """Cosine distance `(N, T)` in [0, 2] of the features `(N, T, C)` that a vision tower has of two pictures, place by
    place; the target gets no gradient. Scale-free: towers differ by orders of magnitude."""
    return 1 - F.cosine_similarity(features, target.detach(), dim=-1)


def prior_loss(code: Tensor) -> Tensor:
    """Squared codes `(N, P)`: minus twice the log of their N(0, 1) prior."""
    return code.square()


def light_colour_loss(light: Tensor) -> Tensor:
    """Squared deviation `(N, 9, 3)` of the light from grey: without it, skin colour and light colour trade places
    (as in Deng et al. 2019, "Accurate 3D Face Reconstruction with Weakly-Supervised Learning")."""
    bands = light.unflatten(-1, (9, 3))
    return (bands - bands.mean(-1, keepdim=True)).square()


def negative_light_loss(light: Tensor) -> Tensor:
    """Squared amount `(N, 26, 3)` by which a white surface under light `(N, 27)` would be darker than black.

    Spherical harmonics can describe light that takes colour away, which no lamp does; surfaces face the middles of a
    cube's sides, edges and corners.
    """
    steps = torch.tensor([-1.0, 0.0, 1.0], dtype=light.dtype, device=light.device)
    grid = torch.cartesian_prod(steps, steps, steps)
    normals = F.normalize(grid[grid.any(-1)], dim=-1).expand(len(light), -1, -1)  # (N, 26, 3)
    return (-shade(torch.ones_like(normals), normals, light)).clamp(min=0).square()


def symmetry_loss(albedo: Tensor, mirrored: Tensor) -> Tensor:
    """Squared difference `(N, V)` of albedo `(N, V, 3)` to that of the vertex on the other side, `mirrored` `(V,)`,
    the mean over colours. Skin is nearly the same on both sides and light is not, which tells them apart."""
    return (albedo - albedo[:, mirrored]).square().mean(-1)


def skin_variation_loss(albedo: Tensor, skin: Tensor) -> Tensor:
    """Squared deviation `(N, V)` of albedo `(N, V, 3)` from its mean over the skin, 0 elsewhere (mean over colours).
    Shadows that a learned basis takes for paint vary more than skin does (as in Deng et al. 2019).

    Args:
        albedo (`torch.Tensor` of shape `(N, V, 3)`): linear reflectance.
        skin (`torch.Tensor` of shape `(V,)`): in [0, 1].
    """
    weight = skin[:, None] / skin.sum().clamp(min=1e-6)
    mean = (weight * albedo).sum(1, keepdim=True)
    return skin * (albedo - mean).square().mean(-1)


def roughness_loss(albedo: Tensor, triangles: Tensor) -> Tensor:
    """Squared differences `(N, F, 3)` of albedo `(N, V, 3)` along the three edges of triangles `(F, 3)`, the mean over
    colours: a basis that is learned vertex by vertex would else take up the noise of photographs."""
    corners = albedo[:, triangles]  # (N, F, 3, 3)
    return (corners - corners.roll(1, 2)).square().mean(-1)


def _as_given(image: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Target and mask of a picture without gradient, in its type; raises `ValueError` where they are of another."""
    if image.dim() != 4 or image.shape[1] != 3 or target.shape != image.shape or mask.shape != image[:, :1].shape:
        shapes = tuple(tuple(tensor.shape) for tensor in (image, target, mask))
        raise ValueError(f"got image, target and mask of shapes {shapes}; give (N, 3, H, W) twice and (N, 1, H, W)")
    return target.detach().to(image.dtype), mask.detach().to(image.dtype)
