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
"""transformers' own tests of every model and every processor, on FaceGPT: `make test-common`.

The tests come from transformers' source release (see `fetch_common_suite`), not from this repository.
"""

import sys
import unittest
import unittest.mock
from typing import Any

import torch
from facegpt_trainer.nano import build_nano_processor
from fetch_common_suite import suite_directory
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from modeling_facegpt import FaceGPTConfig, FaceGPTForConditionalGeneration, FaceGPTProcessor

sys.path.insert(0, str(suite_directory()))
from tests.generation.test_utils import GenerationTesterMixin  # noqa: E402  # pyright: ignore
from tests.test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor  # noqa: E402  # pyright: ignore
from tests.test_processing_common import ProcessorTesterMixin  # noqa: E402  # pyright: ignore

# The suite makes labels for the classes named here.
MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES[FaceGPTConfig.model_type] = "FaceGPTForConditionalGeneration"

IMAGE_TOKEN, FACE_TOKEN, END_TOKEN, PAD_TOKEN = 1, 2, 3, 0
VOCABULARY = 99
TEXT = {
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "pad_token_id": PAD_TOKEN,
    "bos_token_id": 4,
    "eos_token_id": END_TOKEN,
}
VISION = {
    "model_type": "clip_vision_model",
    "image_size": 8,
    "patch_size": 4,
    "num_channels": 3,
    "hidden_size": 32,
    "projection_dim": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
FACE_MODEL = {
    "num_vertices": 42,
    "num_triangles": 80,
    "num_uv_coordinates": 42,
    "num_identity": 4,
    "num_albedo": 3,
    "num_expression": 5,
    "num_eyes": 2,
    "num_eyeball_vertices": 3,
    "region_names": ["face"],
    "direction_names": ["nose-width"],
}


class FaceGPTModelTester:
    """Configuration and inputs, under the names that the suite reads."""

    def __init__(self, parent: unittest.TestCase):
        self.parent = parent
        self.batch_size = 3
        self.image_tokens = (VISION["image_size"] // VISION["patch_size"]) ** 2
        self.seq_length = self.encoder_seq_length = self.decoder_seq_length = 7 + self.image_tokens
        self.hidden_size = TEXT["hidden_size"]
        self.num_hidden_layers = TEXT["num_hidden_layers"]
        self.num_attention_heads = TEXT["num_attention_heads"]
        self.vocab_size = VOCABULARY
        self.is_training = True

    def get_config(self) -> FaceGPTConfig:
        return FaceGPTConfig(
            vlm_config={
                "model_type": "llava",
                "text_config": TEXT,
                "vision_config": VISION,
                "image_token_index": IMAGE_TOKEN,
                "image_seq_length": self.image_tokens,
                "vision_feature_select_strategy": "default",
                "vision_feature_layer": -1,
            },
            face_model_config=FACE_MODEL,
            face_token_id=FACE_TOKEN,
            end_token_id=END_TOKEN,
            face_head_hidden_size=8,
            dialogue_hidden_size=8,
            loss_weights={"text": 1.0},
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[FaceGPTConfig, dict[str, Any]]:
        config = self.get_config()
        pixel_values = floats_tensor([self.batch_size, 3, VISION["image_size"], VISION["image_size"]])
        input_ids = ids_tensor([self.batch_size, self.seq_length], VOCABULARY - 5) + 5
        input_ids[:, : self.image_tokens] = IMAGE_TOKEN
        attention_mask = torch.ones_like(input_ids)
        return config, {"pixel_values": pixel_values, "input_ids": input_ids, "attention_mask": attention_mask}


class FaceGPTModelTest(ModelTesterMixin, GenerationTesterMixin, unittest.TestCase):
    all_model_classes = (FaceGPTForConditionalGeneration,)
    all_generative_model_classes = all_model_classes
    pipeline_model_mapping = {}
    _is_composite = True
    # LLaVA reads the vision tower before its closing norm, which therefore never has a gradient.
    test_all_params_have_gradient = False
    # Of classifiers alone; before it looks whether this is one, it changes every setting whose name ends in `_std`.
    test_mismatched_shapes = False

    def setUp(self):
        self.model_tester = FaceGPTModelTester(self)

    def test_reverse_loading_mapping(self):
        # Weights are saved under the names of the modules, so that every Trainer resumes from them.
        super().test_reverse_loading_mapping(check_keys_were_modified=False)


class LlavaFaceGPTProcessor(FaceGPTProcessor):
    """As the class that it is tested for, and it can be made of the parts of a LLaVA's processor, as the suite wants:
    a `FaceGPTProcessor` wraps a whole processor of any family."""

    def __init__(
        self,
        vlm_processor: Any = None,
        render_size: int = 112,
        crop_scale: float = 1.6,
        chat_template: Any = None,
        **parts: Any,
    ):
        if vlm_processor is None:
            vlm_processor = build_nano_processor(0)
            for name, part in parts.items():
                setattr(vlm_processor, name, part)
        if chat_template is not None:
            vlm_processor.chat_template = chat_template
        super().__init__(vlm_processor, render_size, crop_scale)

    def replace_image_token(self, *args: Any, **kwargs: Any) -> str:
        """As LLaVA's does; by this name the suite knows that tokens and pictures are counted against each other."""
        return self.vlm_processor.replace_image_token(*args, **kwargs)


class FaceGPTProcessorTest(ProcessorTesterMixin, unittest.TestCase):
    processor_class = LlavaFaceGPTProcessor

    @classmethod
    def _setup_from_components(cls) -> FaceGPTProcessor:
        return LlavaFaceGPTProcessor.from_vlm_processor(build_nano_processor(0))

    def test_init_arguments_not_in_class_attributes(self):
        # Of the class itself: what is made of parts here takes a template as LLaVA's processor does.
        with unittest.mock.patch.object(type(self), "processor_class", FaceGPTProcessor):
            super().test_init_arguments_not_in_class_attributes()
