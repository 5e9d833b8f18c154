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
from torch.autograd import gradcheck

from modeling_facegpt.losses import (
    CHARBONNIER_WIDTH,
    code_likelihood_loss,
    code_loss,
    face_probability,
    feature_loss,
    inlier_weight,
    light_colour_loss,
    masked_photometric_loss,
    mean_where,
    mixture_photometric_loss,
    negative_light_loss,
    photometric_loss,
    point_loss,
    prior_loss,
    roughness_loss,
    skin_variation_loss,
    symmetry_loss,
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


@pytest.mark.parametrize("loss", [masked_photometric_loss, mixture_photometric_loss])
def test_photometric_losses_are_means_and_do_not_grow_with_the_mask(loss):
    image, target = torch.full((1, 3, 8, 8), 0.5), torch.full((1, 3, 8, 8), 0.45)
    whole = loss(image, target, torch.ones(1, 1, 8, 8))
    half = loss(image, target, torch.cat((torch.ones(1, 1, 4, 8), torch.zeros(1, 1, 4, 8)), dim=2))
    torch.testing.assert_close(whole, half)
    torch.testing.assert_close(whole, torch.tensor([(0.05**2 + CHARBONNIER_WIDTH**2) ** 0.5 - CHARBONNIER_WIDTH]))


def occluded(share: float, offset: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A render, a noisy photograph lighter by `offset` whose left `share` something dark covers, and the mask."""
    generator = torch.Generator().manual_seed(3)
    image = 0.5 + 0.2 * torch.rand(1, 3, 40, 40, generator=generator)
    target = image + offset + 0.03 * torch.randn(1, 3, 40, 40, generator=generator)
    cover = torch.arange(40) < round(40 * share)
    return image, torch.where(cover, 0.1, target), torch.ones(1, 1, 40, 40)


@pytest.mark.parametrize("offset", [0.0, 0.1])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.45])
def test_the_mixture_finds_occluders_and_keeps_skin(share: float, offset: float):
    image, target, mask = occluded(share, offset)
    probability = face_probability(image, target, mask)[0, 0]
    covered = round(40 * share)
    assert probability[:, :covered].max() < 0.01
    assert probability[:, covered:].min() > 0.8 and probability[:, covered:].mean() > 0.98
    loss = mixture_photometric_loss(image, target, mask)
    expected = photometric_loss(image, target)[..., covered:].mean()
    torch.testing.assert_close(loss[0], expected, rtol=0.02, atol=1e-4)


def test_the_mixture_holds_where_the_mean_residual_does_not():
    image, target, mask = occluded(0.45, 0.1)
    trusted = inlier_weight(photometric_loss(image, target), mask)[..., :18]
    assert trusted.mean() > 0.3 and face_probability(image, target, mask)[..., :18].mean() < 0.01


def test_a_poor_render_of_a_face_that_is_not_covered_is_no_outlier():
    image, target, mask = occluded(0.0, 0.25)
    assert face_probability(image, target, mask).min() > 0.95


def test_lone_pixels_follow_their_neighbours():
    image, target, mask = occluded(0.5, 0.0)
    for column in (5, 30):  # as far off as the other, one on the cover and one on the face
        target[..., 5, column] = image[..., 5, column] - 0.1
    probability = face_probability(image, target, mask)[0, 0]
    assert probability[5, 30] > 0.5 and probability[5, 5] < 0.1


def test_the_mixture_takes_its_weights_as_given():
    image, target, mask = pictures()
    weight = face_probability(image, target, mask)
    assert gradcheck(lambda given: mean_where(photometric_loss(given, target), weight), image.requires_grad_())
    (expected,) = torch.autograd.grad(mean_where(photometric_loss(image, target), weight).sum(), image)
    (found,) = torch.autograd.grad(mixture_photometric_loss(image, target, mask).sum(), image)
    torch.testing.assert_close(found, expected)


def test_the_mixture_does_not_look_outside_the_mask():
    image, target, mask = pictures()
    expected = mixture_photometric_loss(image, target, mask)
    target = torch.where(mask == 0, NAN, target)
    loss = mixture_photometric_loss(image.requires_grad_(), target, mask)
    torch.testing.assert_close(loss, expected)
    assert loss[0] == 0 and torch.autograd.grad(loss.sum(), image)[0].isfinite().all()


def test_each_picture_has_a_mixture_of_its_own():
    image, target, mask = (torch.cat(pair) for pair in zip(occluded(0.3, 0.0), occluded(0.0, 0.2), strict=True))
    for face in range(2):
        alone = face_probability(image[face : face + 1], target[face : face + 1], mask[face : face + 1])
        torch.testing.assert_close(face_probability(image, target, mask)[face], alone[0])


def test_masks_of_other_pictures_are_refused_by_the_mixture():
    image, target, mask = pictures()
    with pytest.raises(ValueError, match="mask"):
        mixture_photometric_loss(image, target, mask[:2])


def test_features_count_by_direction_alone():
    features = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [-2.0, 0.0]]])
    target = torch.tensor([[[5.0, 0.0], [0.0, 3.0], [1.0, 0.0]]])
    torch.testing.assert_close(feature_loss(features, target), torch.tensor([[0.0, 1 - 0.5**0.5, 2.0]]))


def test_features_of_the_photograph_get_no_gradient():
    features, target = torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert gradcheck(lambda given: feature_loss(given, target), features.requires_grad_())
    assert not feature_loss(features.detach(), target.requires_grad_()).requires_grad


def test_light_that_takes_colour_away_costs_what_it_takes():
    white = torch.zeros(1, 27)
    white[0, :3] = (4 * torch.pi) ** 0.5
    assert negative_light_loss(white).abs().max() == 0
    # As much from everywhere, but negative: all 26 surfaces are darker than black by 1.
    torch.testing.assert_close(negative_light_loss(-white), torch.ones(1, 26, 3))
    sideways = torch.zeros(1, 27)
    sideways[0, 9] = 1.0  # red from +x and as much taken away at -x
    loss = negative_light_loss(sideways)
    assert (loss[..., 0] > 0).sum() == 9 and loss[..., 1:].abs().max() == 0
    torch.testing.assert_close(loss.max(), torch.tensor(((3 / (4 * torch.pi)) ** 0.5 * 2 / 3) ** 2))


def test_negative_light_has_the_gradient_of_differences():
    light = torch.randn(2, 27, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert gradcheck(negative_light_loss, light.requires_grad_())


def test_symmetry_is_the_difference_between_the_sides():
    albedo = torch.tensor([[[0.2, 0.2, 0.2], [0.5, 0.2, 0.2], [0.9, 0.9, 0.9]]], dtype=torch.float64)
    mirrored = torch.tensor([1, 0, 2])
    torch.testing.assert_close(symmetry_loss(albedo, mirrored), torch.tensor([[0.03, 0.03, 0.0]], dtype=torch.float64))
    assert gradcheck(lambda given: symmetry_loss(given, mirrored), albedo.requires_grad_())


def test_skin_varies_about_its_own_mean():
    albedo = torch.tensor([[[0.2] * 3, [0.4] * 3, [0.9] * 3]], dtype=torch.float64)
    skin = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(
        skin_variation_loss(albedo, skin), torch.tensor([[0.01, 0.01, 0.0]], dtype=torch.float64)
    )
    assert gradcheck(lambda given: skin_variation_loss(given, skin), albedo.requires_grad_())


def test_roughness_is_the_difference_along_edges():
    albedo = torch.tensor([[[0.0] * 3, [0.1] * 3, [0.3] * 3]], dtype=torch.float64)
    triangles = torch.tensor([[0, 1, 2]])
    found = roughness_loss(albedo, triangles)
    torch.testing.assert_close(found, torch.tensor([[[0.09, 0.01, 0.04]]], dtype=torch.float64))
    assert gradcheck(lambda given: roughness_loss(given, triangles), albedo.requires_grad_())


def test_the_older_losses_have_the_gradient_of_differences():
    generator = torch.Generator().manual_seed(0)
    one, two, light = (torch.randn(2, size, generator=generator, dtype=torch.float64) for size in (6, 6, 27))
    assert gradcheck(lambda code: code_loss(code, two), one.requires_grad_())
    assert gradcheck(lambda variance: code_likelihood_loss(two, variance, torch.zeros_like(two)), one)
    assert gradcheck(lambda code: point_loss(code.view(2, 2, 3), two.view(2, 2, 3)), one)
    assert gradcheck(prior_loss, one)
    assert gradcheck(light_colour_loss, light.requires_grad_())
    image, target, _ = pictures()
    assert gradcheck(lambda given: photometric_loss(given, target), image.requires_grad_())
