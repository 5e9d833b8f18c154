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
"""The `facegpt` command as people meet it: files, words and exit codes."""

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from facegpt_hub import checkpoints, command_line, extras, photograph_tasks
from PIL import Image
from reconstructions import make_reconstruction


class StandIn:
    """A model that finds as many faces as the photograph's first pixel is red, and breaks at a blue one."""

    def __init__(self, face_model, parameters):
        self.face_model, self.parameters = face_model, parameters
        self.batches, self.focals, self.settings = [], [], []

    def reconstruct(self, images, processor, *, focals, batch_size, **settings):
        self.batches.append(len(images))
        self.settings.append(settings)
        self.focals += focals
        if any(image.getpixel((0, 0))[2] > 200 for image in images):
            raise RuntimeError("a tensor\nhas the wrong size")
        return [
            make_reconstruction(self.parameters, faces=image.getpixel((0, 0))[0], size=image.size) for image in images
        ]


@pytest.fixture
def model(monkeypatch, face_model, face_parameters):
    stand_in = StandIn(face_model, face_parameters)
    checkpoint = checkpoints.Checkpoint("stand-in", stand_in, None)  # type: ignore[arg-type]
    monkeypatch.setattr(checkpoints, "load_checkpoint", lambda name, device: checkpoint)
    monkeypatch.setattr(photograph_tasks, "result_sheet", lambda image, *others: image)
    return stand_in


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command in an empty directory -> exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["facegpt", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            command_line.main()
        output = capsys.readouterr()
        assert "Traceback" not in output.err
        return int(stopped.value.code or 0), output.out, output.err

    return call


def photograph(path: str | Path, faces: int = 1) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), (faces, 0, 0)).save(path)
    return Path(path)


def test_one_photograph(run, model):
    photograph("photo.png")
    code, out, err = run("reconstruct", "photo.png", "-o", "out/face.glb")
    assert code == 0 and err == ""
    assert out.splitlines() == [
        "1 face in photo.png",
        "  mesh     out/face.glb",
        "  numbers  out/face.json",
        "  picture  out/face.png",
    ]
    assert sorted(path.name for path in Path("out").iterdir()) == ["face.glb", "face.json", "face.png"]
    assert Path("out/face.glb").read_bytes()[:4] == b"glTF"
    document = json.loads(Path("out/face.json").read_text())
    assert document["photo"] == "photo.png" and document["size"] == [64, 48] and document["model"] == "stand-in"
    assert Image.open("out/face.png").size == (64, 48)


def test_what_is_asked_of_the_model_reaches_it(run, model):
    assert run("reconstruct", photograph("a.png"), "-o", "face.glb")[0] == 0
    assert run("reconstruct", "a.png", "-o", "face.glb", "--face", "the one on the left", "--refine", 40)[0] == 0
    assert model.settings == [
        {"reference": None, "refine_steps": 0},
        {"reference": "the one on the left", "refine_steps": 40},
    ]
    assert run("reconstruct", "a.png", "-o", "face.glb", "--refine", -1)[0] == 2


def test_json_is_all_that_is_on_stdout(run, model):
    photograph("in/face.png", faces=2)
    photograph("in/wall.png", faces=0)
    Path("in/bad-é.jpg").write_bytes(b"no picture")
    code, out, err = run("reconstruct", "in", "-o", "out/", "--json")
    bad, face, wall = json.loads(out)["photographs"]
    assert code == 1 and out.isascii() and "2 photographs, 2 faces -> out" in err
    assert face == {
        **{"photograph": "in/face.png", "faces": 2, "problem": None},
        **{"mesh": "out/face.glb", "numbers": "out/face.json", "picture": "out/face.png"},
    }
    assert all(Path(face[name]).is_file() for name in ("mesh", "numbers", "picture"))
    assert (wall["faces"], wall["mesh"], wall["numbers"], wall["picture"]) == (0, None, "out/wall.json", None)
    assert bad["photograph"] == "in/bad-é.jpg" and "not an image" in bad["problem"] and bad["numbers"] is None


def test_several_faces_share_the_files_of_their_photograph(run, model):
    photograph("group.png", faces=3)
    code, out, _ = run("reconstruct", "group.png", "-o", "out/")
    assert code == 0 and "3 faces" in out
    assert len(json.loads(Path("out/group.json").read_text())["faces"]) == 3


