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
"""Figures of a 3DMM's shapes, on shapes whose figures are known."""

import copy

import pytest
import torch
from facegpt_trainer.evaluation.crossings import face_crossings
from facegpt_trainer.evaluation.face_shapes import (
    IctFace,
    expression_amplitudes,
    mirror_errors,
    shape_figures,
    texture_share,
    variety_by_region,
)

from modeling_facegpt import MorphableModel
from tests.conftest import REPOSITORY

ICT_FACEKIT = REPOSITORY.parent / "shared" / "data" / "morphable_models" / "ict_facekit" / "ict_facekit_light.npz"


@pytest.fixture
def changed(face_model):
    """A copy of the face model that a test may change."""
    return copy.deepcopy(face_model)


def as_ict(model: MorphableModel, expressions: dict[str, torch.Tensor], basis: torch.Tensor) -> IctFace:
    return IctFace(
        points=model.template,
        triangles=model.triangles,
        identity_basis=basis,
        expressions=expressions,
        landmarks=model.landmarks(model.template[None])[0],
    )


def test_mirror_errors_of_mirrored_shapes_are_zero_and_of_a_moved_vertex_its_motion(changed):
    names = changed.config.expression_names
    left, right = names.index("mouthSmileLeft"), names.index("mouthSmileRight")
    flip = torch.tensor([-1.0, 1.0, 1.0])
    changed.expression_basis[right] = changed.expression_basis[left][changed.mirrored_vertices] * flip
    changed.expression_basis[names.index("jawOpen")] = 0.0
    changed.expression_basis[names.index("jawOpen"), 40] = torch.tensor([0.0, 0.002, 0.0])
    del changed.config.expression_names[1]  # a lone eyeBlinkLeft has no opposite
    changed.expression_basis = torch.cat((changed.expression_basis[:1], changed.expression_basis[2:]))
    errors = mirror_errors(changed)
    assert errors["mouthSmileLeft"] == errors["mouthSmileRight"] == pytest.approx(0.0, abs=1e-5)
    assert errors["jawOpen"] == pytest.approx(2.0, rel=1e-4)


def test_amplitudes_are_ratios_of_motion(face_model):
    moves = dict(zip(face_model.config.expression_names, 2 * face_model.expression_basis, strict=True))
    del moves["jawOpen"]
    ratios = expression_amplitudes(face_model, as_ict(face_model, moves, face_model.identity_basis))
    assert set(ratios) == set(moves)
    assert list(ratios.values()) == pytest.approx([0.5] * len(moves))


def test_variety_is_the_ratio_of_standard_deviations(face_model):
    ratios = variety_by_region(face_model, as_ict(face_model, {}, 0.5 * face_model.identity_basis), count=400)
    assert {"lips", "face"} <= set(ratios)
    assert list(ratios.values()) == pytest.approx([2.0] * len(ratios), rel=0.15)


def test_share_of_the_textures_square(changed):
    changed.uv_coordinates = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.5, 0.5], [0.0, 0.5]])
    changed.uv_triangles = torch.tensor([[0, 1, 2], [0, 3, 2]])
    assert texture_share(changed) == pytest.approx(0.25)


@pytest.mark.slow
@pytest.mark.skipif(not ICT_FACEKIT.exists(), reason="ICT-FaceKit is not at hand")
def test_the_published_head_keeps_its_promises():
    model = MorphableModel.from_pretrained(REPOSITORY / "hub" / "anny-head", dtype=torch.float32)
    if not model.config.closing_names:
        pytest.skip("hub/anny-head was built before lids closed for everybody")
    figures = shape_figures(model, ICT_FACEKIT)
    assert figures["eyeball's radius, mm"] == pytest.approx(12.0, abs=0.01)
    assert figures["expression against its mirror image, mm, worst"] < 0.3
    assert figures["amplitude of an expression over ICT-FaceKit's, smallest"] > 0.6
    assert figures["amplitude of an expression over ICT-FaceKit's, largest"] < 1.3
    varieties = [value for name, value in figures.items() if name.startswith("variety")]
    assert min(varieties) > 0.8 and max(varieties) < 1.25
    assert set(face_crossings(model, 60).values()) == {0.0}
