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
"""FaceGPT over tiny models of many families: the same few lines wrap, train, save and generate with each of them."""

import copy
from pathlib import Path

import pytest
import torch
import transformers
from facegpt_trainer.nano import build_nano_vlm, train_nano_tokenizer
from packaging.version import Version
from peft import LoraConfig, get_peft_model
from PIL import Image
from torch import Tensor
from transformers import (
    AutoProcessor,
    CLIPVisionConfig,
    Gemma3ImageProcessorPil,
    Gemma3Processor,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessorPil,
)
from transformers.utils import logging
from vlm_families import EOS_TOKEN_ID, FAMILIES, build_inputs, build_tiny_vlm

from modeling_facegpt import (
    FaceGPTConfig,
    FaceGPTForConditionalGeneration,
    FaceGPTProcessor,
    MorphableModel,
    MorphableModelConfig,
)
from tests.conftest import TINY_TEXT, TINY_VISION

LLAVA_7B_PARAMETERS = 7_063_427_072
ANSWERS = 2  # rows of a batch: of one face, and of two
_built: dict[str, FaceGPTForConditionalGeneration] = {}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def wrapped(family: str, processor: FaceGPTProcessor, face_model: MorphableModel) -> FaceGPTForConditionalGeneration:
    """FaceGPT over the family, whose vocabulary lacked `<FACE>`; each test gets its own copy."""
    if family not in _built:
        vlm = build_tiny_vlm(family, len(processor.tokenizer) - 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _built[family] = FaceGPTForConditionalGeneration.from_vlm(
                vlm, copy.deepcopy(face_model), processor=processor, face_head_hidden_size=16
            )
        _built[family].config.loss_weights = {"text": 1.0, "label_shape": 1.0, "code_identity": 1.0}
    return copy.deepcopy(_built[family])


@pytest.fixture
def batch(family: str, processor: FaceGPTProcessor) -> dict[str, Tensor]:
    face = processor.face_token_id
    return build_inputs(family, [[20, face, EOS_TOKEN_ID], [face, 21, 22, face, EOS_TOKEN_ID]])


@pytest.fixture
def prompt(family: str) -> dict[str, Tensor]:
    return build_inputs(family, [[]] * ANSWERS)


def _targets(model: FaceGPTForConditionalGeneration, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    faces = int((batch["input_ids"] == model.config.face_token_id).sum())
    with torch.no_grad():
        true = model.decode_states(torch.randn(faces, model.config.get_text_config().hidden_size))[2]
    return {"labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100), "face_targets": true}


def test_weights_are_kept_and_the_vocabulary_grows(
    family: str, wrapped: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, batch: dict[str, Tensor]
):
    vlm = build_tiny_vlm(family, len(processor.tokenizer) - 1)
    for name, weight in vlm.state_dict().items():
        kept = wrapped.state_dict()["vlm." + name]
        assert torch.equal(kept[: len(weight)] if weight.ndim else kept, weight), name
    rows = wrapped.get_input_embeddings().weight
    assert wrapped.config.get_text_config().vocab_size == rows.shape[0] == len(processor.tokenizer)
    torch.testing.assert_close(rows[-1], rows[:-1].mean(0), rtol=0, atol=1e-6)
    words = {**batch, "input_ids": batch["input_ids"].masked_fill(batch["input_ids"] == processor.face_token_id, 23)}
    with torch.no_grad():
        ours, theirs = wrapped(**words), vlm(**words)
    torch.testing.assert_close(ours.logits[..., :-1], theirs.logits, rtol=0, atol=1e-5)


def test_faces_and_loss_move_head_and_language_model(
    wrapped: FaceGPTForConditionalGeneration, batch: dict[str, Tensor]
):
    output = wrapped(**batch, **_targets(wrapped, batch))
    assert output.face_parameters.shape[0] == 3
    assert output.loss.isfinite()
    output.loss.backward()
    for weight in (wrapped.face_head.output.weight, wrapped.get_input_embeddings().weight):
        assert weight.grad.abs().sum() > 0


def test_saved_model_says_the_same(wrapped: FaceGPTForConditionalGeneration, batch: dict[str, Tensor], tmp_path: Path):
    wrapped.save_pretrained(tmp_path)
    loaded, report = FaceGPTForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)  # pyright: ignore
    assert not any(report.values()), report
    with torch.no_grad():
        ours, theirs = wrapped(**batch), loaded(**batch)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.face_parameters, theirs.face_parameters)
    assert loaded.generation_config.eos_token_id == wrapped.generation_config.eos_token_id == EOS_TOKEN_ID


def test_gradient_checkpointing_changes_nothing(wrapped: FaceGPTForConditionalGeneration, batch: dict[str, Tensor]):
    gradients = []
    targets = _targets(wrapped, batch)
    wrapped.train()
    for checkpointed in (False, True):
        model = copy.deepcopy(wrapped)
        if checkpointed:
            model.gradient_checkpointing_enable()
            assert model.is_gradient_checkpointing
        model(**batch, **targets).loss.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=lambda text, name=name: f"{name}: {text}")