@pytest.mark.parametrize("suffix", ["obj", "ply"])
def test_other_formats(run, model, suffix):
    photograph("photo.png")
    assert run("reconstruct", "photo.png", "-o", f"a.{suffix}", "--neutral")[0] == 0
    assert run("reconstruct", "photo.png", "-o", "out", "--format", suffix, "--neutral")[0] == 0
    assert Path(f"a.{suffix}").read_bytes() == Path(f"out/photo.{suffix}").read_bytes()


def test_ten_good_and_three_bad_files(run, model):
    for number in range(10):
        photograph(f"in/{number}.png")
    Path("in/bad-a.jpg").write_bytes(b"")
    Path("in/bad-b.jpg").write_bytes(b"no picture")
    Path("in/bad-c.png").write_bytes(Path("in/0.png").read_bytes()[:60])
    Path("in/notes.txt").write_text("not looked at")
    code, out, err = run("reconstruct", "in", "-o", "out/", "--batch-size", "4")
    assert code == 1
    assert "10 photographs, 10 faces -> out" in out
    assert "3 photographs could not be done" in err
    assert all(name in err for name in ("bad-a.jpg", "bad-b.jpg", "bad-c.png")) and "notes" not in err
    assert len(list(Path("out").iterdir())) == 30
    assert model.batches == [4, 4, 2]


def test_a_photograph_that_breaks_the_model_does_not_stop_its_batch(run, model):
    photograph("in/a.png")
    Image.new("RGB", (64, 48), "blue").save("in/b.png")
    photograph("in/c.png")
    code, out, err = run("reconstruct", "in", "-o", "out/")
    assert code == 1 and "2 photographs, 2 faces" in out and "b.png" in err and "wrong size" in err


def test_no_face_in_the_only_photograph(run, model):
    photograph("wall.png", faces=0)
    code, out, err = run("reconstruct", "wall.png", "-o", "wall.glb")
    assert code == 1 and out == "" and "no face found in wall.png" in err
    assert not Path("wall.glb").exists()
    assert json.loads(Path("wall.json").read_text())["faces"] == []


def test_no_face_in_one_of_several_is_no_failure(run, model):
    photograph("in/face.png")
    photograph("in/wall.png", faces=0)
    code, out, err = run("reconstruct", "in", "-o", "out/")
    assert code == 0 and "2 photographs, 1 face -> out" in out and "no face found in in/wall.png" in err
    assert sorted(path.name for path in Path("out").iterdir()) == ["face.glb", "face.json", "face.png", "wall.json"]


def test_the_photograph_in_the_output_directory_survives(run, model):
    before = photograph("photo.png").read_bytes()
    assert run("reconstruct", "photo.png")[0] == 0
    assert Path("photo.png").read_bytes() == before
    assert Path("photo.glb").exists() and Path("photo-sheet.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.jpg", "-o", "a.glb"], "missing.jpg does not exist"),
        (["photo.png", "photo.png", "-o", "a.glb"], "give a directory instead"),
        (["photo.png", "-o", "photo.png/out.glb"], "nothing can be written to photo.png"),
        (["empty", "-o", "out"], "holds no photographs"),
        (["photo.png", "-o", "a.stl"], "a.stl cannot be written"),
    ],
)
def test_failures_take_one_sentence(run, model, arguments, words):
    photograph("photo.png")
    Path("empty").mkdir()
    code, out, err = run("reconstruct", *arguments)
    assert code == 1 and out == ""
    assert err.startswith("facegpt: ") and words in err and len(err.splitlines()) == 1
    assert not list(Path().glob("*.glb"))


def test_numbers_that_are_not_finite_write_nothing(run, model):
    photograph("photo.png")
    model.parameters = model.parameters._replace(identity=torch.full_like(model.parameters.identity, torch.nan))
    code, _, err = run("reconstruct", "photo.png", "-o", "out/")
    assert code == 1 and "finite" in err and len(err.splitlines()) == 1
    assert list(Path("out").iterdir()) == []


