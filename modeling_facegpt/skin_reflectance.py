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
"""The colour of human skin: how much light comes back from melanin over blood, and CIELAB, in which people measure it.

The epidermis takes light away on its way in and out (Beer-Lambert); below it the dermis scatters light (Jacques 1998)
and blood absorbs (Kubelka-Munk; haemoglobin after Prahl's tables). Sixteen wavelengths, the observer of CIE 1931
(Wyman 2013), daylight D65. How steeply melanin absorbs shorter waves and how much the surface reflects are chosen so
that the colours follow what was measured on people, in the ranges that Chardon (1991), Del Bino and Bernerd (2013) and
Xiao (2017) give: L* 25 to 77, a* 6 to 12, b* 9 to 19, hue 50 to 60 degrees.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

WAVELENGTHS = tuple(range(400, 701, 20))  # nanometres
OXYHAEMOGLOBIN = (
    266232,
    480360,
    102580,
    44480,
    26629,
    20932,
    24202,
    53236,
    32613,
    50104,
    3200,
    942,
    442,
    319,
    277,
    290,
)
HAEMOGLOBIN = (
    *(223296, 407560, 413280, 23388, 14550, 20862, 31589, 46592),
    *(53788, 37020, 14677, 6509, 4345, 3226, 2407, 1794),
)  # 1/cm per mol/l
DAYLIGHT = (
    *(82.75, 93.43, 104.86, 117.81, 115.92, 109.35, 104.79, 104.41),
    *(100.0, 95.79, 90.01, 87.70, 83.70, 80.21, 78.28, 71.61),
)
XYZ_TO_RGB = ((3.2406, -1.5372, -0.4986), (-0.9689, 1.8758, 0.0415), (0.0557, -0.2040, 1.0570))
WHITE = (0.95047, 1.0, 1.08883)
HAEMOGLOBIN_IN_BLOOD = 150.0 / 64500.0  # mol/l
OXYGENATED = 0.7
MELANIN_SLOPE = -1.8  # power of the wavelength; seen from outside, melanin absorbs less steeply than alone
SURFACE = 0.025  # share that the surface reflects, colourless
USUAL_BLOOD = 0.036
BETA_CAROTENE = 0.9  # 1/cm in the dermis at 455 nm
DARKEST, LIGHTEST = 25.0, 77.0  # L* of people's skin
MELANIN_STEPS = 64


class Skin(NamedTuple):
    """What colours the skin of N people."""

    melanin: Tensor  # (N,) optical depth of the epidermis at 550 nm, there and back
    blood: Tensor  # (N,) share of the dermis that blood takes
    carotene: Tensor  # (N,) 1 for the usual amount


@cache
def _tables() -> dict[str, Tensor]:
    waves = torch.tensor(WAVELENGTHS, dtype=torch.float32)
    blood = (
        2.303
        * HAEMOGLOBIN_IN_BLOOD
        * (OXYGENATED * torch.tensor(OXYHAEMOGLOBIN) + (1 - OXYGENATED) * torch.tensor(HAEMOGLOBIN))
    )
    observer = _observer(waves) * torch.tensor(DAYLIGHT)  # (3, W)
    observer = observer / observer[1].sum()
    white = observer.sum(1, keepdim=True) / torch.tensor(WHITE)[:, None]
    return {
        "melanin": (waves / 550) ** MELANIN_SLOPE,
        "blood": blood,
        "carotene": BETA_CAROTENE * (-((waves - 455) / 38).square() / 2).exp(),
        "tissue": 0.244 + 85.3 * (-(waves - 154) / 66.2).exp(),
        "scattering": 2e5 * waves**-1.5 + 2e12 * waves**-4,
        "to_rgb": torch.tensor(XYZ_TO_RGB) @ (observer / white),
    }


def _observer(waves: Tensor) -> Tensor:
    """CIE 1931 colour matching functions `(3, W)`, as sums of lopsided bells (Wyman, Sloan and Shirley 2013)."""

    def bell(height: float, middle: float, left: float, right: float) -> Tensor:
        return height * (-((waves - middle) * torch.where(waves < middle, left, right)).square() / 2).exp()

    red = bell(0.362, 442.0, 0.0624, 0.0374) + bell(1.056, 599.8, 0.0264, 0.0323) + bell(-0.065, 501.1, 0.0490, 0.0382)
    green = bell(0.821, 568.8, 0.0213, 0.0247) + bell(0.286, 530.9, 0.0613, 0.0322)
    blue = bell(1.217, 437.0, 0.0845, 0.0278) + bell(0.681, 459.0, 0.0385, 0.0725)
    return torch.stack((red, green, blue))


def reflect(skin: Skin) -> Tensor:
    """Linear RGB reflectance `(N, 3)` in daylight."""
    tables = _tables()
    melanin, blood, carotene = (part[:, None] for part in skin)
    epidermis = (-melanin * tables["melanin"]).exp()
    absorbed = tables["tissue"] + blood * tables["blood"] + carotene * tables["carotene"]
    ratio = 2 * absorbed / tables["scattering"]
    dermis = 1 + ratio - (ratio.square() + 2 * ratio).sqrt()
    return (SURFACE + (1 - SURFACE) * epidermis * dermis) @ tables["to_rgb"].T


def skin_of_lightness(lightness: Tensor, redness: Tensor, yellowness: Tensor) -> Tensor:
    """Linear RGB reflectance `(N, 3)` of skin of a given L*.

    Args:
        lightness (`torch.Tensor` of shape `(N,)`): L*, of people 25 to 76.
        redness (`torch.Tensor` of shape `(N,)`): standard deviations from the usual amount of blood.
        yellowness (`torch.Tensor` of shape `(N,)`): standard deviations from the usual amount of carotene.
    """
    melanin = torch.logspace(-2.5, 1.0, MELANIN_STEPS)
    blood = usual_blood(lightness, redness)
    carotene = (0.1 * yellowness).exp()
    steps = Skin(
        melanin.repeat(len(lightness)),
        blood.repeat_interleave(MELANIN_STEPS),
        carotene.repeat_interleave(MELANIN_STEPS),
    )
    found = linear_to_lab(reflect(steps))[:, 0].unflatten(0, (-1, MELANIN_STEPS))  # falling along the steps
    right = (found > lightness[:, None]).sum(1).clamp(1, MELANIN_STEPS - 1)
    rows = torch.arange(len(lightness))
    upper, lower = found[rows, right - 1], found[rows, right]
    share = ((upper - lightness) / (upper - lower).clamp(min=1e-6)).clamp(0, 1)
    log_melanin = melanin.log()[right - 1] + share * (melanin.log()[right] - melanin.log()[right - 1])
    return reflect(Skin(log_melanin.exp(), blood, carotene))


def usual_blood(lightness: Tensor, redness: Tensor) -> Tensor:
    """Share `(N,)` of the dermis that blood takes, by standard deviations; the palest skin is less red, too."""
    return USUAL_BLOOD * (0.06 * redness - 0.022 * (lightness - 60).clamp(min=0)).exp()


def linear_to_lab(color: Tensor) -> Tensor:
    """CIELAB `(..., 3)`, white D65, of linear sRGB `(..., 3)`."""
    xyz = color @ torch.linalg.inv(torch.tensor(XYZ_TO_RGB)).to(color).T / color.new_tensor(WHITE)
    root = torch.where(xyz > 216 / 24389, xyz.clamp(min=1e-9) ** (1 / 3), (24389 / 27 * xyz + 16) / 116)
    x, y, z = root.unbind(-1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=-1)


def hue_degrees(lab: Tensor) -> Tensor:
    """Hue angle `(...)` of colours `(..., 3)`: 0 red, 90 yellow."""
    return torch.rad2deg(torch.atan2(lab[..., 2], lab[..., 1]))
