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
"""Arguments as people give them: paths, arrays, images of any mode, one or many; and numbers that make no sense."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from test_threads import photographs, same, values

from modeling_facegpt import ChatSession, FaceChatPipeline, FaceGPTForConditionalGeneration, FaceGPTProcessor, refine
from modeling_facegpt.reconstruction import rounded_numbers

FORMS: dict[str, Callable[[Image.Image, Path], Any]] = {
    "path": lambda image, path: path,
    "path in words": lambda image, path: str(path),
    "bytes": lambda image, path: path.read_bytes(),
    "array": lambda image, path: np.asarray(image),
    "array of floats": lambda image, path: np.asarray(image, dtype=np.float32) / 255,
    "image with opacity": lambda image, path: image.convert("RGBA"),
    "one image": lambda image, path: image,
    "tuple": lambda image, path: (image,),
    "generator": lambda image, path: (part for part in [image]),
    "array of images": lambda image, path: np.asarray(image)[None],
}


@pytest.fixture
def image() -> Image.Image:
    return photographs(1)[0]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_photograph_is_taken_in_any_form(
    chatty: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    image: Image.Image,
    tmp_path: Path,
    form: Callable[[Image.Image, Path], Any],
) -> None:
    image.save(path := tmp_path / "photograph.png")
    wanted = chatty.reconstruct([image], processor)
    found = chatty.reconstruct(form(image, path), processor)
    assert len(found) == 1 and same(values(found), values(wanted))
    refined = refine(chatty, processor, form(image, path), found[0], steps=1)
    assert same(values(refined), values(refine(chatty, processor, [image], wanted, steps=1)))
    named = chatty.reconstruct(form(image, path), processor, reference="the woman on the left")
    assert same(values(named), values(chatty.reconstruct([image], processor, reference="the woman on the left")))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "I;16", "F", "LA"])
def test_images_of_any_mode_are_read(
    chatty: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, image: Image.Image, mode: str
) -> None:
    given = image.convert("L").convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    assert len(chatty.reconstruct(given, processor)[0].probability)
    assert ChatSession(chatty, processor, photograph=given).faces is not None
    chat = FaceChatPipeline(model=chatty, processor=processor, batch_size=1)
    assert chat(given, "Who is this?", max_new_tokens=2)["text"] is not None


def test_one_focal_length_may_stand_alone(
    chatty: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, image: Image.Image
) -> None:
    [one] = chatty.reconstruct(image, processor, focals=200)
    [listed] = chatty.reconstruct([image], processor, focals=cast(Any, [np.float32(200)]))
    assert same(values(one), values(listed)) and one.camera.focal[0] == 200


@pytest.mark.parametrize("focal", [-100.0, 0, float("nan"), float("inf"), "long"])
def test_focal_lengths_without_sense_are_refused(
    chatty: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, image: Image.Image, focal: Any
) -> None:
    with pytest.raises(ValueError, match="focal length.*finite number above 0"):
        chatty.reconstruct([image], processor, focals=[focal])
    with pytest.raises(ValueError, match="focal length.*finite number above 0"):
        ChatSession(chatty, processor, photograph=image, focal=focal)


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (3, {}, "got a photograph of type int, wanted a path"),
    (None, {}, "got a photograph of type NoneType"),
    (torch.zeros(3, 20, 20), {}, "got a photograph of type Tensor"),
    ("nobody.jpg", {}, "nobody.jpg"),
    ([Image.new("RGB", (64, 64))], {"focals": [1.0, 2.0]}, "got 2 focal lengths for 1 images"),
    ([Image.new("RGB", (64, 64))], {"batch_size": 0}, "got batch_size=0"),
    ([Image.new("RGB", (64, 64))], {"refine_steps": 0.5}, "got steps=0.5"),
]


@pytest.mark.parametrize(("images", "settings", "message"), WRONG)
def test_what_is_wrong_is_said(
    facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    images: Any,
    settings: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        facegpt.reconstruct(images, processor, **settings)


def test_sessions_and_pipelines_tell_their_seed(
    chatty: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 2, "min_faces": 1}
    first, second = (ChatSession(chatty, processor, **settings) for _ in range(2))
    again = ChatSession(chatty, processor, seed=first.seed, **settings)
    said = [values(session.say("Show me an old man.")) for session in (first, second, again)]
    assert first.seed != second.seed and not same(said[0], said[1]) and same(said[0], said[2])
    chat = FaceChatPipeline(model=chatty, processor=processor, batch_size=2)
    words = ["Show me an old man.", "Show me a woman."]
    one, other = chat(text=words, **settings), chat(text=words, **settings)
    repeated = chat(text=words, seed=one[0]["seed"], **settings)
    assert not same(values(one[0]["faces"]), values(other[0]["faces"]))
    assert same(values(one[0]["faces"]), values(repeated[0]["faces"]))


def test_a_used_processor_has_the_fingerprint_of_a_new_one(processor: FaceGPTProcessor) -> None:
    from datasets.fingerprint import Hasher

    used = FaceGPTProcessor(processor.vlm_processor, processor.render_size, processor.crop_scale)
    before = Hasher.hash(used)
    assert used.end_token_id == processor.end_token_id
    used(pictures=torch.rand(1, 3, 112, 112), messages=used.reconstruct_messages())
    assert Hasher.hash(used) == before


def test_results_need_no_float64_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's devices have none; the meta device stands for them here."""
    asked: list[str] = []
    double = torch.Tensor.double
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: torch.full(self.shape, 0.125))
    monkeypatch.setattr(torch.Tensor, "double", lambda self: asked.append(self.device.type) or double(self))
    assert rounded_numbers(torch.zeros(2, device="meta"), 3) == [0.125, 0.125] and asked == ["cpu"]
