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
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from facegpt_hub import checkpoints
from facegpt_hub.command_line import app
from facegpt_trainer.evaluation import text_baseline
from facegpt_trainer.evaluation.dialogues import (
    Talker,
    _same_faces,
    answer_dialogues,
    evaluate_emission,
    evaluate_general,
    evaluate_questions,
    evaluate_references,
    imagining,
)
from facegpt_trainer.evaluation.edits import edit_is_present, evaluate_edits
from facegpt_trainer.evaluation.requests import (
    evaluate_requests,
    identity_spread,
    is_likely,
    judge_faces,
)
from facegpt_trainer.evaluation.smiles import evaluate_smiles
from facegpt_trainer.evaluation.text_baseline import RequestCollator, build_baseline, load_baseline
from facegpt_trainer.grammar.attributes import sample_portraits
from facegpt_trainer.grammar.dialogues import Wanted
from facegpt_trainer.grammar.text_dialogues import TextGrammar
from typer.testing import CliRunner

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor
from modeling_facegpt.face_editing import FRESH
from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.face_parameters import FaceParameters, concatenate_faces, select_faces, vector_to_parameters


@pytest.fixture
def talker(dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor) -> Talker:
    return Talker(dialogue_facegpt, processor, FaceMeasurer(copy.deepcopy(dialogue_facegpt.face_model)))


class Oracle:
    """Knows what the grammar drew for each request; every further sample of a request is the same face."""

    def __init__(self, measurer: FaceMeasurer, kind: str, split: str, requests: int):
        self.config = measurer.face_model.config
        seed = 987_654_321
        drawn = TextGrammar(measurer, seed, split).batch(0, requests, (kind,))
        self.faces = {self._words(dialogue.messages): dialogue.faces[:1] for dialogue in drawn}

    def _words(self, messages: list[dict]) -> str:
        return "".join(part["text"] for part in messages[0]["content"])

    def __call__(self, dialogues: list[list[dict]], count: int) -> FaceParameters:
        rows = [self.faces[self._words(messages)].expand(count, -1) for messages in dialogues]
        return vector_to_parameters(torch.cat(rows), self.config)


def test_true_faces_get_full_marks_and_random_ones_do_not(measurer: FaceMeasurer):
    for kind, split in (("explicit", "held_out_wordings"), ("speculative", "held_out_situations")):
        oracle = Oracle(measurer, kind, split, 30)
        figures = evaluate_requests(oracle, measurer, kind, split, requests=30, samples=2)
        assert figures["all that was named present, %"] == 100
        assert figures["difference between samples, % of that of random people"] < 1e-3

        def anybody(dialogues: list[list[dict]], count: int) -> FaceParameters:
            return sample_portraits(torch.Generator().manual_seed(0), measurer, count * len(dialogues))

        figures = evaluate_requests(anybody, measurer, kind, split, requests=30, samples=4)
        assert figures["all that was named present, %"] < 30
        assert figures["difference between samples, % of that of random people"] > 80
        assert figures["within the 99 % ball of people, %"] > 97


def test_a_missing_property_is_noticed(measurer: FaceMeasurer):
    face = sample_portraits(torch.Generator().manual_seed(1), measurer, 1)
    for wanted in (
        Wanted({}, "happy"),
        Wanted({}, "left wink"),
        Wanted({}, None, "left"),
        Wanted({}, None, None, "below"),
    ):
        assert judge_faces(measurer, face, [wanted]).complete() == [False]
    assert judge_faces(measurer, face, [Wanted({}, "calm")]).complete() == [True]


def test_people_far_out_are_not_likely():
    generator = torch.Generator().manual_seed(0)
    people = torch.randn(20_000, 120, generator=generator)
    assert 0.985 < is_likely(people).float().mean() < 0.995
    assert is_likely(1.5 * people).float().mean() < 0.001


def test_the_spread_of_one_person_is_none(measurer: FaceMeasurer):
    assert identity_spread(measurer, torch.ones(3, measurer.face_model.config.num_identity)) == 0


def test_edits_as_intended_are_present_and_no_change_is_not(measurer: FaceMeasurer):
    present, unchanged = [], []
    for dialogue in TextGrammar(measurer, 3).batch(0, 60, ("edit",)):
        decoded = [index for index, given in enumerate(dialogue.given) if not given]
        first = next((i, r) for i, r in zip(decoded, dialogue.references, strict=True) if r != FRESH)
        after, before = (vector_to_parameters(dialogue.faces[i : i + 1], measurer.face_model.config) for i in first)
        edit = dialogue.edits[0]
        assert edit is not None
        present.append(edit_is_present(measurer, before, after, edit))
        unchanged.append(edit_is_present(measurer, before, before, edit))
    assert sum(present) / len(present) > 0.95
    # Who smiles already smiles after `make him smile`; most edits are not there before.
    assert sum(unchanged) / len(unchanged) < 0.25


