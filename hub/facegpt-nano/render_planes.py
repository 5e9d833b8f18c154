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
"""What every renderer does to its numbers: bad ones out, colours encoded, outlines blended, normals scaled."""

import torch
from torch import Tensor

from .rasterizer import Fragments
from .shading import linear_to_srgb
from .silhouettes import blend_silhouettes

# Numbers outside are no face but an accident of training or of a file: they are read as 0 and get no gradient.
_LARGEST = 1e6


def is_sane(numbers: Tensor) -> Tensor:
    """Where numbers can be part of a face; not where they are NaN."""
    return numbers.abs() < _LARGEST


def sane(numbers: Tensor) -> Tensor:
    """The numbers, 0 where they cannot be part of a face."""
    return torch.where(is_sane(numbers), numbers, 0.0)


def encode(linear: Tensor) -> Tensor:
    """sRGB in [0, 1] of linear colours, whose first dimension is pictures."""
    # Few at a time: the many steps of the curve then stay in the cache.
    return torch.cat([linear_to_srgb(part.clamp(0, 1)) for part in linear.split(4)])


def blend_picture(
    image: Tensor, mask: Tensor, color: Tensor, points: Tensor, triangles: Tensor, fragments: Fragments
) -> tuple[Tensor, Tensor]:
    """Blend picture and mask along silhouettes; `color (N, V, 3)` is what the picture shows of the vertices."""
    # Blended as encoded: `composite` is then exact, and no gradient is steep because the background is black.
    rows = torch.cat((encode(color), torch.ones_like(color[..., :1])), dim=-1)
    blended = blend_silhouettes(torch.cat((image, mask), dim=1), rows, points, triangles, fragments).clamp(0, 1)
    return blended[:, :3], blended[:, 3:]


def unit(planes: Tensor) -> Tensor:
    """Planes `(N, 3, H, W)` scaled to length 1; zero stays zero."""
    x, y, z = planes.unbind(1)
    return planes * (x * x + y * y + z * z).clamp_min(1e-12).rsqrt()[:, None]
