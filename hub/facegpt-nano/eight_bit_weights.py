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
"""Weights that files hold in 8 bits: whole numbers from -127 to 127 with one scale per row.

A frozen language model takes half the bytes of half precision that way. Loading multiplies numbers and scales, in the
type that the caller asks for, so a loaded model has ordinary parameters; saving writes 8 bits again. Which parameters
they are, `FaceGPTConfig.eight_bit_weights` names.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import ConversionOps, WeightConverter

LARGEST = 127  # of the whole numbers: the range is the same on both sides of zero
# Ends of names, as regular expressions: of what files hold, and of parameters.
NUMBERS, SCALES, WEIGHT = r"\.int8_weight", r"\.int8_scale", r"\.weight"


def pack_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers `(R, C)` int8 and scales `(R, 1)` float32 whose product is nearest to a weight `(R, C)`.

    The largest error of a row is 1/254 of its largest magnitude. Packing what was unpacked in
    float32 gives the same numbers.
    """
    scale = weight.float().abs().amax(1, keepdim=True) / LARGEST
    numbers = (weight.float() / scale.clamp(min=torch.finfo(torch.float32).tiny)).round()
    return numbers.to(torch.int8), scale


def unpack_rows(numbers: Tensor, scale: Tensor) -> Tensor:
    """The weight `(R, C)` of `pack_rows`, in the type of the scale."""
    return numbers.to(scale) * scale


def pack_state(state: Mapping[str, Tensor], patterns: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of a state dict as files hold them.

    Args:
        state (`Mapping[str, torch.Tensor]`): parameters and buffers by name.
        patterns (sequence of `str`): regular expressions; a matrix in whose name one is found becomes numbers and
            scales. Tensors that share its memory, as tied embeddings do, are left out: loading ties them again.
    """
    chosen = {name: tensor for name, tensor in state.items() if any(re.search(pattern, name) for pattern in patterns)}
    places = {tensor.data_ptr() for tensor in chosen.values()}
    packed = {name: tensor for name, tensor in state.items() if tensor.data_ptr() not in places}
    seen = set()
    for name, tensor in chosen.items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            stem = name.removesuffix(_end(WEIGHT))
            packed |= dict(zip((stem + _end(NUMBERS), stem + _end(SCALES)), pack_rows(tensor), strict=True))
    return packed


class UnpackRows(ConversionOps):
    """Of a file's numbers and scales, the weight that a model loads."""

    def convert(self, input_dict: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        return {_end(WEIGHT): unpack_rows(*(_only(input_dict[name]) for name in (NUMBERS, SCALES)))}

    @property
    def reverse_op(self) -> "KeepWeights":
        return KeepWeights()


class KeepWeights(ConversionOps):
    """Weights as they are: `pack_state` has packed before what a file holds in 8 bits."""

    def convert(
        self, input_dict: dict[str, Any], *args: Any, full_layer_name: str, **kwargs: Any
    ) -> dict[str, Tensor]:
        [weight] = (_only(values) for values in input_dict.values())
        return {full_layer_name.removesuffix(_end(NUMBERS)) + _end(WEIGHT): weight}

    @property
    def reverse_op(self) -> "UnpackRows":
        return UnpackRows()


def register_eight_bit_weights(class_name: str) -> None:
    """Have transformers load and save the 8-bit weights of the models of a class."""
    converter = WeightConverter([NUMBERS, SCALES], WEIGHT, [UnpackRows()])
    register_checkpoint_conversion_mapping(class_name, [converter], overwrite=True)


def _end(pattern: str) -> str:
    """The end of a name that a pattern matches."""
    return pattern.replace("\\", "")


def _only(values: Any) -> Tensor:
    return values[0] if isinstance(values, list) else values
