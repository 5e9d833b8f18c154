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
"""The face head: a hidden state of the language model becomes the parameters of a face, and how sure each one is.

The head speaks *codes*: one number per parameter, about N(0, 1) over faces in pictures, so that one loss weight and
one log-variance serve them all. `decode` turns codes into `FaceParameters` in the camera of the picture, `encode` is
its inverse. Position and size are coded as seen in the picture (where, how large), not in metres, and rotation is
relative to the ray to the face (allocentric; Kundu et al. 2018, "3D-RCNN"): a crop of a face then looks like its codes
wherever in the photograph it was cut from.
"""

import torch
from torch import Tensor, nn

from .configuration_facegpt import FaceGPTConfig, MorphableModelConfig
from .face_parameters import FaceParameters, parameter_sizes, parameters_to_vector, vector_to_parameters
from .module_state import FullPrecisionModule
from .rotations import matrix_to_rotation_6d, rotation_6d_to_matrix, viewing_rotation

HEAD_SIZE = 0.2  # metres; a face of this size as seen in the picture is the unit of apparent size
TYPICAL_APPARENT_SIZE = 0.5  # of the picture's side
POSITION_SCALE = 0.15  # standard deviation of the position, in picture sides
LOG_SIZE_SCALE = 0.5  # standard deviation of the logarithm of the apparent size
LOG_FOCAL_SCALE = 0.2
GAZE_SCALE = 0.2  # radians
ROTATION_SCALE = 0.3
EXPRESSION_SCALE = 0.25
LIGHT_MEAN = 2.5  # constant band of a common light; a white sky of radiance 1 has sqrt(4 pi) = 3.54
LIGHT_SCALE = 0.7
MINIMUM_LOG_VARIANCE, MAXIMUM_LOG_VARIANCE = -10.0, 4.0
LARGEST_CODE = 10.0  # standard deviations; of a stranger face this much is read


