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
"""The morphable model: what its methods compute, and what the default 3DMM holds."""

import copy
import json
import math
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file

from modeling_facegpt import FaceParameters, MorphableModel, MorphableModelConfig
from modeling_facegpt.face_parameters import parameter_sizes
from modeling_facegpt.mesh import vertex_normals
from modeling_facegpt.morphable_model import HALF_PRECISION_BUFFERS, save_morphable_model
from tests.conftest import REPOSITORY

ARKIT_SIDED = (
    "browDown browOuterUp cheekSquint eyeBlink eyeLookDown eyeLookIn eyeLookOut eyeLookUp eyeSquint eyeWide "
    "mouthDimple mouthFrown mouthLowerDown mouthPress mouthSmile mouthStretch mouthUpperUp noseSneer"
).split()
ARKIT_UNSIDED = (
    "browInnerUp cheekPuff jawForward jawLeft jawOpen jawRight mouthClose mouthFunnel mouthLeft mouthPucker "
    "mouthRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper tongueOut"
).split()


@pytest.fixture(scope="module")
def anny_head() -> MorphableModel:
    return MorphableModel.from_pretrained(REPOSITORY / "hub" / "anny-head")


def zero_parameters(model: MorphableModel, count: int, **groups: torch.Tensor) -> FaceParameters:
    sizes = parameter_sizes(model.config)._asdict()
    return FaceParameters(**{name: groups.get(name, torch.zeros(count, size)) for name, size in sizes.items()})


def test_zero_coefficients_give_the_template(face_model):
    mesh = face_model(zero_parameters(face_model, 2))
    assert torch.allclose(mesh.vertices, face_model.template.expand(2, -1, -1), atol=1e-7)
    assert torch.allclose(mesh.albedo, face_model.albedo_mean.exp().clamp(0, 1).expand(2, -1, -1))


def test_coefficients_add_their_components(face_model):
    identity, expression = torch.zeros(1, 6), torch.zeros(1, 5)
    identity[0, 2], expression[0, 1] = 1.5, 0.5
    mesh = face_model(zero_parameters(face_model, 1, identity=identity, expression=expression))
    expected = face_model.template + 1.5 * face_model.identity_basis[2] + 0.5 * face_model.expression_basis[1]
    assert torch.allclose(mesh.vertices[0], expected, atol=1e-6)


def test_log_albedo_multiplies_and_linear_albedo_adds(face_model, face_model_config):
    coefficients = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    log = face_model.albedo(coefficients)[0]
    assert torch.allclose(
        log, (face_model.albedo_mean.exp() * face_model.albedo_basis[0].exp()).clamp(0, 1), atol=1e-6
    )
    linear = MorphableModel(MorphableModelConfig(**(face_model_config.to_dict() | {"albedo_space": "linear"})))
    expected = (linear.albedo_mean + linear.albedo_basis[0]).clamp(0, 1)
    assert torch.allclose(linear.albedo(coefficients)[0], expected)


def test_gaze_turns_the_subjects_left_eye_first_to_their_left_and_up(anny_head):
    gaze = torch.tensor([[0.3, 0.0, 0.0, 0.0], [0.0, 0.2, 0.0, 0.2]])
    turned = anny_head(zero_parameters(anny_head, 2, gaze=gaze)).vertices - anny_head.template
    left, right = anny_head.eyeball_vertices
    pole = turned[:, left[0]]
    # +x is the subject's left; the pole of an eyeball of 12 mm radius.
    assert pole[0, 0] == pytest.approx(0.012 * math.sin(0.3), rel=0.02) and abs(pole[0, 1]) < 1e-4
    assert turned[0, right].abs().max() < 1e-6
    assert pole[1, 1] > 2e-3 and turned[1, right[0], 1] > 2e-3


def test_gaze_keeps_eyeballs_round_and_the_rest_still(anny_head):
    identity = torch.randn(3, anny_head.config.num_identity, generator=torch.Generator().manual_seed(0))
    straight = zero_parameters(anny_head, 3, identity=identity)
    turned = anny_head(straight._replace(gaze=torch.full((3, 4), 0.35))).vertices
    straight = anny_head(straight).vertices
    centres = anny_head.eye_centres + torch.einsum("nk,kec->nec", identity, anny_head.eye_centre_basis)
    for eye in range(2):
        index = anny_head.eyeball_vertices[eye]
        before = (straight[:, index] - centres[:, eye, None]).norm(dim=-1)
        after = (turned[:, index] - centres[:, eye, None]).norm(dim=-1)
        assert torch.allclose(before, after, atol=1e-6)
        assert (before.std(dim=1) / before.mean(dim=1)).max() < 0.01
    others = torch.ones(anny_head.config.num_vertices, dtype=torch.bool)
    others[anny_head.eyeball_vertices.flatten()] = False
    assert torch.equal(turned[:, others], straight[:, others])


