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
"""Training on dialogue about faces: which head learns from which face, and that all of them learn."""

import copy
from typing import Any

import pytest
import torch
from facegpt_trainer.loss_weights import LOSS_WEIGHTS
from torch import Tensor

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor, FaceParameters
from modeling_facegpt.face_editing import faces_back
from modeling_facegpt.face_encoder import find_faces
from modeling_facegpt.face_parameters import parameters_to_vector

PHOTO = {"type": "image"}


def ask(words: str, picture: bool = False) -> dict[str, Any]:
    return {"role": "user", "content": [*([PHOTO] if picture else []), {"type": "text", "text": words}]}


def answer(words: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": words}]}


@pytest.fixture
def vectors(face_parameters: FaceParameters) -> Tensor:
    """A face; the same face, but for its expression and light; another face."""
    changed = face_parameters._replace(
        expression=face_parameters.expression * torch.tensor([[1.0], [0.5], [1.0]]),
        light=face_parameters.light * torch.tensor([[1.0], [0.5], [1.0]]),
    )
    first, other = parameters_to_vector(face_parameters)[0], parameters_to_vector(changed)[2]
    groups = [group[0] for group in face_parameters]
    groups[2], groups[3] = changed.expression[1], changed.light[1]
    return torch.stack((first, torch.cat(groups), other))


@pytest.fixture
def batch(processor: FaceGPTProcessor, vectors: Tensor) -> dict[str, Tensor]:
    """A picture's face, then the same changed, then undone; a given face, changed; a face from words; no face."""
    dialogues = [
        [
            ask("Show it.", picture=True),
            answer("<FACE>"),
            ask("Smile."),
            answer("<FACE>"),
            ask("Undo."),
            answer("<FACE>"),
        ],
        [ask("Make <FACE> smile."), answer("<FACE>")],
        [ask("An old man."), answer("<FACE>")],
        [ask("Hello."), answer("Hello.")],
    ]
    pictures = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    inputs = dict(processor(pictures=pictures, messages=dialogues))
    ids = inputs["input_ids"]
    speaks = {processor.tokenizer.convert_tokens_to_ids(f"<{name}>"): name for name in ("user", "assistant")}
    labels = torch.full_like(ids, -100)
    for row, tokens in enumerate(ids.tolist()):
        speaker = None
        for place, token in enumerate(tokens):
            if speaker == "assistant" and token not in speaks:
                labels[row, place] = token
            speaker = speaks.get(token, speaker)
    first, changed, other = vectors
    return {
        **inputs,
        "labels": labels,
        "given_faces": torch.stack((first, changed, first, first, changed, other)),
        "face_targets": torch.stack((first, changed, first, changed, other)),
        "face_references": torch.tensor([-1, 0, 0, 0, -1]),
    }


def test_labels_of_the_batch_are_the_answers(batch: dict[str, Tensor], processor: FaceGPTProcessor):
    assert (batch["labels"] == processor.face_token_id).sum() == 5
    assert (batch["input_ids"] == processor.face_token_id).sum() == 6


def test_every_parameter_moves_in_one_step(
    dialogue_facegpt: FaceGPTForConditionalGeneration, batch: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
):
    # So often that a batch of few faces surely has both kinds.
    monkeypatch.setattr("modeling_facegpt.flow_head.UNCONDITIONAL_SHARE", 0.5)
    model = dialogue_facegpt.train()
    model.config.loss_weights = LOSS_WEIGHTS
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    torch.manual_seed(3)
    output = model(**batch)
    assert {"reference", "edit_gates", "edit_change", "flow", "text", "label_shape"} <= set(output.loss_terms)
    total = sum(LOSS_WEIGHTS.get(name, 0.0) * term for name, term in output.loss_terms.items())
    torch.testing.assert_close(output.loss, total)
    output.loss.backward()
    torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0).step()
    still = [name for name, value in model.named_parameters() if torch.equal(value, before[name])]
    # LLaVA reads the vision tower's last layer before its closing norm and head.
    assert all(".post_layernorm." in name or ".vision_tower.head." in name for name in still), still


