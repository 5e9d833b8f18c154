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
"""From words to geometry: people with given measures, and changes of a face that words ask for.

What an adjective means is what `FaceMeasurer` measures, for texts, edits and judgement alike.
"""

import math
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from modeling_facegpt.camera import DEFAULT_FOCAL
from modeling_facegpt.face_head import HEAD_SIZE
from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.facial_expressions import ACTIONS, CALM, EMOTIONS
from modeling_facegpt.person import sample_people
from modeling_facegpt.person_faces import FaceCode, draw_anybody, draw_code
from modeling_facegpt.rotations import (
    matrix_to_rotation_6d,
    matrix_to_yaw_pitch_roll,
    rotation_6d_to_matrix,
    viewing_rotation,
    yaw_pitch_roll_to_matrix,
)
from modeling_facegpt.shading import spherical_harmonics

from ..pictures.face_sampler import normal, sample_light, uniform
from .person_words import PERSON_WORDS, Wanted, is_measured, middle_of, wanted_of

# A face from words is looked at as a passport photograph is, by the camera that is assumed where none is given.
PORTRAIT_SIZE = 0.85
PORTRAIT_MIDDLE = (0.5, 0.42)  # of the midpoint between the eyes, in picture sides
# Standard scores at which words put a measure: at least this, and how much more.
CLEARLY, SPREAD = 1.5, 0.5
EDIT_STEP = 1.5  # standard deviations of a measure
TURN_STEP = 25.0  # degrees
GAZE_STEP = 22.0
LARGEST_TURN = 55.0
LEAST_EFFICIENCY = 0.3  # below, a named slider moves a measure mostly by the way
SIDE_LIGHT = 0.85  # share of the light from everywhere
BRIGHTENING = 1.35
MOST_DRAWS = 8
PEOPLE_OF_MEAN = 128  # of whom the mean face is taken
PORTRAITS_OF_MEAN = 512  # their light and expression are averaged; the other means are known
# Prefixes of the 3DMM's named directions that change one part and little else.
SLIDER_PREFIXES = {
    "nose": "nose-",
    "mouth": "mouth-",
    "lip": "mouth-",
    "upper lip": "mouth-",
    "lower lip": "mouth-",
    "eye": "eye-",
    "brow": "eyebrows-",
    "chin": "chin-",
    "forehead": "forehead-",
    "cheek": "cheek-",
    "ear": "ear-",
    "face": "head-",
}


class LightFrom(NamedTuple):
    """Direction of a lamp in the picture."""

    right: float
    above: float
    front: float


LIGHTS = {
    "left": LightFrom(-1.0, 0.1, 0.5),
    "right": LightFrom(1.0, 0.1, 0.5),
    "above": LightFrom(0.0, 1.0, 0.5),
    "below": LightFrom(0.0, -1.0, 0.5),
}