def test_half_precision_keeps_the_face_in_full(
    family: str, processor: FaceGPTProcessor, face_model: MorphableModel, batch: dict[str, Tensor]
):
    vlm = build_tiny_vlm(family, len(processor.tokenizer)).to(torch.bfloat16)  # pyright: ignore
    model = FaceGPTForConditionalGeneration.from_vlm(vlm, copy.deepcopy(face_model), processor=processor)
    assert model.dtype == torch.bfloat16
    assert model.face_head.output.weight.dtype == model.face_model.template.dtype == torch.float32
    output = model(**{k: v.bfloat16() if v.is_floating_point() else v for k, v in batch.items()})
    assert output.logits.dtype == torch.bfloat16
    assert output.face_parameters.dtype == torch.float32 and output.face_parameters.isfinite().all()


def test_lora_trains_adapters_and_face_head_alone(
    wrapped: FaceGPTForConditionalGeneration, batch: dict[str, Tensor], tmp_path: Path
):
    targets = _targets(wrapped, batch)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=r".*(language_model|text_model)\.layers.*\.(q_proj|v_proj)",
        modules_to_save=["face_head"],
        trainable_token_indices={"embed_tokens": [wrapped.config.face_token_id]},
    )
    model = get_peft_model(wrapped, config)
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.1)
    model(**batch, **targets).loss.backward()
    optimizer.step()
    trained = [name for name, weight in model.named_parameters() if weight.grad is not None]
    assert trained and all("lora_" in n or "face_head" in n or "trainable_tokens" in n for n in trained), trained
    assert any("face_head" in name for name in trained) and any("lora_B" in name for name in trained)
    with torch.no_grad():
        adapted = model(**batch)
        merged = model.merge_and_unload()(**batch)
    torch.testing.assert_close(merged.logits, adapted.logits, rtol=0, atol=1e-4)
    torch.testing.assert_close(merged.face_parameters, adapted.face_parameters, rtol=0, atol=1e-4)