def test_gradients_reach_every_group_that_shapes_the_mesh(face_model):
    generator = torch.Generator().manual_seed(0)
    used = ("identity", "albedo", "expression", "gaze")
    sizes = parameter_sizes(face_model.config)._asdict()
    groups = {name: (0.1 * torch.randn(2, sizes[name], generator=generator)).requires_grad_() for name in used}
    mesh = face_model(zero_parameters(face_model, 2, **groups))
    weights = torch.randn(mesh.vertices.shape, generator=generator)
    (mesh.vertices * weights).sum().backward(retain_graph=True)
    (mesh.albedo * weights).sum().backward()
    assert all(group.grad is not None and group.grad.abs().max() > 0 for group in groups.values())


def test_landmarks_are_barycentric_means_of_any_attribute(face_model):
    values = torch.randn(2, face_model.config.num_vertices, 5, generator=torch.Generator().manual_seed(0))
    for kind, count in (("68", 68), ("468", 468), ("7", 7)):
        landmarks = face_model.landmarks(values, kind)
        assert landmarks.shape == (2, count, 5)
        corners = face_model.triangles[face_model.get_buffer(f"landmarks_{kind}_triangles")[3]]
        weights = face_model.get_buffer(f"landmarks_{kind}_barycentrics")[3]
        assert torch.allclose(landmarks[:, 3], torch.einsum("nvc,v->nc", values[:, corners], weights), atol=1e-5)


def test_unknown_names_are_refused(face_model):
    with pytest.raises(ValueError, match="kind '67'"):
        face_model.landmarks(face_model.template[None], "67")
    with pytest.raises(ValueError, match="region 'tail'"):
        face_model.region("tail")
    with pytest.raises(ValueError, match="direction 'wibbly-nose'"):
        face_model.direction("wibbly-nose")


