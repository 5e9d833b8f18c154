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
"""The wordings that people wrote: whole, unchanged, and not among those that training reads."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from facegpt_trainer.grammar.nano_corpus import write_corpus

FOLDER = Path(__file__).parents[1] / "trainer" / "facegpt_trainer" / "evaluation" / "wordings"
HALVES = ("development", "sealed")
SEALED_SHA256 = "e5bfe2cdc387961a04090e74643bf8999f3e16c2b7f78a4a231f1070ca589262"
KINDS = {"face", "situation", "edit", "dialogue", "question", "decline", "talk", "reference"}


def lines(half: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{half}.jsonl").read_text().splitlines()]


def words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9']+", text.lower()))


def test_the_sealed_half_is_as_it_was_written():
    assert hashlib.sha256((FOLDER / "sealed.jsonl").read_bytes()).hexdigest() == SEALED_SHA256


@pytest.mark.parametrize("half", HALVES)
def test_each_line_tells_what_is_wanted(half: str):
    items = lines(half)
    assert len(items) >= 150 and {item["kind"] for item in items} == KINDS
    for item in items:
        assert item["voice"] in ("creator", "sketch", "joker") and item["wanted"]
        if item["kind"] == "dialogue":
            assert 4 <= len(item["turns"]) <= 10 and len(item["wanted"]) == len(item["turns"])
        else:
            assert item["text"].strip()


def test_nothing_is_in_both_halves():
    texts = [item.get("text") or " / ".join(item["turns"]) for half in HALVES for item in lines(half)]
    assert len({words(text) for text in texts}) == len(texts) >= 300
    assert len({item["id"] for half in HALVES for item in lines(half)}) == len(texts)


def test_training_reads_none_of_them():
    """No whole request or turn of four words or more stands in the corpus of the project's own sentences."""
    corpus = {words(sentence) for text in write_corpus(0) for sentence in re.split(r"[.!?\n]", text)}
    assert len(corpus) > 100
    turns = [turn for half in HALVES for item in lines(half) for turn in item.get("turns", [item.get("text")])]
    assert not [turn for turn in turns if len(words(turn)) >= 4 and words(turn) in corpus]
