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
"""Parts that compute in float32 whatever the model around them: a millimetre is 1/200 of a head."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

HALF_PRECISION = (torch.float16, torch.bfloat16)


class FullPrecisionModule(nn.Module):
    """A module whose float32 numbers stay as they are where the model that it is part of is turned into half
    precision, as by `model.half()`, `model.bfloat16()` or `model.to(torch.bfloat16)`. It moves to devices as any."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            lost = tensor.dtype == torch.float32 and moved.dtype in HALF_PRECISION
            return tensor.to(moved.device) if lost else moved

        return super()._apply(move, recurse)
