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
"""Result files: known again by what is inside, put in place all or none, never over what is not ours."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from reconstructions import make_reconstruction

from modeling_facegpt.files import result_files
from modeling_facegpt.files.export import encode_document, encode_mesh, encode_png
from modeling_facegpt.files.result_document import describe_reconstruction
from modeling_facegpt.files.result_files import check_directory, free_path, is_result, prepare_directory, write_files


def contents_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def results(face_model, face_parameters) -> dict[str, bytes]:
    reconstruction = make_reconstruction(face_parameters)
    document = describe_reconstruction(face_model, reconstruction, photo=None, model="tiny")
    meshes = {suffix: encode_mesh(face_model, reconstruction, suffix) for suffix in (".glb", ".obj", ".ply")}
    return {**meshes, ".json": encode_document(document), ".png": encode_png(Image.new("RGB", (64, 48)))}


def test_results_are_known_by_what_is_inside(results, tmp_path):
    for suffix, content in results.items():
        (tmp_path / f"a{suffix}").write_bytes(content)
        assert is_result(tmp_path / f"a{suffix}"), suffix
        (tmp_path / f"short{suffix}").write_bytes(content[:8])
        assert not is_result(tmp_path / f"short{suffix}"), suffix
    for suffix in results:  # the mark of another kind of file is none
        (tmp_path / f"a{suffix}").write_bytes(results[".json" if suffix != ".json" else ".obj"])
        assert not is_result(tmp_path / f"a{suffix}"), suffix


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b'{"name": "FaceGPT"}'),
        ("a.json", b""),
        ("a.glb", b"glTF" + b"\xff" * 40),
        ("a.glb", b"glTF"),
        ("a.ply", b"ply\nformat ascii 1.0\ncomment made by somebody\nelement vertex 0\nend_header\n"),
        ("a.obj", b"# made by somebody\nv 0 0 0\n"),
        ("a.txt", b"# FaceGPT; "),
    ],
)
def test_files_of_others_are_not_ours(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert not is_result(tmp_path / name)
    assert not is_result(tmp_path / "missing.json") and not is_result(tmp_path)


def test_a_picture_of_somebody_else_is_not_ours(tmp_path):
    content = io.BytesIO()
    Image.new("RGB", (64, 48)).save(content, "PNG")
    (tmp_path / "a.png").write_bytes(content.getvalue())
    assert not is_result(tmp_path / "a.png")


def test_the_free_path(results, tmp_path):
    path = tmp_path / "a.json"
    assert free_path(path, "numbers") == path
    path.write_bytes(results[".json"])
    assert free_path(path, "numbers") == path
    path.write_bytes(b"{}")
    assert free_path(path, "numbers") == tmp_path / "a-numbers.json"
    (tmp_path / "a-numbers.json").mkdir()
    assert free_path(path, "numbers") == tmp_path / "a-numbers-2.json"
    (tmp_path / "b.json").symlink_to(tmp_path / "nowhere")
    assert free_path(tmp_path / "b.json", "numbers") == tmp_path / "b-numbers.json"


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_if_one_file_cannot_be_put_in_place_none_has_changed(tmp_path, monkeypatch, failing):
    paths = [tmp_path / name for name in ("a.glb", "a.json", "a.png")]
    paths[0].write_bytes(b"old mesh")
    before = contents_of(tmp_path)
    paths[failing].unlink(missing_ok=True)
    paths[failing].mkdir()  # which no file can replace
    with pytest.raises(OSError):
        write_files({path: b"new" for path in paths})
    paths[failing].rmdir()
    after = contents_of(tmp_path)
    assert after == ({} if failing == 0 else before)


def test_an_interruption_while_files_are_put_in_place_changes_none(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("a.glb", "a.json", "a.png")]
    for path in paths[:2]:
        path.write_bytes(b"old")
    before = contents_of(tmp_path)
    replace = os.replace

    def replace_until_third(source, target):
        if Path(target) == paths[2]:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(result_files.os, "replace", replace_until_third)
    with pytest.raises(KeyboardInterrupt):
        write_files({path: b"new" for path in paths})
    assert contents_of(tmp_path) == before


def test_names_of_the_longest_kind_can_be_written(tmp_path):
    path = tmp_path / ("脸" * 83 + ".json")  # 249 + 5 bytes of at most 255
    write_files({path: b"new"})
    assert contents_of(tmp_path) == {path.name: b"new"}


KILLED = """
import os, signal, sys
from pathlib import Path
from modeling_facegpt.files import result_files

def kill_at_third(source, target, replace=os.replace, done=[]):
    done.append(target)
    if len(done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

result_files.os.replace = kill_at_third
result_files.write_files({Path(sys.argv[1]) / f"a{number}.json": b"new" for number in range(3)})
"""


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    (tmp_path / "a0.json").write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], check=False, env={**os.environ, "PYTHONPATH": "."}
    )
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.glob(".facegpt-*.part"))
    mine, stranger = tmp_path / ".facegpt-notes.part", result_files._temporary(tmp_path)
    mine.write_bytes(b"of a person")
    stranger.write_bytes(b"of this process, which is alive")
    prepare_directory(tmp_path)
    assert sorted(tmp_path.glob(".*")) == sorted([mine, stranger])


def test_an_old_file_of_another_machine_is_removed(tmp_path):
    there = tmp_path / ".facegpt-00000000-1-00000000-7.part"
    there.write_bytes(b"")
    prepare_directory(tmp_path)
    assert there.exists()  # its machine may be writing
    old = time.time() - 2 * result_files._STALE_SECONDS
    os.utime(there, (old, old))
    prepare_directory(tmp_path)
    assert not there.exists()


def test_a_directory_is_checked_without_being_made(tmp_path):
    check_directory(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError):
        check_directory(tmp_path / "file" / "deep")
    with pytest.raises(OSError):
        check_directory(tmp_path / "file")