def test_saved_at_half_precision_and_loaded_in_float32(face_model, tmp_path):
    save_morphable_model(face_model, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    halved = {name for name, buffer in stored.items() if buffer.dtype == torch.float16}
    assert halved == set(HALF_PRECISION_BUFFERS) & set(stored)
    loaded = MorphableModel.from_pretrained(tmp_path)
    for name, buffer in face_model.named_buffers():
        assert loaded.get_buffer(name).dtype == buffer.dtype
        assert torch.allclose(loaded.get_buffer(name).double(), buffer.double(), atol=1e-3, rtol=1e-3), name
    for field in ("num_vertices", "expression_names", "region_names", "direction_names", "face_model_id", "licence"):
        assert loaded.config.to_dict()[field] == face_model.config.to_dict()[field]


def test_large_coordinates_stay_float32_in_bfloat16_models(face_model, tmp_path):
    save_morphable_model(face_model, tmp_path)
    loaded = MorphableModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {buffer.dtype for buffer in loaded.buffers()} == {torch.float32, torch.int64}


def test_a_fresh_model_is_a_valid_mesh():
    config = MorphableModelConfig(num_vertices=40, num_triangles=60, num_uv_coordinates=40, num_eyeball_vertices=4)
    model = MorphableModel(config)
    assert all(torch.isfinite(buffer).all() for buffer in model.buffers())
    assert model.triangles.max() < 40 and model.triangles.min() >= 0
    assert model(zero_parameters(model, 1)).vertices.shape == (1, 40, 3)


def test_a_model_without_eyes_ignores_gaze():
    config = MorphableModelConfig(num_vertices=40, num_triangles=60, num_uv_coordinates=40, num_eyes=0)
    model = MorphableModel(config)
    assert model(zero_parameters(model, 2)).vertices.shape == (2, 40, 3)


def test_default_head_has_what_the_design_asks_for(anny_head):
    config = anny_head.config
    assert config.num_identity <= 120 and config.num_albedo >= 20 and len(config.direction_names) >= 100
    assert {"nose-width", "chin-prominent", "eye-scale"} <= set(config.direction_names)
    sided = [name + side for name in ARKIT_SIDED for side in ("Left", "Right")]
    assert list(config.expression_names) == sorted(sided + ARKIT_UNSIDED)
    assert {"skin", "face", "lips", "brows", "left_eye", "right_eye", "ears", "scalp", "neck"} <= set(
        config.region_names
    )
    assert (REPOSITORY / "hub" / "anny-head" / "model.safetensors").stat().st_size <= 12e6
    assert all(torch.isfinite(buffer).all() for buffer in anny_head.buffers())


def test_default_head_is_oriented_and_measured_as_the_conventions_say(anny_head):
    # The origin lies midway between the eyes, 5 mm in front of the eyeballs' centres.
    between = anny_head.eye_centres.mean(0)
    assert between[:2].abs().max() < 1e-6 and between[2] == pytest.approx(-0.005, abs=5e-4)
    landmarks = anny_head.landmarks(anny_head.template[None])[0]
    assert landmarks[45, 0] > 0.03 and landmarks[8, 1] < -0.09 and landmarks[30, 2] == landmarks[:, 2].max()
    assert 0.085 < landmarks[45, 0] - landmarks[36, 0] < 0.097
    normals = vertex_normals(anny_head.template[None], anny_head.triangles)[0]
    nose = anny_head.region("nose").argmax()
    assert normals[nose, 2] > 0.3
    outward = (normals * (anny_head.template - torch.tensor([0.0, -0.02, -0.08]))).sum(1)
    assert (outward[anny_head.region("scalp") > 0.9] > 0).all()


def test_default_head_is_symmetric(anny_head):
    landmarks = anny_head.landmarks(anny_head.template[None])[0]
    mirrored = landmarks * torch.tensor([-1.0, 1.0, 1.0])
    pairs = [(36, 45), (39, 42), (31, 35), (48, 54), (60, 64), (0, 16), (17, 26)]
    assert all((landmarks[a] - mirrored[b]).norm() < 1e-5 for a, b in pairs)
    mirrored = anny_head.template * torch.tensor([-1.0, 1.0, 1.0])
    distances = torch.cdist(mirrored, anny_head.template, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
    assert distances.max() < 1e-5


def test_now_landmarks_are_the_same_places_as_ibugs(anny_head):
    shapes = anny_head.neutral(torch.randn(4, 120, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(
        anny_head.landmarks(shapes, "7"), anny_head.landmarks(shapes)[:, [36, 39, 42, 45, 33, 48, 54]], atol=1e-6
    )


def test_lips_part_with_the_jaw_and_touch_without(anny_head):
    names = list(anny_head.config.expression_names)
    shapes = zero_parameters(anny_head, 2)
    expression = shapes.expression.clone()
    expression[1, names.index("jawOpen")] = 1.0
    landmarks = anny_head.landmarks(anny_head(shapes._replace(expression=expression)).vertices)
    gap = landmarks[:, 62, 1] - landmarks[:, 66, 1]
    # At rest the lips touch along a seam; these landmarks lie at its edge, above and below.
    assert abs(gap[0]) < 1.2e-3 and gap[1] > 0.02
    # The lower teeth go with the jaw, the upper ones stay.
    drop = anny_head.expression_basis[names.index("jawOpen"), :, 1][anny_head.region("teeth") > 0.5]
    assert (drop.abs() < 1e-4).any() and (drop < -5e-3).any()


def test_random_people_stay_people(anny_head):
    generator = torch.Generator().manual_seed(0)
    landmarks = anny_head.landmarks(anny_head.neutral(torch.randn(200, 120, generator=generator)))
    eyes = (landmarks[:, 45] - landmarks[:, 36]).norm(dim=-1)
    assert 0.003 < eyes.std() < 0.006 and eyes.min() > 0.07 and eyes.max() < 0.11
    gap = landmarks[:, 62, 1] - landmarks[:, 66, 1]
    assert gap.abs().max() < 2e-3  # nobody's lips part without an expression
    assert (landmarks[:, 30, 1] < landmarks[:, 27, 1]).all() and (landmarks[:, 57, 1] > landmarks[:, 8, 1]).all()


def test_identity_components_are_whitened_directions(anny_head):
    shapes = anny_head.config.num_identity - len(anny_head.config.offset_names)  # the others are hair, beard and folds
    sizes = anny_head.identity_basis[:shapes].square().sum((1, 2))
    assert sizes[:10].mean() > 10 * sizes[-10:].mean()
    direction = anny_head.direction("nose-width")
    landmarks = anny_head.landmarks(anny_head.neutral(torch.stack((-direction, direction))))
    width = landmarks[:, 35, 0] - landmarks[:, 31, 0]
    assert width[1] - width[0] > 2e-3


def test_skin_runs_from_pale_to_dark_and_stays_skin_coloured(anny_head):
    coefficients = torch.zeros(3, anny_head.config.num_albedo)
    coefficients[:, 0] = torch.tensor([-2.0, 0.0, 2.5])
    skin = anny_head.albedo(coefficients)[:, anny_head.region("cheeks") > 0.9].mean(1)
    assert skin[0].mean() > 0.5 and skin[2].mean() < 0.12
    assert (skin[:, 0] > skin[:, 1]).all() and (skin[:, 1] > skin[:, 2]).all()
    brows = anny_head.albedo(torch.zeros(1, anny_head.config.num_albedo))[0][anny_head.region("brows") > 0.8].mean()
    assert brows < 0.5 * skin[1].mean()


def test_faces_of_a_batch_do_not_touch_each_other(anny_head):
    generator = torch.Generator().manual_seed(0)
    sizes = parameter_sizes(anny_head.config)
    batch = FaceParameters(*(0.3 * torch.randn(5, size, generator=generator) for size in sizes))
    together, alone = anny_head(batch), anny_head(FaceParameters(*(group[3:4] for group in batch)))
    assert torch.allclose(together.vertices[3:4], alone.vertices, atol=1e-6)
    assert torch.allclose(together.albedo[3:4], alone.albedo, atol=1e-5)


def test_a_learned_albedo_is_the_same_3dmm(face_model: MorphableModel, face_parameters, tmp_path):
    learning = copy.deepcopy(face_model)
    visibility = learning.component_visibility.clone()
    learning.learn_albedo()
    assert {name for name, _ in learning.named_parameters()} == {"albedo_mean", "albedo_basis"}
    mesh, other = learning(face_parameters), face_model(face_parameters)
    assert torch.equal(mesh.albedo, other.albedo) and torch.equal(mesh.vertices, other.vertices)
    assert mesh.albedo.requires_grad and not mesh.vertices.requires_grad
    with torch.no_grad():
        learning.albedo_basis.mul_(torch.linspace(0.5, 2.0, len(learning.albedo_basis))[:, None, None])
        learning.albedo_mean.add_(0.1)
    assert torch.equal(learning.component_visibility, visibility)
    save_morphable_model(learning, tmp_path)
    loaded = MorphableModel.from_pretrained(tmp_path, dtype=torch.float32)
    assert not list(loaded.parameters())
    torch.testing.assert_close(loaded.albedo_mean, learning.albedo_mean.detach(), atol=1e-3, rtol=1e-3)


def test_layers_hide_the_skin_from_an_amount_on_and_have_colours_of_their_own(face_model_config):
    config = MorphableModelConfig(**{**face_model_config.to_dict(), "layer_names": ["hair"]})
    model = MorphableModel(config)
    model.albedo_basis.zero_()
    model.layer_masks.fill_(1.0)
    model.layer_orders[0] = torch.arange(config.num_vertices) % 2  # every other vertex is reached later
    model.layer_amounts[0, 1] = 1.0
    model.layer_colours[0, 0] = -3.0
    model.layer_colours[0, 2] = torch.tensor([1.0, 0.0, 0.0])
    codes = torch.zeros(3, config.num_albedo)
    codes[:, 0] = torch.tensor([0.0, 0.5, 2.0])
    codes[2, 1] = 1.0
    colours = model.albedo(codes).log()
    assert torch.allclose(colours[0], torch.full_like(colours[0], -1.0), atol=1e-5)
    assert torch.allclose(colours[1, ::2], torch.full_like(colours[1, ::2], -2.0), atol=1e-5)
    assert torch.allclose(colours[1, 1::2], torch.full_like(colours[1, 1::2], -1.0), atol=1e-5)
    assert torch.allclose(colours[2], torch.tensor([-2.0, -3.0, -3.0]).expand_as(colours[2]), atol=1e-5)
    some = torch.tensor([3, 7])
    assert torch.equal(model.albedo(codes, some), model.albedo(codes)[:, some])
    assert model.component_visibility[config.num_identity] > 0


def test_an_older_layout_has_no_layers_and_loads_without_a_word(face_model, tmp_path):
    save_morphable_model(face_model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for name in ("layer_names", "albedo_names", "albedo_centres", "albedo_scales", "offset_names", "offset_scales"):
        del config[name]
    del config["num_person_features"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded, told = cast(Any, MorphableModel.from_pretrained(tmp_path, output_loading_info=True))
    assert not told["missing_keys"] and not told["unexpected_keys"]
    code = torch.ones(1, loaded.config.num_albedo)
    assert torch.allclose(loaded.albedo(code), face_model.albedo(code), atol=2e-3)


def test_as_many_names_as_albedo_coefficients_are_wanted():
    with pytest.raises(ValueError, match=r"got \[1, 0, 0\] albedo_names.*num_albedo=32"):
        MorphableModelConfig(albedo_names=["skin-tone"])
