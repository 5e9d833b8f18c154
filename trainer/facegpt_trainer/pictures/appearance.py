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
"""What the 3DMM lacks and photographs show: hair on the scalp, beards, glossy skin, shaded hollows.

Works on vertices, before the head is drawn: positions are displaced and colours replaced, while the labels keep the
3DMM's own face.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from modeling_facegpt.mesh import vertex_normals
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.person import Person
from modeling_facegpt.person_faces import hair_colour

from .face_sampler import chance, normal, uniform

# Linear RGB, from black over brown, red and blond to grey and white.
HAIR_COLOURS = (
    (0.010, 0.008, 0.007),
    (0.025, 0.016, 0.011),
    (0.060, 0.032, 0.018),
    (0.110, 0.062, 0.030),
    (0.180, 0.070, 0.025),
    (0.300, 0.195, 0.090),
    (0.480, 0.360, 0.210),
    (0.250, 0.240, 0.230),
    (0.620, 0.610, 0.590),
)


class Appearance(NamedTuple):
    """A head as it is drawn."""

    vertices: Tensor  # (N, V, 3) model space, metres
    albedo: Tensor  # (N, V, 3) linear
    gloss: Tensor  # (N, V, 1) strength of the specular lobe
    hair: Tensor  # (N, 3) linear hair colour


def sample_hair_colours(generator: torch.Generator, faces: int) -> Tensor:
    """Linear RGB `(N, 3)`."""
    index = torch.randint(len(HAIR_COLOURS), (faces,), generator=generator)
    return (torch.tensor(HAIR_COLOURS)[index] * normal(generator, 0.25, faces, 1).exp()).clamp(0.003, 0.8)


def dress_heads(
    generator: torch.Generator, face_model: MorphableModel, vertices: Tensor, albedo: Tensor, person: Person | None
) -> Appearance:
    """Give N heads gloss, and hair and beards where the 3DMM has none.

    Args:
        generator (`torch.Generator`): the only source of chance.
        face_model (`MorphableModel`): names the regions.
        vertices (`torch.Tensor` of shape `(N, V, 3)`): model space, metres.
        albedo (`torch.Tensor` of shape `(N, V, 3)`): linear reflectance.
        person (`Person`, *optional*): whose heads they are; their hair is in vertices and albedo already.
    """
    faces = len(vertices)
    if person is not None:
        hair = hair_colour(person.hair_darkness, person.hair_redness, person.grey).exp()
        return Appearance(
            vertices,
            albedo,
            _sample_gloss(generator, face_model, 1 - face_model.region("scalp").expand(faces, -1)),
            hair,
        )
    hair = sample_hair_colours(generator, faces)
    waves = _surface_noise(generator, face_model.template, faces)
    scalp = _scalp_cover(generator, face_model, waves)
    strand = (1 + 0.15 * _surface_noise(generator, face_model.template, faces, 90.0)).clamp(0.3, 2.0)
    hairy = hair[:, None] * strand[..., None]
    stubble = _beard_cover(generator, face_model, waves)
    covered = torch.lerp(albedo, hairy.expand_as(albedo), stubble[..., None])
    covered = torch.lerp(covered, hairy.expand_as(albedo), scalp[..., None])
    thickness = uniform(generator, 0.002, 0.03, faces, 1) * (1 + 0.3 * waves)
    # The mean face's normals will do for hair, and cost nothing per face.
    normals = vertex_normals(face_model.template[None], face_model.triangles)
    beard_depth = uniform(generator, 0.0, 0.008, faces, 1) * (stubble > 0.5)
    displaced = vertices + normals * (scalp * thickness + beard_depth)[..., None]
    return Appearance(displaced, covered, _sample_gloss(generator, face_model, 1 - scalp), hair)


def _sample_gloss(generator: torch.Generator, face_model: MorphableModel, bare: Tensor) -> Tensor:
    """Strength of the specular lobe `(N, V, 1)`, of which hair has none; `bare` `(N, V or 1)` is 1 without hair."""
    skin = face_model.region("skin") * bare
    wet = face_model.region("left_eye") + face_model.region("right_eye")
    return (uniform(generator, 0.0, 0.12, len(bare), 1) * skin + 0.2 * wet)[..., None]


def _surface_noise(generator: torch.Generator, template: Tensor, faces: int, frequency: float = 30.0) -> Tensor:
    """Smooth noise `(N, V)` over the head, about N(0, 1): a sum of random plane waves."""
    waves = 6
    direction = frequency * torch.randn(faces, waves, 3, generator=generator)
    phase = uniform(generator, 0.0, 6.283, faces, waves, 1)
    return (direction @ template.T + phase).sin().sum(1) * (2.0 / waves) ** 0.5


def _scalp_cover(generator: torch.Generator, face_model: MorphableModel, waves: Tensor) -> Tensor:
    """How much hair hides each vertex `(N, V)`: a hairline that is high or low, straight or ragged; some are bald."""
    faces = len(waves)
    line = uniform(generator, 0.15, 0.75, faces, 1) + 0.08 * waves
    cover = ((face_model.region("scalp") - line) / 0.12).clamp(0, 1)
    height = face_model.template[:, 1]
    horseshoe = ((0.07 - height) / 0.02).clamp(0, 1)
    balding = chance(generator, 0.1, faces, 1)
    cover = torch.where(balding, cover * horseshoe, cover)
    density = torch.where(chance(generator, 0.15, faces, 1), uniform(generator, 0.2, 0.8, faces, 1), 1.0)
    return cover * density * chance(generator, 0.94, faces, 1)


def _beard_cover(generator: torch.Generator, face_model: MorphableModel, waves: Tensor) -> Tensor:
    """How much beard hides each vertex `(N, V)`: none for most, stubble, moustache or full beard for some."""
    faces = len(waves)
    cover = ((face_model.region("beard") + 0.1 * waves - 0.4) / 0.3).clamp(0, 1)
    below_nose = face_model.template[:, 1] > face_model.template[face_model.region("lips") > 0.5, 1].mean()
    part = torch.rand(faces, 1, generator=generator)
    cover = torch.where(part < 0.2, cover * below_nose, torch.where(part < 0.35, cover * ~below_nose, cover))
    density = torch.where(chance(generator, 0.5, faces, 1), uniform(generator, 0.1, 0.4, faces, 1), 0.92)
    return cover * density * chance(generator, 0.22, faces, 1)
