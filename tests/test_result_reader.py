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
"""Faces read back from the files that were written of them."""

import json
import struct

import pytest
import torch
from reconstructions import make_reconstruction

from modeling_facegpt.files.export import encode_document, encode_mesh
from modeling_facegpt.files.result_document import describe_reconstruction
from modeling_facegpt.files.result_reader import FaceFileError, read_result


def write(path, face_model, reconstruction) -> None:
    if path.suffix == ".glb":
        path.write_bytes(encode_mesh(face_model, reconstruction, ".glb"))
    else:
        document = describe_reconstruction(face_model, reconstruction, photo=None, model="tiny")
        path.write_bytes(encode_document(document))


@pytest.mark.parametrize("faces", [1, 3])
@pytest.mark.parametrize("name", ["face.json", "face.glb", "FACE.GLB"])
def test_parameters_come_back_exactly(face_model, face_parameters, tmp_path, name, faces):
    moved = face_parameters._replace(log_focal=torch.tensor([[0.1], [-0.2], [0.3]]), gaze=face_parameters.gaze + 0.1)
    reconstruction = make_reconstruction(moved, faces=faces)
    path = tmp_path / name
    # Named in capitals, the file is what it always is.
    write(path.with_name(name.lower()), face_model, reconstruction)
    path.with_name(name.lower()).rename(path)
    found = read_result(path, face_model)
    for ours, theirs in zip(reconstruction.parameters, found.parameters, strict=True):
        assert torch.equal(ours, theirs)
    assert found.size == reconstruction.size
    torch.testing.assert_close(found.camera.focal, reconstruction.camera.focal)
    torch.testing.assert_close(found.camera.principal_point, reconstruction.camera.principal_point)
    if path.suffix == ".json":
        assert torch.equal(found.probability, reconstruction.probability)
        assert torch.equal(found.standard_deviation.identity, reconstruction.standard_deviation.identity)


def test_faces_from_words_have_no_deviation(face_model, face_parameters, tmp_path):
    write(tmp_path / "face.json", face_model, make_reconstruction(face_parameters)._replace(standard_deviation=None))
    assert json.loads((tmp_path / "face.json").read_text())["faces"][0]["standard_deviations"] is None
    assert read_result(tmp_path / "face.json", face_model).standard_deviation is None


def damage(document: dict, change) -> bytes:
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda document: document.update(faces=[]), "holds no face"),
        (lambda document: document["faces"][0].update(face_model="other/head"), "3DMM other/head"),
        (lambda document: document["faces"][0]["parameters"]["identity"].pop(), "5 numbers of identity"),
        (lambda document: document["faces"][0]["parameters"].update(gaze=[float("nan")] * 4), "not finite"),
        (lambda document: document["faces"][0]["parameters"].update(gaze=["left"] * 4), "damaged"),
        (lambda document: document["faces"][0].pop("parameters"), "damaged"),
        (lambda document: document.update(faces=7), "damaged"),
        (lambda document: document["faces"][0]["camera"].update(focal=0), "focal length of 0"),
        (lambda document: document["faces"][0]["camera"].update(focal=-900.0), "focal length of -900"),
        (lambda document: document["faces"][0]["camera"].update(focal=float("inf")), "focal length of inf"),
        (lambda document: document["faces"][0]["camera"].update(focal=10**400), "focal length of 1000"),
        (lambda document: document["faces"][0]["camera"].update(focal=True), "focal length of True"),
        (lambda document: document["faces"][0]["camera"].update(size=[0, 48]), "size of 0"),
        (lambda document: document["faces"][0]["camera"].update(size=[64, float("nan")]), "size of nan"),
        (lambda document: document["faces"][0]["camera"].update(size=[64]), "damaged"),
        (lambda document: document["faces"][0]["camera"].update(principal_point=[1e300, 0]), "principal point of 1e"),
        (lambda document: document["faces"][0]["camera"].update(principal_point=[1.0]), "damaged"),
        (lambda document: document["faces"][0].update(probability=2), "probability of 2"),
        (lambda document: document["faces"][0]["parameters"].update(gaze=[float("inf")] * 4), "not finite"),
        (lambda document: document["faces"][0]["parameters"].update(gaze=[1e30] * 4), "the number 1e.30"),
        (lambda document: document["faces"][0]["parameters"].update(log_focal=[80]), "no camera has"),
        (lambda document: document["faces"][0]["standard_deviations"].update(gaze=[-1.0] * 4), "below 0"),
        (lambda document: document["faces"][0]["parameters"].update(rotation=[0.0] * 6), "rotation that is none"),
        (lambda document: document["faces"][0]["parameters"].update(translation=[0, 0, -1]), "not before the camera"),
    ],
)
def test_what_is_no_face_is_refused_in_one_sentence(face_model, face_parameters, tmp_path, change, words):
    path = tmp_path / "face.json"
    write(path, face_model, make_reconstruction(face_parameters))
    path.write_bytes(damage(json.loads(path.read_text()), change))
    with pytest.raises(FaceFileError, match=words) as caught:
        read_result(path, face_model)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("face.json", b"[1, 2"),
        ("face.json", b"\xff\xfe"),
        ("face.json", b"[" * 100_000),
        ("face.glb", b"glTF"),
        ("face.glb", b"PNG" * 20),
        ("face.glb", struct.pack("<4sIII4s", b"glTF", 2, 24, 4, b"JSON") + b'{"n"'),
        ("face.glb", struct.pack("<4sIII4s", b"glTF", 2, 24, 2, b"JSON") + b"{}"),
        ("face.png", b""),
    ],
)
def test_other_files_are_refused(face_model, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FaceFileError, match="face|binary glTF"):
        read_result(tmp_path / name, face_model)
    with pytest.raises(FaceFileError, match="cannot be read"):
        read_result(tmp_path / "missing.json", face_model)
