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
"""Faces that words name: how the model is asked for them, and where they come back."""

import pytest
import torch
from PIL import Image
from reconstructions import make_reconstruction

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor
from modeling_facegpt.dialogue import Answer, place_imagined
from modeling_facegpt.face_editing import FRESH
from modeling_facegpt.face_parameters import parameters_to_vector, select_faces
from modeling_facegpt.reconstruction import Reconstruction


@pytest.fixture
def group() -> Image.Image:
    return Image.effect_noise((160, 90), 80).convert("RGB")


@pytest.fixture
def asked(
    chatty: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, torch.Tensor]]:
    """The questions that are answered in words, and the faces that they give, batch by batch."""
    seen = []
    generate = chatty.generate

    def listen(*arguments, **settings):
        prompts = processor.batch_decode(settings["input_ids"], skip_special_tokens=True)
        seen.append(([prompt.strip() for prompt in prompts], settings["given_faces"]))
        return generate(*arguments, **settings)

    monkeypatch.setattr(chatty, "generate", listen)
    return seen


def answer_with(monkeypatch: pytest.MonkeyPatch, *references: int) -> None:
    """Have every question answered by faces that refer to these."""

    def answer(model, processor, dialogues):
        faces = [select_faces(d.faces, torch.zeros(len(references), dtype=torch.long)) for d in dialogues]
        return [Answer("<FACE>" * len(references), place_imagined(face), references) for face in faces]

    monkeypatch.setattr("modeling_facegpt.generation_mixin.answer_dialogues", answer)


def vector(found: Reconstruction) -> torch.Tensor:
    return parameters_to_vector(found.parameters)


def test_all_faces_are_found_and_given_before_the_words_are_asked(chatty, processor, asked, group):
    [found] = chatty.reconstruct([group], processor)
    chatty.reconstruct([group], processor, reference="the woman on the left")
    [([question], given)] = asked
    assert question == "<FACE> " * len(found.probability) + "Reconstruct the woman on the left."
    assert torch.equal(given, vector(found))


def test_each_image_may_have_words_of_its_own(chatty, processor, asked, group):
    references = ["the largest face.", None, " the one who laughs "]
    found = chatty.reconstruct([group] * 3, processor, reference=references)
    [(questions, _)] = asked
    assert [question.split("> ")[-1] for question in questions] == [
        "Reconstruct the largest face.",
        "Reconstruct the one who laughs.",
    ]
    [everybody] = chatty.reconstruct([group], processor)
    torch.testing.assert_close(vector(found[1]), vector(everybody))
    asked.clear()
    chatty.reconstruct([group] * 2, processor, reference="the girl")
    assert [question.split("> ")[-1] for question in asked[0][0]] == ["Reconstruct the girl."] * 2


def test_named_faces_are_those_that_the_answer_refers_to(chatty, processor, group, monkeypatch, face_parameters):
    everybody = make_reconstruction(face_parameters, faces=3)
    monkeypatch.setattr("modeling_facegpt.generation_mixin.reconstruct", lambda *_, **__: [everybody])
    answer_with(monkeypatch, 2, 0, 3, FRESH)  # 3: the first face of the answer itself
    [named] = chatty.reconstruct([group], processor, reference="both")
    assert named.size == everybody.size
    assert torch.equal(vector(named), vector(everybody)[[0, 2]])
    assert torch.equal(named.probability, everybody.probability[[0, 2]])
    assert torch.equal(named.camera.focal, everybody.camera.focal[[0, 2]])


@pytest.mark.parametrize("references", [(), (FRESH,)])
def test_words_that_name_no_face_give_none(chatty, processor, group, monkeypatch, references):
    answer_with(monkeypatch, *references)
    [found] = chatty.reconstruct([group], processor, reference="the clown", refine_steps=1)
    assert found.probability.shape == (0,) and found.parameters.identity.shape[0] == 0


def test_a_checkpoint_that_reads_no_faces_cannot_be_told_which(eager_facegpt, processor, group):
    with pytest.raises(ValueError, match="not trained on dialogues"):
        eager_facegpt.reconstruct([group], processor, reference="the girl")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("", "empty prompt"),
        ("the <FACE>", "control token"),
        (["one"], "1 references for 2 images"),
        (7, "type int"),
        ("word " * 10_000, "fewer words"),
    ],
)
def test_words_that_cannot_be_asked_are_refused(chatty, processor, group, reference, words):
    given = [reference, None] if isinstance(reference, int) else reference
    with pytest.raises(ValueError, match=words):
        chatty.reconstruct([group] * 2, processor, reference=given)
