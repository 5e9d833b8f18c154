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
"""What the model answers with."""

from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast, ModelOutput
from transformers.utils.auto_docstring import auto_docstring


@auto_docstring(custom_intro="What FaceGPT says: words, and one vector of parameters per `<FACE>`.")
@dataclass
class FaceGPTOutput(CausalLMOutputWithPast):
    r"""
    loss (`torch.Tensor` of shape `(1,)`, *optional*):
        Weighted sum of `loss_terms`, when targets are given.
    loss_terms (`dict[str, torch.Tensor]`, *optional*):
        Each term by name, unweighted, the mean over faces or words.
    loss_counts (`dict[str, torch.Tensor]`, *optional*):
        How many values each of them is the mean of: what parts of a batch need to be put together.
    logits (`torch.Tensor` of shape `(B, T, vocabulary)`):
        Of the language model.
    face_code (`torch.Tensor` of shape `(N, P)`, *optional*):
        What the head says of the N faces; `None`, as are the next two, where there are none.
    face_log_variance (`torch.Tensor` of shape `(N, P)`, *optional*):
        How unsure each number of the code is.
    face_parameters (`torch.Tensor` of shape `(N, P)`, *optional*):
        The code decoded, or the face referred to with its edits; `vector_to_parameters` names the groups.
    face_references (`torch.Tensor` of shape `(N,)`, *optional*):
        Which earlier face of its row each refers to as the model sees it, where `face_references` were given.
    """

    # Inherited: loss, logits, hidden states, attentions and the cache, whose name changed in transformers 5.24.
    loss_terms: dict[str, Tensor] | None = None
    face_code: Tensor | None = None
    face_log_variance: Tensor | None = None
    face_parameters: Tensor | None = None
    face_references: Tensor | None = None
    loss_counts: dict[str, Tensor] | None = None

    @classmethod
    def of(cls, words: ModelOutput, hidden_states: tuple[Tensor | None, ...] | None) -> "FaceGPTOutput":
        """What the vision-language model says in `words`, with these `hidden_states`; faces and losses are to come."""
        known = {field.name for field in fields(CausalLMOutputWithPast)}
        said = {name: value for name, value in words.items() if name in known}
        return cls(**{**said, "hidden_states": hidden_states})


@dataclass(frozen=True)
class LossTerm:
    """A term of the loss: the mean of `count` values whose sum is `total`, each a tensor of shape `()`."""

    total: Tensor
    count: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "LossTerm":
        """The mean of all `values`, of any shape."""
        return cls(values.sum(), torch.tensor(float(values.numel()), device=values.device))

    @property
    def mean(self) -> Tensor:
        """Zero, with a zero gradient, over nothing."""
        return self.total / self.count.clamp(min=1.0)


def weighted_sum(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """The one place where loss terms are weighted and summed. Terms without a weight count zero."""
    return torch.stack([weights.get(name, 0.0) * term for name, term in terms.items()]).sum()


def text_loss(logits: Tensor, following: Tensor, logits_to_keep: int | Tensor) -> LossTerm:
    """Mean cross-entropy over the tokens that follow each position, `(B, T)`, where they are not -100."""
    kept = logits_to_keep if isinstance(logits_to_keep, Tensor) else slice(-logits.shape[1], None)
    wanted = following[:, kept]
    total = F.cross_entropy(logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=-100, reduction="sum")
    return LossTerm(total, (wanted != -100).sum().to(total))


def choose_layers(states: tuple[Tensor, ...], shown: Any) -> tuple[Tensor | None, ...] | None:
    """All layers' hidden states, none, or those of the given numbers, as `output_hidden_states` asks."""
    if isinstance(shown, bool):
        return states if shown else None
    kept = {number % len(states) for number in shown}
    return tuple(state if number in kept else None for number, state in enumerate(states))
