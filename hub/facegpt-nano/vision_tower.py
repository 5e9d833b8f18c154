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
"""The vision tower of a vision-language model: its features of a picture, and convolutional ones as sequences.

Features come with a gradient to the picture alone. Any tower that reads pictures as `(N, 3, H, W)` will do, whichever
the family; one that wants patches that its processor cut, as Qwen-VL's, is refused.

LLaVA takes the hidden states of its vision tower as `(B, tokens, hidden)`. A ResNet gives maps `(B, channels, H, W)`;
it learns from tens of thousands of pictures where a vision transformer, trained from nothing, wants millions. Its last
map is small and becomes one token: which place a feature belongs to is then its index, and need not be learned.
"""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedConfig, ResNetConfig, ResNetModel

from .module_state import evaluating


def vision_tower(vlm: Any) -> Any:
    """The vision tower of a model of `AutoModelForImageTextToText`.

    Raises:
        ValueError: if it cannot read a picture as a tensor `(N, 3, H, W)`.
    """
    tower = vlm.get_encoder(modality="image")
    if tower is vlm or "pixel_values" not in signature(tower.forward).parameters:
        raise ValueError(
            f"got the vision tower {type(tower).__name__}, which reads no pixel_values of shape (N, 3, H, W); give "
            "the perceptual loss no weight"
        )
    return tower


def vision_features(
    vlm: Any, pictures: Tensor, mean: Sequence[float], deviation: Sequence[float]
) -> tuple[Tensor, ...]:
    """What the tower makes of pictures in the middle and at its end: `(N, T, C)` each, in float32.

    The tower's weights are taken as they are and get no gradient, and it runs as in evaluation: without dropout, and
    by its running statistics. So a tower that is being trained is not drawn towards renders.

    Args:
        vlm (`PreTrainedModel`): of `AutoModelForImageTextToText`.
        pictures (`torch.Tensor` of shape `(N, 3, S, S)`): sRGB in [0, 1]; resized to what the tower reads.
        mean (`Sequence[float]`): what its processor takes from each colour.
        deviation (`Sequence[float]`): what its processor then divides each colour by.

    Raises:
        ValueError: if the tower reads no pictures, or `mean` or `deviation` has not three numbers.
    """
    if len(mean) != 3 or len(deviation) != 3:
        raise ValueError(
            f"got image_mean={list(mean)} and image_std={list(deviation)}, wanted three numbers each; set them in the "
            "model's configuration as its processor has them"
        )
    tower = vision_tower(vlm)
    size = tower.config.to_dict().get("image_size", pictures.shape[-1])
    size = (size, size) if isinstance(size, int) else tuple(size)
    if size != tuple(pictures.shape[-2:]):
        pictures = F.interpolate(pictures, size, mode="bilinear", antialias=True, align_corners=False)
    middle, width = (pictures.new_tensor(list(values)).view(3, 1, 1) for values in (mean, deviation))
    weights = {name: value.detach() for name, value in tower.named_parameters()}
    pixels = ((pictures - middle) / width).to(next(iter(weights.values())).dtype)
    with evaluating(tower):
        outputs = torch.func.functional_call(
            tower, weights, (), {"pixel_values": pixels, "output_hidden_states": True, "return_dict": True}
        )
    states = outputs.hidden_states or (outputs.last_hidden_state,)
    return states[len(states) // 2].float(), outputs.last_hidden_state.float()


def read_maps_as_tokens(model: nn.Module) -> None:
    """Let every ResNet inside `model` answer with sequences of one token. Other towers are left alone."""
    for module in model.modules():
        if isinstance(module, ResNetModel):
            module.register_forward_hook(_flatten_maps)


def ask_no_attention(config: PreTrainedConfig) -> None:
    """Lift from every ResNet inside `config` the kind of attention that was asked of the whole model: it has none, and
    transformers refuses to build one that is asked for it."""
    for part in vars(config).values():
        if isinstance(part, ResNetConfig):
            part._attn_implementation = None
        elif isinstance(part, PreTrainedConfig):
            ask_no_attention(part)


def _flatten_maps(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    outputs.last_hidden_state = _flatten(outputs.last_hidden_state)
    if outputs.hidden_states is not None:
        outputs.hidden_states = tuple(_flatten(state) for state in outputs.hidden_states)
    return outputs


def _flatten(state: Tensor) -> Tensor:
    """`(B, channels, H, W)` to `(B, 1, H * W * channels)`, place by place; sequences stay."""
    return state.permute(0, 2, 3, 1).flatten(1)[:, None] if state.ndim == 4 else state
