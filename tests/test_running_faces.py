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
"""Dialogues that go on: faces of an answer that refer to earlier ones, and that are read for what follows."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessor

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor, FaceParameters
from modeling_facegpt.face_parameters import parameters_to_vector, vector_to_parameters

NEW_TOKENS = 6


class SayFacesAt(LogitsProcessor):
    """`<FACE>` at some places of every answer, other words elsewhere, and nothing ends it."""

    def __init__(self, places: list[int], face: int, end: int):
        self.places, self.face, self.end = places, face, end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        scores[:, self.end] = -torch.inf
        scores[:, self.face] = 1e4 if input_ids.shape[1] in self.places else -torch.inf
        return scores


@pytest.fixture
def prompt(processor: FaceGPTProcessor) -> dict[str, Tensor]:
    """A prompt with two given faces and no picture, and one with one face and a picture."""
    photo = {"type": "image"}
    words = [{"type": "text", "text": "This is <FACE> and this is <FACE>. Make her smile."}]
    others = [photo, {"type": "text", "text": "This is <FACE>."}]
    picture = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    messages = [[{"role": "user", "content": content}] for content in (words, others)]
    return dict(processor(pictures=picture, messages=messages))


@pytest.fixture
def given(face_parameters: FaceParameters) -> Tensor:
    return parameters_to_vector(face_parameters)


@pytest.fixture
def saying(prompt: dict[str, Tensor], processor: FaceGPTProcessor) -> dict[str, Any]:
    """Settings under which the first, third and fourth token of every answer are `<FACE>`."""
    length = prompt["input_ids"].shape[1]
    say = SayFacesAt([length, length + 2, length + 3], processor.face_token_id, processor.end_token_id)
    return {"logits_processor": [say], "return_dict_in_generate": True, "max_new_tokens": NEW_TOKENS}


def point(model: FaceGPTForConditionalGeneration, back: int) -> None:
    """Let every face refer to the one so many faces back, 0 to none, and shut all gates."""
    with torch.no_grad():
        for part in (model.reference_pointer, model.edit_head):
            for weight in part.parameters():
                weight.zero_()
        model.reference_pointer.query.bias.fill_(1.0)
        model.reference_pointer.slots.weight[back] = 1.0
        model.edit_head.output.bias[-8:] = -1.0


WAYS = [{"do_sample": False}, {"do_sample": True}, {"num_beams": 3, "do_sample": False}, {"use_cache": False}]
WAY_NAMES = ["greedy", "sampling", "beams", "no cache"]


@pytest.mark.parametrize("settings", WAYS, ids=WAY_NAMES)
def test_faces_referred_to_come_back_exactly(
    dialogue_facegpt: FaceGPTForConditionalGeneration,
    prompt: dict[str, Tensor],
    given: Tensor,
    saying: dict[str, Any],
    settings: dict[str, Any],
):
    """All gates shut: an undo. Two faces back of each answer's first face there may be none: then it is fresh."""
    point(dialogue_facegpt, back=2)
    output = dialogue_facegpt.generate(**prompt, **saying, **settings, given_faces=given)
    assert output.face_rows.tolist() == [0, 0, 0, 1, 1, 1]
    assert output.face_references.tolist() == [0, 1, 2, -1, 0, 1]
    faces = output.face_parameters
    assert torch.equal(faces[:3], torch.stack((given[0], given[1], given[0])))
    assert torch.equal(faces[4], given[2]) and torch.equal(faces[5], faces[3])
    assert output.face_log_variance.isnan().all(1).tolist() == [True, True, True, False, True, True]


def test_faces_not_given_are_not_referred_to(
    dialogue_facegpt: FaceGPTForConditionalGeneration, prompt: dict[str, Tensor], saying: dict[str, Any]
):
    point(dialogue_facegpt, back=2)
    output = dialogue_facegpt.generate(**prompt, **saying, do_sample=False)
    assert output.face_references.tolist() == [-1, -1, 2, -1, -1, 1]