class ShapeSpace:
    """Identity coefficients by measures.

    Args:
        measurer (`FaceMeasurer`): of the 3DMM.
    """

    def __init__(self, measurer: FaceMeasurer):
        self.measurer = measurer
        self.names = measurer.names
        self.average = average_portrait(measurer)
        steps = [self._edit_direction(name) for name in self.names]
        self.edit_steps = torch.stack(steps)  # (A, K) what raises each measure by one standard deviation
        self.knows_people = measurer.people is not None
        self._slopes = measurer.slopes.numpy()
        # Whom a face belongs to stays: shape changes by what people of the same sex, age and build differ in.
        spread = measurer.face_model.person_spread.numpy() if self.knows_people else np.eye(measurer.slopes.shape[1])
        self._moves = (self._slopes @ spread @ spread.T).astype(np.float32)  # (A, K)
        self._products = self._moves @ self._slopes.T + 1e-4 * np.eye(len(self.names), dtype=np.float32)
        self._typical: dict[tuple, FaceCode] = {}
        unit = torch.nn.functional.normalize(measurer.slopes, dim=-1)
        self._likeness = (unit @ unit.T).abs().tolist()

    def likeness(self, name: str, other: str) -> float:
        """How far one measure follows from another, in [0, 1]."""
        return self._likeness[self.names.index(name)][self.names.index(other)]

    def _edit_direction(self, name: str) -> Tensor:
        """The named slider of the part that moves the measure best; without one, the likeliest change."""
        slope = self.measurer.slopes[self.names.index(name)]
        face_model = self.measurer.face_model
        prefix = SLIDER_PREFIXES.get(name.rsplit(" ", 1)[0].removesuffix(" bridge").removesuffix(" tip"))
        sliders = [n for n in face_model.config.direction_names or [] if prefix and n.startswith(prefix)]
        best = slope
        efficiency = LEAST_EFFICIENCY
        for slider in sliders:
            direction = torch.nn.functional.normalize(face_model.direction(slider), dim=0)
            along = float(direction @ slope / slope.norm())
            if abs(along) > efficiency:
                best, efficiency = direction, abs(along)
        return best / (best @ slope).where((best @ slope).abs() > 1e-6, torch.ones(()))

    def impose(self, identity: Tensor, wanted: Mapping[str, float]) -> Tensor:
        """The likeliest people `(1, K)` near `identity (1, K)` whose measures have the `wanted` standard scores.

        For coefficients ~ N(0, 1) this is a draw from the people who are so: what the measures do not say stays as it
        was drawn.
        """
        index = [self.names.index(name) for name in wanted]
        rows = self._slopes[index]  # (A, K)
        # NumPy calls cost a tenth of PyTorch's, and there are thousands of them a second.
        missing = np.array(list(wanted.values()), dtype=np.float32) - rows @ identity[0].numpy()  # (A,)
        products = self._products[np.ix_(index, index)]
        return identity + torch.from_numpy(np.linalg.solve(products, missing) @ self._moves[index])

    def person(self, generator: torch.Generator, words: tuple[str, ...]) -> FaceCode:
        """Shape and colours of a random person of whom these of `PERSON_WORDS` hold; drawn anew where chance made a
        face that does not show it."""
        for _ in range(MOST_DRAWS):
            code = draw_code(generator, self.measurer.face_model, sample_people(generator, 1, wanted_of(words)))
            measures = self.measurer.measure_people(*code) if words else None
            if measures is None or all(
                float(is_measured(PERSON_WORDS[name], measures)) > middle_of(PERSON_WORDS[name]) for name in words
            ):
                break
        return code

    def typical_person(self, wanted: Wanted) -> FaceCode:
        """Their mean over all such people."""
        key = tuple(sorted(wanted.items()))
        if key not in self._typical:
            generator = torch.Generator().manual_seed(0)
            person = sample_people(generator, PEOPLE_OF_MEAN, wanted)
            code = draw_code(generator, self.measurer.face_model, person, 0.0)
            self._typical[key] = FaceCode(*(group.mean(0, keepdim=True) for group in code))
        return self._typical[key]

    def change(self, face: FaceParameters, measure: str, steps: float) -> FaceParameters:
        """Another shape of one part: `steps` standard deviations more of a measure, other groups untouched."""
        return face._replace(identity=face.identity + steps * self.edit_steps[self.names.index(measure)])


def sample_portraits(generator: torch.Generator, measurer: FaceMeasurer, faces: int) -> FaceParameters:
    """Random people `(N, ...)` as texts mean them who say nothing of pose: calm, looking at the camera, any light."""
    config = measurer.face_model.config
    depth = DEFAULT_FOCAL * HEAD_SIZE / PORTRAIT_SIZE
    across = (torch.tensor(PORTRAIT_MIDDLE) - 0.5) * depth / DEFAULT_FOCAL
    translation = torch.cat((across, torch.tensor([depth]))).expand(faces, 3)
    yaw, pitch, roll = (math.radians(4) * torch.randn(3, faces, generator=generator)).clamp(-0.13, 0.13)
    spread = uniform(generator, 0.8, 1.05, faces, 1)
    code, _ = draw_anybody(generator, measurer.face_model, faces, spread)
    return FaceParameters(
        identity=code.identity,
        albedo=code.albedo,
        expression=normal(generator, 0.02, faces, config.num_expression).clamp(0.0, 0.06),
        light=sample_light(generator, faces),
        rotation=matrix_to_rotation_6d(yaw_pitch_roll_to_matrix(yaw, pitch, roll)),
        translation=translation,
        log_focal=torch.zeros(faces, 1),
        gaze=normal(generator, 0.02, faces, 2).repeat(1, config.num_eyes),
    )