class FaceHead(FullPrecisionModule):
    """Two-layer perceptron from a hidden state to the code of a face and the log-variance of each of its numbers.

    `calibrate` sets what is added to the log-variances: how unsure the head is on faces that it was not trained on.
    """

    def __init__(self, config: FaceGPTConfig, hidden_size: int):
        super().__init__()
        self.code_size = sum(parameter_sizes(config.face_model_config))
        self.norm = nn.LayerNorm(hidden_size)
        self.hidden = nn.Linear(hidden_size, config.face_head_hidden_size)
        self.activation = nn.GELU()
        self.output = nn.Linear(config.face_head_hidden_size, 2 * self.code_size)
        self.calibrate(config.log_variance_offset)

    @property
    def device(self) -> torch.device:
        """Where it computes. Quantized linear layers have no weights to ask."""
        return self.norm.weight.device

    def calibrate(self, offset: list[float]) -> None:
        """Add `offset`, one number per number of a code or none at all, to the log-variances from now on.

        Raises:
            ValueError: if there are not as many numbers.
        """
        if offset and len(offset) != self.code_size:
            raise ValueError(
                f"got a log_variance_offset of {len(offset)} numbers for codes of {self.code_size}; "
                "calibrate the checkpoint anew, or leave the offset empty"
            )
        # Of the configuration, not of the weights: checkpoints from before their calibration stay whole.
        self.log_variance_offset = tuple(offset) or (0.0,)

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of faces and their log-variances.

        Args:
            hidden_states (`torch.Tensor` of shape `(N, D)`): the states that predict `<FACE>`.

        Returns:
            Two `torch.Tensor` of shape `(N, P)`: mean code, log-variance of the code.
        """
        output = self.output(self.activation(self.hidden(self.norm(hidden_states))))
        code, log_variance = output.split(self.code_size, dim=-1)
        offset = log_variance.new_tensor(self.log_variance_offset)
        return code, log_variance.clamp(MINIMUM_LOG_VARIANCE, MAXIMUM_LOG_VARIANCE) + offset


def decode(code: Tensor, picture_cameras: Tensor, config: MorphableModelConfig) -> FaceParameters:
    """Face parameters of codes.

    Args:
        code (`torch.Tensor` of shape `(N, P)`): what the head says.
        picture_cameras (`torch.Tensor` of shape `(N, 3)`): focal length and principal point (x, y) of the picture in
            which the face is seen, in units of the picture's side.
        config (`MorphableModelConfig`): the 3DMM.
    """
    raw = vector_to_parameters(code, config)
    rotation, translation, log_focal = _decode_pose(raw.rotation, raw.translation, raw.log_focal, picture_cameras)
    return FaceParameters(
        identity=raw.identity,
        albedo=raw.albedo,
        expression=_clamp_to_range(EXPRESSION_SCALE * raw.expression) if _has_range(config) else raw.expression,
        light=LIGHT_SCALE * raw.light + _light_mean(code),
        rotation=rotation,
        translation=translation,
        log_focal=log_focal,
        gaze=GAZE_SCALE * raw.gaze,
    )


def encode(parameters: FaceParameters, picture_cameras: Tensor, config: MorphableModelConfig) -> Tensor:
    """The code `(N, P)` of face parameters as seen by `picture_cameras` `(N, 3)`: inverse of `decode`."""
    if not len(picture_cameras):  # most batches lack some kind of face, and many small steps cost as much for none
        return parameters_to_vector(parameters)
    focal = picture_cameras[:, :1] * parameters.log_focal.exp()
    depth = parameters.translation[:, 2:]
    position = picture_cameras[:, 1:] + focal * parameters.translation[:, :2] / depth
    log_size = (focal * HEAD_SIZE / depth / TYPICAL_APPARENT_SIZE).log()
    rotation = rotation_6d_to_matrix(parameters.rotation)
    allocentric = matrix_to_rotation_6d(viewing_rotation(parameters.translation).transpose(-1, -2) @ rotation)
    raw = FaceParameters(
        identity=parameters.identity,
        albedo=parameters.albedo,
        expression=parameters.expression / EXPRESSION_SCALE if _has_range(config) else parameters.expression,
        light=(parameters.light - _light_mean(parameters.light)) / LIGHT_SCALE,
        rotation=(allocentric - _identity_rotation(allocentric)) / ROTATION_SCALE,
        translation=torch.cat(((position - 0.5) / POSITION_SCALE, log_size / LOG_SIZE_SCALE), dim=-1),
        log_focal=parameters.log_focal / LOG_FOCAL_SCALE,
        gaze=parameters.gaze / GAZE_SCALE,
    )
    return parameters_to_vector(raw)


def bounded_code(code: Tensor) -> Tensor:
    """Codes as networks read them: nothing in them is further than `LARGEST_CODE` from 0."""
    return code.clamp(-LARGEST_CODE, LARGEST_CODE)


def parameter_standard_deviation(
    log_variance: Tensor, parameters: FaceParameters, picture_cameras: Tensor, config: MorphableModelConfig
) -> FaceParameters:
    """Standard deviation of each parameter in its own unit, from the log-variance `(N, P)` of the code.

    First order, the numbers of the code taken as independent: a face aside of the camera's axis is as unsure sideways
    as its size makes its distance, and a rotation is unsure only where rotations can go.
    """
    raw = vector_to_parameters((0.5 * log_variance).exp(), config)
    with torch.autocast(log_variance.device.type, enabled=False):
        rotation, translation = _pose_deviation(raw, parameters, picture_cameras, config)
    return FaceParameters(
        identity=raw.identity,
        albedo=raw.albedo,
        expression=EXPRESSION_SCALE * raw.expression if _has_range(config) else raw.expression,
        light=LIGHT_SCALE * raw.light,
        rotation=rotation,
        translation=translation,
        log_focal=LOG_FOCAL_SCALE * raw.log_focal,
        gaze=GAZE_SCALE * raw.gaze,
    )


def _pose_deviation(
    raw: FaceParameters, parameters: FaceParameters, picture_cameras: Tensor, config: MorphableModelConfig
) -> tuple[Tensor, Tensor]:
    """Standard deviation of rotation `(N, 6)` and translation `(N, 3)`: each number that they follow from is moved by
    its own standard deviation, up and down.

    Args:
        raw (`FaceParameters`): standard deviation of the code, N faces.
        parameters (`FaceParameters`): the N faces.
        picture_cameras (`torch.Tensor` of shape `(N, 3)`): of the pictures that they are seen in.
        config (`MorphableModelConfig`): the 3DMM.
    """
    code = vector_to_parameters(encode(parameters, picture_cameras, config), config)
    pose = torch.cat((code.rotation, code.translation, code.log_focal), dim=-1)  # (N, 10)
    steps = torch.cat((raw.rotation, raw.translation, raw.log_focal), dim=-1).diag_embed()  # (N, 10, 10)
    steps = torch.cat((steps, -steps, torch.zeros_like(steps[:, :1])), dim=1)  # the last: the face itself
    turned, placed, zoomed = (pose[:, None] + steps).flatten(0, 1).split([6, 3, 1], dim=-1)
    cameras = picture_cameras.repeat_interleave(steps.shape[1], dim=0)
    rotation, translation, _ = _decode_pose(turned, placed, zoomed, cameras)
    found = torch.cat((rotation, translation), dim=-1).unflatten(0, steps.shape[:2])  # (N, 21, 9)
    spread = ((found[:, :-1] - found[:, -1:]).square().sum(1) / 2).sqrt()
    return spread[:, :6], spread[:, 6:]


def _decode_pose(
    rotation: Tensor, translation: Tensor, log_focal: Tensor, picture_cameras: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotation `(N, 6)`, translation `(N, 3)` and log-focal offset `(N, 1)` of their numbers in the code."""
    log_focal = (LOG_FOCAL_SCALE * log_focal).clamp(-1.0, 1.0)
    translation = _place(translation, picture_cameras, log_focal)
    matrix = rotation_6d_to_matrix(ROTATION_SCALE * rotation + _identity_rotation(rotation))
    return matrix_to_rotation_6d(viewing_rotation(translation) @ matrix), translation, log_focal


def _place(raw: Tensor, picture_cameras: Tensor, log_focal: Tensor) -> Tensor:
    """Translation in metres `(N, 3)` of where and how large the face is seen."""
    focal = picture_cameras[:, :1] * log_focal.exp()
    # Outside these bounds a head would be behind the camera or smaller than a pixel: no picture shows that.
    log_size = (LOG_SIZE_SCALE * raw[:, 2:]).clamp(-4.0, 2.0)
    depth = focal * HEAD_SIZE / (TYPICAL_APPARENT_SIZE * log_size.exp())
    position = 0.5 + POSITION_SCALE * raw[:, :2]
    return torch.cat(((position - picture_cameras[:, 1:]) * depth / focal, depth), dim=-1)


def _clamp_to_range(expression: Tensor) -> Tensor:
    return expression.clamp(0.0, 1.0)


def _has_range(config: MorphableModelConfig) -> bool:
    return config.expression_range == "unit"


def _identity_rotation(like: Tensor) -> Tensor:
    return like.new_tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])


def _light_mean(like: Tensor) -> Tensor:
    """White light from everywhere: the constant band of the three colours."""
    return torch.cat((like.new_full((3,), LIGHT_MEAN), like.new_zeros(24)))
