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
"""The configurations: what they say is what comes back from a file."""

from pathlib import Path

import pytest
from transformers import AutoConfig, LlamaConfig, LlavaConfig

from modeling_facegpt import FaceGPTConfig, MorphableModelConfig


@pytest.fixture
def config(face_model_config: MorphableModelConfig) -> FaceGPTConfig:
    vlm_config = LlavaConfig(text_config=LlamaConfig(hidden_size=64, tie_word_embeddings=True))
    return FaceGPTConfig(vlm_config=vlm_config, face_model_config=face_model_config, face_token_id=7, end_token_id=9)


def test_saved_configuration_comes_back(config: FaceGPTConfig, tmp_path: Path):
    config.save_pretrained(tmp_path)
    for loaded in (FaceGPTConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is FaceGPTConfig
        assert type(loaded.vlm_config) is LlavaConfig
        assert type(loaded.face_model_config) is MorphableModelConfig
        assert {**loaded.to_dict(), "_name_or_path": ""} == config.to_dict()


def test_sub_configurations_may_be_dictionaries(config: FaceGPTConfig):
    again = FaceGPTConfig(
        vlm_config=config.vlm_config.to_dict(),
        face_model_config=config.face_model_config.to_dict(),
        face_token_id=7,
        end_token_id=9,
    )
    assert again.to_dict() == config.to_dict()


def test_text_configuration_is_the_language_models(config: FaceGPTConfig):
    assert config.get_text_config().hidden_size == 64
    assert config.tie_word_embeddings


def test_auto_map_names_every_class_that_is_loaded(config: FaceGPTConfig):
    assert set(config.auto_map) == {"AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoProcessor"}


def test_every_default_is_a_configuration():
    config = FaceGPTConfig()
    assert config.vlm_config.model_type == "llava"
    assert config.face_model_config.num_expression == len(config.face_model_config.expression_names) == 52


def test_the_papers_face_model_can_be_said():
    bfm = MorphableModelConfig(num_identity=80, num_expression=64, num_albedo=80, expression_range="free", num_eyes=0)
    assert len(bfm.expression_names) == 64


def test_one_name_per_expression_is_asked_for():
    with pytest.raises(ValueError, match="one name per expression"):
        MorphableModelConfig(num_expression=3, expression_names=["jawOpen"])
