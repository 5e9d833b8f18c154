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
"""Bad arguments are refused in one sentence: what was got, what was wanted."""

from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_FLOATS = (torch.float32, torch.float64)
_RANGES = WeakTensorKeyDictionary()  # of index tensors, with the version that was looked at


class ArgumentCheck:
    """The arguments of one call, one after another: they share sizes by letter, dtype of floats, and device.

    A shape is a string of sizes, such as "N V 3": a letter is set by the first argument that has it, "1|N" may be 1 or
    that letter, and "*" is any size. A `ValueError` names the argument that does not fit.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._first: Tensor | None = None

    def floats(self, name: str, value: Any, shape: str) -> "ArgumentCheck":
        """The first float tensor is of float32 or float64, and all others are as it is."""
        dtypes = _FLOATS if self._first is None else (self._first.dtype,)
        self._check(name, value, shape, dtypes)
        if self._first is None:
            self._first = value
        return self

    def indices(self, name: str, value: Any, shape: str, *, of: str, lowest: int = 0) -> "ArgumentCheck":
        """An int64 tensor of numbers from `lowest` to below the size of the letter `of`."""
        self._check(name, value, shape, (torch.int64,))
        limit = self._sizes[of]
        known = _known_range(value)
        if known and lowest <= known[0] <= known[1] < limit:
            return self
        least, most = range_of(value) if value.numel() else (lowest, lowest)
        if value.numel() and not lowest <= least <= most < limit:
            raise ValueError(
                f"got {name} from {least} to {most}; give numbers from {lowest} to {limit - 1}, where {of} = {limit}"
            )
        return self

    def flags(self, name: str, value: Any, shape: str) -> "ArgumentCheck":
        """A bool tensor."""
        self._check(name, value, shape, (torch.bool,))
        return self

    def _check(self, name: str, value: Any, shape: str, dtypes: tuple[torch.dtype, ...]) -> None:
        if not isinstance(value, Tensor):
            raise ValueError(f"got {name} of {type(value).__name__}; give a tensor ({', '.join(shape.split())})")
        device = value.device if self._first is None else self._first.device
        sizes = _match(value.shape, shape.split(), self._sizes)
        if sizes is not None and value.dtype in dtypes and value.device == device:
            self._sizes = sizes
            return
        wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        known = [f"{letter} = {size}" for letter, size in self._sizes.items() if letter in shape]
        raise ValueError(
            f"got {name} of shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')} on {value.device}; "
            f"give ({', '.join(shape.split())}), {wanted} on {device}{', where ' if known else ''}{', '.join(known)}"
        )


def range_of(numbers: Tensor) -> tuple[int, int]:
    """The least and the greatest of whole numbers, at least one; looked for once as long as they do not change."""
    least, most = torch.stack(numbers.aminmax()).tolist()
    remember_range(numbers, least, most)
    return least, most


def remember_range(numbers: Tensor, least: int, most: int) -> None:
    """The numbers are none below `least` and none above `most`: no need to look at them again until they change."""
    # Inference tensors count no versions, and those that functorch wraps have no memory to speak of.
    if type(numbers) is Tensor and not numbers.is_inference():
        _RANGES[numbers] = numbers._version, least, most


def _known_range(numbers: Tensor) -> tuple[int, int] | None:
    known = None if numbers.is_inference() else _RANGES.get(numbers)
    return known[1:] if known and known[0] == numbers._version else None


def _match(got: torch.Size, wanted: list[str], known: dict[str, int]) -> dict[str, int] | None:
    """The known sizes and those that `got` gives to other letters; none where it does not fit."""
    if len(got) != len(wanted):
        return None
    sizes = dict(known)
    for size, name in zip(got, wanted, strict=True):
        letter = name.removeprefix("1|")
        if letter == "*" or (name != letter and size == 1):
            continue
        if size != (int(letter) if letter.isdigit() else sizes.setdefault(letter, size)):
            return None
    return sizes


def check_size(size: Any) -> None:
    """Height and width are whole numbers of pixels, at least one each."""
    numbers = isinstance(size, tuple | list) and len(size) == 2 and all(isinstance(side, int) for side in size)
    if not numbers or min(size) < 1:
        raise ValueError(f"got size {size}; give a height and a width of at least one pixel")


def check_positive(name: str, number: Any) -> None:
    """A finite number above 0."""
    if not isinstance(number, Real) or not 0 < float(number) < float("inf"):
        raise ValueError(f"got {name} {number}; give a finite number above 0")