@pytest.mark.parametrize(
    ("term", "heads"),
    [
        ("reference", {"reference_pointer"}),
        ("edit_gates", {"edit_head"}),
        ("edit_change", {"edit_head"}),
        ("flow", {"flow_head"}),
        ("label_shape", {"face_head"}),
    ],
)
def test_each_term_trains_its_own_head(
    dialogue_facegpt: FaceGPTForConditionalGeneration, batch: dict[str, Tensor], term: str, heads: set[str]
):
    dialogue_facegpt(**batch).loss_terms[term].backward()
    moved = {name.split(".")[0] for name, weight in dialogue_facegpt.named_parameters() if weight.grad is not None}
    assert heads | {"vlm", "face_encoder"} >= moved >= heads | {"vlm"}


def test_only_faces_of_pictures_are_regressed(
    dialogue_facegpt: FaceGPTForConditionalGeneration, batch: dict[str, Tensor]
):
    terms = dialogue_facegpt(**batch).loss_terms
    alone = {name: value[:1] for name, value in batch.items() if name not in ("given_faces", "pixel_values")}
    alone |= {"given_faces": batch["given_faces"][:3], "pixel_values": batch["pixel_values"]}
    alone |= {"face_targets": batch["face_targets"][:3], "face_references": batch["face_references"][:3]}
    for name, term in dialogue_facegpt(**alone).loss_terms.items():
        if name.startswith(("label_", "code_", "prior_", "light_")):
            torch.testing.assert_close(terms[name], term, rtol=1e-4, atol=1e-5)


def test_gates_learn_which_groups_differ(dialogue_facegpt: FaceGPTForConditionalGeneration, batch: dict[str, Tensor]):
    """Expression and light open for the two that change, all shut for the undone one is the best that can be said."""
    with torch.no_grad():
        dialogue_facegpt.edit_head.output.weight.zero_()
        bias = dialogue_facegpt.edit_head.output.bias.zero_()
        bias[-8:] = -20.0
        bias[-6:-4] = 20.0
        gates = dialogue_facegpt(**batch).loss_terms["edit_gates"]
    # Faces 2, 3 and 4 refer to the first of their row: changed, the same, changed.
    torch.testing.assert_close(gates, torch.tensor(20.0 * 2 / 24), rtol=1e-4, atol=1e-4)


def test_change_is_compared_in_open_groups(
    dialogue_facegpt: FaceGPTForConditionalGeneration, batch: dict[str, Tensor]
):
    with torch.no_grad():
        dialogue_facegpt.edit_head.output.weight.zero_()
        dialogue_facegpt.edit_head.output.bias.zero_()
        same = {**batch, "face_targets": batch["given_faces"][[0, 0, 0, 3, 5]]}
        assert dialogue_facegpt(**batch).loss_terms["edit_change"] > 0
        assert dialogue_facegpt(**same).loss_terms["edit_change"] == 0


def test_without_references_all_faces_are_fresh(
    dialogue_facegpt: FaceGPTForConditionalGeneration,
    facegpt: FaceGPTForConditionalGeneration,
    batch: dict[str, Tensor],
):
    """As a model without the parts for dialogue says."""
    plain = {name: value for name, value in batch.items() if name not in ("given_faces", "face_references")}
    del plain["face_targets"]
    facegpt.face_head.load_state_dict(dialogue_facegpt.face_head.state_dict())
    with torch.no_grad():
        ours, theirs = dialogue_facegpt(**plain), facegpt(**plain)
    assert torch.equal(ours.face_parameters, theirs.face_parameters)
    assert ours.face_references is None and set(ours.loss_terms) == set(theirs.loss_terms)


