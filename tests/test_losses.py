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
"""Each loss term against a value known by hand."""

import pytest
import torch

from modeling_facegpt.losses import (
    CHARBONNIER_WIDTH,
    code_likelihood_loss,
    code_loss,
    inlier_weight,
    light_colour_loss,
    masked_photometric_loss,
    photometric_loss,
    point_loss,
    prior_loss,
)

NAN = float("nan")


def test_code_loss_is_the_squared_error():
    torch.testing.assert_close(
        code_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 2.0]])), torch.tensor([[4.0, 0.0]])
    )


def test_likelihood_is_least_where_the_variance_is_the_squared_error():
    log_variance = torch.linspace(-3, 3, 601, requires_grad=True)
    loss = code_likelihood_loss(torch.full((601,), 2.0), log_variance, torch.zeros(601))
    assert abs(log_variance[loss.argmin()].exp() - 4.0) < 0.05


def test_likelihood_does_not_train_the_mean():
    code = torch.ones(1, 2, requires_grad=True)
    log_variance = torch.zeros(1, 2, requires_grad=True)
    code_likelihood_loss(code, log_variance, torch.zeros(1, 2)).sum().backward()
    assert code.grad is None and log_variance.grad is not None


def test_point_loss_is_the_distance_and_ignores_unknown_points():
    points = torch.zeros(1, 2, 2, requires_grad=True)
    loss = point_loss(points, torch.tensor([[[3.0, 4.0], [NAN, 1.0]]]))
    torch.testing.assert_close(loss, torch.tensor([[5.0, 0.0]]))
    loss.sum().backward()
    torch.testing.assert_close(points.grad, torch.tensor([[[-0.6, -0.8], [0.0, 0.0]]]))


def test_photometric_loss_is_quadratic_near_zero_and_linear_far_away():
    black = torch.zeros(1, 3, 1, 2)
    near = photometric_loss(black + 1e-3, black)
    far = photometric_loss(black + 0.8, black)
    torch.testing.assert_close(near, torch.full_like(near, 1e-6 / (2 * CHARBONNIER_WIDTH)), rtol=0.01, atol=0)
    torch.testing.assert_close(far, torch.full_like(far, 0.8 - CHARBONNIER_WIDTH), rtol=0.01, atol=0)


def test_an_occluder_is_trusted_less_than_skin():
    residual = torch.full((1, 1, 10, 10), 0.02)
    residual[..., :2] = 0.6
    mask = torch.ones_like(residual)
    weight = inlier_weight(residual, mask)
    assert weight[..., 2:].min() > 0.9 and weight[..., :2].max() < 0.5


def test_inlier_weight_of_nothing_is_finite():
    nothing = torch.zeros(1, 1, 4, 4)
    assert inlier_weight(nothing, nothing).isfinite().all()


def test_prior_is_the_squared_code():
    torch.testing.assert_close(prior_loss(torch.tensor([[3.0]])), torch.tensor([[9.0]]))


def test_white_light_costs_nothing_and_red_light_does():
    white = torch.ones(1, 27)
    assert light_colour_loss(white).abs().max() == 0
    red = torch.zeros(1, 27)
    red[0, 0] = 3.0
    torch.testing.assert_close(light_colour_loss(red)[0, 0], torch.tensor([4.0, 1.0, 1.0]))


def pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    image, target = torch.rand(2, 3, 3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.linspace(-1, 1, 60, dtype=torch.float64).clamp(min=0).view(3, 1, 5, 4)  # the first face is not seen
    return image, target, mask


def test_the_masked_loss_is_the_weighted_mean(backend: str):
    image, target, mask = pictures()
    residual = photometric_loss(image, target)
    weight = mask * inlier_weight(residual, mask)
    expected = (weight * residual).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1.0)
    torch.testing.assert_close(masked_photometric_loss(image, target, mask), expected)


def test_the_masked_loss_takes_its_weights_as_given(backend: str):
    image, target, mask = pictures()
    residual = photometric_loss(image.requires_grad_(), target)
    weight = mask * inlier_weight(residual, mask)
    loss = (weight * residual).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1.0)
    factors = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    (expected,) = torch.autograd.grad((factors * loss).sum(), image)
    (found,) = torch.autograd.grad((factors * masked_photometric_loss(image, target, mask)).sum(), image)
    torch.testing.assert_close(found, expected)


def test_what_the_target_shows_outside_the_mask_does_not_count(backend: str):
    image, target, mask = pictures()
    expected = masked_photometric_loss(image, target, mask)
    target = torch.where(mask == 0, NAN, target)
    loss = masked_photometric_loss(image.requires_grad_(), target, mask)
    torch.testing.assert_close(loss, expected)
    assert torch.autograd.grad(loss.sum(), image)[0].isfinite().all()


@pytest.mark.parametrize("mask", [torch.ones(3, 5, 4), torch.ones(3, 1, 4, 5), torch.ones(2, 1, 5, 4)])
def test_masks_of_other_pictures_are_refused(mask: torch.Tensor, backend: str):
    image, target, _ = pictures()
    with pytest.raises(ValueError, match="mask"):
        masked_photometric_loss(image, target, mask)
