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
"""Terms of photographs, skin and light: what they measure, and that none is computed unasked."""

import copy

import pytest
import torch
from torch import Tensor

from modeling_facegpt import FaceParameters, MorphableModel, image_supervision
from modeling_facegpt.camera import Camera
from modeling_facegpt.image_supervision import ImageComparison
from modeling_facegpt.renderer import render_mesh

SIZE = 48
ALL_OF_SKIN = {"symmetry": 1.0, "skin_variation": 1.0, "skin_roughness": 1.0, "negative_light": 1.0}
NAN = float("nan")


@pytest.fixture
def cameras() -> Camera:
    return Camera(torch.full((3,), 1.2), torch.full((3, 2), 0.5))


@pytest.fixture
def photographs(face_model: MorphableModel, face_parameters: FaceParameters, cameras: Camera) -> Tensor:
    """The faces themselves before a grey wall."""
    camera = Camera(cameras.focal * SIZE, cameras.principal_point * SIZE)
    render = render_mesh(face_model(face_parameters), face_parameters, camera, (SIZE, SIZE))
    return render.image + 0.4 * (1 - render.mask)


def image_terms(*arguments) -> dict[str, Tensor]:
    return {name: term.mean for name, term in image_supervision.image_terms(*arguments).items()}


def appearance_terms(*arguments) -> dict[str, Tensor]:
    return {name: term.mean for name, term in image_supervision.appearance_terms(*arguments).items()}


def see(pictures: Tensor) -> tuple[Tensor, ...]:
    """Stands in for a vision tower."""
    return (pictures.flatten(2).mT,)


def test_true_faces_agree_with_their_photographs(face_model, face_parameters, photographs, cameras):
    comparison = ImageComparison(SIZE, {"photometric_mixture": 1.0, "perceptual": 1.0}, see)
    mesh = face_model(face_parameters)
    terms = image_terms(face_model, mesh, face_parameters, photographs, cameras, comparison)
    assert set(terms) == {"photometric", "photometric_mixture", "perceptual"}
    assert all(term.abs() < 1e-5 for term in terms.values())
    darker = face_parameters._replace(light=0.7 * face_parameters.light)
    terms = image_terms(face_model, mesh, darker, photographs, cameras, comparison)
    assert terms["photometric"] > 0.02 and terms["photometric_mixture"] > 0.02
    pale = face_parameters._replace(light=face_parameters.light * torch.tensor([0.6, 1.0, 1.4]).repeat(9))
    assert image_terms(face_model, mesh, pale, photographs, cameras, comparison)["perceptual"] > 1e-3


def test_what_has_no_weight_is_not_computed(face_model, face_parameters, photographs, cameras):
    def never(pictures: Tensor) -> tuple[Tensor, ...]:
        raise AssertionError("the tower was asked")

    weights = {"perceptual": 0.0, "photometric_mixture": 0.0, "symmetry": 0.0, "photometric": 1.0}
    mesh = face_model(face_parameters)
    terms = image_terms(face_model, mesh, face_parameters, photographs, cameras, ImageComparison(SIZE, weights, never))
    assert set(terms) == {"photometric"}
    assert appearance_terms(face_model, mesh, face_parameters.light, weights) == {}


def test_an_occluder_does_not_pull_on_the_face(face_model, face_parameters, photographs, cameras):
    covered = photographs.clone()
    covered[:, :, SIZE // 2 + 4 :] = torch.tensor([0.05, 0.4, 0.05])[:, None, None]  # a green scarf
    light = (0.9 * face_parameters.light).requires_grad_()
    faces = face_parameters._replace(light=light)
    comparison = ImageComparison(SIZE, {"photometric_mixture": 1.0})

    def pull(pictures: Tensor, name: str) -> Tensor:
        terms = image_terms(face_model, face_model(faces), faces, pictures, cameras, comparison)
        return torch.autograd.grad(terms[name], light)[0][:, :3]

    for name, error in (("photometric_mixture", 0.1), ("photometric", 1.0)):
        free, hidden = pull(photographs, name), pull(covered, name)
        deviation = (hidden - free).norm() / free.norm()
        assert (deviation < 0.1) == (error == 0.1), (name, deviation)


def test_faces_without_photographs_are_left_out(face_model, face_parameters, photographs, cameras):
    comparison = ImageComparison(SIZE, {"photometric_mixture": 1.0, "perceptual": 1.0}, see)
    darker = face_parameters._replace(light=(0.7 * face_parameters.light).requires_grad_())
    shown = torch.where(torch.tensor([True, False, False])[:, None, None, None], photographs, NAN)
    some = image_terms(face_model, face_model(darker), darker, shown, cameras, comparison)
    first = FaceParameters(*(values[:1] for values in darker))
    camera = Camera(*(values[:1] for values in cameras))
    alone = image_terms(face_model, face_model(first), first, photographs[:1], camera, comparison)
    for name, term in alone.items():
        torch.testing.assert_close(some[name], term)
    none = image_terms(face_model, face_model(darker), darker, photographs * NAN, cameras, comparison)
    assert set(none) == set(some)
    (gradient,) = torch.autograd.grad(torch.stack(list(none.values())).sum(), darker.light)
    assert all(term == 0 for term in none.values()) and gradient.abs().sum() == 0


def test_symmetry_tells_a_shadow_from_skin(face_model: MorphableModel, face_parameters: FaceParameters):
    plain = copy.deepcopy(face_model)
    plain.get_buffer("albedo_basis").zero_()
    light = face_parameters.light
    even = appearance_terms(plain, plain(face_parameters), light, ALL_OF_SKIN)
    assert all(abs(term) < 1e-9 for term in even.values())
    shadow = 0.3 * (plain.template[:, :1] > 0.01)
    plain.get_buffer("albedo_mean").sub_(shadow)
    uneven = appearance_terms(plain, plain(face_parameters), light, ALL_OF_SKIN)
    assert all(uneven[name] > 1e-4 for name in ("symmetry", "skin_variation", "skin_roughness"))
    lips = copy.deepcopy(face_model)
    lips.get_buffer("albedo_basis").zero_()
    lips.get_buffer("albedo_mean")[face_model.region("lips") > 0] -= torch.tensor([0.0, 0.5, 0.5])
    red = appearance_terms(lips, lips(face_parameters), light, ALL_OF_SKIN)
    assert red["symmetry"] < 1e-9 and red["skin_variation"] < 1e-9 and red["skin_roughness"] < 1e-9


def test_vertices_are_mirrored_in_pairs(face_model: MorphableModel):
    mirrored = face_model.mirrored_vertices
    assert torch.equal(mirrored[mirrored], torch.arange(len(mirrored)))
    template = face_model.template
    torch.testing.assert_close(template[mirrored], template * torch.tensor([-1.0, 1.0, 1.0]), atol=1e-6, rtol=0)


def test_the_published_head_is_symmetric(measurer):
    face_model = measurer.face_model
    mirrored = face_model.mirrored_vertices
    away = (face_model.template[mirrored] * torch.tensor([-1.0, 1.0, 1.0]) - face_model.template).norm(dim=-1)
    assert away.quantile(0.99) < 1e-3


def test_a_3dmm_without_region_names_has_skin_everywhere(face_model: MorphableModel, face_parameters: FaceParameters):
    bare = copy.deepcopy(face_model)
    bare.config.region_names = ["head", "face", "c", "d", "e", "f", "g"]
    terms = appearance_terms(bare, bare(face_parameters), face_parameters.light, ALL_OF_SKIN)
    assert terms["skin_variation"] > 0