def test_open_gates_change_their_group_alone(
    dialogue_facegpt: FaceGPTForConditionalGeneration,
    prompt: dict[str, Tensor],
    given: Tensor,
    saying: dict[str, Any],
):
    point(dialogue_facegpt, back=1)
    config = dialogue_facegpt.config.face_model_config
    with torch.no_grad():
        dialogue_facegpt.edit_head.output.bias[-6] = 1.0  # expression
        dialogue_facegpt.edit_head.output.bias[:-8] = 0.5
    output = dialogue_facegpt.generate(**prompt, **saying, do_sample=False, given_faces=given)
    first, second = (vector_to_parameters(output.face_parameters[face], config) for face in (0, 1))
    origin = vector_to_parameters(given[1], config)
    for name, old, new, newer in zip(origin._fields, origin, first, second, strict=True):
        if name != "expression":
            assert torch.equal(old, new) and torch.equal(new, newer)
    expected = (origin.expression + 0.5 * 0.25).clamp(0, 1)
    torch.testing.assert_close(first.expression, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(second.expression, (expected + 0.5 * 0.25).clamp(0, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("settings", [WAYS[0], WAYS[1], WAYS[3]], ids=["greedy", "sampling", "no cache"])
@pytest.mark.parametrize("back", [0, 1], ids=["fresh", "referring"])
def test_what_follows_a_face_has_read_it(
    dialogue_facegpt: FaceGPTForConditionalGeneration,
    prompt: dict[str, Tensor],
    given: Tensor,
    saying: dict[str, Any],
    settings: dict[str, Any],
    back: int,
):
    """One pass over the finished answer, with its faces given, says the same."""
    point(dialogue_facegpt, back)
    output = dialogue_facegpt.generate(**prompt, **saying, **settings, given_faces=given, output_logits=True)
    faces = output.face_parameters.split(3)
    extra = torch.nn.functional.pad(prompt["attention_mask"], (0, NEW_TOKENS), value=1)
    again = {"input_ids": output.sequences, "attention_mask": extra, "pixel_values": prompt["pixel_values"]}
    everything = torch.cat((given[:2], faces[0], given[2:], faces[1]))
    with torch.no_grad():
        read = dialogue_facegpt(**again, given_faces=everything).logits[:, -NEW_TOKENS - 1 : -1]
        unread = dialogue_facegpt(**again).logits[:, -NEW_TOKENS - 1 : -1]
    said = torch.stack(output.logits, dim=1)
    torch.testing.assert_close(said, read, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(said[:, 1:], unread[:, 1:], atol=0.05)


def test_words_alone_are_the_words_with_faces(
    dialogue_facegpt: FaceGPTForConditionalGeneration,
    prompt: dict[str, Tensor],
    given: Tensor,
    saying: dict[str, Any],
):
    output = dialogue_facegpt.generate(**prompt, **saying, do_sample=False, given_faces=given)
    plain = dialogue_facegpt.generate(
        **prompt, **{**saying, "return_dict_in_generate": False}, do_sample=False, given_faces=given
    )
    assert torch.equal(plain, output.sequences)


def test_several_answers_to_each_prompt(
    dialogue_facegpt: FaceGPTForConditionalGeneration,
    prompt: dict[str, Tensor],
    given: Tensor,
    saying: dict[str, Any],
):
    point(dialogue_facegpt, back=1)
    ways: list[dict[str, Any]] = [{"do_sample": True}, {"num_beams": 4, "do_sample": False}]
    for way in ways:
        output = dialogue_facegpt.generate(
            **prompt, **saying, **way, num_return_sequences=2, given_faces=given, picture_cameras=torch.ones(2, 3)
        )
        assert output.face_rows.tolist() == [row for row in range(4) for _ in range(3)]
        expected = given[[1, 1, 2, 2]].repeat_interleave(3, 0)
        assert torch.equal(output.face_parameters, expected)


def test_assisted_decoding_refers_to_the_same_faces(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, given: Tensor
):
    point(dialogue_facegpt, back=1)
    prompt = dict(processor(messages=[{"role": "user", "content": "This is <FACE>. Make her smile."}]))
    settings = {"max_new_tokens": 5, "min_faces": 2, "do_sample": False, "return_dict_in_generate": True}
    assistants: list[dict[str, Any]] = [{"assistant_model": copy.deepcopy(dialogue_facegpt)}, {"num_beams": 1}]
    for assistant in assistants:
        output = dialogue_facegpt.generate(**prompt, **settings, **assistant, given_faces=given[:1])
        assert len(output.face_parameters) >= 2
        assert torch.equal(output.face_parameters, given[:1].expand_as(output.face_parameters))


def test_fresh_faces_of_a_picture_are_regressed(
    dialogue_facegpt: FaceGPTForConditionalGeneration,
    prompt: dict[str, Tensor],
    given: Tensor,
    saying: dict[str, Any],
):
    point(dialogue_facegpt, back=0)
    output = dialogue_facegpt.generate(**prompt, **saying, num_beams=2, do_sample=False, given_faces=given)
    extra = torch.nn.functional.pad(prompt["attention_mask"], (0, NEW_TOKENS), value=1)
    again = {"input_ids": output.sequences, "attention_mask": extra, "pixel_values": prompt["pixel_values"]}
    # With beams the prompt's faces are read, and none of the answer's.
    unread = torch.full((3, given.shape[1]), float("nan"))
    with torch.no_grad():
        faces = dialogue_facegpt(**again, given_faces=torch.cat((given[:2], unread, given[2:], unread)))
    torch.testing.assert_close(output.face_parameters[3:], faces.face_parameters[-3:], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(output.face_parameters[:3], faces.face_parameters[2:5], atol=0.1)
