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
"""Words of a person, written as sentences."""

import pytest
from facegpt_trainer.grammar import wordings
from hypothesis import example, given
from hypothesis import strategies as st

from modeling_facegpt.conversation import as_sentence, check_words


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("who is this", "Who is this?"),
        ("make her smile", "Make her smile."),
        ("Make him smile. who is he", "Make him smile. who is he?"),
        ("what's his mood?", "What's his mood?"),
        ("Undo!", "Undo!"),
        ("3 faces", "3 faces."),
        ("a nose of 4.5 cm", "A nose of 4.5 cm."),
        ("lächelt sie", "Lächelt sie."),
        ("笑って", "笑って"),
        ("…", "…"),
    ],
)
def test_words_are_written_as_sentences(typed: str, written: str):
    assert as_sentence(typed) == written


def test_questions_to_train_on_are_known_without_their_marks():
    """Of all questions that the grammar asks in words of its own, those typed without marks are written as before."""
    asked = [w for words in (wordings.WHO, wordings.JUDGE) for group in words[:2] for w in group if "{" not in w]
    assert sum(w.endswith("?") for w in asked) > 20
    assert [as_sentence(w[0].lower() + w[1:].rstrip(".?")) for w in asked] == asked


@given(st.text(min_size=1).filter(str.strip))
@example("ß")  # its capital is SS, two letters that a sentence may end with
def test_writing_twice_changes_nothing(words: str):
    once = as_sentence(words.strip())
    assert as_sentence(once) == once
    assert words.strip()[1:] in once


def test_halves_of_characters_are_question_marks(processor):
    """As bytes of a command line that are no UTF-8 become; the tokenizer refuses them with a `TypeError`."""
    words = check_words(" caf\udce9 \ud800", processor.tokenizer)
    assert words == "caf? ?"
    assert processor.tokenizer([words])["input_ids"]
