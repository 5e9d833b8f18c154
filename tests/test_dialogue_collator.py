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
import copy
import pickle
from collections import Counter

import pytest
import torch
from facegpt_trainer.answer_tokens import answer_mask
from facegpt_trainer.collator import FaceCollator
from facegpt_trainer.dialogue_collator import (
    ALIKE,
    INTERLEAVED,
    DialogueCollator,
    faceless_rows,
    lay_out,
)
from facegpt_trainer.grammar.attributes import sample_portraits
from facegpt_trainer.grammar.dialogues import Dialogue, Source
from facegpt_trainer.grammar.face_questions import tell_truths
from facegpt_trainer.grammar.face_references import Seen, references_to, several_or_none
from facegpt_trainer.loss_weights import LOSS_WEIGHTS
from facegpt_trainer.pictures import data_engine
from facegpt_trainer.pictures.data_engine import DataEngine
from facegpt_trainer.pictures.picture_dialogues import FOUND_KINDS, NO_FACE, PICTURE_KINDS, PictureGrammar, _as_found
from facegpt_trainer.pictures.shape_pictures import COLOURS, PLACES, DrawnShape, ShapeGrammar, draw_shapes

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor
from modeling_facegpt.face_editing import FRESH
from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.face_parameters import select_faces, vector_to_parameters
from modeling_facegpt.person import sample_people

SHARES = {
    "looks": 0.15,
    "pictures": 0.2,
    "found": 0.1,
    "descriptions": 0.1,
    "edits": 0.1,
    "questions": 0.05,
    "requests": 0.05,
    "answers": 0.05,
    "faces": 0.1,
    "shapes": 0.1,
}


@pytest.fixture(scope="module")
def engine(measurer: FaceMeasurer) -> DataEngine:
    return DataEngine(measurer.face_model, 64, seed=3)


@pytest.fixture(scope="module")
def grammar(engine: DataEngine, measurer: FaceMeasurer) -> PictureGrammar:
    return PictureGrammar(engine, measurer, seed=3)


@pytest.fixture(scope="module")
def drawn(grammar: PictureGrammar):
    return grammar.batch(0, 48, found=False)


@pytest.fixture
def collator(engine: DataEngine, measurer: FaceMeasurer, processor: FaceGPTProcessor) -> DialogueCollator:
    engine = DataEngine(measurer.face_model, processor.render_size, seed=3)
    return DialogueCollator(FaceCollator(processor, engine), measurer, SHARES)


def words(dialogue: Dialogue) -> list[str]:
    return ["".join(part.get("text", "") for part in turn["content"]) for turn in dialogue.messages]


def test_a_batch_of_pictures_follows_from_seed_split_and_number(grammar: PictureGrammar):
    (first, one), (again, other) = grammar.batch(1, 6), grammar.batch(1, 6)
    assert torch.equal(first.pictures, again.pictures)
    assert [d.messages for d in one] == [d.messages for d in other]


def test_dialogues_are_about_the_faces_of_their_picture(drawn):
    batch, dialogues = drawn
    starts = (batch.counts.cumsum(0) - batch.counts).tolist()
    assert {d.kind for d in dialogues} == set(PICTURE_KINDS)
    for dialogue, start, count in zip(dialogues, starts, batch.counts.tolist(), strict=True):
        assert dialogue.messages[0]["content"][0] == {"type": "image"}
        spoken = words(dialogue)
        assert sum(text.count("<FACE>") for text in spoken) == len(dialogue.faces) == len(dialogue.references)
        true = batch.face_targets[start : start + count]
        for face, reference in zip(dialogue.faces, dialogue.references, strict=True):
            assert reference != FRESH or (true == face).all(-1).any()
        if dialogue.kind in ("reconstruct", "edit"):
            assert torch.equal(dialogue.faces[:count], true)
        if "Nobody here is like that." in spoken:
            assert "Reconstruct" != spoken[0].split()[0] or "face of" in spoken[0]
        if NO_FACE in spoken:
            assert count == 0


def test_references_name_the_faces_that_stand_there(grammar: PictureGrammar):
    batch, dialogues = grammar.batch(2, 24, ("refer",), found=False)
    starts = (batch.counts.cumsum(0) - batch.counts).tolist()
    seen = Counter()
    for dialogue, start, count in zip(dialogues, starts, batch.counts.tolist(), strict=True):
        question, true = words(dialogue)[0], batch.face_targets[start : start + count]
        for side, row in (("left", 0), ("right", -1)):
            if f"the one on the {side}" in question or f"the person on the {side}" in question:
                assert torch.equal(dialogue.faces[0], true[row])
                seen[side] += 1
        if "largest" in question or "nearest" in question:
            faces = vector_to_parameters(true, grammar.measurer.face_model.config)
            sizes = faces.log_focal[:, 0].exp() / faces.translation[:, 2]
            assert torch.equal(dialogue.faces[0], true[sizes.argmax()])
            seen["largest"] += 1
    assert len(seen) >= 2


