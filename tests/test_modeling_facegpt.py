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
"""The model: which states become faces, what trains what, and that a look at a crop speaks of the whole photograph."""

import copy
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModel, AutoModelForImageTextToText, BatchFeature

from modeling_facegpt import Camera, FaceGPTForConditionalGeneration, FaceGPTProcessor, FaceParameters, MorphableModel
from modeling_facegpt.camera import crop_camera
from modeling_facegpt.face_head import decode
from modeling_facegpt.face_parameters import parameters_to_vector
from modeling_facegpt.reconstruction import distinct_faces, face_boxes, landmarks_in_photo

FACES = (2, 0, 1)


@pytest.fixture
def batch(processor: FaceGPTProcessor) -> BatchFeature:
    """Three pictures with two, no and one face in the answers."""
    pictures = torch.rand(len(FACES), 3, 112, 112, generator=torch.Generator().manual_seed(0))
    answers = [{"role": "assistant", "content": "<FACE>" * count} for count in FACES]
    return processor(pictures=pictures, messages=[[*processor.reconstruct_messages(), answer] for answer in answers])


@pytest.fixture
def labels(batch: BatchFeature, processor: FaceGPTProcessor) -> Tensor:
    """The answers' tokens, -100 elsewhere."""
    answer = processor.tokenizer.convert_tokens_to_ids("<assistant>")
    answered = (batch["input_ids"] == answer).cumsum(-1).bool() & (batch["input_ids"] != answer)
    return torch.where(answered, batch["input_ids"], -100)