def test_a_batch_without_faces_gives_every_head_a_gradient(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    words = processor(messages=[ask("Hello."), answer("Hello.")])
    dialogue_facegpt(**words, labels=words["input_ids"]).loss.backward()
    for head in ("face_head", "face_encoder", "reference_pointer", "edit_head", "flow_head"):
        for name, weight in getattr(dialogue_facegpt, head).named_parameters():
            assert weight.grad is not None and not weight.grad.any(), f"{head}.{name}"


def test_a_batch_of_words_alone_trains_no_face_head(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, vectors: Tensor
):
    words = processor(messages=[ask("An old man."), answer("<FACE>")])
    output = dialogue_facegpt(**words, labels=words["input_ids"], face_targets=vectors[:1])
    assert output.loss_terms["label_shape"] == 0 and output.loss_terms["flow"] > 0
    torch.stack(list(output.loss_terms.values())).sum().backward()
    assert all(not weight.grad.any() for weight in dialogue_facegpt.face_head.parameters())


def test_the_pointer_says_what_it_chose(dialogue_facegpt: FaceGPTForConditionalGeneration, batch: dict[str, Tensor]):
    pointer = dialogue_facegpt.reference_pointer
    with torch.no_grad():
        for weight in pointer.parameters():
            weight.zero_()
        pointer.query.bias.fill_(1.0)
        pointer.slots.weight[2] = 1.0  # two faces back
        references = dialogue_facegpt(**batch).face_references
        pointer.slots.weight[2] = -1.0
        pointer.slots.weight[1] = 1.0
        nearer = dialogue_facegpt(**batch).face_references
    assert references.tolist() == [-1, -1, 0, -1, -1]
    assert nearer.tolist() == [-1, 0, 1, 0, -1]


def test_edits_are_shown_in_the_output(dialogue_facegpt: FaceGPTForConditionalGeneration, batch: dict[str, Tensor]):
    with torch.no_grad():
        dialogue_facegpt.edit_head.output.weight.zero_()
        dialogue_facegpt.edit_head.output.bias.zero_()[-8:] = -1.0
        output = dialogue_facegpt(**batch)
    assert torch.equal(output.face_parameters[1:4], batch["given_faces"][[0, 0, 3]])


def test_distances_within_a_dialogue():
    places = find_faces(torch.tensor([[7, 7, 1, 7], [1, 7, 7, 1]]), 7)
    assert faces_back(places, torch.tensor([2, 4])).tolist() == [[2, 1, 0, 0, 0], [0, 0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("references", "words"),
    [
        ([-1, 0, 2, 0, -1], "of an earlier <FACE>"),
        ([-2, 0, 0, 0, -1], "earlier"),
        ([-1, 0], "2 rows of face references"),
    ],
)
def test_references_to_no_earlier_face_are_refused(
    dialogue_facegpt: FaceGPTForConditionalGeneration, batch: dict[str, Tensor], references: list[int], words: str
):
    with pytest.raises(ValueError, match=words):
        dialogue_facegpt(**{**batch, "face_references": torch.tensor(references)})


def test_references_need_the_parts_for_dialogue(facegpt: FaceGPTForConditionalGeneration, batch: dict[str, Tensor]):
    del batch["given_faces"]
    with pytest.raises(ValueError, match="got face_references for a checkpoint without"):
        facegpt(**batch)


def test_gradient_checkpointing_changes_no_gradient(
    dialogue_facegpt: FaceGPTForConditionalGeneration, batch: dict[str, Tensor]
):
    gradients = []
    for checkpointed in (False, True):
        model = copy.deepcopy(dialogue_facegpt).train()
        if checkpointed:
            model.gradient_checkpointing_enable()
        torch.manual_seed(0)
        model(**batch).loss.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=lambda text, name=name: f"{name}: {text}")


def test_inference_asks_no_head_that_only_learns(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    """Without targets the heads of dialogue do nothing in `forward`, and without a face the face head neither."""
    asked: list[str] = []
    for name in ("flow_head", "edit_head", "reference_pointer", "face_encoder", "face_head"):
        getattr(dialogue_facegpt, name).register_forward_hook(lambda *_, name=name: asked.append(name))
    words, face = (processor(messages=[{"role": "user", "content": text}]) for text in ("Hello.", "Hello <FACE>."))
    with torch.no_grad():
        assert dialogue_facegpt(**words).face_parameters is None and asked == []
        assert dialogue_facegpt(**face).face_parameters.shape[0] == 1 and asked == ["face_head"]
        dialogue_facegpt(**words, labels=words["input_ids"])
    assert set(asked) == {"flow_head", "edit_head", "reference_pointer", "face_encoder", "face_head"}
