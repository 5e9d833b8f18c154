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
from collections import Counter

import pytest
import torch
from facegpt_trainer.grammar.attributes import ShapeSpace
from facegpt_trainer.grammar.dialogues import SPLITS, Dialogue, Source, Wanted, is_held_out
from facegpt_trainer.grammar.face_edits import NOTHING_TO_UNDO, apply_edit
from facegpt_trainer.grammar.face_prompts import draw_face, typical_face
from facegpt_trainer.grammar.face_questions import NO_JUDGEMENT, NO_NAMES
from facegpt_trainer.grammar.face_words import SHAPE_WORDS
from facegpt_trainer.grammar.situations import HELD_OUT_SITUATIONS, PEOPLE, TRAINING_SITUATIONS
from facegpt_trainer.grammar.text_dialogues import TEXT_DIALOGUES, TEXT_SHARES, TextGrammar
from facegpt_trainer.grammar.wordings import ASK_PERSON

from modeling_facegpt.camera import default_picture_cameras
from modeling_facegpt.face_editing import FRESH
from modeling_facegpt.face_head import encode
from modeling_facegpt.face_measurements import PRESENT, FaceMeasurer, measure_light, measure_pose, strongest_emotion
from modeling_facegpt.face_parameters import FaceParameters, parameters_to_vector, select_faces, vector_to_parameters
from modeling_facegpt.facial_expressions import EMOTIONS

ASKED_OF_PEOPLE = {question for group in ASK_PERSON.values() for question in group.training}


@pytest.fixture(scope="module")
def grammar(measurer: FaceMeasurer) -> TextGrammar:
    return TextGrammar(measurer, seed=5)


def words(dialogue: Dialogue) -> list[tuple[str, str]]:
    return [
        (message["role"], "".join(part.get("text", "") for part in message["content"]))
        for message in dialogue.messages
    ]


def questions(dialogues: list[Dialogue]) -> set[str]:
    return {text for dialogue in dialogues for role, text in words(dialogue) if role == "user"}


def face(dialogue: Dialogue, index: int, measurer: FaceMeasurer) -> FaceParameters:
    return vector_to_parameters(dialogue.faces[index : index + 1], measurer.face_model.config)


def test_a_batch_follows_from_seed_split_and_number(grammar: TextGrammar, measurer: FaceMeasurer):
    first, again = grammar.batch(3, 30), TextGrammar(measurer, seed=5).batch(3, 30)
    for one, other in zip(first, again, strict=True):
        assert one.messages == other.messages and one.references == other.references
        assert torch.equal(one.faces, other.faces)
    assert [d.messages for d in grammar.batch(4, 30)] != [d.messages for d in first]
    assert [d.messages for d in TextGrammar(measurer, 6).batch(3, 30)] != [d.messages for d in first]