@pytest.fixture
def targets(face_model: MorphableModel, face_parameters: FaceParameters) -> dict[str, Tensor]:
    """Of three faces: all is known of the first, landmarks of the second, the picture of the third."""
    cameras = torch.tensor([[1.2, 0.5, 0.5]]).expand(3, 3)
    parameters = parameters_to_vector(face_parameters)
    landmarks = landmarks_in_photo(face_model, face_parameters, Camera(cameras[:, 0], cameras[:, 1:]), "468")
    images = torch.rand(3, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    unknown = float("nan")
    return {
        "picture_cameras": cameras,
        "face_targets": torch.cat((parameters[:1], torch.full_like(parameters[1:], unknown))),
        "face_landmarks": torch.cat((landmarks[:2], torch.full_like(landmarks[2:], unknown))),
        "face_images": torch.cat((torch.full_like(images[:2], unknown), images[2:])),
    }


def test_words_alone_give_no_loss_and_no_face(facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor):
    output = facegpt(**processor(text="Hello", return_tensors="pt"))
    assert output.loss is None
    assert output.logits.shape[-1] == len(processor.tokenizer)
    assert output.face_parameters is output.face_code is output.face_log_variance is None


def test_each_face_token_of_an_answer_becomes_a_face(
    facegpt: FaceGPTForConditionalGeneration, batch: BatchFeature, labels: Tensor
):
    output = facegpt(**batch, labels=labels)
    assert output.face_parameters.shape == output.face_code.shape == output.face_log_variance.shape
    assert output.face_parameters.shape[0] == sum(FACES)
    torch.testing.assert_close(output.loss, output.loss_terms["text"])


def test_a_face_is_read_before_its_token(
    facegpt: FaceGPTForConditionalGeneration, batch: BatchFeature, processor: FaceGPTProcessor
):
    row = batch["input_ids"][2:]
    others = {"attention_mask": batch["attention_mask"][2:], "pixel_values": batch["pixel_values"][2:]}
    before = facegpt(input_ids=row, **others).face_code
    changed = row.clone()
    changed[0, -1] = processor.image_token_id + 1
    assert torch.equal(facegpt(input_ids=changed, **others).face_code, before)
    cut = {"attention_mask": others["attention_mask"][:, :-1], "pixel_values": others["pixel_values"]}
    torch.testing.assert_close(facegpt(input_ids=row[:, :-1], **cut).face_code, before, rtol=0, atol=1e-5)


def test_a_users_face_token_is_not_decoded(facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor):
    inputs = processor(
        messages=[{"role": "user", "content": "Who is <FACE>?"}, {"role": "assistant", "content": "No."}]
    )
    labels = torch.where(inputs["input_ids"] == processor.face_token_id, -100, inputs["input_ids"])
    assert facegpt(**inputs, labels=labels).face_parameters is None


def test_loss_is_the_weighted_sum_of_its_terms(
    facegpt: FaceGPTForConditionalGeneration, batch: BatchFeature, labels: Tensor, targets: dict[str, Tensor]
):
    output = facegpt(**batch, labels=labels, **targets)
    weights = facegpt.config.loss_weights
    assert {"text", "label_shape", "landmarks", "photometric"} <= set(output.loss_terms)
    total = sum(weights.get(name, 0.0) * term for name, term in output.loss_terms.items())
    torch.testing.assert_close(output.loss, total)
    assert output.loss.isfinite()


@pytest.mark.parametrize("target", ["face_targets", "face_landmarks", "face_images"])
def test_every_kind_of_target_alone_moves_head_and_language_model(
    facegpt: FaceGPTForConditionalGeneration,
    batch: BatchFeature,
    labels: Tensor,
    targets: dict[str, Tensor],
    target: str,
):
    chosen = {"picture_cameras": targets["picture_cameras"], target: targets[target]}
    facegpt.config.loss_weights = {"label_shape": 1.0, "landmarks": 1.0, "photometric": 1.0}
    facegpt(**batch, labels=labels, **chosen).loss.backward()
    for weight in (facegpt.face_head.output.weight, facegpt.get_input_embeddings().weight):
        assert weight.grad.isfinite().all() and weight.grad.abs().max() > 0


def test_every_trainable_parameter_moves_in_one_step(
    facegpt: FaceGPTForConditionalGeneration, batch: BatchFeature, labels: Tensor, targets: dict[str, Tensor]
):
    facegpt.train()
    before = {name: value.detach().clone() for name, value in facegpt.named_parameters()}
    optimizer = torch.optim.AdamW(facegpt.parameters(), lr=1e-3, weight_decay=0.0)
    facegpt(**batch, labels=labels, **targets).loss.backward()
    optimizer.step()
    still = [name for name, value in facegpt.named_parameters() if torch.equal(value, before[name])]
    # LLaVA reads the vision tower's last layer before its closing norm and head.
    assert all(".post_layernorm." in name or ".vision_tower.head." in name for name in still), still


def test_wrong_number_of_targets_is_refused(
    facegpt: FaceGPTForConditionalGeneration, batch: BatchFeature, labels: Tensor, targets: dict[str, Tensor]
):
    with pytest.raises(ValueError, match="2 rows of face landmarks for 3 <FACE> tokens"):
        facegpt(**batch, labels=labels, face_landmarks=targets["face_landmarks"][:2])


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForImageTextToText, FaceGPTForConditionalGeneration])
def test_saved_model_comes_back(
    facegpt: FaceGPTForConditionalGeneration, batch: BatchFeature, tmp_path: Path, auto_class: type
):
    facegpt.save_pretrained(tmp_path)
    loaded, report = auto_class.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is FaceGPTForConditionalGeneration
    assert not any(report.values())
    with torch.no_grad():
        torch.testing.assert_close(loaded(**batch).face_parameters, facegpt(**batch).face_parameters)
        torch.testing.assert_close(loaded(**batch).logits, facegpt(**batch).logits)


def test_face_head_and_morphable_model_stay_in_full_precision(
    facegpt: FaceGPTForConditionalGeneration, tmp_path: Path
):
    facegpt.save_pretrained(tmp_path)
    loaded = FaceGPTForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.get_input_embeddings().weight.dtype == torch.bfloat16
    assert loaded.face_head.output.weight.dtype == torch.float32
    types = {name: buffer.dtype for name, buffer in facegpt.face_model.named_buffers()}
    assert {name: buffer.dtype for name, buffer in loaded.face_model.named_buffers()} == types


