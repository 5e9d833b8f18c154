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
"""Whether a checkpoint's configuration asks for what its weight files can hold, told before anything is built.

A configuration is data from anywhere: one that asks for a thousand million layers must not keep the machine busy.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from modeling_facegpt import FaceGPTConfig, FaceGPTForConditionalGeneration

_COUNTS_LAYERS = re.compile(r"(layers|blocks|depth|depths|n_layer)$")
_IS_SIZE = re.compile(r"(size|dim|length|positions?|embeddings|heads|width|channels|layers)$|^(num|n|max)_")
_LARGEST_SIZE = 2**24
_LARGEST_HEADER = 100_000_000  # bytes of a safetensors file's, as its format says
_SPARE = 4  # times what is stored: shared weights are stored once, and buffers may be left out
_SPARE_NUMBERS = 10_000_000


def check_settings(path: Path) -> None:
    """Raise `ValueError` where a `config.json` holds a number that no model has.

    Args:
        path (`Path`): the file; the weights are looked for beside it.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(settings, dict):
        raise ValueError("it holds no settings by name")
    tensors = len(_stored_shapes(path.parent))
    for name, value in _numbers(settings):
        last = name.rpartition(".")[2]
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}, which is no finite number")
        if not isinstance(value, int) or not _IS_SIZE.search(last):
            continue
        if not -1 <= value <= _LARGEST_SIZE:
            raise ValueError(f"{name} is {value}, and such a size is 0 to {_LARGEST_SIZE}")
        if tensors and _COUNTS_LAYERS.search(last) and value > tensors:
            raise ValueError(f"{name} is {value}, and the weights are {tensors} tensors")


def check_amount(config: FaceGPTConfig, directory: Path) -> None:
    """Raise `ValueError` where a model has far more numbers than the weight files of its directory hold."""
    stored = sum(math.prod(shape) for shape in _stored_shapes(directory))
    with torch.device("meta"):  # shapes alone, no memory
        model = FaceGPTForConditionalGeneration(config)
    wanted = sum(parameter.numel() for parameter in model.parameters())
    if wanted > _SPARE * stored + _SPARE_NUMBERS:
        raise ValueError(f"the configuration asks for {wanted} numbers, and the files hold {stored}")


def _stored_shapes(directory: Path) -> list[list[int]]:
    """The shape of every tensor in the safetensors files; none of a file that is damaged, which its reader refuses."""
    shapes = []
    for path in directory.glob("*.safetensors"):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(length) if length <= _LARGEST_HEADER else b""
        try:
            entries = json.loads(header)
            shapes += [entry["shape"] for name, entry in entries.items() if name != "__metadata__"]
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            continue
    return [shape for shape in shapes if isinstance(shape, list) and all(isinstance(length, int) for length in shape)]


def _numbers(settings: Any, name: str = "") -> Iterator[tuple[str, int | float]]:
    """Every number of nested settings, with its name."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from _numbers(value, f"{name}.{key}" if name else key)
    elif isinstance(settings, list):
        for value in settings:
            yield from _numbers(value, name)
    elif isinstance(settings, int | float) and not isinstance(settings, bool):
        yield name, settings
