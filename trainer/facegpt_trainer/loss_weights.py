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
"""How much each loss term counts where a recipe does not say so."""

# Set so that each group pulls on its numbers about as strongly as the others once faces are roughly in place:
# terms are means over very different counts of numbers (3 of position, 120 of identity).
LOSS_WEIGHTS = {
    "text": 0.3,
    "label_landmarks": 4.0,
    "label_shape": 2.0,
    "code_identity": 1.5,
    "code_albedo": 0.6,
    "code_expression": 2.0,
    "code_light": 0.75,
    "code_rotation": 1.5,
    "code_translation": 1.0,
    "code_log_focal": 0.05,
    "code_gaze": 0.2,
    "code_likelihood": 0.05,
    "landmarks": 8.0,
    "photometric": 4.0,
    # Computed only where a recipe gives them a weight.
    "photometric_mixture": 0.0,
    "perceptual": 0.0,
    "symmetry": 0.0,
    "skin_variation": 0.0,
    "skin_roughness": 0.0,
    "negative_light": 0.0,
    "prior_identity": 0.01,
    "prior_albedo": 0.01,
    "prior_expression": 0.005,
    "prior_light": 0.01,
    "prior_log_focal": 0.02,
    "light_colour": 0.1,
    "reference": 0.3,
    "edit_gates": 0.5,
    "edit_change": 0.2,
    "flow": 1.0,
    "flow_mean": 0.25,
}