def test_a_full_disk_is_a_sentence(run, model, monkeypatch):
    def fail(contents):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(photograph_tasks, "write_files", fail)
    photograph("photo.png")
    code, _, err = run("reconstruct", "photo.png", "-o", "out/")
    assert code == 1 and "No space left on device" in err and len(err.splitlines()) == 1


def test_unknown_checkpoints_are_refused(run, tmp_path):
    photograph("photo.png")
    Path("notes.txt").write_text("no weights")
    for name, words in (("notes.txt", "is a file"), ("./nowhere", "there is no checkpoint"), (".", "no config.json")):
        code, out, err = run("reconstruct", "photo.png", "-o", "a.glb", "--model", name)
        assert code == 1 and out == "" and words in err and len(err.splitlines()) == 1


def test_interruption_is_quiet(run, model, monkeypatch):
    def interrupt(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "reconstruct", interrupt)
    photograph("photo.png")
    code, _, err = run("reconstruct", "photo.png", "-o", "out/")
    assert code == 130 and list(Path("out").iterdir()) == []
    assert err.strip() == "facegpt: stopped: 0 of 1 photograph are done"


def test_unforeseen_errors_are_sentences_too(run, model, monkeypatch):
    monkeypatch.setattr(photograph_tasks, "describe_reconstruction", lambda *others, **settings: {}["missing"])
    photograph("photo.png")
    code, _, err = run("reconstruct", "photo.png")
    assert code == 1 and "FACEGPT_TRACEBACK" in err and len(err.splitlines()) == 1


def test_wrong_usage_has_its_own_code(run):
    assert run("reconstruct")[0] == 2
    assert run("reconstruct", "photo.png", "--format", "fbx")[0] == 2
    assert run("paint")[0] == 2


@pytest.mark.parametrize("command", [[], ["reconstruct"], ["chat"], ["evaluate"], ["evaluate", "renders"]])
def test_both_options_for_help_work_everywhere(run, command):
    short, long = run(*command, "-h"), run(*command, "--help")
    assert short == long and short[0] == 0 and "Usage: facegpt" in short[1]


