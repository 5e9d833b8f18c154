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
"""What `save_pretrained` writes: every number as it is, once, and in no more bytes than it needs."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from modeling_facegpt import FaceGPTForConditionalGeneration, MorphableModel

REPOSITORY = Path(__file__).parents[1]
NANO = REPOSITORY / "hub" / "facegpt-nano"
ANNY = REPOSITORY / "hub" / "anny-head"


def stored_types(directory: Path) -> dict[str, str]:
    with safe_open(directory / "model.safetensors", "pt") as file:
        return {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118


def load_nano(directory: Path) -> FaceGPTForConditionalGeneration:
    return FaceGPTForConditionalGeneration.from_pretrained(directory, trust_remote_code=False).eval()


def test_a_checkpoint_that_nobody_trained_keeps_the_types_of_its_file(tmp_path: Path):
    before = load_nano(NANO)
    before.save_pretrained(tmp_path)
    # By types alone: the names are those of another release of transformers.
    was = Counter(stored for name, stored in stored_types(NANO).items() if not name.endswith("lm_head.weight"))
    # The 3DMM of its time had no lids that close; what is written for them is empty.
    now = [stored for name, stored in stored_types(tmp_path).items() if not name.endswith("closing_weights")]
    assert Counter(now) == was
    assert (tmp_path / "model.safetensors").stat().st_size <= (NANO / "model.safetensors").stat().st_size
    after = load_nano(tmp_path)
    assert after.dtype == before.dtype == torch.float32
    for name, value in before.state_dict().items():
        again = after.state_dict()[name]
        assert value.dtype == again.dtype and torch.equal(value, again), name
    ids = torch.arange(5, 25)[None]
    assert torch.equal(before(input_ids=ids).logits, after(input_ids=ids).logits)


def test_what_training_changed_is_written_without_loss(facegpt: FaceGPTForConditionalGeneration, tmp_path: Path):
    facegpt.half().float()
    facegpt.save_pretrained(tmp_path / "before")
    with torch.no_grad():
        facegpt.vlm.model.language_model.norm.weight += 1e-5
    facegpt.save_pretrained(tmp_path / "after")
    before, after = stored_types(tmp_path / "before"), stored_types(tmp_path / "after")
    changed = {name for name in after if before[name] != after[name]}
    assert [name.rpartition("language_model.")[2] for name in changed] == ["norm.weight"]
    again = load_nano(tmp_path / "after").vlm.model.language_model.norm.weight
    assert again.dtype == torch.float32 and torch.equal(again, facegpt.vlm.model.language_model.norm.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_what_it_is(facegpt: FaceGPTForConditionalGeneration, tmp_path: Path, dtype: torch.dtype):
    facegpt.to(dtype).save_pretrained(tmp_path)  # pyright: ignore
    again = load_nano(tmp_path)
    assert again.dtype == dtype
    for name, value in facegpt.state_dict().items():
        assert value.dtype == again.state_dict()[name].dtype and torch.equal(value, again.state_dict()[name]), name


def test_numbers_that_half_precision_cannot_hold_stay(facegpt: FaceGPTForConditionalGeneration, tmp_path: Path):
    weight = facegpt.vlm.model.language_model.norm.weight
    for number in (70000.0, 1e-9, float("nan")):
        with torch.no_grad():
            weight.fill_(1.0)[0] = number
        facegpt.save_pretrained(tmp_path)
        [stored] = [
            value for name, value in load_file(tmp_path / "model.safetensors").items() if "model.norm.weight" in name
        ]
        assert stored.dtype == torch.float32
        torch.testing.assert_close(stored, weight.detach(), rtol=0, atol=0, equal_nan=True)


def test_weights_that_two_layers_share_are_written_once(facegpt: FaceGPTForConditionalGeneration, tmp_path: Path):
    tied = facegpt.all_tied_weights_keys
    assert tied
    for precise in (True, False):  # stored as it is, and in fewer bytes
        if not precise:
            facegpt.half().float()
        facegpt.save_pretrained(tmp_path)
        assert not stored_types(tmp_path).keys() & tied.keys()
        again = load_nano(tmp_path)
        assert again.get_output_embeddings().weight is again.get_input_embeddings().weight


def test_a_state_that_is_given_is_written_as_it_is(facegpt: FaceGPTForConditionalGeneration, tmp_path: Path):
    facegpt.half().float()
    facegpt.save_pretrained(tmp_path, state_dict=facegpt.state_dict())
    assert "F16" not in stored_types(tmp_path).values()


def test_a_head_keeps_the_types_of_its_file(tmp_path: Path):
    MorphableModel.from_pretrained(ANNY, dtype=torch.float32).save_pretrained(tmp_path)
    assert stored_types(tmp_path) == stored_types(ANNY)
