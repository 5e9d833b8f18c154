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
"""Generation as of any model of transformers, and faces that come with the words."""

import copy
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, TextIteratorStreamer, TextStreamer

from modeling_facegpt import (
    FaceGPTForConditionalGeneration,
    FaceGPTGenerateBeamOutput,
    FaceGPTGenerateOutput,
    FaceGPTProcessor,
    FaceLogitsProcessor,
)

NEW_TOKENS = 6
GREEDY = {"do_sample": False, "max_new_tokens": NEW_TOKENS}


class SayFaceAt(LogitsProcessor):
    """Lets every row say `<FACE>` at one place of its answer, and nothing end it."""

    def __init__(self, length: int, face: int, end: int):
        self.length, self.face, self.end = length, face, end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        scores[:, self.end] = -torch.inf
        scores[:, self.face] = 1e3 if input_ids.shape[1] == self.length else -torch.inf
        return scores


@pytest.fixture
def prompt(processor: FaceGPTProcessor) -> dict[str, Tensor]:
    """Two questions of different length about two pictures, padded on the left."""
    pictures = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    longer = copy.deepcopy(processor.reconstruct_messages())
    longer[0]["content"][1]["text"] += " Then tell what you see."
    return dict(processor(pictures=pictures, messages=[processor.reconstruct_messages(), longer]))


@pytest.fixture
def one_face(prompt: dict[str, Tensor], processor: FaceGPTProcessor) -> dict[str, Any]:
    """Settings under which the third token of every answer is `<FACE>`, and no other."""
    place = prompt["input_ids"].shape[1] + 2
    say = SayFaceAt(place, processor.face_token_id, processor.end_token_id)
    return {"logits_processor": [say], "return_dict_in_generate": True, "max_new_tokens": NEW_TOKENS}


def _second_pass(
    model: FaceGPTForConditionalGeneration, prompt: dict[str, Tensor], sequences: Tensor, cameras: Tensor | None = None
) -> Tensor:
    """Parameters of the faces in `sequences`, from one forward pass over each of them."""
    rows = len(sequences) // len(prompt["input_ids"])
    given = {name: value.repeat_interleave(rows, 0) for name, value in prompt.items() if name != "input_ids"}
    extra = sequences.shape[1] - given["attention_mask"].shape[1]
    given["attention_mask"] = torch.nn.functional.pad(given["attention_mask"], (0, extra), value=1)
    with torch.no_grad():
        return model(input_ids=sequences, picture_cameras=cameras, **given).face_parameters