def test_generates_what_the_bare_model_generates(wrapped: FaceGPTForConditionalGeneration, prompt: dict[str, Tensor]):
    for settings in ({}, {"num_beams": 2}):
        ours = wrapped.generate(**prompt, max_new_tokens=6, do_sample=False, **settings)  # pyright: ignore
        theirs = wrapped.vlm.generate(**prompt, max_new_tokens=6, do_sample=False, **settings)
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3, "num_return_sequences": 2}], ids=["greedy", "beams"])
def test_faces_of_an_answer_are_those_of_a_pass_over_it(
    family: str, wrapped: FaceGPTForConditionalGeneration, prompt: dict[str, Tensor], settings: dict
):
    cameras = torch.tensor([[1.2, 0.5, 0.5], [2.0, 0.4, 0.6]])
    output = wrapped.generate(
        **prompt,
        max_new_tokens=5,
        min_faces=2,
        picture_cameras=cameras,
        do_sample=False,
        return_dict_in_generate=True,
        **settings,
    )
    length = prompt["input_ids"].shape[1]
    said = output.sequences[:, length:] == wrapped.config.face_token_id
    assert (said.sum(-1) >= 2).all()
    assert torch.equal(output.face_rows, said.nonzero()[:, 0])
    per_prompt = len(output.sequences) // ANSWERS
    answers = [row[row != 0].tolist() for row in output.sequences[:, length:]]
    again = build_inputs(family, [answer for answer in answers])
    again |= {k: v for k, v in _repeat(prompt, per_prompt).items() if k in ("pixel_values", "image_grid_thw")}
    with torch.no_grad():
        checked = wrapped(**again, picture_cameras=cameras[output.face_rows // per_prompt])
    torch.testing.assert_close(output.face_parameters, checked.face_parameters, rtol=1e-4, atol=1e-4)


def _repeat(prompt: dict[str, Tensor], times: int) -> dict[str, Tensor]:
    """Every row's entries `times` times, one row after the other."""
    return {
        name: value.unflatten(0, (ANSWERS, -1)).repeat_interleave(times, 0).flatten(0, 1)
        for name, value in prompt.items()
    }


def test_llava_from_end_to_end(processor: FaceGPTProcessor, face_model: MorphableModel, tmp_path: Path):
    """A VLM and a 3DMM on disk become FaceGPT, which reconstructs, answers and comes back."""
    vlm, vlm_processor = build_nano_vlm(0, vision=TINY_VISION, text=TINY_TEXT)
    vlm.to(torch.bfloat16).save_pretrained(tmp_path / "vlm")  # pyright: ignore
    vlm_processor.save_pretrained(tmp_path / "vlm")
    face_model.save_pretrained(tmp_path / "head")
    model = FaceGPTForConditionalGeneration.from_vlm(tmp_path / "vlm", tmp_path / "head", max_faces=2)
    assert model.dtype == torch.bfloat16 and not model.training
    assert model.config.max_faces == 2 and model.config.render_size == processor.render_size
    assert (model.config.face_token_id, model.config.end_token_id) == (
        processor.face_token_id,
        processor.end_token_id,
    )
    wrapped = FaceGPTProcessor.from_vlm_processor(AutoProcessor.from_pretrained(tmp_path / "vlm"))
    question = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Show this face."}]}]
    inputs = wrapped(images=Image.effect_noise((90, 60), 80).convert("RGB"), messages=question)
    answer = model.generate(**inputs, min_faces=1, max_new_tokens=4, return_dict_in_generate=True)
    assert len(answer.face_parameters) >= 1 and answer.face_parameters.dtype == torch.float32
    model.save_pretrained(tmp_path / "facegpt")
    wrapped.save_pretrained(tmp_path / "facegpt")
    loaded = FaceGPTForConditionalGeneration.from_pretrained(tmp_path / "facegpt")
    assert loaded.dtype == torch.bfloat16 and loaded.face_head.output.weight.dtype == torch.float32
    assert torch.equal(loaded.face_head.output.weight, model.face_head.output.weight)
    settings = {"min_faces": 1, "max_new_tokens": 4, "do_sample": False}
    assert torch.equal(loaded.generate(**inputs, **settings), model.generate(**inputs, **settings))
    photograph = Image.effect_noise((80, 80), 80).convert("RGB")
    assert loaded.reconstruct([photograph], wrapped)[0].size == (80, 80)


def test_weights_of_a_bare_vlm_can_be_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    vlm = build_tiny_vlm("llava", 50)
    vlm.save_pretrained(tmp_path)
    logging.enable_propagation()
    model, report = FaceGPTForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)  # pyright: ignore
    logging.disable_propagation()
    assert "from_vlm" in caplog.text
    assert not report["unexpected_keys"] and all(name.startswith("face_") for name in report["missing_keys"])
    for name, weight in vlm.state_dict().items():
        assert torch.equal(model.vlm.state_dict()[name], weight)


def test_facegpt_is_not_wrapped_again(facegpt: FaceGPTForConditionalGeneration, face_model: MorphableModel):
    with pytest.raises(ValueError, match="got a FaceGPT to wrap"):
        FaceGPTForConditionalGeneration.from_vlm(facegpt, face_model)


def test_spare_rows_are_used_before_new_ones(processor: FaceGPTProcessor, face_model: MorphableModel):
    vlm = build_tiny_vlm("llava", len(processor.tokenizer) + 7)
    rows = vlm.get_input_embeddings().weight.clone()  # pyright: ignore
    model = FaceGPTForConditionalGeneration.from_vlm(vlm, copy.deepcopy(face_model), processor=processor)
    assert torch.equal(model.get_input_embeddings().weight, rows)


def test_tied_embeddings_stay_tied(processor: FaceGPTProcessor, face_model: MorphableModel, tmp_path: Path):
    vlm = build_tiny_vlm("llava", len(processor.tokenizer) - 1, tie_word_embeddings=True)
    model = FaceGPTForConditionalGeneration.from_vlm(vlm, copy.deepcopy(face_model), processor=processor)
    assert model.config.tie_word_embeddings
    model.save_pretrained(tmp_path)
    loaded = FaceGPTForConditionalGeneration.from_pretrained(tmp_path)
    for one in (model, loaded):
        assert one.get_input_embeddings().weight is one.get_output_embeddings().weight
        assert one.get_input_embeddings().weight.shape[0] == len(processor.tokenizer)


def test_the_size_of_the_paper(processor: FaceGPTProcessor):
    """LLaVA-1.5-7B under the paper's 3DMM, without memory for the weights."""
    vlm_config = LlavaConfig(
        text_config=LlamaConfig(vocab_size=32064, max_position_embeddings=4096),
        vision_config=CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            image_size=336,
            patch_size=14,
            projection_dim=768,
        ),
        image_token_index=32000,
        vision_feature_layer=-2,
    )
    paper = MorphableModelConfig(
        num_identity=80, num_albedo=80, num_expression=64, num_eyes=0, expression_range="free"
    )
    config = FaceGPTConfig(vlm_config=vlm_config.to_dict(), face_model_config=paper.to_dict(), face_token_id=32002)
    with torch.device("meta"):
        model = FaceGPTForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
        bare = LlavaForConditionalGeneration(vlm_config)
    assert sum(weight.numel() for weight in bare.parameters()) == LLAVA_7B_PARAMETERS
    head = {name: tuple(weight.shape) for name, weight in model.face_head.named_parameters()}
    numbers = 80 + 80 + 64 + 27 + 6 + 3 + 1  # identity, albedo, expression, light, rotation, translation, focal length
    assert head == {
        "norm.weight": (4096,),
        "norm.bias": (4096,),
        "hidden.weight": (1024, 4096),
        "hidden.bias": (1024,),
        "output.weight": (2 * numbers, 1024),
        "output.bias": (2 * numbers,),
    }
    names = {name for name, _ in model.named_parameters()}
    assert names == {f"vlm.{name}" for name, _ in bare.named_parameters()} | {f"face_head.{name}" for name in head}
    language_model = {weight.dtype for weight in model.vlm.parameters()}
    assert language_model == {torch.bfloat16}
    size = sum(weight.numel() * weight.element_size() for weight in (*model.parameters(), *model.buffers()))
    assert 14.1e9 < size < 14.3e9


