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
"""Chats: what is remembered, what is given back to the model, and what undoing restores."""

from typing import Any

import pytest
import torch
from facegpt_trainer.nano import NANO_TEXT
from PIL import Image
from reconstructions import make_reconstruction

from modeling_facegpt import (
    ChatSession,
    FaceGPTForConditionalGeneration,
    FaceGPTProcessor,
    FaceParameters,
    face_detection,
)
from modeling_facegpt.dialogue import (
    FRESH,
    Answer,
    Dialogue,
    MostFacesLogitsProcessor,
    answer_dialogues,
    no_faces,
    place_imagined,
    user_message,
)
from modeling_facegpt.face_parameters import parameters_to_vector, select_faces
from modeling_facegpt.reconstruction import to_device


@pytest.fixture
def photograph() -> Image.Image:
    return Image.effect_noise((120, 90), 80).convert("RGB")


@pytest.fixture
def given(chatty: FaceGPTForConditionalGeneration, monkeypatch: pytest.MonkeyPatch) -> list:
    """What `generate` is given as faces, call by call."""
    seen = []
    generate = chatty.generate

    def listen(*arguments, **settings):
        seen.append(settings.get("given_faces"))
        return generate(*arguments, **settings)

    monkeypatch.setattr(chatty, "generate", listen)
    return seen


def faces_only(count: int) -> dict[str, Any]:
    """Settings of answers that are `count` faces and nothing else."""
    return {"max_new_tokens": count, "min_faces": count}


def vector(faces) -> torch.Tensor:
    return parameters_to_vector(faces.parameters)


def test_a_face_that_was_said_is_given_back_with_the_next_words(chatty, processor, given, photograph):
    session = ChatSession(chatty, processor, photograph=photograph, **faces_only(2))
    found = session.faces
    first = session.say("Show me the faces.")
    assert first.text.count("<FACE>") == len(first.references) == len(first.faces.probability) >= 1
    torch.testing.assert_close(given[0], vector(found), rtol=0, atol=0)
    session.say("Now make them smile.")
    torch.testing.assert_close(given[1], torch.cat((vector(found), vector(first.faces))), rtol=0, atol=0)
    roles = [message["role"] for message in session.state.dialogue.messages]
    assert roles == ["user", "assistant"] * 2
    kinds = [[part["type"] for part in message["content"]] for message in session.state.dialogue.messages]
    assert kinds == [["image", "text"], ["text"], ["text"], ["text"]]


def test_faces_of_a_photograph_are_found_before_anything_is_said(chatty, processor, given, photograph):
    [here] = chatty.reconstruct([photograph], processor)
    session = ChatSession(chatty, processor, photograph=photograph, **faces_only(1))
    assert session.faces is not None and torch.equal(vector(session.faces), vector(here))
    session.say("Who laughs?")
    assert torch.equal(given[0], vector(here))
    [asked, _] = session.state.dialogue.messages
    assert [part["type"] for part in asked["content"]] == ["image", "text"]
    assert asked["content"][1]["text"] == "<FACE> " * len(here.probability) + "Who laughs?"


def test_a_face_that_is_shown_again_is_as_it_was_found(chatty, processor, photograph, monkeypatch):
    """A copy keeps what is known of it: camera, probability and how sure it is."""
    session = ChatSession(chatty, processor, photograph=photograph, **faces_only(1))
    found = session.faces
    assert found is not None
    copied = place_imagined(select_faces(found.parameters, slice(0, 1)))
    monkeypatch.setattr(
        "modeling_facegpt.chat_session.answer_dialogues", lambda *_, **__: [Answer("<FACE>", copied, (0,))]
    )
    faces = session.say("Show me the first one.").faces
    assert torch.equal(vector(faces), vector(found)[:1]) and faces.size == found.size
    assert torch.equal(faces.probability, found.probability[:1])
    assert faces.standard_deviation is not None
    # Everybody, after one of them, and after something else was said.
    everybody = place_imagined(found.parameters)
    answer = Answer("<FACE>" * len(found.probability), everybody, tuple(range(len(found.probability))))
    monkeypatch.setattr("modeling_facegpt.chat_session.answer_dialogues", lambda *_, **__: [answer])
    faces = session.say("Show me everybody.").faces
    assert torch.equal(faces.probability, found.probability) and faces.standard_deviation is not None


