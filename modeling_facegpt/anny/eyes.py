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
"""Round eyeballs for anny's head, with rings of vertices where pupil and iris end."""

import math

import torch
from torch import Tensor

from .source import AnnyHead

EYE_SEGMENTS = 20
EYE_RADIUS = 0.012  # metres, as of people: their eyeballs differ by less than half a millimetre
# Degrees from the optical axis. Pairs lie on both sides of the pupil's rim and of the limbus, to keep them sharp: the
# pupil is 4 mm wide, the iris 11.8 mm.
EYE_RINGS = (9.5, 11.5, 19.0, 29.5, 32.0, 42.0, 55.0, 72.0, 92.0, 115.0)
PUPIL_EDGE, IRIS_EDGE = 9.5, 29.5
NUM_EYE_VERTICES = 1 + EYE_SEGMENTS * len(EYE_RINGS)


def eyeball_directions() -> Tensor:
    """Unit vectors `(NUM_EYE_VERTICES, 3)` from the centre of an eyeball that looks along +z: the pole, then rings."""
    polar = torch.tensor([math.radians(ring) for ring in EYE_RINGS])[:, None]
    azimuth = torch.arange(EYE_SEGMENTS) * (2 * math.pi / EYE_SEGMENTS)
    x, y = polar.sin() * azimuth.cos(), polar.sin() * azimuth.sin()
    rings = torch.stack((x, y, polar.cos().expand_as(x)), dim=-1).flatten(0, 1)
    return torch.cat((torch.tensor([[0.0, 0.0, 1.0]]), rings))


def eyeball_triangles() -> Tensor:
    """Triangles `(F, 3)` over `eyeball_directions`, counter-clockwise seen from outside."""
    here = torch.arange(EYE_SEGMENTS)
    after = (here + 1) % EYE_SEGMENTS
    triangles = [torch.stack((torch.zeros_like(here), 1 + here, 1 + after), dim=1)]
    for ring in range(len(EYE_RINGS) - 1):
        inner, outer = 1 + ring * EYE_SEGMENTS, 1 + (ring + 1) * EYE_SEGMENTS
        triangles.append(torch.stack((inner + here, outer + here, outer + after), dim=1))
        triangles.append(torch.stack((inner + here, outer + after, inner + after), dim=1))
    return torch.cat(triangles)


def _eyeball_mirror() -> Tensor:
    """For each vertex of one eyeball, the vertex of the other at the mirrored direction."""
    here = torch.arange(EYE_SEGMENTS)
    opposite = (EYE_SEGMENTS // 2 - here) % EYE_SEGMENTS
    rings = [1 + ring * EYE_SEGMENTS + opposite for ring in range(len(EYE_RINGS))]
    return torch.cat((torch.zeros(1, dtype=torch.int64), *rings))


def sphere_map(old: Tensor) -> Tensor:
    """Matrix `(NUM_EYE_VERTICES, E)` from displacements of the old eyeball's E vertices to those of the new one.

    The old eyeball's mean motion and mean growth are kept and all else is dropped, so every eyeball stays a sphere.
    The same matrix maps positions.
    """
    centre = old.mean(0)
    spokes = old - centre  # (E, 3)
    growth = spokes / spokes.square().sum()  # (E, 3)
    radius = spokes.norm(dim=-1).mean()
    mean = torch.full((1, len(old)), 1.0 / len(old))
    # The scale is a sum over all three coordinates, so the map acts on flattened displacements, (E * 3).
    move = torch.einsum("oe,cd->oced", mean.expand(NUM_EYE_VERTICES, -1), torch.eye(3))
    grow = torch.einsum("oc,ed->oced", radius * eyeball_directions(), growth)
    return (move + grow).flatten(2).flatten(0, 1)


def _planar_uv(old_uv: Tensor) -> Tensor:
    """Texture coordinates of a new eyeball: seen from the front, inside the old one's island."""
    low, high = old_uv.amin(0), old_uv.amax(0)
    directions = eyeball_directions()
    polar = directions[:, 2].clamp(-1, 1).acos() / math.radians(EYE_RINGS[-1])
    flat = directions[:, :2] / directions[:, :2].norm(dim=-1, keepdim=True).clamp_min(1e-9) * polar[:, None]
    return (low + high) / 2 + flat * (high - low) / 2 * 0.95


def replace_eyeballs(head: AnnyHead) -> AnnyHead:
    """The head with both eyeballs replaced by ringed spheres, appended after all other vertices (left, then right)."""
    eyes = [head.parts["left_eye"], head.parts["right_eye"]]
    keep = ~(eyes[0] | eyes[1])
    position = torch.full((len(keep),), -1)
    position[keep] = torch.arange(int(keep.sum()))
    start = int(keep.sum())
    maps = [sphere_map(head.vertices[eye]) for eye in eyes]
    new = [
        (matrix @ head.vertices[eye].flatten()).unflatten(0, (-1, 3)) for matrix, eye in zip(maps, eyes, strict=True)
    ]
    moved = [
        (head.blendshapes[:, eye].flatten(1) @ matrix.T).unflatten(1, (-1, 3))
        for matrix, eye in zip(maps, eyes, strict=True)
    ]
    kept = keep[head.triangles].all(1)
    triangles = [position[head.triangles[kept]]] + [eyeball_triangles() + start + i * NUM_EYE_VERTICES for i in (0, 1)]
    uv = [head.uv_coordinates, *(_planar_uv(_uv_of(head, eye)) for eye in eyes)]
    uv_start = len(head.uv_coordinates)
    uv_triangles = [head.uv_triangles[kept]] + [eyeball_triangles() + uv_start + i * NUM_EYE_VERTICES for i in (0, 1)]
    mirror = _eyeball_mirror() + start
    return head._replace(
        vertices=torch.cat((head.vertices[keep], *new)),
        triangles=torch.cat(triangles),
        uv_coordinates=torch.cat(uv),
        uv_triangles=torch.cat(uv_triangles),
        blendshapes=torch.cat((head.blendshapes[:, keep], *moved), dim=1),
        mirror=torch.cat((position[head.mirror[keep]], mirror + NUM_EYE_VERTICES, mirror)),
        parts=_extended_parts(head.parts, keep),
    )


def _uv_of(head: AnnyHead, mask: Tensor) -> Tensor:
    return head.uv_coordinates[head.uv_triangles[mask[head.triangles].all(1)].unique()]


def _extended_parts(parts: dict[str, Tensor], keep: Tensor) -> dict[str, Tensor]:
    count = int(keep.sum())
    extended = {}
    for name, mask in parts.items():
        extended[name] = torch.cat((mask[keep], torch.zeros(2 * NUM_EYE_VERTICES, dtype=torch.bool)))
    extended["left_eye"][count : count + NUM_EYE_VERTICES] = True
    extended["right_eye"][count + NUM_EYE_VERTICES :] = True
    return extended


def drop_unused_uv(head: AnnyHead) -> AnnyHead:
    """The head without texture coordinates that no triangle uses."""
    used, inverse = head.uv_triangles.unique(return_inverse=True)
    return head._replace(uv_coordinates=head.uv_coordinates[used], uv_triangles=inverse)