def average_portrait(measurer: FaceMeasurer) -> FaceParameters:
    """The mean `(1, ...)` of the people that `sample_portraits` draws."""
    drawn = sample_portraits(torch.Generator().manual_seed(0), measurer, PORTRAITS_OF_MEAN)
    mean = FaceParameters(*(group.mean(0, keepdim=True) for group in drawn))
    return mean._replace(
        identity=torch.zeros_like(mean.identity),
        albedo=torch.zeros_like(mean.albedo),
        rotation=matrix_to_rotation_6d(torch.eye(3)[None]),
        gaze=torch.zeros_like(mean.gaze),
    )


def express(face: FaceParameters, measurer: FaceMeasurer, expression: str, strength: float = 1.0) -> FaceParameters:
    """The face with one of `EMOTIONS`, `ACTIONS` or calm in place of what it showed."""
    if expression == CALM:
        return face._replace(expression=torch.zeros_like(face.expression))
    if expression in EMOTIONS:
        row = measurer.emotion_activations[list(EMOTIONS).index(expression)]
    else:
        row = measurer.action_activations[list(ACTIONS).index(expression)]
    return face._replace(expression=(strength * row).clamp(0.0, 1.0)[None])


def act(face: FaceParameters, measurer: FaceMeasurer, action: str, strength: float = 1.0) -> FaceParameters:
    """The face with the shapes of one of `ACTIONS` set and all others as they were."""
    row = measurer.action_activations[list(ACTIONS).index(action)]
    return face._replace(expression=torch.where(row > 0, (strength * row).clamp(0.0, 1.0), face.expression))


def turn(face: FaceParameters, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> FaceParameters:
    """The head turned by degrees as seen from the camera, within what necks do."""
    viewing = viewing_rotation(face.translation)
    seen = matrix_to_yaw_pitch_roll(viewing.mT @ rotation_6d_to_matrix(face.rotation))
    turned = torch.stack(seen) + torch.deg2rad(torch.tensor([[yaw], [pitch], [roll]]))  # (3, N)
    limit = math.radians(LARGEST_TURN)
    matrix = viewing @ yaw_pitch_roll_to_matrix(*turned.clamp(-limit, limit))
    return face._replace(rotation=matrix_to_rotation_6d(matrix))


def face_camera(face: FaceParameters) -> FaceParameters:
    """The head turned towards the camera."""
    return face._replace(rotation=matrix_to_rotation_6d(viewing_rotation(face.translation)))


def look(face: FaceParameters, yaw: float, pitch: float) -> FaceParameters:
    """Both eyes turned to these degrees in the head."""
    angles = torch.deg2rad(torch.tensor([yaw, pitch])).repeat(face.gaze.shape[-1] // 2)
    return face._replace(gaze=angles.expand_as(face.gaze).contiguous())


def light_from(face: FaceParameters, side: str, strength: float = 1.0) -> FaceParameters:
    """One lamp on a side of the picture, as much light from everywhere as before."""
    everywhere = face.light[:, :3]  # (N, 3)
    light = (strength * SIDE_LIGHT * _lamp(side))[:, None] * everywhere[:, None]  # (N, 9, 3)
    light[:, 0] = everywhere
    return face._replace(light=light.flatten(1))


@cache
def _lamp(side: str) -> Tensor:
    """Harmonics `(9,)` of a lamp; without the first one, because how bright the face is stays."""
    direction = torch.nn.functional.normalize(torch.tensor(LIGHTS[side]), dim=0)
    bands = spherical_harmonics(direction[None])[0]
    return bands / bands[1:4].norm() * torch.tensor([0.0] + [1.0] * 3 + [0.5] * 5)


def brighten(face: FaceParameters, factor: float) -> FaceParameters:
    """All light times a factor."""
    return face._replace(light=factor * face.light)