@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": False},
        {"do_sample": True, "num_return_sequences": 3},
        {"num_beams": 4, "do_sample": False},
        {"num_beams": 4, "num_return_sequences": 2, "do_sample": True},
        {"do_sample": False, "cache_implementation": "static", "disable_compile": True},
        {"do_sample": False, "use_cache": False},
        {"do_sample": False, "generation_config": GenerationConfig(max_new_tokens=NEW_TOKENS)},
    ],
    ids=["greedy", "sampling", "beams", "beam sampling", "static cache", "no cache", "configuration"],
)
def test_faces_come_with_the_words(
    facegpt: FaceGPTForConditionalGeneration, prompt: dict[str, Tensor], one_face: dict, settings: dict
):
    torch.manual_seed(0)
    cameras = torch.tensor([[1.2, 0.5, 0.5], [2.0, 0.3, 0.6]])
    if "generation_config" in settings:
        config = settings["generation_config"]
        config.return_dict_in_generate, one_face = True, {"logits_processor": one_face["logits_processor"]}
        settings = {"generation_config": config}
    output = facegpt.generate(**prompt, **one_face, **settings, picture_cameras=cameras)
    rows = len(output.sequences)
    assert isinstance(output, FaceGPTGenerateBeamOutput if "num_beams" in settings else FaceGPTGenerateOutput)
    assert output.face_rows.tolist() == list(range(rows))
    assert output.hidden_states is None
    seen = cameras.repeat_interleave(rows // 2, 0)
    checked = _second_pass(facegpt, prompt, output.sequences, seen)
    torch.testing.assert_close(output.face_parameters, checked, rtol=1e-4, atol=1e-4)
    assert output.face_code.shape == output.face_log_variance.shape == checked.shape


def test_assisted_decoding_says_the_same(
    facegpt: FaceGPTForConditionalGeneration, prompt: dict[str, Tensor], one_face: dict
):
    first = {name: value[:1] for name, value in prompt.items()}
    plain = facegpt.generate(**first, **one_face, do_sample=False)
    assistants: list[dict[str, Any]] = [{"assistant_model": copy.deepcopy(facegpt)}, {"prompt_lookup_num_tokens": 2}]
    for assistant in assistants:
        assisted = facegpt.generate(**first, **one_face, **assistant, do_sample=False)
        assert torch.equal(assisted.sequences, plain.sequences)
        torch.testing.assert_close(assisted.face_parameters, plain.face_parameters, rtol=1e-4, atol=1e-4)


def test_answers_from_embeddings_have_the_same_faces(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    words = dict(processor(messages=[{"role": "user", "content": "Show me a face."}]))
    settings = {**GREEDY, "min_faces": 1, "return_dict_in_generate": True}
    plain = facegpt.generate(**words, **settings)
    embedded = facegpt.get_input_embeddings()(words.pop("input_ids"))
    other = facegpt.generate(inputs_embeds=embedded, **words, **settings)
    assert torch.equal(plain.sequences[:, -other.sequences.shape[1] :], other.sequences)
    torch.testing.assert_close(other.face_parameters, plain.face_parameters, rtol=1e-4, atol=1e-4)


def test_padding_changes_no_answer(facegpt: FaceGPTForConditionalGeneration, prompt: dict[str, Tensor]):
    settings = {**GREEDY, "return_dict_in_generate": True, "output_logits": True}
    together = facegpt.generate(**prompt, **settings)
    shorter = int(prompt["attention_mask"][0].sum())
    alone = facegpt.generate(
        input_ids=prompt["input_ids"][:1, -shorter:],
        attention_mask=prompt["attention_mask"][:1, -shorter:],
        pixel_values=prompt["pixel_values"][:1],
        **settings,
    )
    torch.testing.assert_close(alone.logits[0], together.logits[0][:1], rtol=0, atol=1e-4)
    assert torch.equal(
        alone.sequences[0, shorter:], together.sequences[0, prompt["input_ids"].shape[1] :][:NEW_TOKENS]
    )


def test_faces_are_the_same_padded_on_either_side(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    pictures = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    messages = [
        [*processor.reconstruct_messages(), {"role": "assistant", "content": "<FACE>" * faces}] for faces in (1, 3)
    ]
    left, right = (processor(pictures=pictures, messages=messages, padding_side=side) for side in ("left", "right"))
    assert not torch.equal(left["input_ids"], right["input_ids"])
    with torch.no_grad():
        faces = [facegpt(**inputs).face_parameters for inputs in (left, right)]
    torch.testing.assert_close(faces[0], faces[1], rtol=1e-4, atol=1e-4)


def test_tokens_stream_as_they_come(
    facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    prompt: dict[str, Tensor],
    capsys: pytest.CaptureFixture[str],
):
    first = {name: value[:1] for name, value in prompt.items()}
    answer = facegpt.generate(**first, **GREEDY, min_faces=2)[0, prompt["input_ids"].shape[1] :]
    said = processor.decode(answer, skip_special_tokens=True)
    assert said.count("<FACE>") >= 2
    facegpt.generate(
        **first, **GREEDY, min_faces=2, streamer=TextStreamer(processor.tokenizer, True, skip_special_tokens=True)
    )
    assert capsys.readouterr().out.strip() == said.strip()
    streamer = TextIteratorStreamer(processor.tokenizer, True, timeout=60, skip_special_tokens=True)
    results = []
    settings = {**first, **GREEDY, "min_faces": 2, "streamer": streamer, "return_dict_in_generate": True}
    thread = Thread(target=lambda: results.append(facegpt.generate(**settings)))
    thread.start()
    assert "".join(streamer).strip() == said.strip()
    thread.join()
    assert len(results[0].face_parameters) == said.count("<FACE>")


def test_words_alone_are_plain_token_ids(facegpt: FaceGPTForConditionalGeneration, prompt: dict[str, Tensor]):
    answer = facegpt.generate(**prompt, **GREEDY)
    assert isinstance(answer, Tensor)
    assert torch.equal(answer, facegpt.vlm.generate(**prompt, **GREEDY))
    output = facegpt.generate(**prompt, **GREEDY, return_dict_in_generate=True, output_hidden_states=True)
    assert torch.equal(output.sequences, answer)
    assert len(output.hidden_states) == answer.shape[1] - prompt["input_ids"].shape[1]


def test_an_answer_without_a_face_has_none(
    facegpt: FaceGPTForConditionalGeneration, prompt: dict[str, Tensor], processor: FaceGPTProcessor
):
    never = SayFaceAt(-1, processor.face_token_id, processor.end_token_id)
    output = facegpt.generate(**prompt, **GREEDY, logits_processor=[never], return_dict_in_generate=True)
    assert output.face_parameters.shape == (0, facegpt.face_head.code_size)
    assert output.face_rows.shape == (0,)


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"do_sample": True}], ids=["greedy", "beams", "sampling"])
@pytest.mark.parametrize("wish", ["ends at once", "rambles"])
def test_a_request_for_faces_yields_them(
    facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    prompt: dict[str, Tensor],
    settings: dict,
    wish: str,
):
    bias = {(processor.face_token_id,): -50.0, (processor.end_token_id,): 50.0 if wish == "ends at once" else -50.0}
    given = {**GREEDY, **settings, "sequence_bias": bias}
    length = prompt["input_ids"].shape[1]
    free = facegpt.generate(**prompt, **given)[:, length:]
    assert not (free == processor.face_token_id).any()
    output = facegpt.generate(**prompt, **given, min_faces=2, return_dict_in_generate=True)
    answers = output.sequences[:, length:]
    assert ((answers == processor.face_token_id).sum(-1) == 2).all()
    assert output.face_rows.tolist() == [0, 0, 1, 1]
    if wish == "ends at once":
        assert (answers[:, :2] == processor.face_token_id).all()
    else:
        assert (answers[:, -2:] == processor.face_token_id).all()


