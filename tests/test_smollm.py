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
"""A LLaVA over the lower layers of a pretrained language model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from facegpt_trainer.nano import train_nano_tokenizer
from facegpt_trainer.smollm import (
    CHAT_TEMPLATE,
    LanguageBase,
    build_smollm_vlm,
    check_gguf,
    extend_tokenizer,
    find_base,
    load_base,
    take_layers,
)
from transformers import LlamaConfig, LlamaForCausalLM

TINY_VISION = {
    "model_type": "resnet",
    "image_size": 32,
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
    "layer_type": "basic",
    "hidden_size": 16 * 4 * 4,
}


@pytest.fixture(scope="module")
def base() -> Any:
    """A language model of three layers with random weights, and a tokenizer without anything of ours but `<FACE>`."""
    tokenizer = train_nano_tokenizer(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LanguageBase(LlamaForCausalLM(config).eval(), tokenizer)


def test_the_first_layers_give_the_states_of_the_pretrained_model(base: Any):
    vlm: Any = build_smollm_vlm(base, TINY_VISION, layers=2)
    tokens = torch.arange(5, 25)[None]
    with torch.no_grad():
        whole = base.model.model(input_ids=tokens, output_hidden_states=True).hidden_states[2]
        ours = vlm.model.language_model(input_ids=tokens, output_hidden_states=True).hidden_states
    torch.testing.assert_close(ours[1], base.model.model(tokens, output_hidden_states=True).hidden_states[1])
    # The last state of a Llama has passed its final norm.
    torch.testing.assert_close(ours[2], base.model.model.norm(whole))
    assert len(vlm.model.language_model.layers) == 2


def test_rows_of_new_tokens_are_as_long_as_others_and_old_rows_stay(base: Any):
    model: Any = LlamaForCausalLM(LlamaConfig(**base.model.config.to_dict() | {"vocab_size": len(base.tokenizer) + 2}))
    take_layers(model.model, base.model.model)
    rows, old = model.get_input_embeddings().weight, base.model.get_input_embeddings().weight
    assert torch.equal(rows[: len(old)], old)
    torch.testing.assert_close(rows[-2:].norm(dim=-1), old.norm(dim=-1).mean().expand(2))


def test_the_template_writes_the_turns_that_the_base_learned(base: Any):
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who smiles?"}]},
        {"role": "assistant", "content": "<FACE>"},
        {"role": "user", "content": "Thanks"},
    ]
    written = base.tokenizer.apply_chat_template(
        messages, chat_template=CHAT_TEMPLATE, tokenize=False, add_generation_prompt=True
    )
    assert written == (
        "<|im_start|>user\n<image>\nWho smiles?<|im_end|>\n"
        "<|im_start|>assistant\n<FACE><|im_end|>\n"
        "<|im_start|>user\nThanks<|im_end|>\n<|im_start|>assistant\n"
    )


def test_files_that_are_damaged_absent_or_of_another_model_are_refused(base: Any, tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF and then nothing")
    with pytest.raises(ValueError, match="sha256"):
        check_gguf(tmp_path / "model.gguf")
    with pytest.raises(ValueError, match="where nothing is"):
        find_base(tmp_path / "elsewhere")
    base.model.save_pretrained(tmp_path / "other")
    base.tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="SmolLM2-135M-Instruct"):
        load_base(tmp_path / "other")


@pytest.mark.slow
def test_smollm2_becomes_a_vlm_that_has_faces_and_its_own_words():
    try:
        path = find_base()
    except ValueError as error:
        pytest.skip(str(error))
    loaded = load_base(path)
    extend_tokenizer(loaded.tokenizer, 2048)
    assert loaded.tokenizer.convert_tokens_to_ids(["<image>", "<FACE>"]) == [49152, 49153]
    vlm = build_smollm_vlm(loaded, TINY_VISION, layers=12)
    assert sum(parameter.numel() for parameter in vlm.model.language_model.parameters()) == 70_794_432
