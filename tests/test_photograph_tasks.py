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
"""Naming results, and doing what can be done of a batch."""

from pathlib import Path

import pytest
from facegpt_hub.photograph_tasks import OutputError, find_photographs, plan_tasks
from PIL import Image

from modeling_facegpt.photograph import PhotographError


def names(tasks) -> list[str]:
    return [task.mesh.name for task in tasks]


def test_directories_give_their_pictures_in_order(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.jpg", "c.heic"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "d.jpg").write_bytes(b"x")
    found = find_photographs([Path("first.jpg"), tmp_path])
    assert [path.name for path in found] == ["first.jpg", "a.png", "b.JPG", "c.heic"]


def test_a_directory_without_pictures_is_refused(tmp_path):
    with pytest.raises(PhotographError, match="holds no photographs"):
        find_photographs([tmp_path])


def test_results_are_named_after_the_photograph(tmp_path):
    (task,) = plan_tasks([Path("a/photo.jpg")], str(tmp_path / "out"), None)
    assert task.mesh == tmp_path / "out" / "photo.glb"
    assert task.document == tmp_path / "out" / "photo.json" and task.sheet == tmp_path / "out" / "photo.png"
    (task,) = plan_tasks([Path("a/photo.jpg")], str(tmp_path / "face.obj"), None)
    assert task.mesh == tmp_path / "face.obj" and task.sheet == tmp_path / "face.png"


def test_the_same_stem_again_gets_a_number(tmp_path):
    photographs = [Path(name) for name in ("a/x.jpg", "b/X.png", "x-2.jpg", "c/x.webp", "y.jpg")]
    tasks = plan_tasks(photographs, str(tmp_path), ".ply")
    assert names(tasks) == ["x.ply", "X-2.ply", "x-2-2.ply", "x-3.ply", "y.ply"]


@pytest.mark.parametrize(
    ("output", "is_directory"),
    [("new", True), ("new.v2/", True), ("there.v1", True), ("face.GLB", False), ("new/face.ply", False)],
)
def test_file_or_directory(tmp_path, monkeypatch, output, is_directory):
    monkeypatch.chdir(tmp_path)
    Path("there.v1").mkdir()
    (task,) = plan_tasks([Path("photo.jpg")], output, None)
    assert task.mesh == (Path(output) / "photo.glb" if is_directory else Path(output))
    assert task.mesh.parent.is_dir()


@pytest.mark.parametrize(
    ("photographs", "output", "suffix", "words"),
    [
        (["a.jpg", "b.jpg"], "face.glb", None, "2 photographs and one file"),
        (["a.jpg"], "face.fbx", None, r"\.glb, \.obj, \.ply"),
        (["a.jpg"], "face.glb", ".obj", r"format \.obj"),
        (["a.jpg"], "a_file/face.glb", None, "nothing can be written to a_file"),
        (["a.jpg"], "a_file", None, "nothing can be written to a_file"),
    ],
)
def test_impossible_outputs_are_refused_before_any_work(tmp_path, monkeypatch, photographs, output, suffix, words):
    monkeypatch.chdir(tmp_path)
    Path("a_file").write_text("not a directory")
    with pytest.raises(OutputError, match=words):
        plan_tasks([Path(name) for name in photographs], output, suffix)


def test_a_photograph_is_never_written_over(tmp_path):
    photographs = [tmp_path / "x.png", tmp_path / "x-sheet.png"]
    for path in photographs:
        Image.new("RGB", (32, 32)).save(path)
    tasks = plan_tasks(photographs, str(tmp_path), None)
    assert not {task.sheet for task in tasks} & set(photographs)
