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
"""The pipeline: photographs and words in, words and faces out, here and where the package is not installed."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from transformers import pipeline

from modeling_facegpt import FaceChatPipeline, FaceGPTForConditionalGeneration, FaceGPTProcessor
from modeling_facegpt.dialogue import Answer, place_imagined
from modeling_facegpt.face_parameters import parameters_to_vector
from modeling_facegpt.photograph import read_photograph
from modeling_facegpt.pipeline_facegpt import TASK

CLEAN_PROCESS = """
import sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("modeling_facegpt", "facegpt_trainer", "facegpt_hub"):
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Absent())
import torch
from transformers import AutoProcessor, pipeline

directory, photograph, answer = sys.argv[1:]
torch.set_num_threads(1)
chat = pipeline(model=directory, trust_remote_code=True, device="cpu")
result = chat(photograph, "Show me the face.", max_new_tokens=2, min_faces=2)
messages = [{"role": "user", "content": [{"type": "image", "path": photograph}, {"type": "text", "text": "Hello."}]}]
inputs = AutoProcessor.from_pretrained(directory, trust_remote_code=True).apply_chat_template(
    messages, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
)
torch.save([type(chat).__name__, result["text"], [*result["faces"].parameters], dict(inputs)], answer)
"""


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    Image.effect_noise((120, 90), 80).convert("RGB").save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


def make_pipeline(model: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor) -> FaceChatPipeline:
    make: Any = pipeline  # its types know no task of others
    made = make(TASK, model=model, processor=processor, device="cpu")
    assert isinstance(made, FaceChatPipeline)
    return made


@pytest.fixture
def chat(eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor) -> FaceChatPipeline:
    return make_pipeline(eager_facegpt, processor)


def faces_only(count: int) -> dict[str, Any]:
    return {"max_new_tokens": count, "min_faces": count}


def test_a_photograph_and_words_give_words_and_faces(chat, photograph):
    result = chat(str(photograph), "Show me the faces.", **faces_only(2))
    assert result["text"].count("<FACE>") == len(result["faces"].probability) >= 1
    assert result["faces"].size == (120, 90)
    opened = chat(Image.open(photograph), "Show me the faces.", **faces_only(2))
    torch.testing.assert_close(opened["faces"].parameters, result["faces"].parameters)


def test_a_photograph_is_read_as_the_command_reads_it(chat, tmp_path):
    """16-bit grey is no white picture, one on its side is turned, and bytes and records are taken like paths."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 50
    noise = np.random.default_rng(0).integers(0, 65535, (60, 90)).astype(np.uint16)
    path = tmp_path / "deep.png"
    Image.fromarray(noise).save(path, exif=exif)
    read = read_photograph(path)
    for source in (str(path), Image.open(path), path.read_bytes(), read):
        question = chat.preprocess({"image": source, "text": "Show me the face."})["question"]
        assert question.photograph.image.size == (60, 90) and question.photograph.focal == read.focal
        assert np.array_equal(np.asarray(question.photograph.image), np.asarray(read.image))
    for source in (path.read_bytes(), read):
        assert chat(source, "Show me the face.", **faces_only(1))["faces"].size == (60, 90)


def test_faces_that_a_look_found_keep_what_is_known_of_them(chatty, processor, photograph, monkeypatch):
    """Of a checkpoint that reads faces; together with a question that has no photograph."""
    chat = make_pipeline(chatty, processor)
    image = Image.open(photograph)
    [found] = chatty.reconstruct([image], processor)

    def answer(model, processor, dialogues, **settings):
        seen = [dialogue.faces.identity.shape[0] for dialogue in dialogues]
        return [
            Answer("<FACE>" * count, place_imagined(dialogue.faces), tuple(range(count)))
            for dialogue, count in zip(dialogues, seen, strict=True)
        ]

    monkeypatch.setattr("modeling_facegpt.pipeline_facegpt.answer_dialogues", answer)
    seen, unseen = chat([{"image": image, "text": "Everybody."}, {"text": "Nobody."}])
    assert torch.equal(seen["faces"].probability, found.probability) and seen["faces"].size == image.size
    assert seen["faces"].standard_deviation is not None and not len(unseen["faces"].probability)


def test_words_alone_give_a_face_before_our_own_camera(chat):
    result = chat(text="A man who smiles.", **faces_only(1))
    assert result["text"] == "<FACE>" and result["faces"].size == (512, 512)
    assert result["faces"].standard_deviation is None


