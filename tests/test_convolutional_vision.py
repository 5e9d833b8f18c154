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
"""Convolutional towers under LLaVA: one token per picture, other towers untouched, the warm-up trains the tower."""

import copy
from pathlib import Path

import pytest
import torch
from facegpt_trainer.collator import FaceCollator
from facegpt_trainer.loss_weights import LOSS_WEIGHTS
from facegpt_trainer.nano import NANO_TEXT, build_nano_vlm, count_image_tokens
from facegpt_trainer.pictures.data_engine import DataEngine
from facegpt_trainer.vision_warm_up import ProbeCollator, warm_up_vision
from transformers import ResNetConfig, ResNetModel, TrainingArguments

from modeling_facegpt import FaceGPTProcessor, MorphableModel
from modeling_facegpt.vision_tower import read_maps_as_tokens

TINY_RESNET = {
    "model_type": "resnet",
    "image_size": 112,
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 8, 12],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "hidden_size": 12 * 4 * 4,
}
TINY_TEXT = NANO_TEXT | {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def vlm_and_processor() -> tuple:
    return build_nano_vlm(0, vision=TINY_RESNET, text=TINY_TEXT | {"num_key_value_heads": 2})


def test_a_map_becomes_one_token_place_by_place():
    config = ResNetConfig(**{name: value for name, value in TINY_RESNET.items() if name != "model_type"})
    tower = ResNetModel(config).eval()
    picture = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    maps = tower(picture).last_hidden_state
    read_maps_as_tokens(tower)
    outputs = tower(picture, output_hidden_states=True)
    assert outputs.hidden_states[-1].shape == (2, 1, 12 * 4 * 4)
    places = outputs.last_hidden_state.view(2, 4, 4, 12)
    torch.testing.assert_close(places[:, 1, 2], maps[:, :, 1, 2])


def test_a_picture_is_one_token_for_the_language_model(vlm_and_processor: tuple):
    vlm, processor = vlm_and_processor
    assert count_image_tokens(TINY_RESNET) == vlm.config.image_seq_length == 1
    wrapped = FaceGPTProcessor.from_vlm_processor(copy.deepcopy(processor))
    inputs = wrapped(pictures=torch.rand(1, 3, 112, 112), messages=wrapped.reconstruct_messages())
    assert (inputs["input_ids"] == vlm.config.image_token_index).sum() == 1
    assert vlm(**inputs).logits.isfinite().all()


def test_warm_up_trains_the_tower_and_nothing_else(
    vlm_and_processor: tuple, face_model: MorphableModel, tmp_path: Path
):
    vlm, processor = copy.deepcopy(vlm_and_processor[0]), copy.deepcopy(vlm_and_processor[1])
    collator = FaceCollator(
        FaceGPTProcessor.from_vlm_processor(processor), DataEngine(copy.deepcopy(face_model), 112, seed=0)
    )
    before = {name: value.clone() for name, value in vlm.named_parameters()}
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        num_train_epochs=1,
        learning_rate=1e-2,
        remove_unused_columns=False,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
    )
    warm_up_vision(vlm, collator, LOSS_WEIGHTS, arguments, pictures=8)
    moved = {name for name, value in vlm.named_parameters() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith("model.vision_tower.") for name in moved)


def test_warm_up_pictures_show_one_face_each(vlm_and_processor: tuple, face_model: MorphableModel):
    processor = FaceGPTProcessor.from_vlm_processor(copy.deepcopy(vlm_and_processor[1]))
    collator = ProbeCollator(FaceCollator(processor, DataEngine(copy.deepcopy(face_model), 112, seed=0)))
    batch, again = (collator([{"picture": number} for number in range(16)]) for _ in range(2))
    assert [len(part) for part in batch.values()] == [16, 16, 16]
    assert all(part.isfinite().all() and torch.equal(part, again[name]) for name, part in batch.items())
