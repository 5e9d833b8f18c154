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
"""Tiny models built in code, shared by all tests: a head of 200 vertices, a LLaVA of two layers, FaceGPT over both."""

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import torch
from facegpt_trainer.nano import NANO_TEXT, build_nano_vlm
from torch import Tensor

from modeling_facegpt import (
    FaceGPTConfig,
    FaceGPTForConditionalGeneration,
    FaceGPTProcessor,
    FaceParameters,
    MorphableModel,
    MorphableModelConfig,
)
from modeling_facegpt.backends import CANDIDATES, REFERENCE, availability, use_backend
from modeling_facegpt.face_measurements import FaceMeasurer

REPOSITORY = Path(__file__).parents[1]
FAULTS, LONGEST_FAULT_TEST = Path(__file__).parent / "faults", 1500  # seconds
RINGS, SEGMENTS = 11, 18
DIALOGUE_WIDTH = 16
TINY_LAYERS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY_VISION = {**TINY_LAYERS, "model_type": "siglip_vision_model", "image_size": 112, "patch_size": 28}
TINY_TEXT = {**NANO_TEXT, **TINY_LAYERS, "num_key_value_heads": 2}


def sphere(rings: int = RINGS, segments: int = SEGMENTS) -> tuple[Tensor, Tensor]:
    """Unit sphere with poles at +y and -y: vertices `(V, 3)`, triangles `(F, 3)` counter-clockwise from outside."""
    height = torch.linspace(0, torch.pi, rings + 2)[1:-1, None]
    turn = torch.arange(segments)[None] * (2 * torch.pi / segments)
    ring = torch.stack(
        (height.sin() * turn.sin(), height.cos().expand(rings, segments), height.sin() * turn.cos()), dim=-1
    )
    poles = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    index = torch.arange(rings * segments).view(rings, segments)
    beside = index.roll(-1, dims=1)
    top, bottom = torch.full((segments,), rings * segments), torch.full((segments,), rings * segments + 1)
    triangles = [
        torch.stack((index[:-1], index[1:], beside[:-1]), dim=-1).view(-1, 3),
        torch.stack((beside[:-1], index[1:], beside[1:]), dim=-1).view(-1, 3),
        torch.stack((top, index[0], beside[0]), dim=-1),
        torch.stack((bottom, beside[-1], index[-1]), dim=-1),
    ]
    return torch.cat((ring.reshape(-1, 3), poles)), torch.cat(triangles)


def _on_surface(unit: Tensor, triangles: Tensor, count: int) -> Tensor:
    """Triangles `(count,)` whose middles are nearest to points of a spiral over the front of the sphere."""
    step = torch.arange(count) + 0.5
    radius, angle = 0.8 * (step / count).sqrt(), step * 2.4
    x, y = radius * angle.cos(), radius * angle.sin()
    wanted = torch.stack((x, y, (1 - x.square() - y.square()).sqrt()), dim=-1)
    return torch.cdist(wanted, unit[triangles].mean(1)).argmin(1)