def test_faces_that_were_found_are_given_and_shown_again(grammar: PictureGrammar):
    dialogues = grammar.found_batch(0, 96)
    assert [d.messages for d in grammar.found_batch(0, 96)] == [d.messages for d in dialogues]
    assert {d.kind for d in dialogues} == set(FOUND_KINDS)
    again = Counter()
    for dialogue in dialogues:
        spoken = words(dialogue)
        given = spoken[0].count("<FACE>")
        assert spoken[0].startswith("<FACE> " * given) and dialogue.given[:given] == (True,) * given
        assert not any(part["type"] == "image" for part in dialogue.messages[0]["content"])
        assert len(dialogue.references) == sum(text.count("<FACE>") for text in spoken) - given
        if dialogue.kind in ("reconstruct", "refer"):
            shown, faces = dialogue.faces[given:], dialogue.faces[list(dialogue.references)]
            assert torch.equal(shown, faces)
            again[dialogue.kind, len(shown) == given] += 1
        if dialogue.kind == "reconstruct":
            assert dialogue.references == tuple(range(given))
    assert again["reconstruct", True] and again["refer", False] and not again["reconstruct", False]


def test_found_expressions_are_fainter_and_stray(grammar: PictureGrammar, measurer: FaceMeasurer):
    face = sample_portraits(torch.Generator().manual_seed(0), measurer, 1)
    source = Source(grammar.shapes, 0)
    calm = [_as_found(source, face).expression for _ in range(20)]
    assert all(0 <= shown.min() and shown.max() < 0.5 for shown in calm) and max(s.max() for s in calm) > 0.1
    full = face._replace(expression=torch.ones_like(face.expression))
    fades = torch.cat([_as_found(source, full).expression for _ in range(20)]).mean(1)
    assert fades.min() < 0.7 < fades.max() <= 1


def test_a_picture_gives_most_of_the_faces_that_were_found_in_it(grammar: PictureGrammar):
    batch, dialogues = grammar.batch(3, 48, ("question", "refer"))
    given = [words(dialogue)[0].count("<FACE>") for dialogue in dialogues]
    assert all(count in (0, faces) for count, faces in zip(given, batch.counts.tolist(), strict=True))
    assert 0.5 < sum(count > 0 for count in given) / 48 < 0.95
    assert all(dialogue.messages[0]["content"][0] == {"type": "image"} for dialogue in dialogues)


def test_nobody_who_is_hidden_is_talked_about(grammar: PictureGrammar, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data_engine, "LEAST_SEEN", 2.0)  # of several faces, the best seen alone counts
    batch, dialogues = grammar.batch(3, 12, ("refer", "presence", "edit"), found=False)
    assert set(batch.counts.tolist()) == {0, 1}
    assert {dialogue.kind for dialogue in dialogues} == {"reconstruct", "presence", "edit"}
    counted = [words(dialogue) for dialogue in dialogues if dialogue.kind == "presence"]
    assert not any("faces." in answer for _, answer, *_ in counted)


def test_expressions_refer_only_where_nobody_else_could_be_meant(measurer: FaceMeasurer, grammar: PictureGrammar):
    batch = grammar.engine.compose(torch.Generator().manual_seed(0), torch.tensor([False]), torch.tensor([3]))
    faces = vector_to_parameters(batch.face_targets, measurer.face_model.config)
    truths = [truth._replace(masculinity=None) for truth in tell_truths(measurer, faces)]

    def people(*emotions: str | None) -> list[Seen]:
        shown = zip(truths, emotions, strict=True)
        face = select_faces(faces, slice(1))
        return [Seen(face, t._replace(emotion=e), 0.3 * i, 1.0, {}, False) for i, (t, e) in enumerate(shown)]

    named = {r.words: r.rows for r in references_to(people("amused", "sad", "calm"))}
    assert named["the one who is laughing"] == (0,) and named["the one who is sad"] == (1,)
    assert not any("laughing" in r.words for r in references_to(people("amused", "happy", "sad")))
    assert not any("who is" in r.words for r in references_to(people("amused", None, "sad")))
    source = Source(grammar.shapes, 0)
    found = [several_or_none(source, people("sad", "sad", "calm")) for _ in range(20)]
    assert {r.rows for r in found if r and r.words == "everyone who is sad"} == {(0, 1)}
    assert all(r.rows == () for r in found if r and r.words.startswith("the one"))


def test_landmarks_under_something_are_not_seen(engine: DataEngine):
    batch = engine.compose(torch.Generator().manual_seed(1), torch.ones(64, dtype=torch.bool), torch.ones(64).long())
    seen = batch.landmarks_seen
    assert seen.shape == (64, 68) and set(seen.unique().tolist()) == {0.0, 1.0}
    bare = batch.glasses == 0
    wear = sample_people(torch.Generator().manual_seed(2), 4000).glasses.mean()
    assert batch.glasses.mean() == pytest.approx(float(wear), abs=0.15)
    assert seen[bare][:, 36:48].mean() > seen[~bare][:, 36:48].mean()


