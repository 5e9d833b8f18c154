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
"""Codes and parameters: inverse of each other, and saying what they should of places in pictures."""

import pytest
import torch
from torch import Tensor

from modeling_facegpt import FaceGPTConfig, FaceParameters, MorphableModelConfig
from modeling_facegpt.face_head import (
    HEAD_SIZE,
    TYPICAL_APPARENT_SIZE,
    FaceHead,
    decode,
    encode,
    parameter_standard_deviation,
)
from modeling_facegpt.face_parameters import parameter_sizes, parameters_to_vector, vector_to_parameters
from modeling_facegpt.rotations import matrix_to_yaw_pitch_roll, rotation_6d_to_matrix

WHOLE = (1.2, 0.5, 0.5)
CROP = (4.0, 1.7, -0.8)


def camera(values: tuple[float, float, float], faces: int) -> Tensor:
    return torch.tensor(values).expand(faces, 3)


@pytest.mark.parametrize("values", [WHOLE, CROP])
def test_decode_inverts_encode(face_parameters: FaceParameters, face_model_config: MorphableModelConfig, values):
    cameras = camera(values, 3)
    code = encode(face_parameters, cameras, face_model_config)
    torch.testing.assert_close(
        parameters_to_vector(decode(code, cameras, face_model_config)),
        parameters_to_vector(face_parameters),
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_zero_code_is_a_face_in_the_middle_that_looks_at_the_camera(face_model_config: MorphableModelConfig):
    code = torch.zeros(1, sum(parameter_sizes(face_model_config)))
    face = decode(code, camera(WHOLE, 1), face_model_config)
    depth = 1.2 * HEAD_SIZE / TYPICAL_APPARENT_SIZE
    torch.testing.assert_close(face.translation, torch.tensor([[0.0, 0.0, depth]]))
    torch.testing.assert_close(rotation_6d_to_matrix(face.rotation), torch.eye(3)[None])
    assert face.identity.abs().max() == 0 and face.expression.abs().max() == 0


def test_a_face_at_the_side_that_looks_at_the_camera_is_turned_in_camera_space(
    face_model_config: MorphableModelConfig,
):
    sizes = parameter_sizes(face_model_config)
    code = vector_to_parameters(torch.zeros(1, sum(sizes)), face_model_config)
    code = code._replace(translation=torch.tensor([[2.0, 0.0, 0.0]]))  # to the right of the picture
    face = decode(parameters_to_vector(code), camera(WHOLE, 1), face_model_config)
    yaw, pitch, roll = matrix_to_yaw_pitch_roll(rotation_6d_to_matrix(face.rotation))
    expected = torch.atan2(face.translation[:, 0], face.translation[:, 2])
    assert expected > 0.1
    torch.testing.assert_close(yaw, -expected)  # to its right, back to the camera
    torch.testing.assert_close(pitch, torch.zeros(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(roll, torch.zeros(1), atol=1e-6, rtol=0)


def test_expressions_stay_in_their_range(face_model_config: MorphableModelConfig):
    code = 50 * torch.randn(4, sum(parameter_sizes(face_model_config)), generator=torch.Generator().manual_seed(0))
    expression = decode(code, camera(WHOLE, 4), face_model_config).expression
    assert expression.min() == 0 and expression.max() == 1


def test_huge_codes_decode_to_finite_faces_in_front_of_the_camera(face_model_config: MorphableModelConfig):
    code = torch.full((1, sum(parameter_sizes(face_model_config))), 1e4)
    face = decode(code, camera(WHOLE, 1), face_model_config)
    assert face.translation.isfinite().all() and face.translation[0, 2] > 0


def test_standard_deviations_are_those_of_sampled_codes(
    face_parameters: FaceParameters, face_model_config: MorphableModelConfig
):
    cameras = camera(WHOLE, 1)
    one = FaceParameters(*(group[:1] for group in face_parameters))
    code = encode(one._replace(expression=torch.full_like(one.expression, 0.5)), cameras, face_model_config)
    log_variance = torch.full_like(code, -6.0)
    generator = torch.Generator().manual_seed(0)
    samples = code + (0.5 * log_variance).exp() * torch.randn(20_000, code.shape[1], generator=generator)
    decoded = decode(samples, cameras.expand(20_000, 3), face_model_config)
    said = parameter_standard_deviation(log_variance, one, cameras, face_model_config)
    for name in ("identity", "expression", "light", "log_focal", "gaze"):
        measured = getattr(decoded, name).std(0, keepdim=True)
        torch.testing.assert_close(getattr(said, name), measured, rtol=0.05, atol=0)
    torch.testing.assert_close(
        said.translation[:, :2], decoded.translation[:, :2].std(0, keepdim=True), rtol=0.15, atol=0
    )
    for name in ("translation", "rotation"):
        measured = getattr(decoded, name).std(0, keepdim=True)
        # Of a rotation, what is of second order shows where the first is zero.
        torch.testing.assert_close(getattr(said, name), measured, rtol=0.05, atol=3e-4)


def test_calibration_is_added_to_the_log_variance():
    config = FaceGPTConfig(face_head_hidden_size=8)
    head = FaceHead(config, 16)
    states = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    code, log_variance = head(states)
    offset = torch.linspace(-1, 1, head.code_size)
    head.calibrate(offset.tolist())
    calibrated = head(states)
    assert torch.equal(calibrated[0], code)
    torch.testing.assert_close(calibrated[1], log_variance + offset)
    config.log_variance_offset = offset.tolist()
    again = FaceHead(config, 16)
    again.load_state_dict(head.state_dict())
    torch.testing.assert_close(again(states)[1], calibrated[1])
    with pytest.raises(ValueError, match="3 numbers for codes of"):
        head.calibrate([0.0] * 3)
