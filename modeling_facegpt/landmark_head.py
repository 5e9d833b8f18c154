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
"""The landmark head: a hidden state becomes 468 landmarks in the picture, and how sure each one is.

Dense landmarks with an uncertainty each say more of a face than its parameters do, and a fit turns them into a mesh
(Wood et al. 2022, "3D Face Reconstruction with Dense Landmarks"). The state is the one that predicts `<FACE>`; while a
vision tower warms up, it is read off the tower's features.
"""

import math

import torch
from torch import Tensor, nn

LANDMARK_SCALE = 0.2  # picture sides per unit of the head's output
TYPICAL_LANDMARK_DEVIATION = 0.01  # picture sides; where the logarithm of the variance starts
MINIMUM_LANDMARK_DEVIATION, MAXIMUM_LANDMARK_DEVIATION = 0.0005, 0.3  # picture sides


class LandmarkHead(nn.Module):
    """Two-layer perceptron from a hidden state to landmarks and the log-variance of each.

    Args:
        hidden_size (`int`): of the state.
        width (`int`): of the layer between.
        landmarks (`int`): how many.
    """

    def __init__(self, hidden_size: int, width: int = 512, landmarks: int = 468):
        super().__init__()
        self.landmarks = landmarks
        self.norm = nn.LayerNorm(hidden_size)
        self.hidden = nn.Linear(hidden_size, width)
        self.activation = nn.GELU()
        self.output = nn.Linear(width, 3 * landmarks)

    @torch.no_grad()
    def start_from(self, points: Tensor) -> None:
        """Let the untrained head answer with `points` `(L, 2)` in picture sides, of the mean face.

        Raises:
            ValueError: if there are not as many points as landmarks.
        """
        if points.shape != (self.landmarks, 2):
            raise ValueError(f"got points of shape {tuple(points.shape)}, wanted ({self.landmarks}, 2)")
        nn.init.normal_(self.output.weight, std=0.01 / math.sqrt(self.output.in_features))
        start = torch.cat(((points.flatten() - 0.5) / LANDMARK_SCALE, points.new_zeros(self.landmarks)))
        self.output.bias.copy_(start)

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks of faces and their log-variances.

        Args:
            hidden_states (`torch.Tensor` of shape `(N, D)`): the states that predict `<FACE>`.

        Returns:
            Two `torch.Tensor`: points `(N, L, 2)` in picture sides, x right and y down; and `(N, L)` the logarithm of
            the variance of either coordinate, in squared picture sides.
        """
        output = self.output(self.activation(self.hidden(self.norm(hidden_states))))
        points, spread = output.split([2 * self.landmarks, self.landmarks], dim=-1)
        least, most = (2 * math.log(limit) for limit in (MINIMUM_LANDMARK_DEVIATION, MAXIMUM_LANDMARK_DEVIATION))
        log_variance = spread + 2 * math.log(TYPICAL_LANDMARK_DEVIATION)
        return 0.5 + LANDMARK_SCALE * points.unflatten(-1, (self.landmarks, 2)), log_variance.clamp(least, most)