def test_without_a_length_a_request_still_yields_its_face(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, prompt: dict[str, Tensor]
):
    bias = {(processor.face_token_id,): -50.0, (processor.end_token_id,): -50.0}
    length = prompt["input_ids"].shape[1]
    for settings in ({}, {"max_length": length + 4}, {"generation_config": GenerationConfig(max_new_tokens=3)}):
        output = facegpt.generate(**prompt, **settings, do_sample=False, sequence_bias=bias, min_faces=1)  # pyright: ignore
        assert (output[:, -1] == processor.face_token_id).all()


def test_what_speaks_for_the_end_speaks_for_a_face():
    scores = torch.tensor([[0.5, 0.2, 0.2, 0.1]]).log()
    processor = FaceLogitsProcessor(1, [2, 3], min_faces=1, prompt_length=2, max_new_tokens=4)
    missing = processor(torch.tensor([[1, 1, 0]]), scores).exp()
    torch.testing.assert_close(missing, torch.tensor([[0.5, 0.5, 0.0, 0.0]]))
    assert torch.equal(processor(torch.tensor([[1, 1, 1]]), scores), scores)
    last = processor(torch.tensor([[1, 1, 0, 0, 0]]), scores).exp()
    assert torch.equal(last, torch.tensor([[0.0, 1.0, 0.0, 0.0]]))


def test_more_faces_than_tokens_are_refused(facegpt: FaceGPTForConditionalGeneration, prompt: dict[str, Tensor]):
    with pytest.raises(ValueError, match="got min_faces=7 for answers of at most 6 tokens"):
        facegpt.generate(**prompt, **GREEDY, min_faces=7)


def test_one_camera_per_prompt(facegpt: FaceGPTForConditionalGeneration, prompt: dict[str, Tensor]):
    with pytest.raises(ValueError, match="got 3 rows of picture_cameras for 2 prompts"):
        facegpt.generate(**prompt, **GREEDY, return_dict_in_generate=True, picture_cameras=torch.ones(3, 3))
