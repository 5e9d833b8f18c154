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
"""How Numba's kernels are compiled and run: in this process's own few threads, picture by picture.

The threads are Python's, as many as `torch.get_num_threads()` says; kernels let go of the interpreter while they run.
Numba's own threading layers are not used: after a fork GNU OpenMP's ends the process, and the simple one must not be
entered by two threads at once. So a forked worker of a `DataLoader` can draw while its parent does, and starts no
threads unless it is told to, since PyTorch sets its number of threads to one.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

try:
    from numba import njit
except ImportError as error:
    raise ImportError("drawing with Numba needs the package numba: pip install 'facegpt[fast]'") from error

INDEX = np.dtype(np.int64)
_LINE = 64  # bytes, of the cache
_OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}
_PARTS_PER_THREAD = 8  # a thread that is held up leaves work to the others
_FREE: deque[Any] = deque(maxlen=4)  # blocks to lend again, no more than one step of training takes


def kernel(function: Callable) -> Callable:
    """Compile a function of arrays and numbers at its first call; later processes find it in a cache on disk.

    The cache is beside the module or, where that cannot be written, in the user's cache directory; `NUMBA_CACHE_DIR`
    names another. Kernels make no arrays and count no references to those that they are given: counting would cost
    more than some of the helpers that it is done for.
    """
    try:
        return njit(function, cache=True, **_OPTIONS)
    except RuntimeError:  # there is no directory that can be written
        return njit(function, **_OPTIONS)


def helper(function: Callable) -> Callable:
    """Compile a function that only kernels call, into them."""
    return njit(  # pyright: ignore[reportCallIssue]
        function, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS
    )


def contracted_helper(function: Callable) -> Callable:
    """As `helper`, with a product and the sum that it goes into rounded once: not for what must agree to the bit."""
    return njit(  # pyright: ignore[reportCallIssue]
        function, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, fastmath={"contract"}, **_OPTIONS
    )


def portion(count: int) -> int:
    """How many of `count` pictures or bands `run` hands to a kernel at a time."""
    threads = min(torch.get_num_threads(), count)
    return max(1, count if threads <= 1 else count // (threads * _PARTS_PER_THREAD))


def run(compiled: Callable, count: int, *arguments: object) -> None:
    """Call `compiled(first, end, *arguments)` until all of range(count) is done, in several threads."""
    threads, step = min(torch.get_num_threads(), count), portion(count)
    if threads <= 1:
        compiled(0, count, *arguments)
        return
    starts = list(range(0, count, step))

    def work() -> None:
        while starts:
            try:
                first = starts.pop()
            except IndexError:  # another thread was faster
                return
            compiled(first, min(first + step, count), *arguments)

    others = [_pool().submit(work) for _ in range(threads - 1)]
    work()
    for other in others:
        other.result()


def bands(pictures: int) -> int:
    """Into how many bands of rows pictures are cut so that every thread has something to do."""
    return -(-torch.get_num_threads() // max(pictures, 1))


def array(tensor: Tensor) -> np.ndarray:
    """The memory of a tensor, made contiguous."""
    return tensor.detach().contiguous().numpy()


def allocate(*wanted: tuple[Sequence[int], np.dtype]) -> list[np.ndarray]:
    """New arrays of these shapes and types in one block, in which anything may stand.

    NumPy asks the system to back large blocks by large pages. To get a picture's memory in small ones can take as long
    as to draw it; even large ones are cleared first, so blocks that are no longer used are lent again.
    """
    sizes = [-(-math.prod(shape) * dtype.itemsize // _LINE) * _LINE for shape, dtype in wanted]
    block = np.asarray(_find_block(sum(sizes)).view(_Lent))
    ends = list(accumulate(sizes))
    return [
        block[end - size : end][: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
        for size, end, (shape, dtype) in zip(sizes, ends, wanted, strict=True)
    ]


class _Block(np.ndarray):
    """Memory that is kept. A view of a view refers to the first one that is of another type than what that one is a
    view of; so arrays in a `_Lent` refer to it, and not past it."""


class _Lent(np.ndarray):
    """A `_Block` while arrays or tensors still refer to it; then it is free."""

    def __del__(self) -> None:
        if _FREE is not None and isinstance(self.base, _Block):  # None while Python ends
            _FREE.append(self.base)


def _find_block(size: int) -> _Block:
    """A free block of at least `size` bytes that wastes no more than half of itself, or a new one."""
    for _ in range(len(_FREE)):
        try:
            block = _FREE.popleft()
        except IndexError:  # another thread was faster
            break
        if size <= len(block) <= 2 * size:
            return block
        _FREE.append(block)
    return _Block(size, dtype=np.uint8)


def dtype_of(tensor: Tensor) -> np.dtype:
    """NumPy's name of a tensor's type."""
    return tensor.detach().numpy().dtype


def pictures(tensor: Tensor) -> tuple[np.ndarray, int]:
    """The memory `(P,)` of planes `(N, C, H, W)`, made contiguous within a picture, and how far apart pictures are."""
    tensor = tensor.detach()
    if len(tensor) == 0 or not tensor[0].is_contiguous():
        tensor = tensor.contiguous()
    step = tensor.stride(0)
    length = (len(tensor) - 1) * step + tensor[0].numel() if len(tensor) else 0
    return tensor.as_strided((length,), (1,)).numpy(), step


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="facegpt")


# A fork copies the pool but not its threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
