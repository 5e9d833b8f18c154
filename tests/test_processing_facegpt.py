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
"""The processor: dialogue and photographs in, tensors out; saved and loaded back as itself."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from facegpt_trainer.nano import END_TOKEN, build_nano_processor
from packaging.version import Version
from PIL import ExifTags, Image
from transformers import AutoProcessor, AutoTokenizer, LlavaProcessor

from modeling_facegpt import FaceGPTProcessor
from modeling_facegpt.photograph import read_photograph
from modeling_facegpt.picture_frame import tensor_to_image

QUESTION = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hello."}]}]
ANSWER = {"role": "assistant", "content": [{"type": "text", "text": "<FACE><FACE>"}]}


@pytest.fixture
def pictures() -> torch.Tensor:
    eighths = torch.randint(0, 256, (2, 3, 112, 112), generator=torch.Generator().manual_seed(0))
    return eighths / 255


def test_tokens(processor: FaceGPTProcessor):
    assert processor.tokenizer.convert_tokens_to_ids("<FACE>") == processor.face_token_id
    assert processor.tokenizer.convert_tokens_to_ids(END_TOKEN) == processor.end_token_id
    assert processor.tokenizer.convert_tokens_to_ids(processor.image_token) == processor.image_token_id
    assert len({processor.face_token_id, processor.end_token_id, processor.image_token_id}) == 3


def test_reconstruct_dialogue_is_question_then_faces_then_end(processor: FaceGPTProcessor):
    text = processor.apply_chat_template([*processor.reconstruct_messages(), ANSWER])
    assert text == ("<bos><user><image>\nReconstruct every face, from left to right.<end><assistant><FACE><FACE><end>")
    tokens = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokens[-3:] == [processor.face_token_id, processor.face_token_id, processor.end_token_id]
    close_up = processor.reconstruct_messages(close_up=True)
    assert "the face in the middle" in processor.apply_chat_template(close_up)


def test_face_token_survives_decoding_without_special_tokens(processor: FaceGPTProcessor):
    tokens = processor.tokenizer("<assistant>Here: <FACE>.<end>")["input_ids"]
    assert processor.decode(tokens, skip_special_tokens=True) == "Here: <FACE>."
    assert processor.batch_decode([tokens], skip_special_tokens=True) == ["Here: <FACE>."]


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.23"), reason="older releases miscount where a picture's tokens are"
)
def test_assistant_mask_covers_the_answer(processor: FaceGPTProcessor):
    picture = Image.new("RGB", (112, 112))
    question = copy.deepcopy(processor.reconstruct_messages())
    question[0]["content"][0]["image"] = picture
    inputs = processor.apply_chat_template(
        [[*question, ANSWER]], tokenize=True, return_dict=True, return_assistant_tokens_mask=True, return_tensors="pt"
    )
    answered = inputs["input_ids"][inputs["assistant_masks"].bool()]
    assert answered.tolist() == [processor.face_token_id, processor.face_token_id, processor.end_token_id]


def test_pictures_give_what_images_give(processor: FaceGPTProcessor, pictures: torch.Tensor):
    messages = [processor.reconstruct_messages(), [*processor.reconstruct_messages(close_up=True), ANSWER]]
    fast = processor(pictures=pictures, messages=messages)
    slow = processor(images=[[tensor_to_image(picture)] for picture in pictures], messages=messages)
    assert set(fast) == set(slow) == {"input_ids", "attention_mask", "pixel_values"}
    assert torch.equal(fast["input_ids"], slow["input_ids"])
    assert torch.equal(fast["attention_mask"], slow["attention_mask"])
    torch.testing.assert_close(fast["pixel_values"], slow["pixel_values"], rtol=0, atol=1e-5)


def test_pictures_of_another_size_go_through_the_wrapped_processor(processor: FaceGPTProcessor):
    inputs = processor(pictures=torch.rand(1, 3, 60, 60), messages=processor.reconstruct_messages())
    assert inputs["pixel_values"].shape == (1, 3, 112, 112)


@pytest.mark.parametrize("key", ["image", "path", "url"])
def test_the_chat_template_frames_photographs_as_reconstruction_does(
    processor: FaceGPTProcessor, tmp_path: Path, key: str
):
    photograph = Image.effect_noise((200, 120), 60).convert("RGB")
    photograph.save(tmp_path / "photo.png")
    source = photograph if key == "image" else str(tmp_path / "photo.png")
    asked = [{"role": "user", "content": [{"type": "image", key: source}, {"type": "text", "text": "Hello."}]}]
    settings = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "add_generation_prompt": True}
    inputs = processor.apply_chat_template(asked, **settings)
    framed = processor(pictures=processor.frame_photograph(photograph).picture[None], messages=QUESTION)
    assert torch.equal(inputs["input_ids"], framed["input_ids"])
    torch.testing.assert_close(inputs["pixel_values"], framed["pixel_values"], rtol=0, atol=5e-3)
    assert asked[0]["content"][0][key] is source
    batch = processor.apply_chat_template([asked, asked], **settings)
    assert batch["input_ids"].shape[0] == batch["pixel_values"].shape[0] == 2
    words = [{"role": "user", "content": "Hello."}]
    assert "pixel_values" not in processor.apply_chat_template(words, **settings)


def test_rows_are_padded_on_the_left_and_begin_once(processor: FaceGPTProcessor, pictures: torch.Tensor):
    messages = [processor.reconstruct_messages(), [*processor.reconstruct_messages(), ANSWER]]
    inputs = processor(pictures=pictures, messages=messages)
    assert inputs["attention_mask"][:, -1].tolist() == [1, 1]
    assert inputs["attention_mask"][0, 0] == 0
    begins = (inputs["input_ids"] == processor.tokenizer.bos_token_id).sum(-1)
    assert begins.tolist() == [1, 1]


def test_photographs_are_not_squashed(processor: FaceGPTProcessor):
    photograph = Image.new("RGB", (200, 100), (255, 255, 255))
    inputs = processor(images=photograph, text="<image>", return_tensors="pt")
    rows = inputs["pixel_values"][0, 0].mean(-1)
    assert rows[56] == 1.0 and abs(rows[5]) < 0.02 and abs(rows[-5]) < 0.02


def test_text_alone(processor: FaceGPTProcessor):
    inputs = processor(text="Hello", return_tensors="pt")
    assert processor.decode(inputs["input_ids"][0]) == "Hello"


@pytest.mark.parametrize("load", [FaceGPTProcessor.from_pretrained, AutoProcessor.from_pretrained])
def test_saved_processor_comes_back(processor: FaceGPTProcessor, tmp_path: Path, load):
    processor.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert type(loaded) is FaceGPTProcessor
    assert type(loaded.vlm_processor) is LlavaProcessor
    assert loaded.to_dict() == processor.to_dict()
    assert loaded.chat_template == processor.chat_template
    assert loaded.tokenizer.get_vocab() == processor.tokenizer.get_vocab()


def test_settings_are_kept(tmp_path: Path):
    FaceGPTProcessor.from_vlm_processor(build_nano_processor(0), render_size=64, crop_scale=2.0).save_pretrained(
        tmp_path
    )
    loaded = FaceGPTProcessor.from_pretrained(tmp_path)
    assert (loaded.render_size, loaded.crop_scale) == (64, 2.0)
    assert loaded.frame_photograph(Image.new("RGB", (30, 20))).picture.shape == (3, 64, 64)


def test_bare_vlm_processor_is_refused(processor: FaceGPTProcessor, tmp_path: Path):
    processor.vlm_processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="from_vlm_processor"):
        FaceGPTProcessor.from_pretrained(tmp_path)


def test_face_token_is_added_where_it_is_missing(processor: FaceGPTProcessor, tmp_path: Path):
    processor.tokenizer.save_pretrained(tmp_path)
    text = (tmp_path / "tokenizer.json").read_text().replace("<FACE>", "<OTHER>")
    (tmp_path / "tokenizer.json").write_text(text)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    bare = LlavaProcessor(processor.image_processor, tokenizer, patch_size=16, image_token="<image>")
    with pytest.raises(ValueError, match="without the token <FACE>"):
        FaceGPTProcessor(bare)
    wrapped = FaceGPTProcessor.from_vlm_processor(bare)
    assert wrapped.tokenizer.tokenize("a <FACE>.")[-2:] == ["<FACE>", "."]
    assert wrapped.face_token_id == len(tokenizer) - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": [], "pictures": torch.rand(1, 3, 112, 112), "text": "<image>"}, "one of each pair"),
        ({"text": "a", "messages": [{"role": "user", "content": "a"}]}, "one of each pair"),
        ({"pictures": torch.rand(2, 3, 112, 112), "text": "<image>"}, "one .* picture per image token"),
        ({"pictures": torch.rand(1, 3, 112, 112), "text": "<image><image>"}, "one .* picture per image token"),
        ({"pictures": torch.rand(3, 112, 112), "text": "<image>"}, "one .* picture per image token"),
        ({"pictures": torch.rand(1, 3, 112, 112)}, "one .* picture per image token"),
        ({"pictures": torch.full((1, 3, 112, 112), torch.nan), "text": "<image>"}, "not finite"),
        ({"images": [Image.new("RGB", (9, 9))] * 2, "messages": QUESTION}, "got 2 images for 1 places"),
        ({"images": [], "messages": QUESTION}, "got 0 images for 1 places"),
        ({"images": Image.new("RGB", (9, 9)), "messages": [{"role": "user", "content": "Hello"}]}, "1 images for 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(processor: FaceGPTProcessor, arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        processor(**arguments)


def test_every_door_reads_a_photograph_as_the_command_does(processor: FaceGPTProcessor, tmp_path: Path):
    """16-bit grey, and a picture on its side: chat messages and `images=` get what `read_photograph` gives."""
    ramp = np.tile(np.linspace(0, 65535, 48), (48, 1)).astype(np.uint16)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / "deep.png"
    Image.fromarray(ramp).save(path, exif=exif)
    expected = read_photograph(path).image
    framed = processor.frame_photograph(expected).picture[None]
    wanted = processor(pictures=framed, messages=processor.reconstruct_messages())["pixel_values"]
    question = processor.reconstruct_messages()
    for source in (str(path), path, Image.open(path)):
        question[0]["content"][0] = {"type": "image", "image": source}
        given = processor.apply_chat_template(question, tokenize=True, return_dict=True, return_tensors="pt")
        torch.testing.assert_close(given["pixel_values"], wanted, atol=0.02, rtol=0)
        read = processor(images=source, messages=processor.reconstruct_messages())["pixel_values"]
        upright = processor(images=expected, messages=processor.reconstruct_messages())["pixel_values"]
        assert torch.equal(read, upright)


def test_the_parts_go_by_the_names_that_transformers_knows(processor: FaceGPTProcessor):
    assert processor.get_attributes() == ["image_processor", "tokenizer"]
    assert repr(processor.image_processor) in repr(processor)
    mine = copy.deepcopy(processor)
    for name in mine.get_attributes():
        other = copy.deepcopy(getattr(mine, name))
        setattr(mine, name, other)
        assert getattr(mine.vlm_processor, name) is other is getattr(mine, name)
        assert getattr(processor, name) is not other
    assert mine.chat_template == processor.chat_template
    mine.chat_template = None
    assert mine.vlm_processor.chat_template is None and mine.end_token_id == mine.tokenizer.eos_token_id


def test_no_part_is_saved_under_the_name_of_our_class(processor: FaceGPTProcessor, tmp_path: Path):
    """`auto_map` in a tokenizer's settings is a request to run code."""
    [written] = processor.save_pretrained(tmp_path)
    settings = json.loads(Path(written).read_text())
    assert settings["auto_map"] == {"AutoProcessor": "processing_facegpt.FaceGPTProcessor"}
    assert "auto_map" not in settings["image_processor"] and not hasattr(processor.image_processor, "auto_map")
    assert "auto_map" not in json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert (tmp_path / "processing_facegpt.py").is_file()


def test_tokens_of_pictures_are_counted_by_their_sizes(processor: FaceGPTProcessor):
    sizes = [(100, 100), (30, 500)]
    images = [Image.new("RGB", (width, height)) for height, width in sizes]
    inputs = processor(images=images, text=[processor.image_token] * 2, return_tensors="pt")
    counted = processor._get_num_multimodal_tokens(image_sizes=sizes)["num_image_tokens"]
    assert counted == (inputs["input_ids"] == processor.image_token_id).sum(1).tolist()
