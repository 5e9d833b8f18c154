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
"""Rewards of answers, verified by geometry and by the renderer; TRL's signature.

Each takes one value per answer of the columns that it names and gives one reward in [0, 1] per answer, or `None` where
it has nothing to say. What is looked at is the face that was made, not the words about it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modeling_facegpt.camera import Camera
from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.face_parameters import FaceParameters, concatenate_faces, select_faces
from modeling_facegpt.flow_head import likely_squared_radius
from modeling_facegpt.losses import masked_photometric_loss
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.reconstruction import landmarks_in_photo
from modeling_facegpt.renderer import render_mesh

from ..evaluation.requests import judge_faces
from ..grammar.dialogues import Wanted

LANDMARK_ERROR = 0.05  # of the face's size, at which agreement falls to 1/e
PHOTOMETRIC_ERROR = 0.08  # sRGB, likewise
LEAST_SHOWN = 0.01  # share of a picture; a render that shows less of the face agrees with nothing


class AnswerTokens(NamedTuple):
    """Ids of tokens."""

    face: int
    ends: tuple[int, ...]


def format_reward(completion_ids: Sequence[Sequence[int]], *, tokens: AnswerTokens, **columns: Any) -> list[float]:
    """1 for an answer that is faces (or none) and its end, with no word beside them."""
    return [
        float(bool(answer) and answer[-1] in tokens.ends and all(token == tokens.face for token in answer[:-1]))
        for answer in completion_ids
    ]


def face_count_reward(
    completion_ids: Sequence[Sequence[int]], faces_wanted: Sequence[int], *, tokens: AnswerTokens, **columns: Any
) -> list[float]:
    """1 for an answer with exactly as many faces as were asked for: one per request."""
    counts = [list(answer).count(tokens.face) for answer in completion_ids]
    return [float(count == wanted) for count, wanted in zip(counts, faces_wanted, strict=True)]


def attribute_reward(
    faces: Sequence[FaceParameters], wanted: Sequence[Wanted | None], *, measurer: FaceMeasurer, **columns: Any
) -> list[float | None]:
    """Share of the named properties that are measured on the mesh of an answer's first face; `None` where nothing was
    named."""
    asked = [row for row, properties in enumerate(wanted) if properties is not None]
    made = [row for row in asked if len(faces[row].identity)]
    rewards: list[float | None] = [0.0 if row in asked else None for row in range(len(faces))]
    if made:
        judged = judge_faces(measurer, _first_faces(faces, made), [wanted[row] for row in made])  # type: ignore[misc]
        found = zip(made, judged.shape, judged.expression, judged.other, judged.people, strict=True)
        for row, shape, expression, other, people in found:
            present = shape + other + people + ([] if expression is None else [expression])
            rewards[row] = sum(present) / len(present) if present else None
    return rewards


def likely_person_reward(
    faces: Sequence[FaceParameters], wanted: Sequence[Wanted | None], **columns: Any
) -> list[float | None]:
    """1 for a face from words within the ball that holds 99 % of all people, beyond it the less the further: the ratio
    of squared radii. Else caricatures, which have every property, would pay."""
    rewards: list[float | None] = [None if properties is None else 0.0 for properties in wanted]
    made = [row for row, properties in enumerate(wanted) if properties is not None and len(faces[row].identity)]
    for row in made:
        identity = faces[row].identity[0]
        squared = max(float(identity.square().sum()), 1e-6)
        rewards[row] = min(1.0, likely_squared_radius(len(identity)) / squared)
    return rewards


@torch.no_grad()
def landmark_reward(
    faces: Sequence[FaceParameters],
    landmarks: Sequence[Tensor | None],
    camera: Sequence[Tensor],
    *,
    face_model: MorphableModel,
    **columns: Any,
) -> list[float | None]:
    """How near an answer's first face projects to a photograph's machine landmarks `(468, 2)`: `exp(-e / e0)` of the
    mean distance over the size of the face; `None` where no landmarks are known."""
    known = [row for row, points in enumerate(landmarks) if points is not None]
    made = [row for row in known if len(faces[row].identity)]
    rewards: list[float | None] = [0.0 if row in known else None for row in range(len(faces))]
    if made:
        target = torch.stack([points for row in made if (points := landmarks[row]) is not None])
        points = landmarks_in_photo(face_model, _first_faces(faces, made), _cameras(camera, made, 1), "468")
        size = (target.amax(1) - target.amin(1)).prod(-1).sqrt()
        agreement = (-(points - target).norm(dim=-1).mean(1) / size / LANDMARK_ERROR).exp()
        _write(rewards, made, agreement)
    return rewards


@torch.no_grad()
def photometric_reward(
    faces: Sequence[FaceParameters],
    photograph: Sequence[Tensor | None],
    camera: Sequence[Tensor],
    *,
    face_model: MorphableModel,
    **columns: Any,
) -> list[float | None]:
    """How well the render of an answer's first face agrees with the photograph `(3, S, S)`: `exp(-e / e0)` of the
    photometric loss over the face; `None` where there is no photograph to compare with."""
    known = [row for row, picture in enumerate(photograph) if picture is not None]
    made = [row for row in known if len(faces[row].identity)]
    rewards: list[float | None] = [0.0 if row in known else None for row in range(len(faces))]
    if made:
        target = torch.stack([picture for row in made if (picture := photograph[row]) is not None])
        parameters, side = _first_faces(faces, made), target.shape[-1]
        region = face_model.region("face")[None, :, None]
        size, cameras = (side, side), _cameras(camera, made, side)
        render = render_mesh(face_model(parameters), parameters, cameras, size, attributes=region)
        mask = render.mask * render.attributes  # type: ignore[operator]
        seen = mask.mean((1, 2, 3)) > LEAST_SHOWN
        error = masked_photometric_loss(render.image, target, mask)
        _write(rewards, made, seen * (-error / PHOTOMETRIC_ERROR).exp())
    return rewards


def _first_faces(faces: Sequence[FaceParameters], rows: Sequence[int]) -> FaceParameters:
    return concatenate_faces([select_faces(faces[row], slice(0, 1)) for row in rows])


def _cameras(camera: Sequence[Tensor], rows: Sequence[int], side: int) -> Camera:
    """Of picture cameras `(3,)` in picture sides, those of `rows` in units of 1 / `side` of it."""
    chosen = side * torch.stack([camera[row] for row in rows])
    return Camera(chosen[:, 0], chosen[:, 1:])


def _write(rewards: list[float | None], rows: Sequence[int], values: Tensor) -> None:
    for row, value in zip(rows, values.nan_to_num(0.0).tolist(), strict=True):
        rewards[row] = value
