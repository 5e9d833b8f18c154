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
"""Analysis by synthesis: faces move towards their photograph, not without a reason, and never to something worse."""

from typing import cast

import pytest
import torch
from PIL import Image
from reconstructions import make_reconstruction

from modeling_facegpt import (
    Camera,
    FaceGPTForConditionalGeneration,
    FaceGPTProcessor,
    FaceParameters,
    Reconstruction,
    refinement,
)
from modeling_facegpt.camera import default_focal
from modeling_facegpt.face_parameters import parameters_to_vector, select_faces
from modeling_facegpt.picture_frame import tensor_to_image
from modeling_facegpt.reconstruction import landmarks_in_photo
from modeling_facegpt.renderer import render_mesh

SIZE = (300, 300)


@pytest.fixture
def truth(face_parameters: FaceParameters) -> Reconstruction:
    """One face in the middle of a photograph, lit from its left, so that its shape can be seen."""
    one = make_reconstruction(select_faces(face_parameters, slice(1, 2)), size=SIZE)
    light = torch.zeros(1, 9, 3)
    light[:, 0], light[:, 2:4] = 2.5, 0.9
    return one._replace(parameters=one.parameters._replace(light=light.flatten(1)))


@pytest.fixture
def photograph(facegpt: FaceGPTForConditionalGeneration, truth: Reconstruction) -> Image.Image:
    mesh = facegpt.face_model(truth.parameters)
    camera = Camera(truth.camera.focal, truth.camera.principal_point)
    return tensor_to_image(render_mesh(mesh, truth.parameters, camera, SIZE).image[0].detach())


@pytest.fixture
def guess(truth: Reconstruction) -> Reconstruction:
    """The true face, a little to the side and of another skin and light."""
    moved = truth.parameters.translation + torch.tensor([[0.006, -0.004, 0.0]])
    changed = truth.parameters._replace(
        translation=moved,
        albedo=truth.parameters.albedo + 0.7,
        light=truth.parameters.light * 0.8,
    )
    deviation = FaceParameters(*(torch.full_like(group, 0.3) for group in changed))
    deviation = deviation._replace(translation=torch.full((1, 3), 0.01), rotation=torch.full((1, 6), 0.02))
    return truth._replace(parameters=changed, standard_deviation=deviation)


def test_a_face_moves_towards_its_photograph(
    facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    photograph: Image.Image,
    truth: Reconstruction,
    guess: Reconstruction,
):
    told: list[int] = []
    [found] = refinement.refine(facegpt, processor, [photograph], [guess], steps=60, done=told.append)

    def distance(reconstruction: Reconstruction) -> float:
        parts = (
            landmarks_in_photo(facegpt.face_model, each.parameters, each.camera) for each in (reconstruction, truth)
        )
        first, second = parts
        return float(torch.dist(first, second))

    assert distance(found) < 0.5 * distance(guess)
    assert told == [1]
    assert torch.equal(found.probability, guess.probability)
    assert not parameters_to_vector(found.parameters).requires_grad


def test_the_surer_the_head_is_the_less_a_face_moves(
    facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    photograph: Image.Image,
    guess: Reconstruction,
):
    def way(certainty: float) -> float:
        deviation = FaceParameters(*(group / certainty for group in cast(FaceParameters, guess.standard_deviation)))
        given = guess._replace(standard_deviation=deviation)
        [found] = refinement.refine(facegpt, processor, [photograph], [given], steps=20)
        return float(torch.dist(parameters_to_vector(found.parameters), parameters_to_vector(given.parameters)))

    assert 0 < way(10) < 0.3 * way(1)


def test_a_face_that_every_step_makes_worse_stays_as_it_is(
    facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    photograph: Image.Image,
    truth: Reconstruction,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(refinement, "LEARNING_RATE", 50.0)
    [found] = refinement.refine(facegpt, processor, [photograph], [truth], steps=3)
    assert torch.equal(parameters_to_vector(found.parameters), parameters_to_vector(truth.parameters))


def test_no_step_changes_nothing(
    facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    photograph: Image.Image,
    guess: Reconstruction,
):
    assert refinement.refine(facegpt, processor, [photograph], [guess], steps=0) == [guess]


def test_faces_go_back_to_their_photographs(
    facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    photograph: Image.Image,
    guess: Reconstruction,
    face_parameters: FaceParameters,
):
    none, two = (make_reconstruction(face_parameters, faces, SIZE) for faces in (0, 2))
    found = refinement.refine(facegpt, processor, [photograph] * 3, [guess, none, two], steps=2, batch_size=2)
    assert [len(each.parameters.identity) for each in found] == [1, 0, 2]
    [alone] = refinement.refine(facegpt, processor, [photograph], [guess], steps=2)
    torch.testing.assert_close(found[0].parameters, alone.parameters, rtol=1e-4, atol=1e-5)
    assert default_focal(*SIZE) == float(found[0].camera.focal[0])


def test_a_checkpoint_can_refine_what_it_finds(
    eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, photograph: Image.Image
):
    [found] = eager_facegpt.reconstruct([photograph], processor)
    assert len(found.probability)
    [fitted] = eager_facegpt.reconstruct([photograph], processor, refine_steps=2)
    [expected] = refinement.refine(eager_facegpt, processor, [photograph], [found], steps=2)
    torch.testing.assert_close(fitted.parameters, expected.parameters)
    assert not torch.equal(fitted.parameters.light, found.parameters.light)


def test_faces_that_nobody_is_sure_of_are_refused(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, truth: Reconstruction
):
    with pytest.raises(ValueError, match="without standard deviations"):
        unknown = truth._replace(standard_deviation=None)
        refinement.refine(facegpt, processor, [Image.new("RGB", SIZE)], [unknown], steps=1)


@pytest.mark.parametrize(("count", "steps", "message"), [(2, 3, "1 reconstructions of 2 images"), (1, -1, "steps=-1")])
def test_what_does_not_fit_is_refused(
    facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    truth: Reconstruction,
    count: int,
    steps: int,
    message: str,
):
    with pytest.raises(ValueError, match=message):
        refinement.refine(facegpt, processor, [Image.new("RGB", SIZE)] * count, [truth], steps=steps)
