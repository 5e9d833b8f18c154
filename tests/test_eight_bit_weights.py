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
"""Weights that files hold in 8 bits: how near they are, and that saving and loading keeps them."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.eight_bit_weights import pack_rows, unpack_rows

FROZEN = [r"language_model\.embed_tokens\.weight", r"language_model\.layers\.0\..*_proj\.weight"]


@pytest.fixture
def frozen(facegpt: FaceGPTForConditionalGeneration) -> FaceGPTForConditionalGeneration:
    """A small model whose word rows and first layer files hold in 8 bits."""
    facegpt.config.eight_bit_weights = FROZEN
    return facegpt


def test_a_known_row_is_packed_as_by_hand():
    numbers, scale = pack_rows(torch.tensor([[1.27, -0.635, 0.01, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    assert numbers.tolist() == [[127, -64, 1, 0], [0, 0, 0, 0]] or numbers.tolist()[0][1] == -63
    torch.testing.assert_close(scale, torch.tensor([[0.01], [0.0]]))


def test_the_error_of_a_row_is_at_most_half_a_step():
    weight = torch.randn(64, 48, generator=torch.Generator().manual_seed(0)) * torch.logspace(-6, 3, 64)[:, None]
    numbers, scale = pack_rows(weight)
    assert numbers.dtype == torch.int8 and scale.shape == (64, 1)
    assert ((unpack_rows(numbers, scale) - weight).abs() <= scale * 0.5001).all()


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 0), (torch.float16, 1), (torch.bfloat16, 1)])
def test_packing_what_was_unpacked_gives_the_same_numbers(dtype: torch.dtype, most: int):
    numbers, scale = pack_rows(torch.randn(64, 48, generator=torch.Generator().manual_seed(1)))
    again, _ = pack_rows(unpack_rows(numbers, scale.to(dtype)))
    assert (again.int() - numbers.int()).abs().max() <= most


def _parameters(model: FaceGPTForConditionalGeneration) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def test_files_hold_bytes_and_loaded_models_ordinary_parameters(
    frozen: FaceGPTForConditionalGeneration, tmp_path: Path
):
    frozen.save_pretrained(tmp_path)
    held = {name for name, tensor in load_file(tmp_path / "model.safetensors").items() if tensor.dtype == torch.int8}
    assert len(held) == 8 and all(name.endswith(".int8_weight") for name in held)
    loaded, report = FaceGPTForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    before, after = _parameters(frozen), _parameters(loaded)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) == 8 and all("layers.0" in name or "embed_tokens" in name for name in changed)
    for name in changed:
        torch.testing.assert_close(after[name], unpack_rows(*pack_rows(before[name])))


def test_saving_again_writes_the_same_bytes(frozen: FaceGPTForConditionalGeneration, tmp_path: Path):
    frozen.save_pretrained(tmp_path / "first")
    FaceGPTForConditionalGeneration.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert first.keys() == second.keys()
    for name in first:
        if name.endswith("scale"):
            torch.testing.assert_close(first[name], second[name], rtol=1e-6, atol=0)
        else:
            assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_come_in_the_type_that_is_asked_for(
    frozen: FaceGPTForConditionalGeneration, tmp_path: Path, dtype: torch.dtype
):
    frozen.save_pretrained(tmp_path)
    full = FaceGPTForConditionalGeneration.from_pretrained(tmp_path).get_input_embeddings().weight
    half = FaceGPTForConditionalGeneration.from_pretrained(tmp_path, dtype=dtype).get_input_embeddings().weight
    assert half.dtype == dtype
    torch.testing.assert_close(half.float(), full, rtol=2**-7, atol=1e-6)


def test_without_the_setting_nothing_is_packed(facegpt: FaceGPTForConditionalGeneration, tmp_path: Path):
    model = copy.deepcopy(facegpt)
    model.save_pretrained(tmp_path)
    assert not any(name.endswith("int8_weight") for name in load_file(tmp_path / "model.safetensors"))
    after = _parameters(FaceGPTForConditionalGeneration.from_pretrained(tmp_path))
    assert all(torch.equal(value, after[name]) for name, value in _parameters(model).items())
