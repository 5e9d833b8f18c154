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
"""Random faces: who, with what expression, in which pose, light and place of the picture.

Everything is drawn for a whole batch at once from one `torch.Generator`, so that a seed is a batch.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from modeling_facegpt.camera import Camera, default_picture_cameras
from modeling_facegpt.configuration_facegpt import MorphableModelConfig
from modeling_facegpt.face_head import HEAD_SIZE
from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.person import Person
from modeling_facegpt.person_faces import draw_anybody
from modeling_facegpt.rotations import matrix_to_rotation_6d, rotation_between, yaw_pitch_roll_to_matrix
from modeling_facegpt.shading import spherical_harmonics

# Expressions that people show, as activations of ARKit shapes; `L/R` stands for both sides.
EXPRESSIONS: dict[str, dict[str, float]] = {
    "smile": {"mouthSmileL/R": 0.8, "cheekSquintL/R": 0.5, "eyeSquintL/R": 0.3, "mouthDimpleL/R": 0.2},
    "broad smile": {
        "mouthSmileL/R": 0.95,
        "cheekSquintL/R": 0.7,
        "mouthUpperUpL/R": 0.6,
        "mouthLowerDownL/R": 0.5,
        "jawOpen": 0.14,
        "eyeSquintL/R": 0.35,
    },
    "laugh": {
        "mouthSmileL/R": 0.9,
        "jawOpen": 0.35,
        "cheekSquintL/R": 0.8,
        "mouthUpperUpL/R": 0.45,
        "eyeSquintL/R": 0.5,
    },
    "surprise": {"browInnerUp": 0.9, "browOuterUpL/R": 0.8, "eyeWideL/R": 0.8, "jawOpen": 0.4},
    "anger": {"browDownL/R": 0.9, "noseSneerL/R": 0.4, "mouthPressL/R": 0.5, "eyeSquintL/R": 0.4},
    "sadness": {"browInnerUp": 0.8, "mouthFrownL/R": 0.8, "mouthShrugLower": 0.4, "eyeSquintL/R": 0.15},
    "fear": {"browInnerUp": 0.8, "eyeWideL/R": 0.8, "mouthStretchL/R": 0.6, "jawOpen": 0.2},
    "disgust": {"noseSneerL/R": 0.9, "mouthUpperUpL/R": 0.5, "browDownL/R": 0.5, "mouthFrownL/R": 0.4},
    "talking": {"jawOpen": 0.3, "mouthFunnel": 0.3},
    "kiss": {"mouthPucker": 0.9, "mouthFunnel": 0.3},
    "eyes closed": {"eyeBlinkL/R": 1.0},
    "neutral": {},
}
EXPRESSION_FREQUENCIES = (0.2, 0.2, 0.08, 0.05, 0.05, 0.05, 0.03, 0.03, 0.07, 0.03, 0.05, 0.16)


NEAREST_HEAD = 0.35  # metres from the camera
CROWD_SHARE = 0.3  # of the whole photographs: heads so near to each other that they overlap


class Placement(NamedTuple):
    """Where faces are seen in their pictures, in units of the picture's side."""

    position: Tensor  # (N, 2) of the model's origin, x and y
    size: Tensor  # (N,) apparent size: 1 where a length of 0.2 m spans the side


def uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Numbers in [low, high)."""
    return low + (high - low) * torch.rand(*shape, generator=generator)


def normal(generator: torch.Generator, deviation: float, *shape: int) -> Tensor:
    """Numbers ~ N(0, deviation^2)."""
    return deviation * torch.randn(*shape, generator=generator)


def chance(generator: torch.Generator, probability: float, *shape: int) -> Tensor:
    """True with the given probability."""
    return torch.rand(*shape, generator=generator) < probability


class ExpressionSampler:
    """Draws activations of the 3DMM's named expressions: emotions of any strength, and single shapes on top."""

    def __init__(self, config: MorphableModelConfig):
        names = list(config.expression_names)
        self.templates = torch.zeros(len(EXPRESSIONS), len(names))  # (E, K)
        for row, shapes in enumerate(EXPRESSIONS.values()):
            for name, activation in shapes.items():
                for side in ("Left", "Right") if name.endswith("L/R") else ("",):
                    self._set(row, names, name.removesuffix("L/R") + side, activation)
        self.names = names
        mirrored = [_other_side(name) for name in names]
        self.mirror = torch.tensor(
            [names.index(other if other in names else name) for name, other in zip(names, mirrored, strict=True)]
        )

    def _set(self, row: int, names: list[str], name: str, activation: float) -> None:
        if name in names:  # a 3DMM may lack a shape
            self.templates[row, names.index(name)] = activation

    def sample(self, generator: torch.Generator, faces: int) -> Tensor:
        """Activations `(N, K)` in [0, 1]."""
        frequencies = torch.tensor(EXPRESSION_FREQUENCIES)  # of which at least one has to be drawn
        kind = torch.multinomial(frequencies, max(faces, 1), replacement=True, generator=generator)[:faces]
        strength = uniform(generator, 0.35, 1.3, faces, 1)
        shape_jitter = 1 + normal(generator, 0.25, faces, self.templates.shape[1])
        activations = self.templates[kind] * strength * shape_jitter
        extra = uniform(generator, 0.0, 0.9, *activations.shape) * chance(generator, 0.035, *activations.shape)
        extra = torch.where(chance(generator, 0.7, faces, 1), 0.5 * (extra + extra[:, self.mirror]), extra)
        subtle = normal(generator, 0.04, *activations.shape).clamp(min=0)
        return self._possible((activations + extra + subtle).clamp(0.0, 1.0))

    def _possible(self, activations: Tensor) -> Tensor:
        """ARKit's mouthClose shuts the lips of an open jaw; alone it is nothing that a mouth can do."""
        if not {"mouthClose", "jawOpen"} <= set(self.names):
            return activations
        close, jaw = self.names.index("mouthClose"), self.names.index("jawOpen")
        limited = torch.minimum(activations[:, close], activations[:, jaw])
        return activations.index_copy(1, torch.tensor([close]), limited[:, None])


