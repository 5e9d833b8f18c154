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

import torch
from torch import Tensor

from ..mesh import vertex_normals
from .fields import smooth_modes
from .regions import smooth_step
from .source import AnnyHead

NUM_SMOOTH_MODES = 9
# The cheeks keep light from the back teeth: log reflectance that is missing there.
BACK_TEETH_SHADE = 1.8
ALBEDO_NAMES = (
    "melanin haemoglobin carotene lip-redness lip-darkness brow-darkness brow-colour beard moustache cheek-redness "
    "nose-redness ear-redness under-eye-darkness lid-darkness iris-brightness iris-blue iris-green sclera-brightness "
    "lash-darkness scalp-darkness teeth-brightness mouth-redness freckles"
).split() + [f"smooth-{i}" for i in range(NUM_SMOOTH_MODES)]


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
    skin = log_of_srgb(170, 125, 106)
    mean = skin.repeat(len(regions["skin"]), 1)
    shifts = {
        "lips": (-0.17, -0.56, -0.36),
        "brows": (-1.45, -1.40, -1.38),
        "lashes": (-1.20, -1.20, -1.15),
        "eyelids": (-0.06, -0.12, -0.08),
        "cheeks": (0.02, -0.10, -0.07),
        "nose": (0.00, -0.08, -0.06),
        "ears": (-0.02, -0.10, -0.08),
        "under_eyes": (-0.08, -0.13, -0.06),
        "nostrils": (-0.80, -1.05, -1.05),
        "beard": (-0.09, -0.07, -0.04),
        "scalp": (-0.22, -0.20, -0.16),
    }
    for name, shift in shifts.items():
        mean = mean + regions[name][:, None] * torch.tensor(shift)
    eyes = regions["left_eye"] + regions["right_eye"]
    parts = (
        (eyes, log_of_srgb(196, 189, 184)),
        (regions["iris"], log_of_srgb(88, 64, 46)),
        (regions["pupil"], log_of_srgb(20, 18, 18)),
        (regions["mouth_cavity"], log_of_srgb(58, 24, 22)),
        (regions["teeth"], log_of_srgb(196, 186, 168)),
        (regions["tongue"], log_of_srgb(142, 76, 74)),
        (regions["gums"], log_of_srgb(168, 92, 88)),
    )
    for mask, colour in parts:
        mean = mean + mask[:, None] * (colour - mean)
    teeth = regions["teeth"]
    depth = points[teeth > 0.5, 2].max() - points[:, 2]
    mean = mean - (teeth * BACK_TEETH_SHADE * smooth_step(depth, 0.006, 0.022))[:, None]
    # Inside the mouth the colours above already are those of the dim light there.
    strength = 0.55 * regions["skin"] + 0.15 * eyes
    return mean + (strength * occlusion.clamp_min(0.15).log())[:, None]


def albedo_basis(head: AnnyHead, points: Tensor, regions: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """Change `(K, V, 3)` of log reflectance per unit of each coefficient, in the order of `ALBEDO_NAMES`."""
    painted = torch.stack(
        [mask[:, None] * torch.tensor(colour) for mask, colour in _pigments(head, regions, generator)]
    )
    even, odd = smooth_modes(points, head.mirror, regions["skin"], 0.045, NUM_SMOOTH_MODES)
    colours = torch.tensor([[0.05, 0.06, 0.065], [0.02, 0.05, 0.04]])
    smooth = [
        (even if i % 3 < 2 else odd)[i // 3 * 2 + i % 3 % 2][:, None] * colours[i % 2] for i in range(NUM_SMOOTH_MODES)
    ]
    return torch.cat((painted, torch.stack(smooth)))


def _pigments(head: AnnyHead, regions: dict[str, Tensor], generator: torch.Generator) -> list[tuple[Tensor, tuple]]:
    """Mask `(V,)` and log reflectance change (RGB) of each named pigment but the smooth ones."""
    skin, lips, brows = regions["skin"], regions["lips"], regions["brows"]
    eyes = regions["left_eye"] + regions["right_eye"]
    iris = regions["iris"] - regions["pupil"]
    # Hair and lips are dark of their own, and darken less than the skin around them.
    melanin = skin * (1 - 0.45 * brows) * (1 - 0.25 * lips) * (1 - 0.5 * regions["lashes"])
    return [
        (melanin, (-0.38, -0.50, -0.55)),
        (skin, (0.02, -0.06, -0.05)),
        (skin, (-0.01, -0.02, -0.05)),
        (lips, (0.03, -0.17, -0.11)),
        (lips, (-0.14, -0.18, -0.16)),
        (brows, (-0.55, -0.55, -0.52)),
        (brows, (0.12, 0.0, -0.06)),
        (regions["beard"], (-0.15, -0.13, -0.09)),
        (regions["moustache"], (-0.14, -0.12, -0.09)),
        (regions["cheeks"], (0.02, -0.065, -0.045)),
        (regions["nose"], (0.02, -0.08, -0.06)),
        (regions["ears"], (0.03, -0.09, -0.07)),
        (regions["under_eyes"], (-0.07, -0.09, -0.06)),
        (regions["eyelids"], (-0.13, -0.14, -0.12)),
        (iris, (0.42, 0.48, 0.52)),
        (iris, (-0.22, 0.14, 0.50)),
        (iris, (-0.05, 0.16, 0.02)),
        (eyes - regions["iris"], (0.10, 0.13, 0.15)),
        (regions["lashes"], (-0.30, -0.30, -0.28)),
        (regions["scalp"], (-0.15, -0.15, -0.14)),
        (regions["teeth"], (0.08, 0.10, 0.16)),
        (regions["mouth_cavity"] + regions["tongue"], (0.12, -0.05, -0.05)),
        (skin * _speckle(head, generator), (-0.025, -0.04, -0.045)),
    ]


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
