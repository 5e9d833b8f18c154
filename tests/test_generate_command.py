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
"""`facegpt generate` as people meet it: files, the same again by the same seed, and what is refused or declined."""

import copy
import json
import re
from pathlib import Path
from typing import cast

import pytest
import torch
from facegpt_hub import checkpoints
from facegpt_hub.command_line import app
from PIL import Image
from typer.testing import CliRunner

from modeling_facegpt import FaceGPTConfig, FaceGPTForConditionalGeneration
from modeling_facegpt.face_parameters import parameters_to_vector
from modeling_facegpt.files.result_reader import read_result


@pytest.fixture
def imaginative(eager_facegpt: FaceGPTForConditionalGeneration) -> FaceGPTForConditionalGeneration:
    """A model that makes faces from words."""
    config = cast(FaceGPTConfig, copy.deepcopy(eager_facegpt.config))
    config.dialogue_hidden_size = 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = FaceGPTForConditionalGeneration(config).eval()
    model.load_state_dict(eager_facegpt.state_dict(), strict=False)
    return model


@pytest.fixture
def run(monkeypatch, tmp_path, imaginative, processor):
    """Run `facegpt generate` in an empty directory, by a tiny model."""
    monkeypatch.chdir(tmp_path)
    checkpoint = checkpoints.Checkpoint("tiny", imaginative, processor)
    monkeypatch.setattr(checkpoints, "load_checkpoint", lambda name, device: checkpoint)
    return lambda *arguments: CliRunner().invoke(app, ["generate", *map(str, arguments)])


def read(directory: str, count: int, face_model) -> torch.Tensor:
    found = [read_result(Path(directory) / f"face-{number + 1}.glb", face_model) for number in range(count)]
    return torch.cat([parameters_to_vector(result.parameters) for result in found])


def test_each_face_has_its_files_and_all_share_a_sheet(run, face_model):
    result = run("an old man with a broad nose", "-n", "3", "-o", "out/men")
    assert result.exit_code == 0, result.output
    first, *lines = result.output.splitlines()
    assert re.fullmatch(r"3 faces of 'an old man with a broad nose', seed (\d+) \(--seed \1 makes them again\)", first)
    assert lines == [
        *(f"  mesh     out/men/face-{number}.glb" for number in (1, 2, 3)),
        "  sheet    out/men/sheet.png",
    ]
    names = {path.name for path in Path("out/men").iterdir()}
    assert names == {f"face-{number}{end}" for number in (1, 2, 3) for end in (".glb", ".json", ".png")} | {
        "sheet.png"
    }
    faces = read("out/men", 3, face_model)
    assert torch.pdist(faces).min() > 0.1
    document = json.loads(Path("out/men/face-2.json").read_text())
    assert document["photo"] is None and document["faces"][0]["standard_deviations"] is None
    sheet, alone = (Image.open(f"out/men/{name}.png") for name in ("sheet", "face-1"))
    assert sheet.width * sheet.height > 2 * alone.width * alone.height


def test_json_is_all_that_is_on_stdout(run):
    result = run("a man", "-n", "2", "-o", "out", "--json", "--seed", "7")
    document = json.loads(result.stdout)
    assert "2 faces of 'a man', seed 7" in result.stderr
    assert (document["prompt"], document["seed"], document["declined"]) == ("a man", 7, None)
    paths = [path for face in document["faces"] for path in face.values()] + [document["sheet"]]
    assert len(paths) == 7 and all(Path(path).is_file() for path in paths)
    result = run("a <FACE>", "-o", "out", "--json")
    assert result.exit_code == 1 and result.stdout == ""


def test_a_seed_is_a_set_of_faces(run, face_model):
    for directory, seed, count in (("one", 3, 2), ("same", 3, 1), ("other", 4, 2)):
        assert run("a man", "-n", count, "--seed", seed, "-o", directory).exit_code == 0
    one, same, other = (read(name, count, face_model) for name, count in (("one", 2), ("same", 1), ("other", 2)))
    torch.testing.assert_close(one[:1], same, rtol=1e-4, atol=1e-4)
    assert (one - other).abs().max() > 0.1


