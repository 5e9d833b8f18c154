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
"""Tiny configurations of many vision-language families, and inputs as each one's processor would lay them out.

This is the one place that knows families apart; the model must not.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

IMAGE_TOKEN_ID = 3  # of the tests' tokenizer, as are these
PAD_TOKEN_ID, BOS_TOKEN_ID, EOS_TOKEN_ID = 0, 1, 2
QUESTION = (10, 11, 12, 13)

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "pad_token_id": PAD_TOKEN_ID,
    "bos_token_id": BOS_TOKEN_ID,
    "eos_token_id": EOS_TOKEN_ID,
}
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
SIGLIP = {**TOWER, "model_type": "siglip_vision_model", "vision_use_head": False}
CLIP = {**TOWER, "model_type": "clip_vision_model"}
QWEN_ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
QWEN_TOKENS = {"video_token_id": 4, "vision_start_token_id": 5, "vision_end_token_id": 6}
QWEN_TOWER = {"depth": 2, "hidden_size": 32, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2}
IDEFICS_TEXT = {**TEXT, "model_type": "llama"}
IDEFICS_TOWER = {**TOWER, "image_size": 28, "patch_size": 7}
GEMMA_TEXT = {"sliding_window": 64, "query_pre_attn_scalar": 16}

FAMILIES: dict[str, dict[str, Any]] = {
    "llava": {"vision_config": CLIP, "text_config": {**TEXT, "model_type": "llama"}},
    "llava_onevision": {
        "vision_config": SIGLIP,
        "text_config": {**TEXT, "model_type": "qwen2"},
        "image_grid_pinpoints": [[28, 28]],
        "video_token_index": 4,
    },
    "qwen2_5_vl": {
        "vision_config": {**QWEN_TOWER, "intermediate_size": 64, "out_hidden_size": 32, "window_size": 28}
        | {"fullatt_block_indexes": [1]},
        "text_config": {**TEXT, "model_type": "qwen2_5_vl_text", "rope_parameters": QWEN_ROPE},
        **QWEN_TOKENS,
    },
    "qwen3_vl": {
        "vision_config": {**QWEN_TOWER, "intermediate_size": 64, "out_hidden_size": 32, "num_position_embeddings": 16}
        | {"deepstack_visual_indexes": [0, 1]},
        "text_config": {**TEXT, "model_type": "qwen3_vl_text", "rope_parameters": QWEN_ROPE},
        **QWEN_TOKENS,
    },
    "smolvlm": {"vision_config": IDEFICS_TOWER, "text_config": IDEFICS_TEXT, "scale_factor": 2},
    "idefics3": {"vision_config": IDEFICS_TOWER, "text_config": IDEFICS_TEXT, "scale_factor": 2},
    "gemma3": {
        "vision_config": SIGLIP,
        "text_config": {**TEXT, **GEMMA_TEXT, "model_type": "gemma3_text"},
        "mm_tokens_per_image": 4,
    },
    "paligemma": {
        "vision_config": {**SIGLIP, "projection_dim": 32},
        "text_config": {**TEXT, "model_type": "gemma"},
        "projection_dim": 32,
    },
    "internvl": {
        "vision_config": {**TOWER, "model_type": "internvl_vision", "image_size": [28, 28], "patch_size": [7, 7]},
        "text_config": {**TEXT, "model_type": "qwen2"},
        "image_seq_length": 4,
    },
}


def build_tiny_vlm(family: str, vocabulary: int, **settings: Any) -> PreTrainedModel:
    """A model of the family with two layers and random weights, in evaluation mode."""
    tokens = {"image_token_id": IMAGE_TOKEN_ID, "pad_token_id": PAD_TOKEN_ID, "eos_token_id": EOS_TOKEN_ID}
    given = {**FAMILIES[family], **tokens, **settings}
    given["text_config"] = {**given["text_config"], "vocab_size": vocabulary}
    config = AutoConfig.for_model(family, **given)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForImageTextToText.from_config(config).eval()


def build_inputs(family: str, answers: list[list[int]]) -> dict[str, Tensor]:
    """A picture, a question and an answer per row, padded on the left; `answers` are token ids."""
    tokens = 10 if family == "llava_onevision" else 4  # the whole picture, its one tile, and the ends of two rows
    picture = [IMAGE_TOKEN_ID] * tokens
    if "vision_start_token_id" in FAMILIES[family]:
        picture = [QWEN_TOKENS["vision_start_token_id"], *picture, QWEN_TOKENS["vision_end_token_id"]]
    prompt = [BOS_TOKEN_ID, *picture, *QUESTION]
    width = len(prompt) + max(len(answer) for answer in answers)
    rows = [[*[PAD_TOKEN_ID] * (width - len(prompt) - len(answer)), *prompt, *answer] for answer in answers]
    ids = torch.tensor(rows)
    inputs = {"input_ids": ids, "attention_mask": (ids != PAD_TOKEN_ID).long()}
    generator = torch.Generator().manual_seed(1)
    inputs |= _PIXELS.get(family, _one_picture)(len(rows), generator)
    if "image_grid_thw" in inputs:
        inputs["mm_token_type_ids"] = (ids == IMAGE_TOKEN_ID).long()
    if family == "gemma3":
        inputs["token_type_ids"] = (ids == IMAGE_TOKEN_ID).long()
    if family == "paligemma":
        inputs["token_type_ids"] = torch.zeros_like(ids)
        inputs["token_type_ids"][:, width - max(len(answer) for answer in answers) :] = 1
    return inputs


def _one_picture(rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(rows, 3, 28, 28, generator=generator)}


def _one_tile(rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(rows, 1, 3, 28, 28, generator=generator)}


def _tiles_of_a_picture(rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    sizes = torch.tensor([[28, 28]]).expand(rows, 2)
    return {"pixel_values": torch.randn(rows, 2, 3, 28, 28, generator=generator), "image_sizes": sizes}


def _patches(temporal: int, side: int = 14) -> Callable[[int, torch.Generator], dict[str, Tensor]]:
    def pixels(rows: int, generator: torch.Generator) -> dict[str, Tensor]:
        patches = torch.randn(rows * 16, 3 * temporal * side * side, generator=generator)
        return {"pixel_values": patches, "image_grid_thw": torch.tensor([[1, 4, 4]]).expand(rows, 3)}

    return pixels


_PIXELS: dict[str, Callable[[int, torch.Generator], dict[str, Tensor]]] = {
    "llava_onevision": _tiles_of_a_picture,
    "qwen2_5_vl": _patches(2),
    "qwen3_vl": _patches(2),
    "smolvlm": _one_tile,
    "idefics3": _one_tile,
}
