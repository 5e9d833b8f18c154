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
"""Untrained checkpoints to start from."""

import torch

from modeling_facegpt.configuration_facegpt import FaceGPTConfig
from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.processing_facegpt import FaceGPTProcessor

from .nano import build_nano_vlm

NANO_HEAD_SIZE = 512


def build_untrained(face_model: str, *, seed: int = 0) -> tuple[FaceGPTForConditionalGeneration, FaceGPTProcessor]:
    """The untrained nano VLM joined with a 3DMM.

    Args:
        face_model (`str`): path or Hub id of a `MorphableModel`.
        seed (`int`): of weights and tokenizer.
    """
    vlm, vlm_processor = build_nano_vlm(seed)
    shape = MorphableModel.from_pretrained(face_model, dtype=torch.float32)
    side = vlm.config.vision_config.image_size  # pyright: ignore[reportAttributeAccessIssue]
    processor = FaceGPTProcessor.from_vlm_processor(vlm_processor, render_size=side)
    config = FaceGPTConfig(
        vlm_config=vlm.config.to_dict(),
        face_model_config=shape.config.to_dict(),
        face_token_id=processor.face_token_id,
        end_token_id=processor.end_token_id,
        face_head_hidden_size=NANO_HEAD_SIZE,
        render_size=processor.render_size,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FaceGPTForConditionalGeneration(config)
    model.vlm.load_state_dict(vlm.state_dict())
    model.face_model.load_state_dict(shape.state_dict())
    return model, processor
