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
"""The figures of an evaluation, as one line."""

from pathlib import Path

import torch
from torch import Tensor

from modeling_facegpt.face_fit import landmark_model
from modeling_facegpt.face_parameters import vector_to_parameters
from modeling_facegpt.morphable_model import MorphableModel

from ..pictures.portrait_shards import find_shards, join_portraits, read_shard
from ..pictures.portrait_stream import load_portraits
from .evaluation import (
    FIT_SIDE,
    HumanPoints,
    Photographs,
    centred_cosine,
    covered,
    explained_shape,
    fit_readings,
    human_points,
    normalised_mean_error,
    people_seen_twice,
    placed_mean_face,
    prepare_photographs,
    prepare_renders,
    read_all,
    recognise,
)
from .network import FaceReading, PortraitNetwork
from .objective import shape_metric
from .settings import WarmUpSettings

VALIDATION = "validation"
PRIORS = (("3DMM's", False), ("head's", True))  # and whether it is the face head's
HELD_OUT_SHARDS = 2
UPRIGHT = torch.tensor([[1.0, -1.0]])  # model space has y up, pictures have it down


class Examiner:
    """Holds what a network is asked at every evaluation.

    Args:
        settings (`WarmUpSettings`): of the run.
        face_model (`MorphableModel`): that was drawn.
    """

    def __init__(self, settings: WarmUpSettings, face_model: MorphableModel):
        self.config, self.face_model = face_model.config, face_model
        self.model = landmark_model(face_model)
        self.metric = shape_metric(face_model)
        side = settings.vision["image_size"]
        mean = face_model.landmarks(face_model.template[None], "468")[0]
        self.mean = mean
        flat = (mean[:, :2] - (mean[:, :2].amax(0) + mean[:, :2].amin(0)) / 2) * UPRIGHT
        self.mean_points = 0.5 + flat / (1.5 * (flat.amax(0) - flat.amin(0)).max())
        paths, _ = find_shards(Path(settings.held_out_portraits), face_model, 0)
        renders = join_portraits([read_shard(path) for path in paths[:HELD_OUT_SHARDS]])
        self.renders = prepare_renders(renders, face_model, side)
        self.photographs: dict[str, Photographs] = {}
        self.human: HumanPoints | None = None  # of the validation
        folders, files = list(map(Path, settings.photographs)), list(map(Path, settings.photograph_landmarks))
        for folder, file in zip(folders, files, strict=True):
            held_out = load_portraits([folder], [file], keep=settings.photograph_exclude)
            self.photographs[folder.name] = prepare_photographs(held_out, side)
        self.twice: Photographs | None = None
        if folders:
            held_out = load_portraits(folders, files, keep=settings.photograph_exclude)
            rows = torch.stack(people_seen_twice(held_out), dim=-1).flatten()  # two of each person in a row
            if len(rows):
                self.twice = Photographs(*(part[rows] for part in prepare_photographs(held_out, side)))
        if settings.validation is not None:
            found = load_portraits([Path(settings.validation)], [Path(str(settings.validation_landmarks))])
            self.photographs[VALIDATION] = prepare_photographs(found, side)
            self.human = human_points(Path(str(settings.validation_landmarks)), found)

    def report(self, network: PortraitNetwork, fast: bool = False) -> str:
        """What the network knows, and in brackets what knows nothing."""
        reading = read_all(network, self.renders.crops, fast)
        identity = vector_to_parameters(reading.code, self.config).identity
        fitted = fit_readings(self.model, reading, self.renders.cameras, self.face_model, from_head=True)
        explained = [
            explained_shape(self.metric, found, self.renders.identity)
            for found in (identity, fitted.parameters.identity)
        ]
        error = normalised_mean_error(reading.landmarks, self.renders.landmarks)
        lines = [
            f"renders: R2 of neutral shape {explained[0]:.1f} %, fitted {explained[1]:.1f} % (mean 0), "
            f"NME {error:.2f} %, 90 % circles hold {covered(reading, self.renders.landmarks):.0f} %"
        ]
        for name, photographs in self.photographs.items():
            reading = read_all(network, photographs.crops, fast)
            error = normalised_mean_error(reading.landmarks, photographs.landmarks)
            placed = placed_mean_face(self.mean, photographs.landmarks)
            nothing = normalised_mean_error(placed, photographs.landmarks)
            share = covered(reading, photographs.landmarks)
            lines.append(
                f"{name}: NME {error:.2f} % (placed mean face {nothing:.2f}), 90 % circles hold {share:.0f} %"
            )
            if name == VALIDATION:
                lines += self._validation(reading, placed)
        if self.twice is not None:
            lines += self._twice(read_all(network, self.twice.crops, fast), self.twice.cameras)
        return "\n    ".join(lines)

    def _twice(self, reading: FaceReading, cameras: Tensor) -> list[str]:
        """Of held-out people in two photographs, years and cameras apart."""
        identity = vector_to_parameters(reading.code, self.config).identity
        lines = [f"{len(identity) // 2} held-out people, identity of the head: {self._recognition(identity)}"]
        for prior, from_head in PRIORS:
            fitted = fit_readings(self.model, reading, cameras, self.face_model, from_head=from_head)
            lines.append(f"fitted with the {prior} prior: {self._recognition(fitted.parameters.identity)}")
        return lines

    def _validation(self, reading: FaceReading, placed: Tensor) -> list[str]:
        """Of people who were photographed twice: at rest, and smiling."""
        identity = vector_to_parameters(reading.code, self.config).identity
        lines = [
            f"{VALIDATION}, 11 human points: {self._human_error(reading.landmarks):.2f} % "
            f"({self._human_error(placed):.2f})",
            f"{VALIDATION}, identity of the head: {self._recognition(identity)}",
        ]
        cameras = self.photographs[VALIDATION].cameras
        for prior, from_head in PRIORS:
            fitted = fit_readings(self.model, reading, cameras, self.face_model, from_head=from_head)
            points = fitted.landmarks / FIT_SIDE
            error = normalised_mean_error(points, self.photographs[VALIDATION].landmarks)
            figures = (
                f"NME {error:.2f} %, human {self._human_error(points):.2f} %",
                self._recognition(fitted.parameters.identity),
                self._smiles(fitted.parameters.expression),
            )
            lines.append(f"{VALIDATION}, fitted with the {prior} prior: {', '.join(figures)}")
        return lines

    def _human_error(self, points: Tensor) -> float:
        if self.human is None:
            raise ValueError("got no points that people placed; give the validation's landmarks")
        rows, human, columns = self.human
        landmarks = self.photographs[VALIDATION].landmarks[rows]
        return normalised_mean_error(points[rows][:, columns], human, landmarks)

    def _recognition(self, identity: Tensor) -> str:
        found = recognise(self.metric, identity[0::2], identity[1::2])
        cosine = centred_cosine(identity[0::2], identity[1::2])
        return (
            f"AUC {found.auc:.3f} (0.5), rank-1 {found.rank_1:.0f} % ({200 / len(identity):.0f}), by cosine "
            f"{cosine[0]:.3f}, {cosine[1]:.0f} %, spread {found.spread:.0f} %, within/between "
            f"{found.within_over_between:.2f}"
        )

    def _smiles(self, expression: Tensor) -> str:
        names = self.config.expression_names
        if not {"mouthSmileLeft", "mouthSmileRight", "browDownLeft", "browDownRight"} <= set(names):
            return "expressions without names"
        smile, brow = (
            (expression[:, names.index(f"{name}Left")] + expression[:, names.index(f"{name}Right")]) / 2
            for name in ("mouthSmile", "browDown")
        )
        larger = int((smile[1::2] > smile[0::2]).sum())
        return f"smile larger {larger} of {len(smile) // 2}, browDown at rest {float(brow[0::2].mean()):.2f}"