def test_reconstruct_sorts_faces_and_gives_each_once(
    eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    photographs = [Image.effect_noise(size, 90).convert("RGB") for size in ((160, 120), (60, 90), (112, 112))]
    results = eager_facegpt.reconstruct(photographs, processor, focals=[None, 80.0, None], batch_size=2)
    assert [result.size for result in results] == [(160, 120), (60, 90), (112, 112)]
    for result in results:
        faces = len(result.probability)
        assert 1 <= faces <= eager_facegpt.config.max_faces
        landmarks = landmarks_in_photo(eager_facegpt.face_model, result.parameters, result.camera)
        assert distinct_faces(face_boxes(landmarks), result.probability).all()
        assert result.standard_deviation is not None
        assert all(group.shape[0] == faces for group in (*result.parameters, *result.standard_deviation))
        assert all(group.isfinite().all() for group in (*result.parameters, *result.standard_deviation))
        across = result.parameters.translation[:, 0] / result.parameters.translation[:, 2]
        assert torch.equal(across, across.sort().values)
    assert results[0].camera.focal[0] == 1.2 * 160 and results[1].camera.focal[0] == 80.0


def test_no_photographs_no_results(facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor):
    assert facegpt.reconstruct([], processor) == []


def test_photograph_without_a_face_has_no_faces(
    eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    with torch.no_grad():
        rows = eager_facegpt.get_input_embeddings().weight
        rows[processor.end_token_id] = 2 * rows[processor.face_token_id]
    result = eager_facegpt.reconstruct([Image.new("RGB", (50, 40))], processor)[0]
    assert len(result.probability) == 0
    assert result.parameters.identity.shape == (0, eager_facegpt.face_model.config.num_identity)


def test_bad_arguments_of_reconstruct_are_refused(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    with pytest.raises(ValueError, match="one per image"):
        facegpt.reconstruct([Image.new("RGB", (50, 40))], processor, focals=[1.0, 2.0])
    with pytest.raises(ValueError, match="photograph of type int"):
        facegpt.reconstruct(7, processor)


def test_a_look_at_a_crop_speaks_of_the_whole_photograph(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    photograph, focal = Image.new("RGB", (640, 400)), 700.0
    frame = processor.frame_face(photograph, torch.tensor([420.0, 60.0, 560.0, 230.0]), focal)
    code = 0.3 * torch.randn(2, facegpt.face_head.code_size, generator=torch.Generator().manual_seed(2))
    parameters = decode(code, frame.camera.expand(2, 3), facegpt.face_model.config)
    whole = Camera(torch.full((2,), focal), torch.tensor([[320.0, 200.0]]).expand(2, 2))
    affine = frame.affine.expand(2, 3)
    seen = Camera(frame.camera[:1].expand(2) * 112, frame.camera[1:].expand(2, 2) * 112)
    in_photograph = landmarks_in_photo(facegpt.face_model, parameters, whole)
    in_crop = landmarks_in_photo(facegpt.face_model, parameters, seen)
    moved = in_photograph * affine[:, None, :1] + affine[:, None, 1:]
    torch.testing.assert_close(moved, in_crop, rtol=0, atol=1e-2)
    torch.testing.assert_close(crop_camera(whole, affine).principal_point, seen.principal_point)


def test_outputs_as_a_tuple(facegpt: FaceGPTForConditionalGeneration, batch: BatchFeature):
    with torch.no_grad():
        named, plain = facegpt(**batch), facegpt(**batch, return_dict=False)
    assert isinstance(plain, tuple) and len(plain) == len(named.to_tuple())
    assert torch.equal(plain[0], named.logits)


def test_hidden_states_only_where_asked_for(facegpt: FaceGPTForConditionalGeneration, batch: BatchFeature):
    with torch.no_grad():
        assert facegpt(**batch).hidden_states is None
        every = facegpt(**batch, output_hidden_states=True).hidden_states
        last = facegpt(**batch, output_hidden_states=[-1]).hidden_states
    assert len(every) == len(last) == facegpt.config.get_text_config().num_hidden_layers + 1
    assert all(state is None for state in last[:-1]) and torch.equal(last[-1], every[-1])


@pytest.mark.parametrize("switch", ["argument", "call"])
def test_attention_switches_change_no_face(
    facegpt: FaceGPTForConditionalGeneration, batch: BatchFeature, tmp_path: Path, switch: str
):
    assert facegpt.config.get_text_config()._attn_implementation == "sdpa"
    if switch == "argument":
        facegpt.save_pretrained(tmp_path)
        eager = FaceGPTForConditionalGeneration.from_pretrained(tmp_path, attn_implementation="eager")
    else:
        eager = copy.deepcopy(facegpt)
        eager.set_attn_implementation("eager")
    assert eager.config.get_text_config()._attn_implementation == "eager"
    assert eager.vlm.config.get_text_config()._attn_implementation == "eager"
    with torch.no_grad():
        torch.testing.assert_close(
            eager(**batch).face_parameters, facegpt(**batch).face_parameters, rtol=1e-4, atol=1e-4
        )
        assert eager(**batch, output_attentions=True).attentions is not None


def test_weights_left_on_disk_give_the_same_face(
    facegpt: FaceGPTForConditionalGeneration, batch: BatchFeature, tmp_path: Path
):
    facegpt.save_pretrained(tmp_path / "checkpoint", max_shard_size="50KB")
    near = ("vision_tower", "multi_modal_projector", "language_model.embed_tokens", "language_model.norm")
    places = {f"vlm.model.{name}": "cpu" for name in (*near, "language_model.rotary_emb")}
    places |= {
        "vlm.lm_head": "cpu",
        "face_model": "cpu",
        "face_head": "cpu",
        "vlm.model.language_model.layers": "disk",
    }
    offloaded = FaceGPTForConditionalGeneration.from_pretrained(
        tmp_path / "checkpoint", device_map=places, offload_folder=tmp_path / "offload"
    )
    assert any(weight.is_meta for weight in offloaded.parameters())
    prompt = {name: value[:1] for name, value in batch.items()}
    settings = {"max_new_tokens": 3, "min_faces": 1, "do_sample": False, "return_dict_in_generate": True}
    with torch.no_grad():
        torch.testing.assert_close(offloaded(**batch).face_parameters, facegpt(**batch).face_parameters)
    theirs, ours = offloaded.generate(**prompt, **settings), facegpt.generate(**prompt, **settings)
    assert torch.equal(theirs.sequences, ours.sequences)
    torch.testing.assert_close(theirs.face_parameters, ours.face_parameters)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_saved_type_comes_back(facegpt: FaceGPTForConditionalGeneration, tmp_path: Path, dtype: torch.dtype):
    facegpt.vlm.to(dtype)
    facegpt.save_pretrained(tmp_path)
    loaded = FaceGPTForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.dtype == dtype
    types = {name: value.dtype for name, value in facegpt.state_dict().items()}
    assert {name: value.dtype for name, value in loaded.state_dict().items()} == types


def test_head_has_a_gradient_in_a_batch_without_faces(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
):
    words = processor(messages=[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello."}])
    facegpt(**words, labels=words["input_ids"]).loss.backward()
    assert all((weight.grad == 0).all() for weight in facegpt.face_head.parameters())


def test_a_checkpoint_without_generation_settings_knows_its_end(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path
):
    facegpt.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    loaded = FaceGPTForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.generation_config.eos_token_id == loaded.vlm.generation_config.eos_token_id == processor.end_token_id
    assert loaded.generation_config.pad_token_id == processor.tokenizer.pad_token_id


def test_the_cache_goes_in_by_the_name_that_it_came_out_with(
    facegpt: FaceGPTForConditionalGeneration, batch: BatchFeature
):
    """`past_key_values` became `cache` in transformers 5.24."""
    ids = batch["input_ids"][:, -6:]
    with torch.no_grad():
        whole, begun = facegpt(input_ids=ids), facegpt(input_ids=ids[:, :4], use_cache=True)
        [name] = {"cache", "past_key_values"} & set(begun.keys())
        rest = facegpt(input_ids=ids[:, 4:], use_cache=True, **{name: begun[name]})
    assert begun[name].get_seq_length() == 6
    torch.testing.assert_close(rest.logits, whole.logits[:, 4:])
