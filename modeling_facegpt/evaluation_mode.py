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
"""Modules as they are in evaluation, for as long as an answer takes: without dropout, and by their running statistics.

The mode is kept on the modules themselves, which threads may share. So each module counts the calls that want it to
evaluate, and gets its own mode back after the last of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from weakref import WeakKeyDictionary

from torch import nn

# Of modules that were in training mode, how many calls want them to evaluate.
_EVALUATING: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
_LOCK = Lock()


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
