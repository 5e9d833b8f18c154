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
"""State of modules that is no weight: their mode, their precision in memory and in files, and hooks that a file cannot
hold.

The mode is kept on the modules themselves, which threads may share. So each module counts the calls that want it to
evaluate, and gets its own mode back after the last of them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

# Of modules that were in training mode, how many calls want them to evaluate.
_EVALUATING: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
_LOCK = Lock()
HALF_PRECISION = (torch.float16, torch.bfloat16)
_COLLECTORS = "transformers.utils.output_capturing"  # where the hooks come from that collect hidden states
_INSTALLED = "_output_capturing_hooks_installed"  # how transformers knows that it need not install them


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Let models and all their parts evaluate within this context; then each part is in the mode that it was in.

    To change the mode of a model while another thread is in this context has no meaning.
    """
    changed = _begin(models)
    try:
        yield
    finally:
        _end(changed)


def _begin(models: tuple[nn.Module, ...]) -> list[nn.Module]:
    with _LOCK:
        # A set: two models may share a part.
        parts = {part for model in models for part in model.modules()}
        changed = [part for part in parts if part.training or part in _EVALUATING]
        for part in changed:
            _EVALUATING[part] = _EVALUATING.get(part, 0) + 1
            part.training = False
    return changed


def _end(changed: list[nn.Module]) -> None:
    with _LOCK:
        for part in changed:
            _EVALUATING[part] -= 1
            if not _EVALUATING[part]:
                del _EVALUATING[part]
                part.training = True


class FullPrecisionModule(nn.Module):
    """A module whose float32 numbers stay as they are where the model that it is part of is turned into half
    precision, as by `model.half()`, `model.bfloat16()` or `model.to(torch.bfloat16)`. It moves to devices as any."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            lost = tensor.dtype == torch.float32 and moved.dtype in HALF_PRECISION
            return tensor.to(moved.device) if lost else moved

        return super()._apply(move, recurse)


class CompactlySavedModule(nn.Module):
    """A model whose files are no larger than its numbers need: a float32 tensor that half precision holds without any
    loss is written in half precision. So a checkpoint of half precision that computes in float32 keeps its size from
    file to file, and what training has changed is written as it is. The numbers that are loaded again are the same,
    and of the type that `config.dtype` names."""

    def save_pretrained(self, save_directory: str | PathLike, **kwargs: Any) -> Any:
        """As of any model of transformers. A `state_dict` that is given is written as it is."""
        if kwargs.get("state_dict") is None:
            kwargs["state_dict"] = _without_empty_digits(self.state_dict())
        return super().save_pretrained(save_directory, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]


def _without_empty_digits(state: dict[str, Any]) -> dict[str, Any]:
    halved: dict[tuple, Any] = {}  # by their place in memory: what two names share is still shared afterwards

    def shrink(value: Any) -> Any:
        # Parts that lie elsewhere, on a disk or on other machines, are left to those who know how to get them.
        if type(value) is not Tensor or value.dtype != torch.float32 or value.is_meta or not value.numel():
            return value
        place = (value.data_ptr(), value.shape, value.stride())
        if place not in halved:
            half = value.half()
            halved[place] = half if torch.equal(half.float(), value) else value
        return halved[place]

    return {name: shrink(value) for name, value in state.items()}


class PicklableModule(nn.Module):
    """A module that pickle can keep after a forward pass: without the hooks by which transformers collects hidden
    states. They are functions that nobody can pickle, and are made anew when they are missed."""

    def __getstate__(self) -> dict[str, Any]:
        known: dict[nn.Module, nn.Module] = {}
        parts = self._modules.items()
        return {
            **self.__dict__,
            "_modules": {name: None if part is None else _twin(part, known) for name, part in parts},
        }


def _twin(module: nn.Module, known: dict[nn.Module, nn.Module]) -> nn.Module:
    """The same weights without those hooks. Parts that are held in two places are one part of the twin too."""
    if module in known:
        return known[module]
    twin = known[module] = module.__new__(type(module))
    state = {name: value for name, value in vars(module).items() if name != _INSTALLED}
    parts = state["_modules"].items()
    state["_modules"] = {name: None if part is None else _twin(part, known) for name, part in parts}
    hooks = state["_forward_hooks"]
    if kept := [number for number, hook in hooks.items() if hook.__module__ == _COLLECTORS]:
        state["_forward_hooks"] = type(hooks)((number, hooks[number]) for number in hooks if number not in kept)
    twin.__dict__.update(state)
    return twin
