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
"""The sRGB curve for Numba's kernels, without a call or a branch, so that a row of pixels is encoded all at once."""

import math

from .numba_kernels import helper

LINEAR_UP_TO = 0.0031308
# x ** (2 / 3) between the fourth root of that and 1, to 6e-4; each of Halley's steps triples the digits.
_GUESS = (0.09129671, 1.43069907, -0.98339098, 0.64723861, -0.18591603)


@helper
def encode(x):
    """sRGB of a linear value, which is limited to [0, 1]."""
    real = type(x)
    zero, one, two = real(0), real(1), real(2)
    x = x if x > zero else zero
    x = x if x < one else one
    knee = real(LINEAR_UP_TO)
    high = x if x > knee else knee
    root = real(math.sqrt(high))
    fourth = real(math.sqrt(root))
    guess = real(_GUESS[3]) + fourth * real(_GUESS[4])
    guess = real(_GUESS[1]) + fourth * (real(_GUESS[2]) + fourth * guess)
    cubic = real(_GUESS[0]) + fourth * guess  # about the cube root of `root`
    cube = cubic * cubic * cubic
    cubic = cubic * (cube + two * root) / (two * cube + root)
    cube = cubic * cubic * cubic
    cubic = cubic * (cube + two * root) / (two * cube + root)
    curve = real(1.055) * fourth * cubic - real(0.055)  # x ** (5 / 12) is x ** (1 / 4) times x ** (1 / 6)
    return real(12.92) * x if x <= knee else curve


@helper
def encode_row(row):
    """Encode a row of pixels `(W,)` in place."""
    for column in range(row.shape[0]):
        row[column] = encode(row[column])


@helper
def encoding_slope(linear, encoded):
    """The derivative of the curve where it takes `linear` to `encoded`; 0 outside of [0, 1]."""
    real = type(linear)
    if linear > real(LINEAR_UP_TO):
        return real(1 / 2.4) * (encoded + real(0.055)) / linear if linear <= real(1) else real(0)
    return real(12.92) if linear >= real(0) else real(0)
