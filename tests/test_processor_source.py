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
"""A loaded model finds its own processor: in the subfolder and revision it came from, from wherever it is asked."""

from pathlib import Path

import pytest
from PIL import Image

from modeling_facegpt import ChatSession, FaceGPTForConditionalGeneration, FaceGPTProcessor
from modeling_facegpt.pretrained_mixin import ProcessorSource


@pytest.fixture
def nested(
    eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path, monkeypatch
) -> Path:
    """A folder with a checkpoint one level down; it is the working directory."""
    monkeypatch.chdir(tmp_path)
    for thing in (eager_facegpt, processor):
        thing.save_pretrained(tmp_path / "all" / "small")
    return tmp_path


@pytest.mark.parametrize("place", [("all/small", {}), ("all", {"subfolder": "small"})], ids=["folder", "subfolder"])
def test_the_processor_is_found_from_another_directory(nested: Path, place: tuple, monkeypatch: pytest.MonkeyPatch):
    name, settings = place
    model = FaceGPTForConditionalGeneration.from_pretrained(name, **settings).eval()
    (nested / "elsewhere").mkdir()
    monkeypatch.chdir(nested / "elsewhere")
    image = Image.effect_noise((60, 60), 80).convert("RGB")
    [found] = model.reconstruct([image])
    [given] = model.reconstruct([image], model.load_processor())
    assert len(found.probability) == len(given.probability) >= 1
    assert ChatSession(model).processor.face_token_id == model.config.face_token_id


def test_revision_and_place_of_files_are_asked_of_the_processor_too(nested: Path, monkeypatch: pytest.MonkeyPatch):
    """Of a name on the Hub, whose files are taken as loaded."""
    asked = {}
    local = FaceGPTForConditionalGeneration.from_pretrained("all/small")
    monkeypatch.setattr(
        "transformers.PreTrainedModel.from_pretrained", classmethod(lambda cls, name, **settings: (local, {}))
    )
    model, _ = FaceGPTForConditionalGeneration.from_pretrained(
        "somebody/something", revision="v1", subfolder="small", cache_dir="here", output_loading_info=True
    )
    monkeypatch.setattr(
        "modeling_facegpt.pretrained_mixin.FaceGPTProcessor.from_pretrained",
        lambda name, **settings: asked.update(name=name, **settings),
    )
    model.load_processor()
    assert asked == {"name": "somebody/something", "revision": "v1", "subfolder": "small", "cache_dir": "here"}
    assert isinstance(model.processor_source, ProcessorSource)


def test_a_model_that_came_from_nowhere_asks_for_its_processor(facegpt: FaceGPTForConditionalGeneration):
    with pytest.raises(ValueError, match="give the processor"):
        facegpt.reconstruct([Image.new("RGB", (40, 40))])
