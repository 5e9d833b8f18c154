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
"""Light on a face: second-order spherical harmonics, and the two colour spaces.

Normals are in the camera frame with y up and z towards the viewer. The harmonics are real and orthonormal, in the
order Y00, Y1-1, Y10, Y11, Y2-2, Y2-1, Y20, Y21, Y22.
"""

import math

import torch
from torch import Tensor

from .argument_checks import ArgumentCheck

# Ramamoorthi & Hanrahan 2001, "An Efficient Representation for Irradiance Environment Maps": what is left of each band
# of the incident radiance after the clamped cosine, over pi because a diffuse surface reflects albedo / pi.
_REFLECTED = (1.0,) + (2 / 3,) * 3 + (1 / 4,) * 5


def spherical_harmonics(normals: Tensor) -> Tensor:
    """The first nine harmonics `(..., 9)` at unit vectors `(..., 3)`."""
    x, y, z = normals.movedim(-1, 0).contiguous()  # columns are faster than rows of three
    band_1 = math.sqrt(3 / (4 * math.pi))
    band_2 = math.sqrt(15 / (4 * math.pi))
    columns = (
        torch.full_like(x, math.sqrt(1 / (4 * math.pi))),
        band_1 * y,
        band_1 * z,
        band_1 * x,
        band_2 * x * y,
        band_2 * y * z,
        math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1),
        band_2 * x * z,
        band_2 / 2 * (x * x - y * y),
    )
    return torch.stack(columns).movedim(0, -1)


def shade(albedo: Tensor, normals: Tensor, light: Tensor) -> Tensor:
    """Linear colour of a diffuse surface under distant light.

    Args:
        albedo (`torch.Tensor` of shape `(N, V, 3)`): linear reflectance in [0, 1].
        normals (`torch.Tensor` of shape `(N, V, 3)`): unit, y up and z towards the viewer.
        light (`torch.Tensor` of shape `(N, 27)`): nine coefficients of the incident radiance x RGB. White light of
            radiance 1 from everywhere is sqrt(4 pi) in the first coefficient: it shows the albedo.

    Returns:
        `torch.Tensor` of shape `(N, V, 3)`: may leave [0, 1], also downwards, where the light does.
    """
    check = ArgumentCheck().floats("albedo", albedo, "N V 3").floats("normals", normals, "N V 3")
    check.floats("light", light, "N 27")
    reflected = light.new_tensor(_REFLECTED)[:, None] * light.unflatten(-1, (9, 3))
    return albedo * (spherical_harmonics(normals) @ reflected)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Encode linear colours in [0, 1], of any shape that holds three numbers for each, as sRGB (IEC 61966-2-1).

    Raises:
        ImportError: where kornia is not installed.
    """
    try:  # what finds faces and makes them from words draws none, and must do without
        from kornia.color import linear_rgb_to_rgb
    except ImportError as error:
        raise ImportError("drawing faces needs the package kornia; run `pip install kornia`") from error
    # The curve is that of each number by itself, but kornia wants to see three planes.
    return linear_rgb_to_rgb(linear.reshape(3, 1, -1)).reshape(linear.shape)
