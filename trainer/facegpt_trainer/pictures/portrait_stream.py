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
"""Batches of crops for the warm-up: drawn people in several pictures each, and photographs with machine landmarks.

What a step sees is a pure function of the seed, the step and the place in the stream, which a checkpoint keeps.
"""

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modeling_facegpt.camera import default_focal
from modeling_facegpt.face_head import encode
from modeling_facegpt.face_parameters import parameter_sizes, vector_to_parameters
from modeling_facegpt.morphable_model import MorphableModel

from .crop_augmentation import (
    Views,
    cameras_in_views,
    cut,
    points_in_views,
    random_views,
    spoil,
    steady_views,
    turn_faces,
)
from .face_sampler import chance
from .photographs import landmark_problem
from .portrait_shards import Portraits, decode_pictures, join_portraits, read_shard

PHOTOGRAPH_SIDE = 256  # pixels
PHOTOGRAPH_MARGIN = 2.0  # side of a stored photograph over the longer side of the face
SHARDS_AT_ONCE = 8  # whose people are mixed
GREY = 0.5

logger = logging.getLogger(__name__)


class CropBatch(NamedTuple):
    """B crops of one face each. NaN: not known."""

    crops: Tensor  # (B, 3, S, S) sRGB in [0, 1]
    landmarks: Tensor  # (B, 468, 2) in sides of the crop
    codes: Tensor  # (B, P) of the true parameters in the camera of the crop
    identity: Tensor  # (B, num_identity)
    person: Tensor  # (B,) the same number: the same person
    drawn: Tensor  # (B,) bool: a render, not a photograph


class PhotographPortraits(NamedTuple):
    """M photographs around one face each."""

    names: list[str]  # "PERSON.jpg"
    pixels: Tensor  # (M, 3, PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE) uint8
    landmarks: Tensor  # (M, 468, 2) in their pixels
    person: Tensor  # (M,)
    picture_cameras: Tensor  # (M, 3) as assumed, in their sides


class StreamPlace(NamedTuple):
    """Where a stream of portraits stands."""

    epoch: int
    group: int  # of shards within the epoch
    batch: int  # within the group
    shards: list[str]  # names of this epoch's; those drawn meanwhile come with the next


def load_portraits(
    folders: Sequence[Path], landmark_files: Sequence[Path], keep: str = "", exclude: str = "$^"
) -> PhotographPortraits:
    """Photographs whose landmarks are known, scaled so that their faces are of one size.

    Args:
        folders (sequence of `Path`): of `.jpg` and `.png` files; a name before the ending is a person.
        landmark_files (sequence of `Path`): of each folder the `.npz` with `files` and `mediapipe478` in pixels.
        keep, exclude (`str`): regular expressions; names must contain the first and may not contain the second.

    Raises:
        ValueError: if no photograph is left.
    """
    names, pixels, points, cameras = [], [], [], []
    for folder, file in zip(folders, landmark_files, strict=True):
        with np.load(file) as data:
            rows = dict(zip((Path(str(name)).name for name in data["files"]), data["mediapipe478"], strict=True))
        for path in sorted(Path(folder).iterdir()):
            if path.name not in rows or not re.search(keep, path.name) or re.search(exclude, path.name):
                continue
            image = Image.open(path).convert("RGB")
            if problem := landmark_problem(rows[path.name], image.size, path.name):
                logger.warning("%s: left out", problem)
                continue
            square, found, camera = _square_around(image, torch.tensor(rows[path.name][:468, :2], dtype=torch.float32))
            names.append(path.name)
            pixels.append(square)
            points.append(found)
            cameras.append(camera)
    if not names:
        raise ValueError(f"got no photograph with landmarks in {', '.join(map(str, folders))}; name a folder of some")
    numbers = {person: number for number, person in enumerate(dict.fromkeys(Path(name).stem for name in names))}
    person = torch.tensor([numbers[Path(name).stem] for name in names])
    return PhotographPortraits(names, torch.stack(pixels), torch.stack(points), person, torch.stack(cameras))


def steady_crops(photographs: PhotographPortraits, side: int) -> tuple[Tensor, Tensor]:
    """The crops that faces are read from, `(M, 3, side, side)`, and their landmarks `(M, 468, 2)` in their sides."""
    views = steady_views(photographs.landmarks)
    fill = torch.full((len(views.side), 3, 1, 1), GREY)
    return cut(photographs.pixels, views, side, fill), points_in_views(photographs.landmarks, views)