def test_only_exactly_the_right_faces_count(face_parameters: FaceParameters):
    second, third = select_faces(face_parameters, slice(1, 2)), select_faces(face_parameters, slice(2, 3))
    nobody = select_faces(face_parameters, slice(0))
    assert _same_faces(second, second, face_parameters)
    assert not _same_faces(third, second, face_parameters)
    assert not _same_faces(concatenate_faces([second, third]), second, face_parameters)
    assert _same_faces(nobody, nobody, face_parameters) and not _same_faces(second, nobody, face_parameters)


def test_an_untrained_checkpoint_can_be_asked_everything(talker: Talker):
    for figures in (
        evaluate_questions(talker, pictures=3),
        evaluate_general(talker, pictures=3),
        evaluate_references(talker, pictures=2),
        evaluate_edits(talker, edits=2),
        evaluate_emission(talker, dialogues=4),
    ):
        assert figures
        assert all(not value > 100 for name, value in figures.items() if name.endswith("%"))
    explicit = evaluate_requests(imagining(talker), talker.measurer, "explicit", "train", requests=2, samples=2)
    assert 0 <= explicit["all that was named present, %"] <= 100


def test_answers_come_with_their_faces(talker: Talker):
    dialogues = TextGrammar(talker.measurer, 0).batch(0, 3, ("explicit",))
    asked = [dialogue.messages[:1] for dialogue in dialogues]
    cameras = torch.tensor([[1.2, 0.5, 0.5]]).expand(3, 3)
    answers = answer_dialogues(talker, asked, torch.zeros(0, 3, 1, 1), torch.zeros(0, 0), cameras)
    assert len(answers) == 3
    for answer in answers:
        assert len(answer.faces.identity) == len(answer.references) == answer.text.count("<FACE>")


def test_smiles_need_photographs(talker: Talker, tmp_path: Path):
    with pytest.raises(ValueError, match="holds no photographs"):
        evaluate_smiles(talker, tmp_path)


def test_the_text_baseline_learns_and_comes_back_from_its_files(
    talker: Talker, processor: FaceGPTProcessor, tmp_path: Path
):
    torch.manual_seed(0)
    baseline = build_baseline(talker.model.config)
    collator = RequestCollator(processor.tokenizer, TextGrammar(talker.measurer, 0))
    batch = collator([{"request": number} for number in range(16)])
    optimizer = torch.optim.AdamW(baseline.parameters(), lr=1e-2)
    losses = []
    for _ in range(80):
        loss = baseline(**batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    baseline.save_pretrained(tmp_path)
    processor.tokenizer.save_pretrained(tmp_path)
    asked = [d.messages[:1] for d in TextGrammar(talker.measurer, 1).batch(0, 2, ("explicit",))]
    first, second = load_baseline(tmp_path)(asked, 3), load_baseline(tmp_path)(asked, 3)
    assert len(first.identity) == 6 and torch.equal(first.identity, second.identity)
    assert not torch.equal(first.identity[0], first.identity[1])


def test_the_baseline_s_recipe_can_be_read():
    recipe = Path(text_baseline.__file__).parents[1] / "recipes" / "text_baseline.yaml"
    settings = yaml.safe_load(recipe.read_text())
    assert set(settings) <= {field.name for field in fields(text_baseline.TextBaselineTrainingConfig)}
    config = text_baseline.TextBaselineTrainingConfig(**settings, use_cpu=True)
    assert config.requests > 10_000 and config.remove_unused_columns is False


def test_checkpoints_that_only_see_faces_can_be_asked_general_questions_but_no_others(
    monkeypatch: pytest.MonkeyPatch, eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    assert not eager_facegpt.config.dialogue_hidden_size
    checkpoint = checkpoints.Checkpoint("tiny", eager_facegpt, processor)
    monkeypatch.setattr(checkpoints, "load_checkpoint", lambda name, device: checkpoint)
    result = CliRunner().invoke(app, ["evaluate", "general", "--pictures", "2"])
    assert result.exit_code == 0, result.output
    assert "general questions answered" in result.output
    assert "not trained on dialogues" in str(CliRunner().invoke(app, ["evaluate", "edits"]).exception)
