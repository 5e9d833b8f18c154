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

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor
from modeling_facegpt.face_parameters import parameters_to_vector


@pytest.fixture
def group() -> Image.Image:
    return Image.effect_noise((160, 90), 80).convert("RGB")


@pytest.fixture
def asked(
    eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, monkeypatch: pytest.MonkeyPatch
) -> list[list[str]]:
    """The questions that the model is asked, look by look."""
    looks = []
    forward = eager_facegpt.forward

    def listen(*arguments, **settings):
        prompts = processor.batch_decode(settings["input_ids"], skip_special_tokens=True)
        looks.append([prompt.split("<FACE>")[0].strip() for prompt in prompts])
        return forward(*arguments, **settings)

    monkeypatch.setattr(eager_facegpt, "forward", listen)
    return looks


def test_look_one_is_asked_in_the_words_and_look_two_as_ever(eager_facegpt, processor, asked, group):
    eager_facegpt.reconstruct([group], processor, reference="the woman on the left")
    assert asked[0] == ["Reconstruct the woman on the left."]
    assert all(question == "Reconstruct the face in the middle." for question in asked[1])


def test_each_image_may_have_words_of_its_own(eager_facegpt, processor, asked, group):
    eager_facegpt.reconstruct([group] * 3, processor, reference=["the largest face.", None, " the one who laughs "])
    assert asked[0] == [
        "Reconstruct the largest face.",
        "Reconstruct every face, from left to right.",
        "Reconstruct the one who laughs.",
    ]
    asked.clear()
    eager_facegpt.reconstruct([group] * 2, processor, reference="the girl")
    assert asked[0] == ["Reconstruct the girl."] * 2


def test_named_faces_come_back_in_the_photograph(eager_facegpt, processor, group):
    """Words that ask what no words ask find the same faces at the same places."""
    [all_of_them] = eager_facegpt.reconstruct([group], processor)
    [named] = eager_facegpt.reconstruct([group], processor, reference="every face, from left to right")
    assert named.size == group.size and len(named.probability) >= 1
    ours, theirs = (parameters_to_vector(found.parameters) for found in (named, all_of_them))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(named.camera.principal_point, torch.tensor([[80.0, 45.0]]).expand_as(ours[:, :2]))


def test_words_that_name_no_face_give_none(facegpt, processor, group):
    with torch.no_grad():
        facegpt.get_input_embeddings().weight[processor.face_token_id] = 0  # never likelier than the end
        facegpt.get_input_embeddings().weight[processor.end_token_id] = 1
        hidden = facegpt(**processor(images=group, messages=processor.reconstruct_messages()), logits_to_keep=1)
        sign = hidden.logits[0, -1, processor.end_token_id].sign()
        facegpt.get_input_embeddings().weight[processor.end_token_id] = sign
    [found] = facegpt.reconstruct([group], processor, reference="the clown")
    assert found.probability.shape == (0,) and found.parameters.identity.shape[0] == 0


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
def test_words_that_cannot_be_asked_are_refused(eager_facegpt, processor, group, reference, words):
    given = [reference, None] if isinstance(reference, int) else reference
    with pytest.raises(ValueError, match=words):
        eager_facegpt.reconstruct([group] * 2, processor, reference=given)