def _smooth(unit: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Smooth vector fields `(count, V, 3)` of unit size over the sphere."""
    slope = torch.randn(count, 3, 3, generator=generator)
    return torch.sin(unit @ slope + torch.randn(count, 1, 3, generator=generator))


@pytest.fixture(scope="session")
def face_model_config() -> MorphableModelConfig:
    return MorphableModelConfig(
        face_model_id="facegpt/tiny-head",
        num_vertices=RINGS * SEGMENTS + 2,
        num_triangles=2 * RINGS * SEGMENTS,
        num_uv_coordinates=RINGS * SEGMENTS + 2,
        num_identity=6,
        num_albedo=4,
        num_expression=5,
        expression_names=["browInnerUp", "eyeBlinkLeft", "jawOpen", "mouthSmileLeft", "mouthSmileRight"],
        num_eyes=2,
        num_eyeball_vertices=3,
        region_names=["skin", "face", "lips", "left_eye", "right_eye", "scalp", "beard"],
        direction_names=["nose-width", "chin-prominent"],
    )


@pytest.fixture(scope="session")
def face_model(face_model_config: MorphableModelConfig) -> MorphableModel:
    """A valid head of 200 vertices: an ellipsoid with smooth bases. Shared: do not change it."""
    model = MorphableModel(face_model_config).eval()
    generator = torch.Generator().manual_seed(0)
    unit, triangles = sphere()
    x, y, z = unit.unbind(-1)
    eyes = torch.stack(((unit - torch.tensor([0.4, 0.3, 0.85])).norm(dim=-1).argsort()[:3],) * 2)
    eyes[1] = (unit - torch.tensor([-0.4, 0.3, 0.85])).norm(dim=-1).argsort()[:3]
    template = unit * torch.tensor([0.075, 0.11, 0.09]) - torch.tensor([0.0, 0.03, 0.07])
    masks = [z > -2, z > 0.2, (y + 0.4).abs() + x.abs() < 0.4, x > 0.3, x < -0.3, y > 0.6, y < -0.5]
    buffers = {
        "template": template,
        "identity_basis": 2e-3 * _smooth(unit, face_model_config.num_identity, generator),
        "expression_basis": 5e-3 * _smooth(unit, face_model_config.num_expression, generator),
        "albedo_mean": torch.tensor([0.55, 0.35, 0.28]).log().expand(len(unit), 3),
        "albedo_basis": 0.2 * _smooth(unit, face_model_config.num_albedo, generator),
        "triangles": triangles,
        "uv_coordinates": torch.stack((torch.atan2(x, z) / (2 * torch.pi) + 0.5, y / 2 + 0.5), dim=-1),
        "uv_triangles": triangles,
        "region_masks": torch.stack(masks).float(),
        "shape_directions": torch.randn(2, face_model_config.num_identity, generator=generator),
        "eyeball_vertices": eyes,
        "eye_centres": torch.stack([template[vertices].mean(0) for vertices in eyes]),
    }
    for kind in ("68", "468", "7"):
        buffers[f"landmarks_{kind}_triangles"] = _on_surface(unit, triangles, int(kind))
        buffers[f"landmarks_{kind}_barycentrics"] = torch.full((int(kind), 3), 1 / 3)
    for name, value in buffers.items():
        model.get_buffer(name).copy_(value)
    return model


@pytest.fixture(scope="session")
def measurer() -> FaceMeasurer:
    """Measures faces of the published 3DMM, whose landmarks and names mean something. Shared: do not change it."""
    return FaceMeasurer(MorphableModel.from_pretrained(REPOSITORY / "hub" / "anny-head", dtype=torch.float32).eval())


@pytest.fixture(scope="session")
def _nano() -> tuple:
    return build_nano_vlm(0, vision=TINY_VISION, text=TINY_TEXT)


@pytest.fixture(scope="session")
def processor(_nano: tuple) -> FaceGPTProcessor:
    """The nano model's processor, wrapped. Shared: do not change it."""
    return FaceGPTProcessor.from_vlm_processor(_nano[1])


@pytest.fixture(scope="session")
def _facegpt(_nano: tuple, processor: FaceGPTProcessor, face_model: MorphableModel) -> FaceGPTForConditionalGeneration:
    config = FaceGPTConfig(
        vlm_config=_nano[0].config.to_dict(),
        face_model_config=face_model.config.to_dict(),
        face_token_id=processor.face_token_id,
        end_token_id=processor.end_token_id,
        face_head_hidden_size=32,
        max_faces=3,
        loss_weights={"text": 1.0, "code_likelihood": 0.1, "label_shape": 1.0, "landmarks": 1.0, "photometric": 1.0},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FaceGPTForConditionalGeneration(config).eval()
    model.face_model.load_state_dict(face_model.state_dict())
    return model


@pytest.fixture
def facegpt(_facegpt: FaceGPTForConditionalGeneration) -> FaceGPTForConditionalGeneration:
    """FaceGPT over a LLaVA of two layers, with random weights; each test gets its own copy."""
    return copy.deepcopy(_facegpt)


@pytest.fixture
def eager_facegpt(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
) -> FaceGPTForConditionalGeneration:
    """As `facegpt`, but it answers every look with as many faces as it may."""
    return make_eager(facegpt, processor)


def make_eager(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
) -> FaceGPTForConditionalGeneration:
    """The same model, changed so that it answers every look with as many faces as it may."""
    rows = facegpt.get_input_embeddings().weight
    with torch.no_grad():
        # A state follows the embedding of its token; the same direction is made to say <FACE>.
        direction = 20 * rows[processor.tokenizer.convert_tokens_to_ids("<assistant>")]
        rows[processor.tokenizer.convert_tokens_to_ids("<assistant>")] = direction
        rows[processor.face_token_id] = direction
        rows[processor.end_token_id] = 0
    return facegpt


@pytest.fixture
def chatty(eager_facegpt: FaceGPTForConditionalGeneration) -> FaceGPTForConditionalGeneration:
    """As `eager_facegpt`, and it reads faces."""
    config = cast(FaceGPTConfig, copy.deepcopy(eager_facegpt.config))
    config.dialogue_hidden_size = 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = FaceGPTForConditionalGeneration(config).eval()
    model.load_state_dict(eager_facegpt.state_dict(), strict=False)
    return model


def train_encoder(model: FaceGPTForConditionalGeneration) -> None:
    """Give the last layer of the face encoder weights as if it had been trained."""
    weight = model.face_encoder.output.weight
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(5)))


