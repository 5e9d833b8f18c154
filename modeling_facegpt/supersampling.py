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
"""Supersampling: pictures drawn larger and averaged, for edges without steps and true means of fine detail."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .argument_checks import check_positive, check_size
from .camera import Camera, crop_camera
from .renderer import RenderOutput, unit


def supersample(
    draw: Callable[[Camera, tuple[int, int]], RenderOutput],
    camera: Camera,
    size: tuple[int, int],
    *,
    factor: int = 2,
) -> RenderOutput:
    """Draw `factor` times as many pixels along each side, and average.

    `supersample(lambda camera, size: render_mesh(mesh, parameters, camera, size), camera, size)` draws one face per
    picture. It costs the square of the factor. Outlines have no gradient by it: `silhouettes` gives one, with or
    without.

    Args:
        draw (`Callable[[Camera, tuple[int, int]], RenderOutput]`): draws N pictures with that camera and size.
        camera (`Camera`): of N pictures of `size`.
        size (`tuple[int, int]`): height and width of the result in pixels.
        factor (`int`): 2 or 3 do; 1 is no supersampling.

    Returns:
        `RenderOutput`: image and mask are means, so that `composite` is exact. Depth, normals and attributes are means
        over the part of the pixel that shows the mesh, and the triangle is that of the pixel's middle.
    """
    check_size(size)
    check_positive("factor", factor)
    if factor != int(factor):
        raise ValueError(f"got factor {factor}; give a whole number")
    focal = camera.focal
    affine = torch.stack((torch.full_like(focal, factor), *[torch.zeros_like(focal)] * 2), dim=-1)
    fine = draw(crop_camera(camera, affine), (size[0] * factor, size[1] * factor))
    covered = (fine.triangle_index >= 0).to(fine.depth.dtype)[:, None]
    share = F.avg_pool2d(covered, factor).clamp_min(1e-6)

    def of_covered(planes: Tensor) -> Tensor:
        return F.avg_pool2d(planes * covered, factor) / share

    middle = factor // 2
    return RenderOutput(
        image=F.avg_pool2d(fine.image, factor),
        mask=F.avg_pool2d(fine.mask, factor),
        depth=of_covered(fine.depth),
        normals=unit(of_covered(fine.normals)),
        triangle_index=fine.triangle_index[:, middle::factor, middle::factor],
        attributes=None if fine.attributes is None else of_covered(fine.attributes),
    )