def test_shapes_are_drawn_as_they_are_told(measurer: FaceMeasurer, grammar: PictureGrammar):
    for colour, rgb in COLOURS.items():
        for place, (x, y) in PLACES.items():
            picture = draw_shapes(torch.Generator().manual_seed(0), [[DrawnShape("circle", colour, place)]], 64)[0]
            drawn_colour = picture[:, round(64 * y), round(64 * x)]
            assert (drawn_colour - torch.tensor(rgb)).abs().max() < 0.15, (colour, place)
    shapes = ShapeGrammar(grammar.shapes, 245, 64, seed=1)
    pictures, dialogues = shapes.batch(0, 20)
    again, _ = shapes.batch(0, 20)
    assert torch.equal(pictures, again) and pictures.shape == (20, 3, 64, 64)
    assert all(d.faces.shape == (0, 245) for d in dialogues)


def test_labels_are_all_answers_of_all_turns_and_nothing_else(collator: DialogueCollator, processor: FaceGPTProcessor):
    dialogues = collator.texts.batch(0, 12) + collator.pictures.batch(0, 4)[1]
    messages = [dialogue.messages for dialogue in dialogues]
    pictures = torch.zeros(4, 3, processor.render_size, processor.render_size)
    inputs = processor(pictures=pictures, messages=messages)
    mask = answer_mask(processor, messages, inputs["input_ids"])
    for row, dialogue in enumerate(dialogues):
        answers = "".join(f"{text}<end>" for text in words(dialogue)[1::2])
        assert processor.tokenizer.decode(inputs["input_ids"][row][mask[row]]) == answers


def _batch(collator: DialogueCollator, kind: str, rows: int = 16) -> dict[str, torch.Tensor]:
    """The first batch of a kind, of the longest of its dialogues."""
    number = next(number for number in range(0, 8192, rows) if collator.kind_of(number, rows) == kind)
    number += (ALIKE - 1) * INTERLEAVED * rows
    assert collator.kind_of(number, rows) == kind
    return collator([{"picture": number + row} for row in range(rows)])


def test_workers_of_any_start_method_can_have_it(collator: DialogueCollator):
    rows = [{"picture": number} for number in range(8)]
    here, there = collator(rows), pickle.loads(pickle.dumps(collator))(rows)
    assert here.keys() == there.keys() and torch.equal(here["input_ids"], there["input_ids"])


@pytest.mark.parametrize("kind", SHARES)
def test_a_batch_is_of_one_kind(collator: DialogueCollator, processor: FaceGPTProcessor, kind: str):
    batch = _batch(collator, kind)
    faces = (batch["labels"] == processor.face_token_id).sum()
    assert len(batch["face_targets"]) == len(batch["face_references"]) == len(batch["picture_cameras"]) == faces
    assert len(batch["typical_faces"]) == faces
    assert len(batch["given_faces"]) == (batch["input_ids"] == processor.face_token_id).sum()
    assert ("pixel_values" in batch) == (kind in ("looks", "pictures", "shapes"))
    assert (batch["typical_faces"].isfinite().any()) == (kind in ("descriptions", "requests", "faces"))
    if kind == "faces":
        assert batch["given_faces"].isnan().any() and not batch["given_faces"].isnan().all()
        assert (batch["face_references"] >= 0).any() and (batch["face_references"] == FRESH).any()


def test_kinds_come_by_their_shares(collator: DialogueCollator):
    counts = Counter(collator.kind_of(48 * number, 48) for number in range(8000))
    for kind, share in SHARES.items():
        assert counts[kind] / 8000 == pytest.approx(share, abs=0.04)


def test_dialogues_without_pictures_come_together_with_others_as_long(
    collator: DialogueCollator, processor: FaceGPTProcessor
):
    collator.shares = {"descriptions": 1.0}
    batches = [collator([{"picture": 16 * number + row} for row in range(16)]) for number in range(48)]
    again = collator([{"picture": 16 * 9 + row} for row in range(16)])
    assert torch.equal(again["input_ids"], batches[9]["input_ids"])
    assert len({batch["input_ids"].numpy().tobytes() for batch in batches}) == 48
    as_they_come = [
        lay_out(processor, faceless_rows(collator.texts.batch(16 * number, 16, ("explicit",)), 32))
        for number in range(48)
    ]
    assert padding(batches) < 0.7 * padding(as_they_come)


def padding(batches: list[dict[str, torch.Tensor]]) -> float:
    """Its share of the tokens."""
    return sum(int((b["attention_mask"] == 0).sum()) for b in batches) / sum(
        b["attention_mask"].numel() for b in batches
    )


def test_batches_give_every_part_of_the_model_a_gradient(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    model = dialogue_facegpt
    model.config.loss_weights = LOSS_WEIGHTS
    looks = FaceCollator(processor, DataEngine(copy.deepcopy(model.face_model), processor.render_size, seed=0))
    collator = DialogueCollator(looks, FaceMeasurer(looks.engine.face_model), SHARES)
    for kind in SHARES:
        output = model(**_batch(collator, kind, 12))
        assert all(term.isfinite() for term in output.loss_terms.values())
        output.loss.backward()
    for part in (model.face_head, model.face_encoder, model.reference_pointer, model.edit_head, model.flow_head):
        assert any(weight.grad.abs().sum() > 0 for weight in part.parameters())
