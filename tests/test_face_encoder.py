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
"""Faces in: what is added to the embeddings of `<FACE>`, where, and by which models."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from vlm_families import EOS_TOKEN_ID, FAMILIES, build_inputs, build_tiny_vlm

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor, FaceParameters, MorphableModel
from modeling_facegpt.face_encoder import FaceOffsets, find_faces
from modeling_facegpt.face_parameters import parameters_to_vector
from tests.conftest import DIALOGUE_WIDTH, train_encoder

GREEDY = {"do_sample": False, "max_new_tokens": 4}
_built: dict[str, FaceGPTForConditionalGeneration] = {}


@pytest.fixture
def given(face_parameters: FaceParameters) -> Tensor:
    """Parameters of three faces."""
    return parameters_to_vector(face_parameters)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(family: str, processor: FaceGPTProcessor, face_model: MorphableModel) -> FaceGPTForConditionalGeneration:
    """FaceGPT with a new face encoder over the family; each test gets its own copy."""
    if family not in _built:
        vlm = build_tiny_vlm(family, len(processor.tokenizer))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _built[family] = FaceGPTForConditionalGeneration.from_vlm(
                vlm, copy.deepcopy(face_model), processor=processor, dialogue_hidden_size=DIALOGUE_WIDTH
            )
    return copy.deepcopy(_built[family])


@pytest.fixture
def batch(family: str, processor: FaceGPTProcessor) -> dict[str, Tensor]:
    """Two rows padded on the left, with one and two faces."""
    face = processor.face_token_id
    return build_inputs(family, [[20, face, 21], [face, 21, 22, face, EOS_TOKEN_ID]])


def test_a_new_encoder_changes_nothing(
    model: FaceGPTForConditionalGeneration, batch: dict[str, Tensor], given: Tensor
):
    with torch.no_grad():
        plain, shown = model(**batch), model(**batch, given_faces=given)
    assert torch.equal(plain.logits, shown.logits)
    assert torch.equal(plain.face_parameters, shown.face_parameters)


def test_a_trained_encoder_changes_what_follows_a_face_and_nothing_before_it(
    family: str,
    model: FaceGPTForConditionalGeneration,
    batch: dict[str, Tensor],
    given: Tensor,
    processor: FaceGPTProcessor,
):
    train_encoder(model)
    one = torch.full_like(given, float("nan"))
    one[2] = given[2]  # the last face, of the second row
    with torch.no_grad():
        plain, shown = model(**batch).logits, model(**batch, given_faces=one).logits
    place = int((batch["input_ids"][1] == processor.face_token_id).nonzero()[-1])
    assert not torch.equal(plain[1, place:], shown[1, place:])
    assert torch.equal(plain[0], shown[0])
    if family != "paligemma":  # whose prefix sees all of itself
        torch.testing.assert_close(plain[1, :place], shown[1, :place], rtol=0, atol=1e-6)


def test_a_given_face_is_read_by_generate(
    model: FaceGPTForConditionalGeneration, family: str, given: Tensor, processor: FaceGPTProcessor
):
    train_encoder(model)
    face = processor.face_token_id
    prompt = build_inputs(family, [[20, face, 21], [face, 21, 22, 23, face]])
    settings: dict[str, Any] = {**GREEDY, "return_dict_in_generate": True, "output_logits": True}
    for beams in (1, 2):
        settings["num_beams"] = beams
        plain, shown = (model.generate(**prompt, **settings, given_faces=faces) for faces in (None, given))
        with torch.no_grad():
            read = model(**prompt, given_faces=given).logits[:, -1]
        first = shown.logits[0].view(2, -1, read.shape[-1])
        torch.testing.assert_close(first, read[:, None].expand_as(first), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(plain.logits[0], shown.logits[0], atol=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_return_sequences": 2, "do_sample": True},
        {"use_cache": False},
        {"prefill_chunk_size": 7},
        {"cache_implementation": "static", "disable_compile": True},
        {"prompt_lookup_num_tokens": 2},
        {"generation": "assisted"},
    ],
    ids=["sampling", "no cache", "prefill in pieces", "static cache", "prompt lookup", "assisted"],
)
def test_every_way_of_decoding_reads_the_given_face(
    dialogue_facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    given: Tensor,
    settings: dict[str, Any],
):
    question = [{"role": "user", "content": "Compare <FACE> with <FACE> and tell me more of <FACE>."}]
    prompt = dict(processor(messages=question))
    if settings.pop("generation", None):
        settings["assistant_model"] = copy.deepcopy(dialogue_facegpt)
    settings = {**GREEDY, "return_dict_in_generate": True, "output_logits": True, **settings}
    shown = dialogue_facegpt.generate(**prompt, **settings, given_faces=given)
    with torch.no_grad():
        read = dialogue_facegpt(**prompt, given_faces=given).logits[:, -1]
        unread = dialogue_facegpt(**prompt).logits[:, -1]
    torch.testing.assert_close(shown.logits[0], read.expand_as(shown.logits[0]), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(unread, read, atol=1e-2)


def test_pieces_add_up_to_the_whole():
    ids = torch.tensor([[7, 1, 7, 1, 1, 7], [1, 7, 7, 7, 1, 1]])
    places = find_faces(ids, 7)
    assert places.orders.tolist() == [0, 1, 2, 0, 1, 2]
    values = torch.arange(1.0, 7.0)[:, None]
    blank = torch.zeros(4, 6, 1)  # every row twice
    whole = FaceOffsets(places, values, 2).add_to(blank)
    expected = torch.tensor([[1, 0, 2, 0, 0, 3], [1, 0, 2, 0, 0, 3], [0, 4, 5, 6, 0, 0], [0, 4, 5, 6, 0, 0.0]])
    assert torch.equal(whole[..., 0], expected)
    pieces = FaceOffsets(places, values, 2)
    parts = [pieces.add_to(piece) for piece in blank.split([3, 2, 1], dim=1)]
    assert torch.equal(torch.cat(parts, dim=1), whole)
    assert torch.equal(pieces.add_to(torch.zeros(4, 7, 1))[:, :6], whole)  # without a cache, all is read again
    assert not blank.any()


def test_gradient_reaches_the_whole_encoder(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, given: Tensor
):
    words = processor(messages=[{"role": "user", "content": "<FACE>"}, {"role": "assistant", "content": "A face."}])
    dialogue_facegpt(**words, given_faces=given[:1], labels=words["input_ids"]).loss.backward()
    for weight in dialogue_facegpt.face_encoder.parameters():
        assert weight.grad.isfinite().all() and weight.grad.abs().sum() > 0


def test_the_encoder_works_under_adapters(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, given: Tensor
):
    """PEFT puts layers of its own in the place of the embeddings and of whole modules; the hook has to follow."""
    words = dict(processor(messages=[{"role": "user", "content": "What is this <FACE>?"}]))
    with torch.no_grad():
        before = dialogue_facegpt(**words, given_faces=given[:1]).logits
        unread = dialogue_facegpt(**words).logits
    config = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=r".*language_model\.layers.*\.q_proj",
        modules_to_save=["face_head", "face_encoder"],
        trainable_token_indices={"embed_tokens": [processor.face_token_id]},
    )
    adapted = get_peft_model(dialogue_facegpt, config)
    output = adapted(**words, given_faces=given[:1])
    torch.testing.assert_close(output.logits, before, rtol=0, atol=1e-5)
    with torch.no_grad(), adapted.disable_adapter():
        torch.testing.assert_close(adapted(**words, given_faces=given[:1]).logits, before, rtol=0, atol=1e-5)
    output.logits.sum().backward()
    trained = [name for name, weight in adapted.named_parameters() if weight.grad is not None]
    assert any("face_encoder.modules_to_save" in name for name in trained), trained
    with torch.no_grad():
        adapted.face_encoder.modules_to_save["default"].output.weight.zero_()
        torch.testing.assert_close(adapted(**words, given_faces=given[:1]).logits, unread, rtol=0, atol=1e-5)


def test_a_copy_reads_its_own_faces(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, given: Tensor
):
    words = dict(processor(messages=[{"role": "user", "content": "What is this <FACE>?"}]))
    twin = copy.deepcopy(dialogue_facegpt)
    with torch.no_grad():
        expected = dialogue_facegpt(**words, given_faces=given[:1]).logits
        unread = dialogue_facegpt(**words).logits
        dialogue_facegpt.face_encoder.output.weight.zero_()
        assert torch.equal(twin(**words, given_faces=given[:1]).logits, expected)
        assert torch.equal(dialogue_facegpt(**words, given_faces=given[:1]).logits, unread)


def test_half_precision_and_saving(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, given: Tensor, tmp_path: Path
):
    words = dict(processor(messages=[{"role": "user", "content": "What is this <FACE>?"}]))
    dialogue_facegpt.save_pretrained(tmp_path)
    loaded, report = FaceGPTForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)  # pyright: ignore
    assert not any(report.values()), report
    with torch.no_grad():
        expected = dialogue_facegpt(**words, given_faces=given[:1]).logits
        torch.testing.assert_close(loaded(**words, given_faces=given[:1]).logits, expected)
    half = FaceGPTForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.face_encoder.output.weight.dtype == torch.float32
    with torch.no_grad():
        logits = half(**words, given_faces=given[:1]).logits
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), expected, rtol=0.05, atol=0.3)


def test_a_checkpoint_without_the_parts_can_be_given_them(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, given: Tensor, tmp_path: Path
):
    """They are new: nothing changes for what the checkpoint could do, and all weights are ready to be trained."""
    facegpt.save_pretrained(tmp_path)
    model, report = FaceGPTForConditionalGeneration.from_pretrained(
        tmp_path, dialogue_hidden_size=DIALOGUE_WIDTH, output_loading_info=True
    )  # pyright: ignore
    parts = {name.split(".")[0] for name in report["missing_keys"]}
    assert parts == {"face_encoder", "reference_pointer", "edit_head", "flow_head"}
    assert not model.face_encoder.output.weight.any()
    for part in parts:
        for name, weight in getattr(model, part).named_parameters():
            assert weight.isfinite().all() and weight.abs().max() < 1.5, f"{part}.{name}"
            assert name == "output.weight" or "bias" in name or weight.std() > 0.01 or (weight == 1).all()
    words = dict(processor(messages=[{"role": "user", "content": "What is this <FACE>?"}]))
    with torch.no_grad():
        ours = model(**words, given_faces=given[:1])
        theirs = facegpt(**words)
    torch.testing.assert_close(ours.logits, theirs.logits)
    torch.testing.assert_close(ours.face_parameters, theirs.face_parameters)


@pytest.mark.parametrize(
    ("rows", "words"),
    [(slice(0, 2), "got given_faces of shape"), (None, "without the parts for dialogue"), ("embedded", "without")],
)
def test_faces_that_cannot_be_read_are_refused(
    facegpt: FaceGPTForConditionalGeneration,
    dialogue_facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    given: Tensor,
    rows: Any,
    words: str,
):
    inputs = dict(processor(messages=[{"role": "user", "content": "What is this <FACE>?"}]))
    if rows == "embedded":
        inputs = {"inputs_embeds": dialogue_facegpt.get_input_embeddings()(inputs["input_ids"])}
        rows = slice(0, 1)
    model = facegpt if rows is None else dialogue_facegpt
    with pytest.raises(ValueError, match=words):
        model(**inputs, given_faces=given if rows is None else given[rows])