def test_shells_can_complete_it(run, monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/bash")
    assert "--install-completion" in run("--help")[1]
    code, out, _ = run("--show-completion", "bash")
    assert code == 0 and "_facegpt_completion()" in out


def test_a_missing_extra_is_named_with_the_line_that_installs_it(tmp_path):
    call = "from facegpt_hub.command_line import main; main(['train', '--config', 'recipe.yaml'])"
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['accelerate'] = None; {call}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    sentence = "accelerate not found, which training needs; run: pip install 'facegpt[train]'\n"
    assert (result.returncode, result.stdout, result.stderr) == (1, "", sentence)


def test_every_extra_for_users_is_known_by_its_modules():
    """What pip knows of the installed package is what pyproject.toml says."""
    described = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    wanted = {name for name in described["optional-dependencies"] if name not in ("all", "test")}
    assert wanted == set(extras.packages_of_extras())
    for extra, packages in extras.packages_of_extras().items():
        error = ModuleNotFoundError("no", name=extras._MODULES.get(packages[0], packages[0].replace("-", "_")))
        assert f"facegpt[{extra}]" in (extras.explain_missing(error) or "")
    assert extras.explain_missing(ModuleNotFoundError("no", name="of_nobody")) is None


def test_what_no_terminal_can_write_is_escaped(run):
    assert run("reconstruct", "nothing-\udce9.png")[2] == "facegpt: nothing-\\udce9.png does not exist\n"


def test_version(run, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{name} 1.2.3")
    code, out, _ = run("--version")
    assert code == 0 and out.strip() == "facegpt 1.2.3"


def test_help_loads_nothing_heavy():
    paths = os.pathsep.join(path for path in sys.path if path)
    script = (
        "import sys; sys.argv = ['facegpt', '--help']\n"
        "from facegpt_hub.command_line import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'transformers', 'trimesh', 'trl', 'datasets', 'gradio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert result.returncode == 0, result.stderr
    assert "reconstruct" in result.stdout and "convert-3dmm" in result.stdout


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


def test_files_that_facegpt_did_not_write_are_never_replaced(run, model):
    photograph("me.bmp")
    photograph("me.png", faces=2)
    Path("me.json").write_text("{}")
    Path("me.glb").write_bytes(b"glTF of somebody")
    before = contents()
    code, out, err = run("reconstruct", "me.bmp")
    assert code == 0 and {name: content for name, content in contents().items() if name in before} == before
    assert all(name in out for name in ("me-mesh.glb", "me-numbers.json", "me-sheet.png"))
    assert "3 files that FaceGPT did not write stayed (me.glb, me.json, me.png)" in err
    first = contents()
    assert run("reconstruct", "me.bmp")[0] == 0
    assert contents() == first  # a second run gives the files of the first


def test_a_mesh_that_was_named_is_replaced(run, model):
    photograph("me.bmp")
    Path("face.glb").write_bytes(b"glTF of somebody")
    Path("face.json").write_text("{}")
    code, out, err = run("reconstruct", "me.bmp", "-o", "face.glb")
    assert code == 0 and len(Path("face.glb").read_bytes()) > 1000
    assert Path("face.json").read_text() == "{}" and "face-numbers.json" in out and "(face.json)" in err


def test_a_folder_that_is_input_and_output_keeps_its_photographs(run, model):
    photograph("in/a.bmp")
    photograph("in/b.png", faces=2)
    photograph("in/b-sheet.bmp")
    results = []
    for _ in range(3):
        code, out, _ = run("reconstruct", "in", "-o", "in")
        assert code == 0 and "3 photographs, 4 faces" in out
        results.append(contents())
    assert results[0] == results[1] == results[2] and len(results[0]) == 3 + 9
    for name in ("a.bmp", "b.png", "b-sheet.bmp"):
        Path("in", name).unlink()
    code, _, err = run("reconstruct", "in", "-o", "in")
    assert code == 1 and "holds no photographs" in err


def test_names_that_are_no_utf8_and_long_names_are_done_with_the_rest(run, model):
    latin = Path(os.fsdecode(b"in/caf\xe9.png"))
    photograph("in/a.png").rename(latin)
    photograph("in/" + "\u8138" * 80 + ".png")
    photograph("in/plain.png")
    code, out, err = run("reconstruct", "in", "-o", "out")
    assert code == 0 and "3 photographs, 3 faces" in out and err == ""
    assert len(list(Path("out").iterdir())) == 9
    document = json.loads(Path(os.fsdecode(b"out/caf\xe9.json")).read_text())
    assert document["photo"] == "in/caf\\xe9.png"
    code, out, err = run("reconstruct", latin, "-o", "out")
    assert code == 0 and "caf\\xe9.glb" in out


def test_paths_of_failed_photographs_are_written_whole(run, model):
    folder = Path("a" * 60, "b" * 60)
    photograph(folder / "good.png")
    for number in range(2):
        (folder / f"empty-{number}.png").write_bytes(b"")
    code, _, err = run("reconstruct", folder, "-o", "out")
    assert code == 1
    for number in range(2):
        assert f"  {folder}/empty-{number}.png is empty (0 bytes)" in err.splitlines()


def test_faces_that_are_left_out_are_told(run, model, monkeypatch):
    photograph("group.png", faces=3)
    reconstruct = model.reconstruct

    def leave_out(*arguments, **settings):
        return [found._replace(left_out=4) for found in reconstruct(*arguments, **settings)]

    monkeypatch.setattr(model, "reconstruct", leave_out)
    code, _, err = run("reconstruct", "group.png", "-o", "out/")
    assert code == 0 and "group.png shows 7 faces, of which the 3 surest are given" in err
    document = json.loads(Path("out/group.json").read_text())
    assert document["faces_left_out"] == 4 and "7 faces" in document["notes"][0]


def test_interruption_tells_what_is_done(run, model, monkeypatch):
    reconstruct, calls = model.reconstruct, []

    def interrupt(*arguments, **settings):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return reconstruct(*arguments, **settings)

    monkeypatch.setattr(model, "reconstruct", interrupt)
    for number in range(5):
        photograph(f"in/{number}.png")
    code, _, err = run("reconstruct", "in", "-o", "out", "--batch-size", 1)
    assert code == 130 and err.strip() == "facegpt: stopped: 2 of 5 photographs are done and in out"
    assert len(list(Path("out").iterdir())) == 6
