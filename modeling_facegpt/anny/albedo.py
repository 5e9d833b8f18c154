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
"""Reflectance of anny's head: a mean and a basis of pigments in log space, painted by regions."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..mesh import vertex_normals
from ..person import sample_people
from ..person_faces import BROWN_IRIS, COLOUR_AXES, PIGMENT_NAMES, middle_skin, person_quantities, pigment_directions
from .fields import smooth_modes
from .hair import beard_mask, fold_lines
from .regions import ball, smooth_step
from .source import AnnyHead

NUM_SMOOTH_MODES = 6
# The cheeks keep light from the back teeth: log reflectance that is missing there.
BACK_TEETH_SHADE = 1.5
# Quantities that colour the skin and what shows between the lids and the lips, then those of the layers.

PAINTED_NAMES = (
    *PIGMENT_NAMES,
    *"lip-redness lip-darkness cheek-redness nose-redness ear-redness under-eye-darkness lid-darkness".split(),
    *"lash-darkness iris-lightness iris-warmth iris-greenness sclera-yellowness teeth-lightness".split(),
    *"teeth-yellowness mouth-redness freckles age-spots folds stubble".split(),
)
LAYER_NAMES = (
    "brows brow-lightness brow-warmth brow-greenness moustache beard beard-lightness beard-warmth beard-greenness "
    "lipstick lipstick-depth hair-reach side-hair hair-lightness hair-warmth hair-greenness"
).split()
ALBEDO_NAMES = (*PAINTED_NAMES, *LAYER_NAMES, *(f"smooth-{i}" for i in range(NUM_SMOOTH_MODES)))
NUM_PEOPLE = 8192  # whose quantities tell what one unit of each coefficient is


class Units(NamedTuple):
    """What each coefficient stands for: quantity = centre + scale * coefficient."""

    centres: Tensor  # (num_albedo,)
    scales: Tensor  # (num_albedo,)


def coefficient_units(generator: torch.Generator) -> Units:
    """Centres and scales that make every coefficient of random people about one in size.

    What many people lack altogether, such as a beard, is 0 where its coefficient is 0.
    """
    quantities = person_quantities(sample_people(generator, NUM_PEOPLE))
    centres, scales = torch.zeros(len(ALBEDO_NAMES)), torch.ones(len(ALBEDO_NAMES))
    for index, name in enumerate(ALBEDO_NAMES):
        if name not in quantities:
            continue
        values = quantities[name]
        lacking = (values == 0).float().mean() > 0.25
        centres[index] = 0.0 if lacking else values.mean()
        scales[index] = (values - centres[index]).square().mean().sqrt()
    return Units(centres, scales)


def log_of_srgb(red: float, green: float, blue: float) -> Tensor:
    """Log linear reflectance `(3,)` of an sRGB colour given in 0..255."""
    value = torch.tensor([red, green, blue]) / 255.0
    linear = torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear.log()


def albedo_mean(points: Tensor, regions: dict[str, Tensor], occlusion: Tensor) -> Tensor:
    """Log reflectance `(V, 3)` of the average adult.

    Args:
        points (`torch.Tensor` of shape `(V, 3)`): the mean face.
        regions (`dict[str, torch.Tensor]`): masks `(V,)` by name.
        occlusion (`torch.Tensor` of shape `(V,)`): share of the sky that each vertex sees; folds are a little darker.
    """
    mean = middle_skin().repeat(len(regions["skin"]), 1)
    shifts = {
        "lips": (-0.12, -0.62, -0.42),
        "lashes": (-1.30, -1.30, -1.25),
        "eyelids": (-0.06, -0.10, -0.07),
        "cheeks": (0.02, -0.06, -0.04),
        "nose": (0.00, -0.05, -0.04),
        "ears": (-0.02, -0.08, -0.06),
        "under_eyes": (-0.04, -0.07, -0.04),
        "nostrils": (-0.80, -1.05, -1.05),
    }
    for name, shift in shifts.items():
        mean = mean + regions[name][:, None] * torch.tensor(shift)
    eyes = regions["left_eye"] + regions["right_eye"]
    parts = (
        (eyes, log_of_srgb(214, 208, 202)),
        (regions["iris"], torch.tensor(BROWN_IRIS)),
        (regions["pupil"], log_of_srgb(20, 18, 18)),
        (regions["mouth_cavity"], log_of_srgb(58, 24, 22)),
        (regions["teeth"], log_of_srgb(222, 214, 196)),
        (regions["tongue"], log_of_srgb(142, 76, 74)),
        (regions["gums"], log_of_srgb(168, 92, 88)),
    )
    for mask, colour in parts:
        mean = mean + mask[:, None] * (colour - mean)
    teeth = regions["teeth"]
    depth = points[teeth > 0.5, 2].max() - points[:, 2]
    mean = mean - (teeth * BACK_TEETH_SHADE * smooth_step(depth, 0.006, 0.022))[:, None]
    # Inside the mouth the colours above already are those of the dim light there.
    strength = 0.45 * regions["skin"] + 0.15 * eyes
    return mean + (strength * occlusion.clamp_min(0.15).log())[:, None]


def average_albedo(mean: Tensor, directions: Tensor, units: Units, regions: dict[str, Tensor]) -> Tensor:
    """Log reflectance `(V, 3)` where all coefficients are 0; cheeks, nose and forehead together have the colour of the
    skin that is meant, whatever else is painted there."""
    average = units.centres[:, None, None] * directions
    painted = mean + average[len(PIGMENT_NAMES) :].sum(0)
    shift = painted[open_skin(regions)].mean(0) - middle_skin()
    return painted - regions["skin"][:, None] * shift + average[: len(PIGMENT_NAMES)].sum(0)


def open_skin(regions: dict[str, Tensor]) -> Tensor:
    """Where skin is measured, `(V,)` bool: cheeks, nose and forehead without lids, nostrils and what grows there."""
    open_parts = regions["cheeks"] + regions["nose"] + regions["forehead"]
    covered = regions["beard"] + regions["brows"] + regions["eyelids"] + regions["lips"] + regions["nostrils"]
    return (open_parts > 0.5) & (covered < 0.05)


def albedo_directions(
    head: AnnyHead, points: Tensor, regions: dict[str, Tensor], generator: torch.Generator
) -> Tensor:
    """Change `(K, V, 3)` of log reflectance per unit of each quantity, in the order of `ALBEDO_NAMES`."""
    pigments = _pigments(head, points, regions, generator)
    painted = torch.stack([mask[:, None] * torch.as_tensor(colour) for mask, colour in pigments])
    layered = torch.zeros(len(LAYER_NAMES), len(points), 3)
    even, odd = smooth_modes(points, head.mirror, regions["skin"], 0.045, NUM_SMOOTH_MODES)
    colours = torch.tensor([[0.020, 0.022, 0.024], [0.006, 0.014, 0.011]])
    smooth = [
        (even if i % 3 < 2 else odd)[i // 3 * 2 + i % 3 % 2][:, None] * colours[i % 2] for i in range(NUM_SMOOTH_MODES)
    ]
    return torch.cat((painted, layered, torch.stack(smooth)))


def _pigments(
    head: AnnyHead, points: Tensor, regions: dict[str, Tensor], generator: torch.Generator
) -> list[tuple[Tensor, Any]]:
    """Mask `(V,)` and log reflectance change (RGB) of each of `PAINTED_NAMES`."""
    skin, lips = regions["skin"], regions["lips"]
    eyes = regions["left_eye"] + regions["right_eye"]
    iris = regions["iris"] - regions["pupil"]
    tone, blood, carotene = pigment_directions()
    # Lips and lashes are dark of their own, and darken less than the skin around them.
    coloured = skin * (1 - 0.25 * lips) * (1 - 0.5 * regions["lashes"])
    lines, _ = fold_lines(points)
    beard, moustache = beard_mask(points, regions)
    exposed = skin * (1 - lips) * (1 - regions["neck"]) * (1 - regions["eyelids"])
    axes = torch.tensor(COLOUR_AXES)
    return [
        (coloured, tone),
        (coloured, blood),
        (coloured, carotene),
        (lips, (0.03, -0.22, -0.14)),
        (lips, (-0.22, -0.10, -0.08)),
        (regions["cheeks"], (0.03, -0.075, -0.050)),
        (regions["nose"], (0.02, -0.08, -0.06)),
        (regions["ears"], (0.03, -0.09, -0.07)),
        (regions["under_eyes"], (-0.09, -0.11, -0.08)),
        (regions["eyelids"], (-0.17, -0.19, -0.16)),
        (regions["lashes"], (-0.32, -0.32, -0.30)),
        (iris, axes[0]),
        (iris, axes[1]),
        (iris, axes[2]),
        (eyes - regions["iris"], (-0.06, -0.09, -0.20)),
        (regions["teeth"], (0.05, 0.06, 0.08)),
        (regions["teeth"], (-0.05, -0.09, -0.22)),
        (regions["mouth_cavity"] + regions["tongue"], (0.10, -0.05, -0.05)),
        (exposed * _freckled(points) * _spots(head, generator, 0.9), (-0.30, -0.48, -0.62)),
        (exposed * _spots(head, generator, 1.7), (-0.35, -0.50, -0.60)),
        (skin * lines, (-0.30, -0.38, -0.40)),
        (torch.maximum(beard, moustache), (-0.62, -0.56, -0.44)),
    ]


def _freckled(points: Tensor) -> Tensor:
    """Where freckles are, `(V,)`: over nose and cheeks, fewer on the forehead."""
    return torch.maximum(
        ball(points, (0.022, -0.030, 0.010), (0.040, 0.024, 0.05)),
        0.5 * ball(points, (0.0, 0.045, 0.01), (0.05, 0.03, 0.05)),
    )


def _spots(head: AnnyHead, generator: torch.Generator, rareness: float) -> Tensor:
    """Random spots `(V,)` in [0, 1], about as large as a few triangles; the rarer, the fewer."""
    return ((_speckle(head, generator) - rareness + 0.6) / 0.9).clamp(0, 1)


def _speckle(head: AnnyHead, generator: torch.Generator) -> Tensor:
    """Random freckles `(V,)`, about as large as a few triangles, of unit spread."""
    noise = torch.randn(len(head.vertices), generator=generator)
    averaged = 0.5 * noise + 0.5 * _neighbour_mean(head.triangles, noise)
    return averaged / averaged.std()


def _neighbour_mean(triangles: Tensor, values: Tensor) -> Tensor:
    """Mean over the corners of all triangles around each vertex."""
    total, count = torch.zeros_like(values), torch.zeros_like(values)
    means = values[triangles].mean(1)
    for corner in range(3):
        total = total.index_add(0, triangles[:, corner], means)
        count = count.index_add(0, triangles[:, corner], torch.ones_like(means))
    return total / count.clamp_min(1)


def sky_visibility(points: Tensor, triangles: Tensor, directions: int = 96, size: int = 320) -> Tensor:
    """Share `(V,)` of a cosine-weighted sky that each vertex sees, by depth maps from all directions."""
    normals = vertex_normals(points[None], triangles)[0]
    index = torch.arange(directions)
    z = 1 - (2 * index + 1) / directions
    azimuth = index * 2.399963
    radius = (1 - z.square()).sqrt()
    sky = torch.stack((radius * azimuth.cos(), z, radius * azimuth.sin()), dim=1)
    seen, total = torch.zeros(len(points)), torch.zeros(len(points))
    for direction in sky:
        cosine = (normals @ direction).clamp_min(0)
        seen = seen + cosine * _lit(points, triangles, direction, size)
        total = total + cosine
    return seen / total.clamp_min(1e-9)


def _lit(points: Tensor, triangles: Tensor, direction: Tensor, size: int) -> Tensor:
    """1 where nothing lies between a vertex and the far end of `direction`: points splatted into a depth map."""
    up = torch.tensor([0.0, 0.0, 1.0]) if abs(direction[1]) > 0.9 else torch.tensor([0.0, 1.0, 0.0])
    side = torch.nn.functional.normalize(torch.linalg.cross(up, direction), dim=0)
    frame = torch.stack((side, torch.linalg.cross(direction, side), direction))
    grid = _barycentric_grid(6)
    samples = torch.einsum("sk,fkc->fsc", grid, points[triangles]).flatten(0, 1) @ frame.T
    low, high = samples[:, :2].amin(0), samples[:, :2].amax(0)
    scale = (size - 1) / (high - low).max()

    def cell(place: Tensor) -> Tensor:
        column, row = ((place[:, :2] - low) * scale).round().long().unbind(1)
        return row * size + column

    depth = torch.full((size * size,), -torch.inf).scatter_reduce(0, cell(samples), samples[:, 2], "amax")
    placed = points @ frame.T
    return (depth[cell(placed)] <= placed[:, 2] + 2.5e-3).float()


def _barycentric_grid(steps: int) -> Tensor:
    pairs = [(i / steps, j / steps) for i in range(steps + 1) for j in range(steps + 1 - i)]
    return torch.tensor([(a, b, 1 - a - b) for a, b in pairs])
