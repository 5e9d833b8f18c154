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
"""The numbers that are written beside a mesh."""

import json
import math

import numpy as np
import pytest
import torch
from reconstructions import make_reconstruction

from modeling_facegpt.face_parameters import parameter_sizes
from modeling_facegpt.files.export import encode_document
from modeling_facegpt.files.result_document import describe_reconstruction
from modeling_facegpt.reconstruction import landmarks_in_photo
from modeling_facegpt.rotations import matrix_to_rotation_6d, yaw_pitch_roll_to_matrix


def describe(face_model, reconstruction) -> dict:
    document = describe_reconstruction(face_model, reconstruction, photo="a/photo.jpg", model="facegpt-nano")
    return json.loads(encode_document(document))


def test_everything_is_there(face_model, face_parameters):
    reconstruction = make_reconstruction(face_parameters, faces=2)
    document = describe(face_model, reconstruction)
    assert document["photo"] == "a/photo.jpg" and document["size"] == [400, 300]
    assert document["model"] == "facegpt-nano" and "CC0-1.0" in document["licence"]
    assert len(document["faces"]) == 2
    face = document["faces"][1]
    assert face["model"] == "facegpt-nano" and face["face_model"] == "facegpt/tiny-head"
    assert np.shape(face["landmarks_68"]) == (68, 2) and np.shape(face["landmarks_468"]) == (468, 2)
    assert list(face["arkit_weights"]) == face_model.config.expression_names
    sizes = parameter_sizes(face_model.config)._asdict()
    for group in ("parameters", "standard_deviations"):
        assert {name: len(numbers) for name, numbers in face[group].items()} == sizes
    assert face["probability"] == pytest.approx(0.8)


def test_numbers_come_back_as_they_were(face_model, face_parameters):
    reconstruction = make_reconstruction(face_parameters, faces=3)
    for row, face in enumerate(describe(face_model, reconstruction)["faces"]):
        for name, numbers in face["parameters"].items():
            torch.testing.assert_close(torch.tensor(numbers), getattr(face_parameters, name)[row], rtol=0, atol=0)


def test_landmarks_and_box_are_pixels_of_the_photograph(face_model, face_parameters):
    reconstruction = make_reconstruction(face_parameters, faces=3)
    for kind in ("68", "468"):
        points = landmarks_in_photo(face_model, reconstruction.parameters, reconstruction.camera, kind)
        written = [face[f"landmarks_{kind}"] for face in describe(face_model, reconstruction)["faces"]]
        np.testing.assert_allclose(written, points, atol=0.006)
    for face in describe(face_model, reconstruction)["faces"]:
        left, top, right, bottom = face["box"]
        points = np.array(face["landmarks_68"])
        assert left < points[:, 0].min() < points[:, 0].max() < right
        assert top < points[:, 1].min() < points[:, 1].max() < bottom


def test_angles_are_degrees(face_model, face_parameters):
    angles = torch.tensor([[30.0, -10.0, 5.0]])
    rotation = matrix_to_rotation_6d(yaw_pitch_roll_to_matrix(*torch.deg2rad(angles).unbind(-1)))
    parameters = face_parameters._replace(rotation=rotation, log_focal=torch.full((3, 1), math.log(2)))
    face = describe(face_model, make_reconstruction(parameters))["faces"][0]
    assert [face["yaw"], face["pitch"], face["roll"]] == pytest.approx([30, -10, 5], abs=1e-3)
    assert face["camera"]["focal"] == pytest.approx(2 * 1.2 * 400)


def test_a_photograph_without_a_face(face_model, face_parameters):
    document = describe(face_model, make_reconstruction(face_parameters, faces=0))
    assert document["faces"] == [] and document["size"] == [400, 300]


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        encode_document({"value": float("nan")})


def test_short_lists_stay_on_one_line():
    text = encode_document({"name": "[1,\n 2]", "points": [[1.5, -2e-7], [3, 4]]}).decode()
    assert "[1.5, -2e-07]" in text
    assert json.loads(text) == {"name": "[1,\n 2]", "points": [[1.5, -2e-7], [3, 4]]}
