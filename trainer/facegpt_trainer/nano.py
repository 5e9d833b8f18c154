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
"""The untrained vision-language model under `facegpt-nano`: LLaVA's architecture, small, its own tokenizer."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessorPil,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from modeling_facegpt.processing_facegpt import FACE_TOKEN
from modeling_facegpt.vision_tower import read_maps_as_tokens

from .grammar.nano_corpus import write_corpus

IMAGE_TOKEN = "<image>"
END_TOKEN = "<end>"
SPECIAL_TOKENS = ("<pad>", "<bos>", END_TOKEN, IMAGE_TOKEN, "<system>", "<user>", "<assistant>")

# A ResNet: from nothing and within tens of thousands of pictures it learns where faces are and how they look, which
# vision transformers of equal cost did not (see `vision_tower`).
NANO_VISION = {
    "model_type": "resnet",
    "image_size": 112,
    "embedding_size": 32,
    "hidden_sizes": [32, 64, 128, 256],
    "depths": [1, 2, 2, 2],
    "layer_type": "basic",
    "hidden_size": 256 * 4 * 4,  # of the one token that its last map becomes; LLaVA's projector asks for it
}
NANO_TEXT = {
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    # 1 / sqrt(hidden size). With the usual 0.02, which is for models many times as wide, the picture's token hardly
    # reaches the state that predicts a face, and the model reads in 100,000 pictures what it can in 5,000.
    "initializer_range": 0.06,
}

# One turn is `<role>words<end>`; a picture is a placeholder on a line of its own.
CHAT_TEMPLATE = """\
{%- macro words(content) -%}
{%- if content is string -%}{{ content }}{%- else -%}
{%- for part in content -%}
{%- if part.type == 'image' -%}{{ '<image>\\n' }}{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{{- bos_token -}}
{%- for message in messages -%}
{{- '<' + message.role + '>' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{- words(message.content) + '<end>' -}}{%- endgeneration -%}
{%- else -%}{{- words(message.content) + '<end>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<assistant>' -}}{%- endif -%}
"""


def train_nano_tokenizer(seed: int, vocabulary: int = NANO_TEXT["vocab_size"]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most `vocabulary` entries, trained on the project's own sentences."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 1,  # one is left for <FACE>
        min_frequency=1,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(write_corpus(seed), trainer)
    # Not special: a decoded answer shows where its faces are, and a reward that reads text can count them.
    tokenizer.add_tokens([AddedToken(FACE_TOKEN, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token=END_TOKEN,
        extra_special_tokens={"image_token": IMAGE_TOKEN},
        model_max_length=NANO_TEXT["max_position_embeddings"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_nano_processor(seed: int, vision: Mapping[str, Any] = NANO_VISION) -> LlavaProcessor:
    """The processor that fits `build_nano_vlm` of the same arguments."""
    side = vision["image_size"]
    image_processor = LlavaImageProcessorPil(
        do_pad=True,  # to a square, in grey: nothing is squashed and nothing cut off
        size={"height": side, "width": side},
        crop_size={"height": side, "width": side},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=train_nano_tokenizer(seed),
        patch_size=side // math.isqrt(count_image_tokens(vision)),
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE_TOKEN,
    )


def build_nano_vlm(
    seed: int, *, vision: Mapping[str, Any] = NANO_VISION, text: Mapping[str, Any] = NANO_TEXT
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """A small LLaVA with random weights, and its processor.

    Args:
        seed (`int`): of the weights and of the tokenizer's corpus.
        vision (`Mapping`): `model_type` and sizes of any vision model of transformers whose hidden states are
            `(B, tokens, hidden)` without a class token: `image_size` and `hidden_size` among them.
        text (`Mapping`): settings of `LlamaConfig`.

    Returns:
        `tuple`: the model in float32, and its `LlavaProcessor`.
    """
    processor = build_nano_processor(seed, vision)
    tokenizer = processor.tokenizer
    tokens = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    tokens["eos_token_id"] = tokenizer.eos_token_id
    config = LlavaConfig(
        vision_config=vision_config(vision),
        text_config=LlamaConfig(**text, **tokens),
        image_token_index=processor.image_token_id,
        image_seq_length=count_image_tokens(vision),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=text["tie_word_embeddings"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
    read_maps_as_tokens(model)
    model.generation_config.update(**tokens)
    return model.eval(), processor


def count_image_tokens(vision: Mapping[str, Any]) -> int:
    """How many tokens the language model sees of one picture, asked of the vision model itself without its weights."""
    with torch.device("meta"):
        tower = AutoModel.from_config(vision_config(vision))
        read_maps_as_tokens(tower)
        picture = torch.empty(1, 3, vision["image_size"], vision["image_size"])
        return tower(picture, output_hidden_states=True).hidden_states[-1].shape[1]


def vision_config(vision: Mapping[str, Any]) -> PreTrainedConfig:
    settings = dict(vision)
    return AutoConfig.for_model(settings.pop("model_type"), **settings)