def mirrored_landmarks(face_model: MorphableModel) -> Tensor | None:
    """For each of the 468 landmarks the one on the other side, `(468,)`; `None` where they are not symmetric."""
    points = face_model.landmarks(face_model.template[None], "468")[0]
    other = torch.cdist(points * points.new_tensor([-1.0, 1.0, 1.0]), points).argmin(-1)
    return other if torch.equal(other[other], torch.arange(len(other))) else None


class PortraitStream:
    """Batches of renders and photographs without end.

    Args:
        find (`Callable`): the shards of renders; asked anew for each epoch, so that those drawn meanwhile are read.
        photographs (`PhotographPortraits` or `None`): mixed in.
        face_model (`MorphableModel`): the 3DMM that the renders show; photographs are mirrored where it is symmetric.
        side (`int`): of the crops in pixels.
        people (`int`): drawn people in a batch, two pictures each.
        photographs_per_batch (`int`): of which a half shows people twice, where there are such.
        seed (`int`): of all that chance decides.
    """

    def __init__(
        self,
        find: Callable[[], list[Path]],
        photographs: PhotographPortraits | None,
        face_model: MorphableModel,
        *,
        side: int,
        people: int,
        photographs_per_batch: int,
        seed: int,
    ):
        self.find = find
        self.shards = {path.name: path for path in find()}
        self.photographs, self.side, self.people, self.seed = photographs, side, people, seed
        self.config, self.mirrored = face_model.config, mirrored_landmarks(face_model)
        self.photographs_per_batch = 0 if photographs is None else photographs_per_batch
        self.place = StreamPlace(0, 0, 0, list(self.shards))
        self.group: tuple[tuple[int, int], Portraits] | None = None

    def next(self, step: int) -> CropBatch:
        """The batch of a step; the stream moves on by one."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        batches = [self._renders(generator)]
        if self.photographs_per_batch:
            batches.append(self._photographs(generator))
        return CropBatch(*(torch.cat(values) for values in zip(*batches, strict=True)))

    def _renders(self, generator: torch.Generator) -> CropBatch:
        portraits = self._portraits()
        order = torch.randperm(
            int(portraits.person.max()) + 1,
            generator=torch.Generator().manual_seed(self._chance(self.place.group + 1)),
        )
        start = self.place.batch * self.people
        rows = torch.cat([_two_of(generator, portraits.person == one) for one in order[start : start + self.people]])
        landmarks = portraits.landmarks[rows]
        views = random_views(generator, landmarks)
        pictures = decode_pictures([portraits.jpeg[row] for row in rows.tolist()])
        parameters = vector_to_parameters(portraits.face_targets[rows], self.config)
        cameras = cameras_in_views(portraits.picture_cameras[rows], views, pictures.shape[-1])
        self._move_on(len(order))
        return CropBatch(
            *self._crops(generator, pictures, landmarks, views),
            codes=encode(turn_faces(parameters, views.angle), cameras, self.config),
            identity=parameters.identity,
            person=portraits.person[rows],
            drawn=torch.ones(len(rows), dtype=torch.bool),
        )

    def _photographs(self, generator: torch.Generator) -> CropBatch:
        source, count = self.photographs, self.photographs_per_batch
        twice = (torch.bincount(source.person) > 1).nonzero()[:, 0]
        pairs = min(count // 4, len(twice))
        people = twice[torch.randperm(len(twice), generator=generator)[:pairs]]
        rows = [_two_of(generator, source.person == one) for one in people]
        rows.append(torch.randint(len(source.names), (count - 2 * pairs,), generator=generator))
        index = torch.cat(rows)
        pixels, landmarks = self._mirror(
            generator, source.pixels[index], source.landmarks[index], source.person[index]
        )
        views = random_views(generator, landmarks)
        unknown = torch.full((count, sum(parameter_sizes(self.config))), torch.nan)
        return CropBatch(
            *self._crops(generator, pixels, landmarks, views),
            codes=unknown,
            identity=unknown[:, : self.config.num_identity],
            person=1_000_000 + source.person[index],
            drawn=torch.zeros(count, dtype=torch.bool),
        )

    def _mirror(
        self, generator: torch.Generator, pixels: Tensor, landmarks: Tensor, person: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Photographs of a half of the people as in a mirror; all those of a person, whose face is another there."""
        if self.mirrored is None:
            return pixels, landmarks
        chosen = chance(generator, 0.5, int(person.max()) + 1)[person]
        flipped = torch.stack((pixels.shape[-1] - landmarks[..., 0], landmarks[..., 1]), dim=-1)[:, self.mirrored]
        return (
            torch.where(chosen[:, None, None, None], pixels.flip(-1), pixels),
            torch.where(chosen[:, None, None], flipped, landmarks),
        )

    def _crops(
        self, generator: torch.Generator, pictures: Tensor, landmarks: Tensor, views: Views
    ) -> tuple[Tensor, Tensor]:
        """Spoiled crops and their landmarks in their sides."""
        fill = torch.where(
            torch.rand(len(pictures), 1, 1, 1, generator=generator) < 0.5,
            GREY,
            torch.rand(len(pictures), 3, 1, 1, generator=generator),
        )
        points = points_in_views(landmarks, views)
        crops = cut(pictures, views, self.side, fill)
        return spoil(generator, crops, points, views.angle), points

    def _portraits(self) -> Portraits:
        """Those of the group of shards that the stream is in; damaged shards are named and skipped."""
        key = (self.place.epoch, self.place.group)
        while self.group is None or self.group[0] != key:
            parts = []
            for name in self._group_names():
                try:
                    parts.append(read_shard(self.shards[name]))
                except ValueError as error:
                    logger.warning("%s: left out", error)
            if parts:
                self.group = (key, join_portraits(parts))
            else:
                self._next_group()
                key = (self.place.epoch, self.place.group)
        return self.group[1]

    def _group_names(self) -> list[str]:
        generator = torch.Generator().manual_seed(self._chance(0))
        order = torch.randperm(len(self.place.shards), generator=generator).tolist()
        start = self.place.group * SHARDS_AT_ONCE
        return [self.place.shards[number] for number in order[start : start + SHARDS_AT_ONCE]]

    def _chance(self, what: int) -> int:
        """The seed of an order: of the epoch's shards (0), or of the people of one of its groups (from 1 on)."""
        return (self.seed * 1_000_003 + self.place.epoch) * 100_003 + what

    def _move_on(self, people: int) -> None:
        self.place = self.place._replace(batch=self.place.batch + 1)
        if (self.place.batch + 1) * self.people > people:
            self._next_group()

    def _next_group(self) -> None:
        self.place = self.place._replace(group=self.place.group + 1, batch=0)
        if self.place.group * SHARDS_AT_ONCE >= len(self.place.shards):
            self.shards = {path.name: path for path in self.find()}
            self.place = StreamPlace(self.place.epoch + 1, 0, 0, list(self.shards))

    def state(self) -> dict[str, Any]:
        """What `restore` needs, of plain values."""
        return self.place._asdict()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken.

        Raises:
            ValueError: if shards that it names are gone.
        """
        if missing := [name for name in state["shards"] if name not in self.shards]:
            raise ValueError(f"got a folder without {missing[0]}, which the interrupted run reads; put it back")
        self.place, self.group = StreamPlace(**state), None


def _two_of(generator: torch.Generator, rows: Tensor) -> Tensor:
    """Two of the rows that are true, at random, or the only one twice."""
    index = rows.nonzero()[:, 0]
    order = torch.randperm(len(index), generator=generator)[:2]
    return index[order] if len(order) == 2 else index.repeat(2)


def _square_around(image: Image.Image, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The square around a face, in grey beyond the border, as `(3, S, S)` uint8, the landmarks in its pixels, and its
    camera in its sides."""
    side = PHOTOGRAPH_MARGIN * float((points.amax(0) - points.amin(0)).max())
    low = (points.amax(0) + points.amin(0)) / 2 - side / 2
    grey = round(255 * GREY)
    whole = Image.new("RGB", (round(side), round(side)), (grey, grey, grey))
    whole.paste(image, tuple((-low).round().int().tolist()))
    scale = PHOTOGRAPH_SIDE / whole.width
    quality = Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC
    small = whole.resize((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE), quality)
    middle = torch.tensor(image.size) / 2 - low.round()
    camera = torch.cat((torch.tensor([default_focal(*image.size)]), middle)) / whole.width
    pixels = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)
    return pixels, (points - low.round()) * scale, camera