def test_every_face_token_has_its_parameters_and_reference(grammar: TextGrammar):
    kinds = Counter()
    for dialogue in grammar.batch(0, 200):
        kinds[dialogue.kind] += 1
        spoken = words(dialogue)
        assert [role for role, _ in spoken] == ["user", "assistant"] * (len(spoken) // 2)
        in_order = [role == "user" for role, text in spoken for _ in range(text.count("<FACE>"))]
        assert tuple(in_order) == dialogue.given and len(dialogue.faces) == len(in_order)
        decoded = [index for index, given in enumerate(in_order) if not given]
        assert len(decoded) == len(dialogue.references)
        for index, reference in zip(decoded, dialogue.references, strict=True):
            assert FRESH <= reference < index
        assert dialogue.faces.isfinite().all()
        assert all(len(text.split()) <= 30 for _, text in spoken)
        assert not any("{" in text or "  " in text for _, text in spoken)
    assert set(kinds) == set(TEXT_DIALOGUES) == set(TEXT_SHARES)


def test_explicit_requests_are_true_on_the_mesh(grammar: TextGrammar, measurer: FaceMeasurer):
    for split in SPLITS:
        for dialogue in TextGrammar(measurer, 1, split).batch(0, 20, ("explicit",)):
            asked = face(dialogue, 0, measurer)
            scores = measurer.scores(measurer.face_model.neutral(asked.identity))[0]
            for name, sign in dialogue.wanted.shape.items():
                assert sign * scores[measurer.names.index(name)] > PRESENT, (words(dialogue), name)
            if dialogue.wanted.expression in EMOTIONS:
                shown = measurer.measure_activations(asked.identity, asked.expression)
                assert strongest_emotion(shown) == [dialogue.wanted.expression], words(dialogue)
            pose, light = measure_pose(asked), measure_light(asked.light)
            if dialogue.wanted.turned in ("left", "right"):
                assert (pose.yaw > 0) == (dialogue.wanted.turned == "left") and pose.yaw.abs() > 15
            if dialogue.wanted.light in ("left", "right"):
                assert (light.from_right > 0) == (dialogue.wanted.light == "right")


def test_speculative_requests_show_the_emotion_of_their_situation(grammar: TextGrammar, measurer: FaceMeasurer):
    for dialogue in grammar.batch(0, 60, ("speculative",)):
        asked = face(dialogue, 0, measurer)
        shown = measurer.measure_activations(asked.identity, asked.expression)
        calm = dialogue.wanted.expression == "calm"
        assert strongest_emotion(shown) == [None if calm else dialogue.wanted.expression], words(dialogue)


def test_situations_are_many_and_those_held_out_are_never_trained_on(measurer: FaceMeasurer):
    assert len(TRAINING_SITUATIONS) >= 60 and len(HELD_OUT_SITUATIONS) >= 30
    assert len({situation.emotion for situation in HELD_OUT_SITUATIONS}) >= 8
    assert not {s.clause for s in TRAINING_SITUATIONS} & {s.clause for s in HELD_OUT_SITUATIONS}
    trained = " ".join(questions(TextGrammar(measurer).batch(0, 200, ("speculative",))))
    assert not [s.clause for s in HELD_OUT_SITUATIONS if f"{s.clause}." in trained or f"{s.clause}?" in trained]
    tested = questions(TextGrammar(measurer, 0, "held_out_situations").batch(0, 60, ("speculative",)))
    assert all(any(s.clause in text for s in HELD_OUT_SITUATIONS) for text in tested if "has" in text)


def test_held_out_pairs_come_together_only_in_their_split(measurer: FaceMeasurer):
    def pairs(split: str) -> list[bool]:
        found = []
        for dialogue in TextGrammar(measurer, 2, split).batch(0, 60, ("explicit",)):
            wanted = dialogue.wanted
            names = [f"{name} {sign}" for name, sign in wanted.shape.items()]
            names += [wanted.expression] if wanted.expression else []
            found.append(any(is_held_out(a, b) for a in names for b in names if a < b))
        return found

    assert not any(pairs("train"))
    assert all(pairs("held_out_combinations"))


def test_held_out_wordings_are_not_those_of_training(measurer: FaceMeasurer):
    for kind in ("explicit", "speculative"):
        starts = [
            {
                text.split()[0] + text.split()[1]
                for text in questions(TextGrammar(measurer, 0, split).batch(0, 150, (kind,)))
            }
            for split in ("train", "held_out_wordings")
        ]
        assert starts[1] - starts[0], kind


def test_edits_touch_only_what_their_words_name_and_undo_is_exact(grammar: TextGrammar, measurer: FaceMeasurer):
    group = {"shape": "identity", "emotion": "expression", "action": "expression", "light": "light"}
    group |= {"brightness": "light", "gaze yaw": "gaze", "gaze pitch": "gaze"}
    seen = Counter()
    for dialogue in grammar.batch(0, 100, ("edit",)):
        decoded = [index for index, given in enumerate(dialogue.given) if not given]
        made = [(i, r) for i, r in zip(decoded, dialogue.references, strict=True) if r != FRESH]
        assert len(made) == len(dialogue.edits)
        for (index, reference), edit in zip(made, dialogue.edits, strict=True):
            after, before = face(dialogue, index, measurer), face(dialogue, reference, measurer)
            changed = {n for n, a, b in zip(after._fields, after, before, strict=True) if not torch.equal(a, b)}
            seen[edit.kind if edit else "undo"] += 1
            allowed = set() if edit is None else {group.get(edit.kind, "rotation")}
            allowed = {"identity", "albedo"} if edit and edit.kind == "person" else allowed
            assert changed <= allowed, (words(dialogue), edit, changed)
    assert seen["undo"] > 5 and seen["shape"] > 20 and len(seen) >= 8


def test_more_and_less_of_an_edit_start_from_the_face_before_it(grammar: TextGrammar, measurer: FaceMeasurer):
    checked = 0
    for dialogue in grammar.batch(1, 160, ("edit",)):
        asked = [text for role, text in words(dialogue) if role == "user"]
        second_request = asked[1 - len(dialogue.edits)] if len(dialogue.edits) > 1 else ""
        if not second_request.startswith(("More", "Less", "Not so")) or "light" in second_request:
            continue
        first, second, *_ = [*dialogue.edits]
        assert second is not None and first is not None and second.name == first.name
        start = face(dialogue, dialogue.references[-len(dialogue.edits)], measurer)
        wanted = parameters_to_vector(apply_edit(grammar.shapes, start, second))
        assert torch.equal(wanted[0], dialogue.faces[len(dialogue.faces) - len(dialogue.edits) + 1])
        checked += 1
    assert checked > 3


def test_undo_of_nothing_and_edits_of_no_face_are_said_in_words(grammar: TextGrammar):
    for dialogue in grammar.batch(0, 30, ("no face yet",)):
        assert not len(dialogue.faces)
        answer = words(dialogue)[1][1]
        assert answer in (NOTHING_TO_UNDO, "There is no face yet to change.")


def test_unknown_words_are_named_and_identity_is_declined(grammar: TextGrammar):
    for dialogue in grammar.batch(0, 30, ("unknown word",)):
        (_, question), (_, answer) = words(dialogue)
        unknown = answer.removeprefix("I do not know what ").split()[0]
        assert unknown in question and dialogue.references == ()
    answers = {words(dialogue)[1][1] for dialogue in grammar.batch(0, 60, ("declined",))}
    assert answers == {NO_NAMES, NO_JUDGEMENT}


def test_comparisons_are_true_in_millimetres(grammar: TextGrammar, measurer: FaceMeasurer):
    checked = 0
    for dialogue in grammar.batch(0, 300, ("compare",)):
        (_, question), (_, answer) = words(dialogue)
        if "nose" not in question or "broader" not in question or "bridge" in question or "millimetres" not in answer:
            continue
        pair = vector_to_parameters(dialogue.faces, measurer.face_model.config)
        lengths = measurer.millimetres(measurer.face_model.neutral(pair.identity))[
            :, measurer.names.index("nose width")
        ]
        assert ("first" in answer) == bool(lengths[0] > lengths[1])
        assert int(answer.split()[-2]) == round(float((lengths[0] - lengths[1]).abs()))
        checked += 1
    assert checked


def test_answers_about_given_faces_are_what_the_mesh_shows(grammar: TextGrammar, measurer: FaceMeasurer):
    model = measurer.face_model
    checked = Counter()
    for dialogue in grammar.batch(0, 120, ("question given",)):
        given = face(dialogue, 0, measurer)
        neutral = model.neutral(given.identity)
        moved = torch.einsum("nk,kvc->nvc", given.expression, model.expression_basis)
        shown = measurer.measure_expression(neutral + moved, neutral)
        scores = dict(zip(measurer.names, measurer.scores(neutral)[0].tolist(), strict=True))
        for (_, question), (_, answer) in zip(words(dialogue)[::2], words(dialogue)[1::2], strict=True):
            if answer in ("The mouth is open.", "The mouth is closed."):
                assert (shown.mouth_opening > 4) == ("open" in answer)
            elif answer in ("The eyes are open.", "The eyes are closed."):
                assert (shown.eyes_closed.amin() > 0.45) == ("closed" in answer)
            elif answer == "Laughing.":
                assert strongest_emotion(shown) == ["amused"]
            elif "head turned" in question and answer in ("To the left.", "To the right."):
                assert (measure_pose(given).yaw > 0) == ("left" in answer)
            elif answer.startswith("Yes, there"):
                assert any(asked in question for asked in ASKED_OF_PEOPLE)
            elif answer.startswith("Yes"):
                assert any(
                    f"the {part.part} {adjective}?" in question and sign * scores[name] > PRESENT
                    for name, part in SHAPE_WORDS.items()
                    for sign, adjective in ((1, part.high[0]), (-1, part.low[0]))
                )
            else:
                continue
            checked[answer.split()[0] + answer.split()[-1]] += 1
    assert len(checked) >= 5


def test_a_grammar_of_an_unknown_split_is_refused(measurer: FaceMeasurer):
    with pytest.raises(ValueError, match="held_out_wordings"):
        TextGrammar(measurer, 0, "validation")


def test_a_tiny_model_has_a_grammar_too(face_model):
    dialogues = TextGrammar(FaceMeasurer(face_model), 0).batch(0, 20, ("explicit", "edit"))
    assert all(select_faces(vector_to_parameters(d.faces, face_model.config), slice(None)) for d in dialogues)


def test_typical_faces_are_the_mean_of_all_that_are_drawn(measurer: FaceMeasurer):
    source = Source(ShapeSpace(measurer), 3)
    wanted = Wanted({source.shapes.names[0]: 1}, "angry", "left", "above")
    drawn = [draw_face(source, PEOPLE[3], wanted) for _ in range(600)]
    config, camera = measurer.face_model.config, default_picture_cameras()
    everyone = FaceParameters(*(torch.cat(group) for group in zip(*drawn, strict=True)))
    mean = encode(everyone, camera.expand(len(drawn), 3), config).mean(0, keepdim=True)
    typical = encode(typical_face(source, PEOPLE[3], wanted), camera, config)
    assert typical.abs().max() > 1.5  # far from the average face
    torch.testing.assert_close(typical, mean, rtol=0, atol=0.2)


def test_faces_from_words_come_with_their_typical_face(grammar: TextGrammar):
    dialogues = grammar.batch(0, 60)
    assert {d.kind for d in dialogues if d.typical_faces().isfinite().any()} >= {"explicit", "speculative", "edit"}
    for dialogue in dialogues:
        known = dialogue.typical_faces().isfinite().all(-1).tolist()
        assert len(known) == len(dialogue.references)
        assert not any(there for there, ref in zip(known, dialogue.references, strict=True) if ref != FRESH)
        if dialogue.kind in ("explicit", "speculative"):
            assert known[0]
