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
"""The saved code alone is enough: everything loads and reconstructs where this package cannot be imported."""

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import torch
from facegpt_hub.checkpoints import load_checkpoint
from facegpt_hub.publish_code import NANO_DIRECTORY, travelling_files, write_code_copy
from PIL import Image

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor

CLEAN_PROCESS = """
import sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("modeling_facegpt", "facegpt_trainer", "facegpt_hub"):
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Absent())
import torch
from PIL import Image
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

directory, photograph, answer = sys.argv[1:]
torch.set_num_threads(1)
config = AutoConfig.from_pretrained(directory, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(directory, trust_remote_code=True)
image = Image.open(photograph)
results, answers = [], []
for auto_class in (AutoModel, AutoModelForImageTextToText):
    model, report = auto_class.from_pretrained(directory, trust_remote_code=True, output_loading_info=True)
    assert not any(report.values()), report
    result = model.reconstruct([image], processor)[0]
    results.append([*result.parameters, result.probability])
    question = processor(images=image.resize((112, 112)), messages=processor.reconstruct_messages())
    said = model.generate(**question, do_sample=False, max_new_tokens=8, min_faces=1, return_dict_in_generate=True)
    answers.append([said.sequences, said.face_parameters])
names = [type(thing).__name__ for thing in (config, processor, model)]
torch.save({"names": names, "results": results, "answers": answers}, answer)
"""


def imagine_and_edit(model: Any, processor: Any) -> list[torch.Tensor]:
    """Faces of words, and an answer about one of them."""
    faces = torch.cat(tuple(model.imagine("an old man", processor, count=2, steps=3)), dim=-1)
    prompt = processor(messages=[{"role": "user", "content": "Make <FACE> smile."}])
    settings = {"do_sample": False, "max_new_tokens": 6, "min_faces": 2, "return_dict_in_generate": True}
    said = model.generate(**prompt, **settings, given_faces=faces[:1])
    return [faces, said.sequences, said.face_parameters, said.face_references]


IMAGINE_ELSEWHERE = (
    CLEAN_PROCESS.split("from PIL import Image")[0]
    + "from typing import Any\n"
    + inspect.getsource(imagine_and_edit)
    + """
from transformers import AutoModel, AutoProcessor

directory, answer = sys.argv[1:]
torch.set_num_threads(1)
model, report = AutoModel.from_pretrained(directory, trust_remote_code=True, output_loading_info=True)
assert not any(report.values()), report
processor = AutoProcessor.from_pretrained(directory, trust_remote_code=True)
torch.save(imagine_and_edit(model, processor), answer)
"""
)


def _noise(path: Path) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(path)
    return image


def _reconstruct_elsewhere(directory: Path, photograph: Path, scratch: Path) -> dict:
    """What `CLEAN_PROCESS` answers."""
    answer = scratch / "answer.pt"
    _run_elsewhere(CLEAN_PROCESS, scratch, str(directory), str(photograph), str(answer))
    return torch.load(answer)


def _run_elsewhere(program: str, scratch: Path, *arguments: str) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(scratch / "modules")}
    command = [sys.executable, "-I", "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_saved_code_loads_without_the_package_and_reconstructs_the_same(
    eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path
):
    image = _noise(tmp_path / "noise.png")
    directory = tmp_path / "checkpoint"
    eager_facegpt.save_pretrained(directory)
    processor.save_pretrained(directory)
    here = eager_facegpt.reconstruct([image], processor)[0]
    question = processor(images=image.resize((112, 112)), messages=processor.reconstruct_messages())
    said = eager_facegpt.generate(
        **question, do_sample=False, max_new_tokens=8, min_faces=1, return_dict_in_generate=True
    )
    there = _reconstruct_elsewhere(directory, tmp_path / "noise.png", tmp_path)
    for sequences, faces in there["answers"]:
        assert torch.equal(sequences, said.sequences)
        torch.testing.assert_close(faces, said.face_parameters, rtol=0, atol=1e-5)
    assert there["names"] == ["FaceGPTConfig", "FaceGPTProcessor", "FaceGPTForConditionalGeneration"]
    assert len(here.probability) >= 1
    for result in there["results"]:
        for ours, theirs in zip([*here.parameters, here.probability], result, strict=True):
            torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)


def test_saved_code_imagines_and_edits_without_the_package(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path
):
    dialogue_facegpt.save_pretrained(tmp_path / "checkpoint")
    processor.save_pretrained(tmp_path / "checkpoint")
    answer = tmp_path / "answer.pt"
    _run_elsewhere(IMAGINE_ELSEWHERE, tmp_path, str(tmp_path / "checkpoint"), str(answer))
    here = imagine_and_edit(dialogue_facegpt, processor)
    for ours, theirs in zip(here, torch.load(answer), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


@pytest.mark.skipif(not (NANO_DIRECTORY / "model.safetensors").is_file(), reason="no weights in hub/facegpt-nano")
def test_published_checkpoint_finds_the_face_without_the_package(tmp_path: Path):
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "astronaut.png")
    there = _reconstruct_elsewhere(NANO_DIRECTORY, tmp_path / "astronaut.png", tmp_path)
    _, model, processor = load_checkpoint(str(NANO_DIRECTORY))
    [here] = model.reconstruct([Image.open(tmp_path / "astronaut.png").convert("RGB")], processor)
    assert len(here.probability) >= 1 and (here.probability > 0.5).all()
    for result in there["results"]:
        for ours, theirs in zip([*here.parameters, here.probability], result, strict=True):
            torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


def test_saving_writes_the_travelling_files(facegpt: FaceGPTForConditionalGeneration, tmp_path: Path):
    facegpt.save_pretrained(tmp_path)
    written = {file.name for file in tmp_path.glob("*.py")}
    assert written <= {file.name for file in travelling_files()}
    assert "modeling_facegpt.py" in written and "__init__.py" not in written


def test_writing_the_copy_removes_stale_modules(tmp_path: Path):
    (tmp_path / "forgotten.py").write_text("")
    (tmp_path / "model.safetensors").write_text("kept")
    written = write_code_copy(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in written} | {"model.safetensors"}


def test_code_copy_in_the_published_directory_is_fresh():
    copied = {file.name: file.read_bytes() for file in NANO_DIRECTORY.glob("*.py")}
    current = {file.name: file.read_bytes() for file in travelling_files()}
    assert copied == current, "run: python -m facegpt_hub.publish_code"