CHAT_TEMPLATE = """\
{{ bos_token }}{% for message in messages %}<{{ message.role }}>\
{% for part in message.content %}{{ image if part.type == 'image' else part.text }}{% endfor %}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"""


def _build_processor(family: str) -> FaceGPTProcessor:
    """The family's own processor around the tests' tokenizer, wrapped: one of those that need no torchvision."""
    names = {"image_token": "<image>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    names |= {"fake": "<fake_token_around_image>", "end_of_turn": "<end_of_turn>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=train_nano_tokenizer(0).backend_tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<end>",
        extra_special_tokens=names,
    )
    side = {"height": 28, "width": 28}
    if family == "gemma3":
        template = CHAT_TEMPLATE.replace("image if", "'<start_of_image>' if")
        inner = Gemma3Processor(Gemma3ImageProcessorPil(size=side), tokenizer, template, image_seq_length=4)
    elif family == "paligemma":
        images = SiglipImageProcessorPil(size=side)
        images.image_seq_length = 4  # pyright: ignore
        inner = PaliGemmaProcessor(images, tokenizer)
    else:
        if Version(transformers.__version__) < Version("5.23"):
            pytest.skip("the processor of older releases needs torchvision")
        edge = {"longest_edge": 28}
        images = Idefics3ImageProcessorPil(size=edge, max_image_size=edge, do_image_splitting=False)
        template = CHAT_TEMPLATE.replace("image if", "'<image>' if")
        inner = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=template)
    return FaceGPTProcessor.from_vlm_processor(inner, render_size=28)


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "paligemma"])
def test_with_the_familys_own_processor(family: str, face_model: MorphableModel, tmp_path: Path):
    processor = _build_processor(family)
    expected = processor.tokenizer.eos_token if family == "paligemma" else "<end_of_turn>"
    assert processor.end_token_id == processor.tokenizer.convert_tokens_to_ids(expected)
    vocabulary = len(processor.tokenizer)
    vlm = build_tiny_vlm(family, vocabulary, image_token_id=processor.tokenizer.convert_tokens_to_ids("<image>"))
    model = FaceGPTForConditionalGeneration.from_vlm(vlm, copy.deepcopy(face_model), processor=processor)
    pictures = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    words = {"messages": [processor.reconstruct_messages(), processor.reconstruct_messages(close_up=True)]}
    if family == "paligemma":  # has no chat template
        words = {"text": [f"{processor.image_token}reconstruct the face{more}" for more in (" at the left", "")]}
    inputs = processor(pictures=pictures, **words)
    answer = model.generate(**inputs, min_faces=1, max_new_tokens=3, return_dict_in_generate=True)
    assert set(answer.face_rows.tolist()) == {0, 1}
    processor.save_pretrained(tmp_path)
    again = FaceGPTProcessor.from_pretrained(tmp_path)(pictures=pictures, **words)
    assert set(again) == set(inputs)
    for name, value in inputs.items():
        assert torch.equal(again[name], value), name