def test_given_faces_go_where_the_model_is(chatty, processor, face_parameters):
    faces = make_reconstruction(face_parameters, faces=2)
    moved = to_device(faces, torch.device("meta"))
    assert moved.probability.device.type == moved.parameters.identity.device.type == "meta"
    assert moved.camera.focal.device.type == "meta" and moved.size == faces.size
    session = ChatSession(chatty, processor, faces=faces)
    assert session.faces is not None and session.faces.probability.device == chatty.device


def test_faces_of_a_photograph_are_looked_at_again(eager_facegpt, processor, photograph, monkeypatch):
    # An answer is about the whole photo, not its tiles.
    monkeypatch.setattr(face_detection.FaceDetector, "view_tiles", lambda _, photos, chosen: [[] for _ in photos])
    session = ChatSession(eager_facegpt, processor, photograph=photograph, **faces_only(1))
    answer = session.say("Reconstruct every face, from left to right.")
    [here] = eager_facegpt.reconstruct([photograph], processor)
    assert answer.faces.size == photograph.size
    # The first slot of both: `reconstruct` sorts its faces, and may find the same one twice.
    distance = (vector(here) - vector(answer.faces)).abs().amax(1).min()
    assert distance < 1e-4
    assert answer.faces.standard_deviation is not None


def test_faces_are_kept_and_dropped_as_in_reconstruction(eager_facegpt, processor, photograph, monkeypatch):
    """Slots and words ask the same, so that the same faces are found; what reconstruction drops goes from the text."""
    # An answer is about the whole photo, not its tiles.
    monkeypatch.setattr(face_detection.FaceDetector, "view_tiles", lambda _, photos, chosen: [[] for _ in photos])
    [here] = eager_facegpt.reconstruct([photograph], processor)
    count = eager_facegpt.config.max_faces
    session = ChatSession(eager_facegpt, processor, photograph=photograph, **faces_only(count))
    answer = session.say("Reconstruct every face, from left to right.")
    assert len(answer.faces.probability) == len(answer.references) == answer.text.count("<FACE>")
    assert len(answer.references) == max(len(here.probability), 1) <= count
    assert session.state.dialogue.faces.identity.shape[0] == len(answer.references)


def test_an_answer_has_at_most_so_many_faces():
    limit = MostFacesLogitsProcessor(face_token_id=7, max_faces=2, prompt_length=3)
    said = torch.tensor([[7, 7, 7, 7, 1], [1, 1, 7, 7, 7]])
    scores = torch.zeros(2, 9)
    limited = limit(said, scores)
    assert limited[0, 7] == 0 and limited[1, 7] == -torch.inf and not scores.any()
    assert limited[:, :7].abs().max() == 0


def test_undo_restores_the_faces_exactly(chatty, processor, photograph):
    session = ChatSession(chatty, processor, photograph=photograph, **faces_only(1))
    found = session.faces
    session.say("Show me the face.")
    before = session.state
    session.say("Make her smile.")
    assert session.state is not before
    session.undo()
    assert session.state is before
    session.undo()
    assert session.faces is found
    with pytest.raises(ValueError, match="nothing to undo"):
        session.undo()


def test_words_without_a_photograph_make_faces_before_our_own_camera(chatty, processor):
    session = ChatSession(chatty, processor, **faces_only(1))
    answer = session.say("A man who smiles.")
    assert answer.faces.size == (512, 512) and answer.faces.standard_deviation is None
    assert answer.references == (FRESH,)


def test_a_seed_is_a_series_of_different_faces(chatty, processor):
    def make_two(seed: int) -> torch.Tensor:
        session = ChatSession(chatty, processor, seed=seed, **faces_only(1))
        session.say("A man.")
        session.undo()
        first = session.say("A man.")
        session.undo()
        return torch.cat((vector(first.faces), vector(session.say("A man.").faces)))

    one, same, other = make_two(1), make_two(1), make_two(2)
    assert torch.equal(one, same) and (one - other).abs().max() > 0.1
    assert (one[0] - one[1]).abs().max() > 0.1