def test_without_a_seed_each_run_makes_others_and_tells_how_to_make_them_again(run, face_model):
    told = [run("a man", "-n", "1", "-o", name).output for name in ("one", "other")]
    seed = told[0].split("--seed ")[1].split()[0]
    assert run("a man", "-n", "1", "-o", "again", "--seed", seed).exit_code == 0
    one, other, again = (read(name, 1, face_model) for name in ("one", "other", "again"))
    assert (one - other).abs().max() > 0.1 and torch.equal(one, again)


def test_what_the_model_declines_is_said_in_its_words(run, monkeypatch, imaginative, processor):
    words = processor.tokenizer("I do not know this word.<end>", return_tensors="pt")["input_ids"]
    generate = imaginative.generate

    def decline(*arguments, input_ids, **settings):
        output = generate(*arguments, input_ids=input_ids, **{**settings, "max_new_tokens": 1})
        none = {name: output[name][:0] for name in ("face_rows", "face_parameters", "face_references")}
        return type(output)(**{**output, **none, "sequences": torch.cat((input_ids, words), dim=1)})

    monkeypatch.setattr(imaginative, "generate", decline)
    result = run("a wibbly nose", "-o", "out")
    assert result.exit_code == 1 and result.stderr == "facegpt: I do not know this word.\n"
    document = json.loads(run("a wibbly nose", "-o", "out", "--json").stdout)
    assert document["faces"] == [] and document["declined"] == "I do not know this word."
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "empty prompt"),
        ("a <FACE> of mine", "control token"),
        ("word " * 10_000, "fewer words"),
    ],
)
def test_what_cannot_be_read_is_refused(run, prompt, words):
    result = run(prompt, "-o", "out")
    assert result.exit_code == 1 and isinstance(result.exception, ValueError) and words in str(result.exception)
    assert not Path("out").exists()


def test_a_checkpoint_that_makes_no_faces_says_so(run, monkeypatch, facegpt, processor):
    checkpoint = checkpoints.Checkpoint("tiny", facegpt, processor)
    monkeypatch.setattr(checkpoints, "load_checkpoint", lambda name, device: checkpoint)
    result = run("a man", "-o", "out")
    assert result.exit_code == 1 and "makes no faces from words" in str(result.exception)
    assert not Path("out").exists()


def test_wrong_numbers_are_wrong_usage(run):
    assert run("a man", "-n", "0").exit_code == 2
    assert run("a man", "--guidance-scale", "-1").exit_code == 2


def test_files_of_others_stay(run):
    Path("out").mkdir()
    for name in ("sheet.png", "face-1.glb"):
        Path("out", name).write_bytes(b"of somebody")
    for _ in range(2):
        result = run("a man", "-n", "1", "-o", "out")
        assert result.exit_code == 0, result.output
        mesh, sheet = result.output.splitlines()[1:]
        assert [mesh, sheet] == [
            "  mesh     out/face-1-mesh.glb",
            "  sheet    out/sheet-of-faces.png",
        ]
        names = sorted(path.name for path in Path("out").iterdir())
        assert names == [
            "face-1-mesh.glb",
            "face-1.glb",
            "face-1.json",
            "face-1.png",
            "sheet-of-faces.png",
            "sheet.png",
        ]
    assert {Path("out", name).read_bytes() for name in ("sheet.png", "face-1.glb")} == {b"of somebody"}


def test_a_place_that_cannot_be_written_to_is_told_before_the_work(run, monkeypatch):
    Path("file").write_text("no directory")
    monkeypatch.setattr(checkpoints, "load_checkpoint", lambda name, device: pytest.fail("it was loaded"))
    result = run("a man", "-o", "file/out")
    assert result.exit_code == 1 and "nothing can be written to file/out" in str(result.exception)