@pytest.fixture
def dialogue_facegpt(
    facegpt: FaceGPTForConditionalGeneration, face_model: MorphableModel
) -> FaceGPTForConditionalGeneration:
    """The tiny LLaVA with the parts for dialogue, its face encoder as if trained."""
    config = copy.deepcopy(facegpt.config)
    config.dialogue_hidden_size = DIALOGUE_WIDTH
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FaceGPTForConditionalGeneration(config, facegpt.vlm, copy.deepcopy(face_model)).eval()  # pyright: ignore
    train_encoder(model)
    return model


@pytest.fixture
def face_parameters(face_model_config: MorphableModelConfig) -> FaceParameters:
    """Three different faces half a metre before the camera, seen from the front, in white light."""
    generator = torch.Generator().manual_seed(1)
    config, faces = face_model_config, 3
    return FaceParameters(
        identity=torch.randn(faces, config.num_identity, generator=generator),
        albedo=torch.randn(faces, config.num_albedo, generator=generator),
        expression=torch.rand(faces, config.num_expression, generator=generator),
        light=torch.tensor([3.5449] * 3 + [0.0] * 24).expand(faces, 27),
        rotation=torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]).expand(faces, 6),
        translation=torch.tensor([[-0.05, 0.0, 0.5], [0.0, 0.02, 0.5], [0.06, 0.0, 0.6]]),
        log_focal=torch.zeros(faces, 1),
        gaze=torch.zeros(faces, 2 * config.num_eyes),
    )


@pytest.fixture(scope="session")
def shared_directory() -> Path:
    """Real photographs and scans beside the repository; tests that need them are skipped where there are none."""
    directory = REPOSITORY.parent / "shared"
    if not directory.is_dir():
        pytest.skip("needs the data in ../shared")
    return directory


@pytest.fixture(params=[REFERENCE, *CANDIDATES])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Draw with each backend that is there."""
    usable, reason = availability(request.param, "cpu")
    if not usable:
        pytest.skip(f"{request.param}: {reason}")
    with use_backend(request.param):
        yield request.param


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of the fault suite are slow."""
    for item in items:
        if FAULTS in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(LONGEST_FAULT_TEST))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures of all tests of the fault suite, one below the other."""
    harness = sys.modules.get("harness")
    if harness is not None and harness.FIGURES:
        terminalreporter.section("faults")
        for line in harness.FIGURES:
            terminalreporter.write_line(line)
