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
"""The landmark head and its likelihood."""

import pytest
import torch

from modeling_facegpt.landmark_head import LandmarkHead
from modeling_facegpt.losses import point_likelihood_loss


def test_an_untrained_head_answers_with_the_mean_face():
    head = LandmarkHead(32, 16, landmarks=10)
    mean = torch.rand(10, 2)
    head.start_from(mean)
    points, log_variance = head(torch.randn(4, 32))
    torch.testing.assert_close(points, mean.expand(4, 10, 2), atol=0.02, rtol=0)
    torch.testing.assert_close(log_variance.exp().sqrt(), torch.full((4, 10), 0.01), atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match=r"got points of shape \(9, 2\), wanted \(10, 2\)"):
        head.start_from(mean[:9])


def test_log_variances_stay_within_limits():
    head = LandmarkHead(8, 8, landmarks=3)
    with torch.no_grad():
        head.output.bias.fill_(1e4)
    assert head(torch.zeros(1, 8))[1].max() < -2.0
    with torch.no_grad():
        head.output.bias.fill_(-1e4)
    assert head(torch.zeros(1, 8))[1].min() > -16.0


@pytest.mark.parametrize("evenness", [0.0, 0.5, 1.0])
def test_the_likelihood_is_best_at_mean_and_variance_of_the_targets(evenness: float):
    generator = torch.Generator().manual_seed(0)
    target = 0.3 + 0.05 * torch.randn(4000, 1, 2, generator=generator)
    points = torch.zeros(1, 1, 2, requires_grad=True)
    log_variance = torch.full((1, 1), -4.0, requires_grad=True)
    optimizer = torch.optim.Adam([points, log_variance], lr=0.02)
    for _ in range(800):
        optimizer.zero_grad()
        point_likelihood_loss(points, log_variance, target, evenness).mean().backward()
        optimizer.step()
    torch.testing.assert_close(points[0, 0], target.mean(0)[0], atol=4e-3, rtol=0)
    assert float(log_variance.detach().exp().sqrt()) == pytest.approx(0.05, rel=0.05)


def test_unknown_points_have_no_likelihood_and_no_gradient():
    target = torch.rand(2, 3, 2)
    target[0, 1] = torch.nan
    points, log_variance = torch.rand(2, 3, 2, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    loss = point_likelihood_loss(points, log_variance, target)
    loss.sum().backward()
    assert loss[0, 1] == 0 and loss.isfinite().all()
    assert (points.grad[0, 1] == 0).all() and log_variance.grad[0, 1] == 0
    assert (points.grad[1] != 0).all()
