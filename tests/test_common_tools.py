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
"""What people do with any model of transformers or PyTorch: quantize, guide, pickle, infer, choose the attention."""

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY_TEXT, train_encoder
from facegpt_trainer.nano import build_nano_vlm
from PIL import Image
from test_convolutional_vision import TINY_RESNET
from test_threads import photographs, same, values
from torch import Tensor

from modeling_facegpt import (
    Camera,
    FaceGPTForConditionalGeneration,
    FaceGPTProcessor,
    FaceParameters,
    MorphableModel,
    refine,
    render_mesh,
)
from modeling_facegpt.face_parameters import parameters_to_vector


@pytest.fixture
def model(chatty: FaceGPTForConditionalGeneration) -> FaceGPTForConditionalGeneration:
    train_encoder(chatty)
    return chatty


@pytest.fixture
def image() -> Image.Image:
    return photographs(1)[0]


@pytest.fixture
def question(processor: FaceGPTProcessor) -> dict[str, Tensor]:
    words = [{"type": "text", "text": "This is <FACE>. Make her smile."}]
    return dict(processor(messages=[{"role": "user", "content": words}]))


@pytest.fixture
def given(face_parameters: FaceParameters) -> Tensor:
    return parameters_to_vector(face_parameters)[:1]


def test_dynamic_quantization(
    model: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    image: Image.Image,
    question: dict[str, Tensor],
    given: Tensor,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small: Any = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    [found], [exact] = (each.reconstruct([image], processor) for each in (small, model))
    assert len(found.probability) == len(exact.probability) > 0
    assert small.imagine("an old man", processor, count=2, steps=2).identity.isfinite().all()
    output = small.generate(**question, given_faces=given, min_faces=1, return_dict_in_generate=True)
    assert output.face_parameters.isfinite().all()


def test_guidance_of_words_reads_faces_in_the_prompt_alone(
    model: FaceGPTForConditionalGeneration, question: dict[str, Tensor], given: Tensor
) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 4, "min_faces": 2, "return_dict_in_generate": True}
    plain = model.generate(**question, given_faces=given, **settings)
    # So little guidance changes no word; the pass without the prompt must change nothing else either.
    guided = model.generate(**question, given_faces=given, guidance_scale=1 + 1e-6, **settings)
    assert torch.equal(guided.sequences, plain.sequences)
    assert torch.equal(guided.face_references, plain.face_references)
    read = plain.face_log_variance.isfinite().all(-1)
    torch.testing.assert_close(guided.face_code[read], plain.face_code[read])
    model.generate(**question, given_faces=given, guidance_scale=3.0, num_beams=2, **settings)


def _pickled(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))


def _saved(model: Any) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [_pickled, _saved, copy.deepcopy, lambda model: copy.deepcopy(_pickled(model))])
def test_copies_after_a_forward_pass(
    model: FaceGPTForConditionalGeneration, question: dict[str, Tensor], given: Tensor, copied: Callable[[Any], Any]
) -> None:
    wanted = values(model(**question, given_faces=given, output_hidden_states=True))
    twin = copied(model)
    assert same(values(twin(**question, given_faces=given, output_hidden_states=True)), wanted)
    assert twin.vlm.lm_head.weight.data_ptr() != model.vlm.lm_head.weight.data_ptr()
    with torch.no_grad():
        twin.face_encoder.output.weight.zero_()
        twin.face_encoder.output.bias.zero_()
    # Each adds the faces of its own encoder.
    assert same(values(twin(**question, given_faces=given).logits), values(twin(**question).logits))
    assert same(values(model(**question, given_faces=given, output_hidden_states=True)), wanted)


def test_refine_in_inference_mode(
    model: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, image: Image.Image
) -> None:
    found = model.reconstruct([image], processor)
    wanted = refine(model, processor, [image], found, steps=3)
    with torch.inference_mode():
        found = model.reconstruct([image], processor)
        refined = refine(model, processor, [image], found, steps=3)
        again = model.reconstruct([image], processor, refine_steps=3)
    assert same(values(refined), values(wanted)) and same(values(again), values(wanted))


def test_what_inference_mode_keeps_serves_training(
    face_model: MorphableModel, face_parameters: FaceParameters, backend: str
) -> None:
    face_model = copy.deepcopy(face_model)
    face_model.triangles = face_model.triangles.clone()
    camera = Camera(torch.full((3,), 60.0), torch.full((3, 2), 24.0))
    with torch.inference_mode():
        render_mesh(face_model(face_parameters), face_parameters, camera, (48, 48))
        assert not face_model.component_visibility.is_inference()
        assert not face_model.mirrored_vertices.is_inference()
    learned = FaceParameters(*(group.clone().requires_grad_() for group in face_parameters))
    render = render_mesh(face_model(learned), learned, camera, (48, 48))
    (render.image.sum() + render.mask.sum()).backward()
    assert learned.identity.grad is not None and learned.identity.grad.abs().sum() > 0


@pytest.mark.parametrize("attention", ["sdpa", "eager", None])
def test_attention_is_asked_of_those_that_have_it(
    face_model: MorphableModel, tmp_path: Path, attention: str | None
) -> None:
    vlm, processor = build_nano_vlm(0, vision=TINY_RESNET, text=TINY_TEXT)
    wrapped = FaceGPTProcessor.from_vlm_processor(processor)
    FaceGPTForConditionalGeneration.from_vlm(vlm, face_model, processor=wrapped).save_pretrained(tmp_path)
    model = FaceGPTForConditionalGeneration.from_pretrained(tmp_path, attn_implementation=attention)
    assert model.vlm.config.text_config._attn_implementation == (attention or "sdpa")
