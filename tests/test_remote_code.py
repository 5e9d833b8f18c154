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
"""The saved code alone is enough: it loads, finds, makes and changes faces where only what it needs is installed."""

import inspect
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import torch
from bare_environment import REMOTE_CODE_NEEDS, link_packages, run_bare
from conftest import REPOSITORY, make_eager
from facegpt_hub.checkpoints import load_checkpoint
from facegpt_hub.publish_code import NANO_DIRECTORY, travelling_files, write_code_copy
from PIL import Image

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor, backends
from modeling_facegpt.backends import REFERENCE, RELEASE, use_backend
from modeling_facegpt.camera import Camera
from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.files.result_reader import read_result
from modeling_facegpt.renderer import render_mesh

CLEAN_PROCESS = """
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
    result = model.reconstruct([image])[0]  # with its own processor, of which nobody is asked whether its code may run
    results.append([*result.parameters, result.probability])
    question = processor(images=image.resize((112, 112)), messages=processor.reconstruct_messages())
    said = model.generate(**question, do_sample=False, max_new_tokens=8, min_faces=1, return_dict_in_generate=True)
    answers.append([said.sequences, said.face_parameters])
names = [type(thing).__name__ for thing in (config, processor, model)]
torch.save({"names": names, "results": results, "answers": answers}, answer)
"""


def imagine_and_edit(model: Any, processor: Any) -> list[torch.Tensor]:
    """Faces of words, and an answer about one of them."""
    faces = torch.cat(tuple(model.imagine("an old man", processor, count=2, steps=3, seed=0)), dim=-1)
    prompt = processor(messages=[{"role": "user", "content": "Make <FACE> smile."}])
    settings = {"do_sample": False, "max_new_tokens": 6, "min_faces": 2, "return_dict_in_generate": True}
    said = model.generate(**prompt, **settings, given_faces=faces[:1])
    return [faces, said.sequences, said.face_parameters, said.face_references]


IMAGINE_ELSEWHERE = (
    "import torch\nfrom typing import Any\n"
    + inspect.getsource(imagine_and_edit)
    + """
from transformers import AutoModel

directory, answer = sys.argv[1:]
torch.set_num_threads(1)
model, report = AutoModel.from_pretrained(directory, trust_remote_code=True, output_loading_info=True)
assert not any(report.values()), report
torch.save(imagine_and_edit(model, model.load_processor()), answer)
"""
)

DRAW_ELSEWHERE = """
from importlib import import_module

import torch
from transformers import AutoModel

directory, given, answer = sys.argv[1:]
torch.set_num_threads(1)
model = AutoModel.from_pretrained(directory, trust_remote_code=True)
code = type(model).__module__.rpartition(".")[0]
backends, camera, records, renderer = (
    import_module(f"{code}.{name}") for name in ("backends", "camera", "face_parameters", "renderer")
)
parameters = records.FaceParameters(*torch.load(given))
seen_by = camera.Camera(torch.full((3,), 77.0), torch.full((3, 2), 32.0))
render = renderer.render_mesh(model.face_model(parameters), parameters, seen_by, (64, 64), silhouettes=True)
assert renderer.__name__.startswith("transformers_modules.")
torch.save({"image": render.image, "backend": backends.availability("numba", "cpu")._asdict()}, answer)
"""
CHAT_ELSEWHERE = """
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoModel

directory, photograph, answer, file = sys.argv[1:]
torch.set_num_threads(1)
model = AutoModel.from_pretrained(directory, trust_remote_code=True)
chat = model.chat(photograph=photograph, seed=0, max_new_tokens=6, min_faces=1)
said = chat.say("Reconstruct every face.")
torch.save({"text": said.text, "faces": list(chat.faces.parameters)}, answer)
Path(file).write_bytes(model.encode_glb(chat.faces))
Path(file).with_stem("imagined").write_bytes(model.encode_glb(model.imagine("an old man", seed=0, steps=3)))
"""

DRAWING_NEEDS = (*REMOTE_CODE_NEEDS, "kornia")


