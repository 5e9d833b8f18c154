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
"""Reconstructions made by hand, for tests of what is done with them."""

import torch

from modeling_facegpt.camera import Camera, default_focal
from modeling_facegpt.face_parameters import FaceParameters, select_faces
from modeling_facegpt.reconstruction import Reconstruction


def make_reconstruction(
    parameters: FaceParameters, faces: int = 1, size: tuple[int, int] = (400, 300)
) -> Reconstruction:
    """The first `faces` of `parameters` in a photograph of `size`."""
    chosen = select_faces(parameters, slice(0, faces))
    return Reconstruction(
        size=size,
        camera=Camera(
            torch.full((faces,), default_focal(*size)), torch.tensor([size[0] / 2, size[1] / 2]).expand(faces, 2)
        ),
        parameters=chosen,
        standard_deviation=FaceParameters(*(torch.full_like(group, 0.25) for group in chosen)),
        probability=torch.linspace(0.9, 0.8, faces) if faces else torch.zeros(0),
    )