def _other_side(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


def sample_close_ups(generator: torch.Generator, faces: int) -> Placement:
    """One face in the middle of each picture, as a crop around a roughly known face shows it."""
    size = 0.78 * normal(generator, 0.16, faces).exp()
    return Placement(0.5 + normal(generator, 0.055, faces, 2), size)


def sample_bystanders(generator: torch.Generator, beside: Placement) -> Placement:
    """One face partly in each crop around another, as neighbours in group photographs are."""
    faces = len(beside.size)
    side = torch.where(chance(generator, 0.5, faces), 1.0, -1.0)
    away = torch.stack((side * uniform(generator, 0.65, 1.05, faces), normal(generator, 0.15, faces)), dim=-1)
    size = 0.9 * beside.size * normal(generator, 0.15, faces).exp()
    return Placement(beside.position + away * beside.size[:, None], size)


def sample_scenes(generator: torch.Generator, counts: Tensor) -> Placement:
    """`counts (B,)` faces in each picture, from left to right, anywhere and of any size: side by side, or in a crowd
    whose heads overlap."""
    owners = torch.repeat_interleave(torch.arange(len(counts)), counts)
    first = counts.cumsum(0) - counts
    cell = torch.arange(len(owners)) - first[owners]
    width = 1.0 / counts[owners]
    largest = (1.25 * width).clamp(max=0.95)
    smallest = (0.35 * width).clamp(min=0.13)
    size = smallest * (largest / smallest) ** torch.rand(len(owners), generator=generator).sqrt()
    slack = (width - 0.75 * size).clamp(min=0.05)
    x = (cell + 0.5) * width + slack * uniform(generator, -0.5, 0.5, len(owners))
    squeezed = uniform(generator, 0.5, 0.8, len(counts))
    x = 0.5 + torch.where(chance(generator, CROWD_SHARE, len(counts)), squeezed, 1.0)[owners] * (x - 0.5)
    free = (1 - 0.8 * size).clamp(min=0.08)
    y = 0.5 + free * (uniform(generator, -0.5, 0.5, len(owners)) * 0.9 - 0.05)
    return Placement(torch.stack((x, y), dim=-1), size)


def sample_picture_cameras(generator: torch.Generator, placement: Placement, close_up: Tensor) -> Tensor:
    """Assumed focal length and principal point `(N, 3)` of the pictures, in picture sides.

    A whole photograph (`close_up` false) has its principal point in the middle and the default focal length. A crop
    has the focal length of the photograph that it was cut from, enlarged, and its principal point where that one's is.
    """
    faces = len(placement.size)
    distance = NEAREST_HEAD * (3.0 / NEAREST_HEAD) ** torch.rand(faces, generator=generator)
    focal = placement.size * distance / HEAD_SIZE
    off_axis = normal(generator, math.radians(8), faces, 2).clamp(-0.4, 0.4).tan()
    cropped = torch.cat((focal[:, None], placement.position - focal[:, None] * off_axis), dim=-1)
    whole = default_picture_cameras(faces)
    return torch.where(close_up[:, None], cropped, whole)


def sample_parameters(
    generator: torch.Generator,
    placement: Placement,
    picture_cameras: Tensor,
    expressions: ExpressionSampler,
    face_model: MorphableModel,
) -> tuple[FaceParameters, Person | None]:
    """Faces at given places of pictures with given assumed cameras `(N, 3)`, and who they are where that is known."""
    faces, config = len(placement.size), face_model.config
    # A face that fills a whole photograph was taken with a longer lens, not from a hand's breadth away.
    nearest = (placement.size[:, None] * NEAREST_HEAD / (HEAD_SIZE * picture_cameras[:, :1])).log()
    log_focal = torch.maximum(normal(generator, 0.12, faces, 1), nearest)
    focal = picture_cameras[:, :1] * log_focal.exp()
    depth = focal * HEAD_SIZE / placement.size[:, None]
    across = (placement.position - picture_cameras[:, 1:]) * depth / focal
    translation = torch.cat((across, depth), dim=-1)
    gaze = normal(generator, 0.15, faces, 2).repeat(1, config.num_eyes) + normal(
        generator, 0.02, faces, 2 * config.num_eyes
    )
    code, person = draw_anybody(generator, face_model, faces, uniform(generator, 0.6, 1.05, faces, 1))
    parameters = FaceParameters(
        identity=code.identity,
        albedo=code.albedo,
        expression=expressions.sample(generator, faces),
        light=sample_light(generator, faces),
        rotation=_sample_rotation(generator, translation),
        translation=translation,
        log_focal=log_focal,
        gaze=gaze,
    )
    return parameters, person


def sample_light(generator: torch.Generator, faces: int) -> Tensor:
    """Spherical-harmonics radiance `(N, 27)`: sky and room from everywhere, and one to three lamps."""
    ambient = uniform(generator, 0.25, 1.0, faces, 1, 1)
    bands = torch.zeros(faces, 9, 3)
    bands[:, :1] = ambient * math.sqrt(4 * math.pi) * _tint(generator, faces, 0.05)
    for lamp, strongest in enumerate((4.5, 2.5, 1.5)):
        azimuth = normal(generator, 0.9 if lamp < 2 else 2.0, faces)
        height = uniform(generator, -0.2, 1.3, faces)
        direction = torch.stack((azimuth.sin() * height.cos(), height.sin(), azimuth.cos() * height.cos()), dim=-1)
        power = uniform(generator, 0.0, strongest, faces, 1, 1) * chance(generator, 0.7, faces, 1, 1)
        bands = bands + power * spherical_harmonics(direction[:, None]).mT * _tint(generator, faces, 0.07)
    brightness = bands[:, :1].mean(-1, keepdim=True)
    exposure = (2.9 / brightness) ** 0.6 * normal(generator, 0.18, faces, 1, 1).exp()
    return (bands * exposure).flatten(1)


def _tint(generator: torch.Generator, faces: int, deviation: float) -> Tensor:
    """Warm to cold: red and blue move against each other, green stays between."""
    warmth = normal(generator, deviation, faces, 1, 1)
    return torch.cat((warmth, normal(generator, deviation / 3, faces, 1, 1), -warmth), dim=-1).exp()


def _sample_rotation(generator: torch.Generator, translation: Tensor) -> Tensor:
    """Head rotations `(N, 6)`, spread about the direction towards the camera."""
    faces = len(translation)
    wild = torch.where(chance(generator, 0.3, faces), 1.8, 0.7)
    yaw = (normal(generator, math.radians(20), faces) * wild).clamp(-1.1, 1.1)
    pitch = (normal(generator, math.radians(10), faces) * wild).clamp(-0.7, 0.7)
    roll = (normal(generator, math.radians(9), faces) * wild).clamp(-0.8, 0.8)
    towards_camera = torch.nn.functional.normalize(translation * torch.tensor([-1.0, 1.0, 1.0]), dim=-1)
    facing = rotation_between(torch.tensor([0.0, 0.0, 1.0]).expand(faces, 3), towards_camera)
    return matrix_to_rotation_6d(facing @ yaw_pitch_roll_to_matrix(yaw, pitch, roll))


def picture_camera_in_pixels(picture_cameras: Tensor, side: int) -> Camera:
    """The record that the renderer takes, from cameras `(N, 3)` in units of the picture's side."""
    return Camera(picture_cameras[:, 0] * side, picture_cameras[:, 1:] * side)
