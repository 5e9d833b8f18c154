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
"""Features of vision towers: of any family that reads pictures, with a gradient to the picture and to nothing else."""

import pytest
import torch
from vlm_families import FAMILIES, build_tiny_vlm

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor
from modeling_facegpt.vision_tower import vision_features, vision_tower

HALF = [0.5] * 3
PATCHES = {"qwen2_5_vl", "qwen3_vl"}


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - PATCHES))
def test_towers_see_a_picture_and_only_it_gets_a_gradient(family: str):
    vlm = build_tiny_vlm(family, 32)
    pictures = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0)).requires_grad_()
    middle, last = vision_features(vlm, pictures, HALF, HALF)
    assert middle.shape == last.shape and len(last) == 2 and not torch.equal(middle, last)
    (middle.square().sum() + last.square().sum()).backward()
    assert pictures.grad.abs().sum() > 0
    assert all(weight.requires_grad and weight.grad is None for weight in vision_tower(vlm).parameters())


@pytest.mark.parametrize("family", sorted(PATCHES))
def test_towers_that_want_patches_are_refused(family: str):
    with pytest.raises(ValueError, match="perceptual"):
        vision_features(build_tiny_vlm(family, 32), torch.rand(1, 3, 28, 28), HALF, HALF)


def test_features_are_those_of_the_processor_s_pixels_and_the_tower_stays_in_training():
    vlm = build_tiny_vlm("llava", 32).train()
    picture = torch.rand(1, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    mean, deviation = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    normalized = (picture - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1)
    _, last = vision_features(vlm, picture, mean, deviation)
    tower = vision_tower(vlm)
    torch.testing.assert_close(last, tower(pixel_values=normalized).last_hidden_state)
    assert all(module.training for module in tower.modules())


def test_statistics_of_pictures_are_asked_for():
    with pytest.raises(ValueError, match="image_mean"):
        vision_features(build_tiny_vlm("llava", 32), torch.rand(1, 3, 28, 28), [], [])


def test_the_model_computes_the_perceptual_term(facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor):
    config = facegpt.config
    config.image_mean, config.image_std = (processor.picture_settings()[name] for name in ("image_mean", "image_std"))
    assert config.image_mean == HALF
    config.loss_weights = {**config.loss_weights, "perceptual": 2.0}
    answer = {"role": "assistant", "content": [{"type": "text", "text": processor.face_token}]}
    messages = [[*processor.reconstruct_messages(True), answer]]
    picture = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    inputs = processor(pictures=picture, messages=messages)
    outputs = facegpt(**inputs, labels=inputs["input_ids"], face_images=picture)
    assert 0 < outputs.loss_terms["perceptual"] < 2
    facegpt.zero_grad()
    outputs.loss_terms["perceptual"].backward()
    assert facegpt.face_head.output.weight.grad.abs().sum() > 0
    # The tower learns from it only by what the head makes of its picture.
    config.loss_weights.pop("perceptual")
    assert "perceptual" not in facegpt(**inputs, labels=inputs["input_ids"], face_images=picture).loss_terms