def _noise(path: Path) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(path)
    return image


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with torch, transformers, safetensors, numpy, Pillow, what these require, and nothing else."""
    directory = tmp_path_factory.mktemp("bare") / "packages"
    names = link_packages(directory)
    absent = {"kornia", "diffusers", "numba", "trimesh", "pygltflib", "scipy", "accelerate", "modeling_facegpt"}
    assert {"torch", "transformers", "PIL"} <= names and not absent & names
    return directory


def _reconstruct_elsewhere(directory: Path, photograph: Path, scratch: Path, bare: Path) -> dict:
    """What `CLEAN_PROCESS` answers."""
    answer = scratch / "answer.pt"
    run_bare(CLEAN_PROCESS, bare, str(directory), str(photograph), str(answer), modules=scratch / "modules")
    return torch.load(answer)


def test_saved_code_loads_without_the_package_and_reconstructs_the_same(
    eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path, bare: Path
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
    there = _reconstruct_elsewhere(directory, tmp_path / "noise.png", tmp_path, bare)
    for sequences, faces in there["answers"]:
        assert torch.equal(sequences, said.sequences)
        torch.testing.assert_close(faces, said.face_parameters, rtol=0, atol=1e-5)
    assert there["names"] == ["FaceGPTConfig", "FaceGPTProcessor", "FaceGPTForConditionalGeneration"]
    assert len(here.probability) >= 1
    for result in there["results"]:
        for ours, theirs in zip([*here.parameters, here.probability], result, strict=True):
            torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)


def test_saved_code_imagines_and_edits_without_the_package(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path, bare: Path
):
    dialogue_facegpt.save_pretrained(tmp_path / "checkpoint")
    processor.save_pretrained(tmp_path / "checkpoint")
    answer = tmp_path / "answer.pt"
    run_bare(IMAGINE_ELSEWHERE, bare, str(tmp_path / "checkpoint"), str(answer), modules=tmp_path / "modules")
    here = imagine_and_edit(dialogue_facegpt, processor)
    for ours, theirs in zip(here, torch.load(answer), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


def test_saved_code_chats_and_writes_faces_without_the_package(
    dialogue_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path, bare: Path
):
    _noise(tmp_path / "noise.png")
    model = make_eager(dialogue_facegpt, processor)
    model.save_pretrained(tmp_path / "checkpoint")
    processor.save_pretrained(tmp_path / "checkpoint")
    files = [str(tmp_path / name) for name in ("checkpoint", "noise.png", "answer.pt", "face.glb")]
    run_bare(CHAT_ELSEWHERE, bare, *files, modules=tmp_path / "modules")
    there = torch.load(tmp_path / "answer.pt")
    chat = model.chat(processor, photograph=tmp_path / "noise.png", seed=0, max_new_tokens=6, min_faces=1)
    assert chat.say("Reconstruct every face.").text == there["text"]
    assert chat.faces is not None
    read = read_result(tmp_path / "face.glb", model.face_model)
    for ours, theirs, stored in zip(chat.faces.parameters, there["faces"], read.parameters, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)
        assert torch.equal(stored, theirs)
    imagined = read_result(tmp_path / "imagined.glb", model.face_model)
    expected = model.imagine("an old man", processor, seed=0, steps=3)
    torch.testing.assert_close(imagined.parameters.identity, expected.identity, rtol=0, atol=1e-4)


def draw_elsewhere(
    checkpoint: Path, parameters: FaceParameters, scratch: Path, packages: Path
) -> tuple[torch.Tensor, dict]:
    """The picture `(3, 3, 64, 64)` that a checkpoint's own code draws of three faces, and whether Numba may."""
    torch.save(list(parameters), scratch / "faces.pt")
    files = [str(path) for path in (checkpoint, scratch / "faces.pt", scratch / "answer.pt")]
    run_bare(DRAW_ELSEWHERE, packages, *files, modules=scratch / "modules")
    answer = torch.load(scratch / "answer.pt")
    return answer["image"], answer["backend"]


@pytest.fixture
def drawn(
    facegpt: FaceGPTForConditionalGeneration, face_parameters: FaceParameters, tmp_path: Path
) -> tuple[Path, torch.Tensor]:
    """A checkpoint with its code, and three faces as the reference draws them here."""
    facegpt.save_pretrained(tmp_path / "checkpoint")
    camera = Camera(torch.full((3,), 77.0), torch.full((3, 2), 32.0))
    with use_backend(REFERENCE):
        mesh = facegpt.face_model(face_parameters)
        render = render_mesh(mesh, face_parameters, camera, (64, 64), silhouettes=True)
    return tmp_path / "checkpoint", render.image.detach()


@pytest.mark.skipif(not find_spec("numba"), reason="needs numba")
def test_saved_code_draws_by_the_reference_without_the_package(
    drawn: tuple[Path, torch.Tensor], face_parameters: FaceParameters, tmp_path: Path
):
    checkpoint, expected = drawn
    assert not list(checkpoint.glob("numba_*.py")) and not list(checkpoint.glob("triton_*.py"))
    link_packages(tmp_path / "packages", (*DRAWING_NEEDS, "numba"))
    image, backend = draw_elsewhere(checkpoint, face_parameters, tmp_path, tmp_path / "packages")
    assert not backend["usable"] and "facegpt, which is not installed" in backend["reason"]
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("release", "reason"),
    [(None, None), ("0.0.9", f"its kernels are of facegpt {RELEASE}, and this code is of 0.0.9")],
    ids=["same release", "another release"],
)
def test_saved_code_draws_by_the_kernels_of_its_own_release(
    drawn: tuple[Path, torch.Tensor],
    face_parameters: FaceParameters,
    tmp_path: Path,
    release: str | None,
    reason: str | None,
):
    pytest.importorskip("numba", reason="needs numba")
    checkpoint, expected = drawn
    link_packages(tmp_path / "packages", (*DRAWING_NEEDS, "numba"))
    (tmp_path / "packages/modeling_facegpt").symlink_to(REPOSITORY / "modeling_facegpt")
    if release:
        code = checkpoint / "backends.py"
        code.write_text(code.read_text().replace(f'RELEASE = "{RELEASE}"', f'RELEASE = "{release}"'))
    image, backend = draw_elsewhere(checkpoint, face_parameters, tmp_path, tmp_path / "packages")
    assert backend["usable"] == (release is None)
    assert not reason or reason in backend["reason"]
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)


def test_a_package_without_the_kernels_is_no_harm(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "modeling_facegpt.kernels", None)
    monkeypatch.delattr("modeling_facegpt.kernels", raising=False)
    monkeypatch.setattr(backends, "_load", backends._load.__wrapped__)
    usable, reason = backends.availability("numba", "cpu")
    assert not usable and "its kernels are in the package facegpt, which is not installed" in reason


@pytest.mark.skipif(not (NANO_DIRECTORY / "model.safetensors").is_file(), reason="no weights in hub/facegpt-nano")
def test_published_checkpoint_finds_the_face_without_the_package(tmp_path: Path, bare: Path):
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "astronaut.png")
    there = _reconstruct_elsewhere(NANO_DIRECTORY, tmp_path / "astronaut.png", tmp_path, bare)
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