def test_a_photograph_alone_asks_for_every_face(chat, photograph):
    said = chat(str(photograph), **faces_only(1))
    asked = chat(str(photograph), "Reconstruct every face, from left to right.", **faces_only(1))
    torch.testing.assert_close(said["faces"].parameters, asked["faces"].parameters)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_lists_are_answered_one_by_one_or_in_batches(chat, photograph, batch_size):
    questions = [
        {"image": str(photograph), "text": "Show me the face."},
        {"text": "A man."},
        {"image": str(photograph)},
    ]
    alone = [chat(question, **faces_only(1)) for question in questions]
    for given in (questions, iter(questions)):
        together = list(chat(given, batch_size=batch_size, **faces_only(1)))
        for one, other in zip(alone, together, strict=True):
            assert one["text"] == other["text"]
            ours, theirs = (parameters_to_vector(result["faces"].parameters) for result in (one, other))
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    pair = chat([str(photograph)] * 2, "Show me the face.", batch_size=batch_size, **faces_only(1))
    torch.testing.assert_close(pair[1]["faces"].parameters, alone[0]["faces"].parameters, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "neither an image nor a text"),
        ({"text": " "}, "empty prompt"),
        ({"text": "<image>"}, "control token"),
        ({"images": ["a.png"], "text": ["one", "two"]}, "1 images and 2 texts"),
    ],
)
def test_what_cannot_be_asked_is_refused(chat, arguments, words):
    with pytest.raises(ValueError, match=words):
        chat(**arguments)


@pytest.fixture
def one_thread():
    """As the other process has: sums in another order differ in the last places, and each look adds to that."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_it_comes_along_with_the_code(
    eager_facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    photograph: Path,
    tmp_path: Path,
    one_thread: None,
):
    directory, answer = tmp_path / "checkpoint", tmp_path / "answer.pt"
    eager_facegpt.save_pretrained(directory)
    processor.save_pretrained(directory)
    assert TASK in json.loads((directory / "config.json").read_text())["custom_pipelines"]
    here = make_pipeline(eager_facegpt, processor)
    expected = here(str(photograph), "Show me the face.", **faces_only(2))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")}
    command = [sys.executable, "-I", "-c", CLEAN_PROCESS, str(directory), str(photograph), str(answer)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    name, text, faces, inputs = torch.load(answer)
    assert (name, text) == ("FaceChatPipeline", expected["text"])
    for ours, theirs in zip(expected["faces"].parameters, faces, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)
    framed = processor.frame_photograph(Image.open(photograph).convert("RGB")).picture[None]
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hello."}]}]
    again = processor(pictures=framed, messages=messages)
    assert torch.equal(inputs["input_ids"], again["input_ids"])
    torch.testing.assert_close(inputs["pixel_values"], again["pixel_values"], rtol=0, atol=5e-3)


@pytest.mark.parametrize("kind", ["facegpt", "dialogue_facegpt"])
@pytest.mark.parametrize("wish", [{}, {"min_faces": 2}], ids=["as it likes", "two faces"])
def test_the_stock_pipeline_says_what_generate_says(
    kind: str, wish: dict[str, int], processor: FaceGPTProcessor, photograph: Path, request: pytest.FixtureRequest
):
    """`pipeline("image-text-to-text")`, which gives a configuration and single settings at once."""
    model = request.getfixturevalue(kind)
    make: Any = pipeline
    stock = make("image-text-to-text", model=model, processor=processor, device="cpu")
    image = Image.open(photograph)
    messages = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "Hello."}]}]
    settings = {"max_new_tokens": 6, "do_sample": False, **wish}
    inputs = processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    said = model.generate(**inputs, **settings)[:, inputs["input_ids"].shape[1] :]
    [expected] = processor.batch_decode(said, skip_special_tokens=True)
    assert expected.count("<FACE>") >= wish.get("min_faces", 0)
    [whole] = stock(text=messages, generate_kwargs=dict(settings))
    assert whole["generated_text"] == [*messages, {"role": "assistant", "content": expected}]
    [alone] = stock(text=messages, generate_kwargs=dict(settings), return_full_text=False)
    assert alone["generated_text"] == expected
    [ids] = stock(text=messages, generate_kwargs=dict(settings), return_tensors=True)
    assert torch.equal(ids["generated_token_ids"][-said.shape[1] :], said[0])


def test_a_configuration_and_single_settings_go_together(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    """What is asked for beside the configuration wins, and the answer has the form that was asked for."""
    prompt = processor(messages=[{"role": "user", "content": "A man."}])
    config = copy.deepcopy(dialogue_facegpt.generation_config)
    config.max_new_tokens, config.do_sample = 3, False
    plain = dialogue_facegpt.generate(**prompt, generation_config=config, return_dict_in_generate=False, min_faces=1)
    whole = dialogue_facegpt.generate(**prompt, generation_config=config, return_dict_in_generate=True, min_faces=1)
    assert isinstance(plain, torch.Tensor) and torch.equal(plain, whole.sequences)
    assert whole.hidden_states is None and len(whole.face_parameters) >= 1
