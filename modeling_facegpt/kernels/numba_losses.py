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
"""The masked photometric loss for Numba on the CPU: one pass each for residuals, weights and gradients."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .numba_kernels import allocate, array, dtype_of, kernel, run


def masked_photometric_loss(image: Tensor, target: Tensor, mask: Tensor, width: float, tolerance: float) -> Tensor:
    """As its namesake of `losses`, with the Charbonnier width and the tolerance of outliers as arguments: `(N,)`."""
    return _MaskedPhotometric.apply(image, target, mask, width, tolerance)


class _MaskedPhotometric(torch.autograd.Function):
    """Pictures `(N, 3, H, W)`, targets and masks `(N, 1, H, W)` -> losses `(N,)`, with a gradient to the pictures."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor, mask: Tensor, width: float, tolerance: float):
        losses = image.new_empty(len(image))
        [slopes] = allocate((mask.shape, dtype_of(image)))
        given = array(image), array(target), array(mask), width, tolerance
        run(_residuals, len(image), *given, slopes, losses.numpy())
        ctx.save_for_backward(image, target)
        ctx.slopes = slopes
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_losses: Tensor):
        image, target = ctx.saved_tensors
        [gradient] = allocate((image.shape, dtype_of(image)))
        given = array(image), array(target), ctx.slopes, array(grad_losses)
        run(_gradients, len(image), *given, gradient)
        return torch.from_numpy(gradient), None, None, None, None


@kernel
def _residuals(first, end, images, targets, masks, width, tolerance, slopes, losses):
    """Of pictures [first, end): the loss, and in `slopes` its derivative by each pixel, over its difference."""
    real = images.dtype.type
    for picture in range(first, end):
        image, target = images[picture].reshape(3, -1), targets[picture].reshape(3, -1)
        mask, slope = masks[picture].reshape(-1), slopes[picture].reshape(-1)
        total, area = 0.0, 0.0
        for at in range(mask.size):
            if mask[at] == 0:
                continue
            p, q, r = image[0, at] - target[0, at], image[1, at] - target[1, at], image[2, at] - target[2, at]
            residual = np.sqrt((p * p + q * q + r * r) / 3 + width * width) - width
            slope[at] = residual
            total += residual * mask[at]
            area += mask[at]
        scale = max(tolerance * total / max(area, 1.0), 1e-6)
        total, area = 0.0, 0.0
        for at in range(mask.size):
            if mask[at] == 0:
                slope[at] = 0
                continue
            residual = slope[at]
            outlier = 1 + (residual / scale) ** 2
            weight = mask[at] / (outlier * outlier)
            total += weight * residual
            area += weight
            slope[at] = weight / (3 * (residual + width))
        area = max(area, 1.0)
        losses[picture] = total / area
        for at in range(mask.size):
            slope[at] *= real(1 / area)


@kernel
def _gradients(first, end, images, targets, slopes, grad_losses, gradients):
    """Of pictures [first, end)."""
    for picture in range(first, end):
        slope = slopes[picture].reshape(-1)
        for channel in range(3):
            image, target = images[picture, channel].reshape(-1), targets[picture, channel].reshape(-1)
            gradient = gradients[picture, channel].reshape(-1)
            for at in range(slope.size):
                # Outside the mask the target may be anything, NaN too; without a branch many pixels are taken at once.
                passed = grad_losses[picture] * slope[at] * (image[at] - target[at])
                gradient[at] = passed if slope[at] != 0 else slope[at]
