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
"""Emission is counted in what the model says by itself."""

import math

import torch
from facegpt_trainer.evaluation.emission import (
    Emission,
    Question,
    count_answered_faces,
    measure_emission,
)

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor

NO_PICTURES = torch.zeros(0, 3, 112, 112)


def _questions(processor: FaceGPTProcessor) -> list[Question]:
    picture = torch.full((1, 3, 112, 112), 0.5)
    words = [{"role": "user", "content": "Hello"}]
    return [
        Question(processor.reconstruct_messages(), picture, True),
        Question(words, NO_PICTURES, False),
        Question(words, NO_PICTURES, True),
    ]


def test_a_model_that_always_says_face(eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor):
    # The fixture makes <FACE> exactly as likely as this token.
    eager_facegpt.generation_config.suppress_tokens = [processor.tokenizer.convert_tokens_to_ids("<assistant>")]
    questions = _questions(processor)
    counts = count_answered_faces(eager_facegpt, processor, questions, batch_size=2, max_new_tokens=4)
    assert counts.tolist() == [4, 4, 4]
    assert measure_emission(eager_facegpt, processor, questions, max_new_tokens=4) == Emission(2, 1.0, 1, 0.0)


def test_a_model_that_never_says_face(eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor):
    with torch.no_grad():
        rows = eager_facegpt.get_input_embeddings().weight
        rows[processor.end_token_id] = 2 * rows[processor.face_token_id]
    questions = _questions(processor)
    assert measure_emission(eager_facegpt, processor, questions, max_new_tokens=4) == Emission(2, 0.0, 1, 1.0)
    only = measure_emission(eager_facegpt, processor, questions[:1], max_new_tokens=4)
    assert only.others == 0 and math.isnan(only.silent)


def test_no_questions_no_answers(facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor):
    assert count_answered_faces(facegpt, processor, []).shape == (0,)
