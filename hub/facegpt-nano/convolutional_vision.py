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
"""Convolutional vision towers under language models that read sequences.

LLaVA takes the hidden states of its vision tower as `(B, tokens, hidden)`. A ResNet gives maps `(B, channels, H, W)`;
it learns from tens of thousands of pictures where a vision transformer, trained from nothing, wants millions. Its last
map is small and becomes one token: which place a feature belongs to is then its index, and need not be learned.
"""

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig, ResNetConfig, ResNetModel


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
