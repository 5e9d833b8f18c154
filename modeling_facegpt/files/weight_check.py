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
"""Whether the weights of a checkpoint are those that its configuration asks for: no weight is silently random."""

from collections.abc import Iterable
from typing import Any

from torch import nn

_KINDS = {"missing_keys": "are missing", "mismatched_keys": "have another size", "unexpected_keys": "are unknown"}
_NAMED_KEYS = 3


def weight_differences(model: nn.Module, report: dict[str, Any], new_parts: Iterable[str] = ()) -> str | None:
    """What does not fit, in half a sentence such as "2 of its weights are missing (a, b)"; `None` if all fits.

    Args:
        model (`nn.Module`): as it was loaded with `ignore_mismatched_sizes=True`.
        report (`dict`): what `from_pretrained` tells with `output_loading_info=True`.
        new_parts (iterable of `str`): names of parts of the model that the checkpoint may lack as a whole.
    """
    missing = set(report.get("missing_keys", ()))
    for part in new_parts:
        own = {name for name in model.state_dict() if name.startswith(f"{part}.")}
        if own <= missing:
            missing -= own
    for kind, words in _KINDS.items():
        found = missing if kind == "missing_keys" else report.get(kind, ())
        keys = sorted(key if isinstance(key, str) else key[0] for key in found)
        if keys:
            shown = ", ".join(keys[:_NAMED_KEYS]) + (", ..." if len(keys) > _NAMED_KEYS else "")
            return f"{len(keys)} of its weights {words} ({shown})"
    return None
