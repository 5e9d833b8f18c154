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
"""Memory of planes is lent again, and never while anybody still looks at it."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

numba_kernels = pytest.importorskip("modeling_facegpt.kernels.numba_kernels", reason="needs numba")

REAL, INDEX = np.dtype(np.float32), np.dtype(np.int64)
SHAPE = (3, 57, 41)  # of nothing that other tests draw


@pytest.fixture(autouse=True)
def nothing_free():
    gc.collect()
    numba_kernels._FREE.clear()


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_arrays_of_one_block_do_not_overlap():
    index, planes = numba_kernels.allocate((SHAPE, INDEX), ((2, *SHAPE), REAL))
    assert index.shape == SHAPE and index.dtype == INDEX
    assert planes.shape == (2, *SHAPE) and planes.dtype == REAL
    index[:], planes[:] = 7, 0.5
    assert (index == 7).all() and (planes == 0.5).all()


def test_a_block_is_lent_again_once_nothing_refers_to_it():
    [first] = numba_kernels.allocate((SHAPE, REAL))
    place = address(first)
    tensor = torch.from_numpy(first)[1:, ::2]
    del first
    [second] = numba_kernels.allocate((SHAPE, REAL))
    assert address(second) != place  # a view of a tensor still looks at the first
    del tensor
    [third] = numba_kernels.allocate((SHAPE, REAL))
    assert address(third) == place


def test_a_block_serves_smaller_arrays_but_not_much_smaller_ones():
    [large] = numba_kernels.allocate(((4, *SHAPE), REAL))
    place = address(large)
    del large
    [small] = numba_kernels.allocate((SHAPE, REAL))
    assert address(small) != place
    [half] = numba_kernels.allocate(((2, *SHAPE), REAL))
    assert address(half) == place


def test_few_blocks_are_kept():
    blocks = [numba_kernels.allocate((SHAPE, REAL)) for _ in range(10)]
    del blocks
    assert len(numba_kernels._FREE) == numba_kernels._FREE.maxlen < 10


def test_threads_never_share_a_block():
    def fill(value: int) -> bool:
        whole = True
        for _ in range(200):
            [block] = numba_kernels.allocate((SHAPE, INDEX))
            block[:] = value
            whole &= bool((block == value).all())
        return whole

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(fill, range(4)))