def test_given_faces_come_before_the_first_words(chatty, processor, given, face_parameters):
    faces = make_reconstruction(face_parameters, faces=2)
    session = ChatSession(chatty, processor, faces=faces, **faces_only(1))
    assert session.faces is faces
    session.say("Compare them.")
    torch.testing.assert_close(given[0], vector(faces))
    [asked, _] = session.state.dialogue.messages
    assert asked["content"][0]["text"] == "<FACE> <FACE> Compare them."
    session.say("Again.")
    assert len(given[1]) == 3


def test_another_photograph_begins_anew_until_undone(chatty, processor, given, photograph):
    session = ChatSession(chatty, processor, photograph=photograph, **faces_only(1))
    session.say("Show me the face.")
    faces = session.faces
    session.look(photograph.rotate(90, expand=True))
    seen = session.faces
    assert seen is not None and seen.size == (90, 120)
    answer = session.say("Show me the face.")
    assert torch.equal(given[1], vector(seen)) and session.faces is answer.faces and answer.faces.size == (90, 120)
    session.undo()
    session.undo()
    assert session.faces is faces


def test_refused_words_leave_the_chat_where_it_was(chatty, processor, photograph):
    session = ChatSession(chatty, processor, photograph=photograph, **faces_only(1))
    state = session.state
    for words, reason in (
        ("  ", "empty prompt"),
        ("Look at <image> here", "control token"),
        ("<FACE> make it smile", "control token"),
        ("stop <end>", "control token"),
        ("word " * 10_000, "fewer words"),
    ):
        with pytest.raises(ValueError, match=reason):
            session.say(words)
    assert session.state is state


def test_a_long_chat_forgets_its_beginning(chatty, processor, given, photograph):
    longest = NANO_TEXT["max_position_embeddings"]
    session = ChatSession(chatty, processor, photograph=photograph, **faces_only(1))
    found = vector(session.faces)
    for _ in range(3):
        session.say("word " * (longest // 3))
    messages = session.state.dialogue.messages
    assert 0 < len(messages) < 6 and next(iter(messages))["content"][0] == {"type": "image"}
    assert sum(part["type"] == "image" for message in messages for part in message["content"]) == 1
    # What was found in the photograph comes along with it.
    assert messages[0]["content"][1]["text"].startswith("<FACE> " * len(found) + "Word")
    assert len(given[-1]) == len(found) + len(messages) // 2 - 1 and torch.equal(given[-1][: len(found)], found)


def test_words_are_heard_as_they_are_said(chatty, processor):
    heard = []
    session = ChatSession(chatty, processor, **faces_only(3))
    answer = session.say("Three men.", on_words=heard.append)
    assert "".join(heard) == answer.text == "<FACE>" * 3


def test_a_model_that_reads_no_faces_is_given_none(facegpt, processor, face_parameters):
    with pytest.raises(ValueError, match="reads no faces"):
        ChatSession(facegpt, processor, faces=make_reconstruction(face_parameters))


def test_dialogues_are_answered_in_batches_as_one_by_one(
    chatty: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    photograph: Image.Image,
    face_parameters: FaceParameters,
):
    session = ChatSession(chatty, processor, photograph=photograph)
    seen = session.state.dialogue.photograph
    one = select_faces(face_parameters, slice(0, 1))
    dialogues = [
        Dialogue((user_message("Show me the face.", processor, image=True),), no_faces(chatty), seen),
        Dialogue((user_message("A man.", processor),), no_faces(chatty)),
        Dialogue((user_message("Make it smile a little more.", processor, faces=1),), one),
        Dialogue((user_message("The face on the left.", processor, image=True),), no_faces(chatty), seen),
    ]
    together = answer_dialogues(chatty, processor, dialogues, **faces_only(2))
    for dialogue, answer in zip(dialogues, together, strict=True):
        [alone] = answer_dialogues(chatty, processor, [dialogue], **faces_only(2))
        assert isinstance(answer, Answer) and alone.text == answer.text
        if dialogue.photograph is not None:  # faces from words are drawn one after the other
            torch.testing.assert_close(vector(alone.faces), vector(answer.faces), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="one by one"):
        answer_dialogues(chatty, processor, dialogues, on_words=lambda words: None)
    with pytest.raises(ValueError, match="got 0 faces for 1"):
        answer_dialogues(chatty, processor, [dialogues[2]._replace(faces=no_faces(chatty))])
