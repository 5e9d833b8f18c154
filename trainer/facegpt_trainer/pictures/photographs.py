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
"""Photographs for training: cut, turned and mirrored at random, with machine landmarks where they are known.

A folder of pictures, and for landmarks an `.npz` file with `files` (M,) and `mediapipe478` (M, 478, 2 or 3) in pixels.
"""

import logging
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from modeling_facegpt.camera import DEFAULT_FOCAL, default_picture_cameras
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.photograph import PhotographError, read_photograph

from .face_sampler import chance, normal, uniform
from .photograph_stream import TooManyProblemsError
from .scenery import pixel_grid, sample_backgrounds

STORED_SIDE = 288  # longer side in pixels at which photographs are kept in memory
CLOSE_UP_SIDE = 1.62  # over the longer side of the box around the 468 landmarks: what the second look shows
SCENE_SIDE = (-0.2, 1.0)  # log of a picture's side over the photograph's in it
FACELESS_SIDE = (0.15, 0.6)
CHIN_MARGIN = 0.15  # of the face, between the chin and a faceless piece
PAD = 0.5
MEDIAPIPE_COUNTS = (468, 478)  # without and with irises
LEAST_INSIDE = 0.5  # of a face's landmarks
SMALLEST_FACE_PIXELS = 8.0  # pixels

logger = logging.getLogger(__name__)


class PhotographFolder(NamedTuple):
    """M photographs in memory, letterboxed into squares."""

    names: list[str]
    pixels: Tensor  # (M, 3, STORED_SIDE, STORED_SIDE) uint8
    extents: Tensor  # (M, 2) width and height of the photograph in sides of the square
    landmarks: Tensor  # (M, 468, 2) in sides of the square; NaN where not known
    boxes: Tensor  # (M, 4) around the landmarks, or as a detector gave them; NaN where there is no face

    def pick(self, turn: int, count: int, generator: torch.Generator) -> "PhotographFolder":
        """`count` photographs with faces, drawn by chance; `turn` is for folders that are read in an order."""
        usable = self.boxes.isfinite().all(-1).nonzero()[:, 0]
        return self.select(usable[torch.randint(len(usable), (count,), generator=generator)])

    def select(self, index: Tensor) -> "PhotographFolder":
        """The photographs at `index (B,)`."""
        names = [self.names[row] for row in index.tolist()]
        return PhotographFolder(names, *(values[index] for values in self[1:]))


class PhotographSource(Protocol):
    """Where a collator gets photographs from."""

    def pick(self, turn: int, count: int, generator: torch.Generator) -> PhotographFolder:
        """The photographs of draw number `turn`."""
        ...


class PhotographCuts(NamedTuple):
    """B pictures cut from photographs, one face each; of a faceless one, camera and landmarks mean nothing."""

    pictures: Tensor  # (B, 3, S, S)
    originals: Tensor  # (B, 3, S, S) the same, before colours were changed
    picture_cameras: Tensor  # (B, 3)
    landmarks: Tensor  # (B, 468, 2)


def load_photographs(
    folder: Path,
    landmarks: Path | None,
    *,
    exclude: str | None = None,
    box_of: Callable[[list], Tensor] | None = None,
    most_problems: int = 100,
) -> PhotographFolder:
    """Read every picture of a folder; what is damaged or has impossible landmarks is left out, with a warning.

    Args:
        folder (`Path`): searched for `.jpg` and `.png` files.
        landmarks (`Path` or `None`): the `.npz` file; its `files` end with the names of the pictures.
        exclude (`str` or `None`): pictures whose name contains this regular expression are left out.
        box_of (`Callable` or `None`): from a list of `PIL` images to boxes `(M, 4)` in pixels; without it, boxes are
            those of the landmarks.
        most_problems (`int`): how many may be left out.

    Raises:
        ValueError: if no picture is left, neither `landmarks` nor `box_of` says where the faces are, or in none of the
            pictures there is a face.
        TooManyProblemsError: if more than `most_problems` cannot be used.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"got photographs={str(folder)!r}, which is no folder; name one of pictures or of shards")
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    paths = [path for path in paths if exclude is None or not re.search(exclude, path.name)]
    if not paths:
        raise ValueError(f"got no picture to train on in {folder} (excluded: {exclude!r}); name a folder of pictures")
    if landmarks is None and box_of is None:
        raise ValueError("got photographs without landmarks and without boxes; give one of them")
    known = {} if landmarks is None else _read_landmarks(landmarks)
    names, images, points = zip(*_read_usable(paths, known, most_problems), strict=True)
    found = torch.tensor(np.stack(points))
    boxes = torch.cat((found.amin(1), found.amax(1)), dim=-1) if box_of is None else box_of(list(images))
    if not boxes.isfinite().all(-1).any():
        raise ValueError(f"got {folder}, in none of whose pictures a face is known; give the landmarks of these files")
    return join_photographs(names, images, points, list(boxes))


def join_photographs(
    names: Sequence[str], images: Sequence[Image.Image], points: Sequence[np.ndarray], boxes: Sequence[Tensor]
) -> PhotographFolder:
    """Photographs with their landmarks `(468, 2)` and boxes `(4,)`, in pixels, as a batch."""
    sides = torch.tensor([max(image.size) for image in images], dtype=torch.float32)
    offsets = torch.tensor([[max(image.size) - length for length in image.size] for image in images]) / 2
    return PhotographFolder(
        names=list(names),
        pixels=torch.stack([_letterbox(image) for image in images]),
        extents=torch.tensor([image.size for image in images]) / sides[:, None],
        landmarks=(torch.tensor(np.stack(points)) + offsets[:, None]) / sides[:, None, None],
        boxes=(torch.stack(list(boxes)) + offsets.repeat(1, 2)) / sides[:, None],
    )


def landmark_problem(points: Any, size: tuple[int, int], name: str) -> str | None:
    """Why landmarks cannot be those of a photograph of `size` (width, height) pixels, in one sentence; `None` if they
    may be. Faces may be cut off by the photograph's edges, so some landmarks may lie beyond them."""
    try:
        points = np.asarray(points, dtype=np.float32)
    except (ValueError, TypeError):
        points = np.zeros(0, dtype=np.float32)
    if points.ndim != 2 or len(points) not in MEDIAPIPE_COUNTS or points.shape[1] not in (2, 3):
        counts = " or ".join(map(str, MEDIAPIPE_COUNTS))
        return (
            f"the landmarks of {name} have shape {points.shape}, wanted MediaPipe's {counts} points of 2 or 3 numbers"
        )
    points = points[:, :2]
    if not np.isfinite(points).all():
        return f"the landmarks of {name} are not all numbers"
    inside = int(((points >= 0) & (points <= size)).all(1).sum())
    if inside < LEAST_INSIDE * len(points):
        return f"only {inside} of the {len(points)} landmarks of {name} lie inside its {size[0]}x{size[1]} pixels"
    if (extent := float(np.ptp(points, axis=0).max())) < SMALLEST_FACE_PIXELS:
        return f"the landmarks of {name} span {extent:.2g} pixels, wanted pixels, not shares of the photograph's side"
    return None


def _read_usable(
    paths: list[Path], known: dict[str, np.ndarray], most_problems: int
) -> list[tuple[str, Image.Image, np.ndarray]]:
    """Name, picture and landmarks of what can be used."""
    read = [_read_known(path, known.get(path.name)) for path in paths]
    problems = [one for one in read if isinstance(one, str)]
    for problem in problems[:most_problems]:
        logger.warning("left out: %s", problem)
    if len(problems) > most_problems or len(problems) == len(paths):
        raise TooManyProblemsError(
            f"got {len(problems)} of {len(paths)} photographs that cannot be used, where {most_problems} may be: "
            f"{problems[-1]}"
        )
    return [one for one in read if not isinstance(one, str)]


def _read_known(path: Path, points: np.ndarray | None) -> tuple[str, Image.Image, np.ndarray] | str:
    """Name, picture and landmarks, or what is wrong with them."""
    try:
        image = read_photograph(path).image
    except PhotographError as error:
        return str(error)
    if points is None or np.isnan(points).all():  # a detector found nothing
        return path.name, image, np.full((468, 2), np.nan, dtype=np.float32)
    return landmark_problem(points, image.size, str(path)) or (path.name, image, points[:468, :2])


def cut_photographs(
    folder: PhotographFolder,
    index: Tensor,
    close_up: Tensor,
    faceless: Tensor,
    generator: torch.Generator,
    side: int,
    mirrored_landmarks: Tensor,
) -> PhotographCuts:
    """Pictures of the photographs at `index (B,)`: crops around the face, whole photographs, or what lies below it.

    A whole photograph may be a small part of its picture, as faces are in pictures of scenes: what is around it is
    grey or a drawn background.

    Args:
        folder (`PhotographFolder`): the photographs; those at `index` must have boxes.
        index (`torch.Tensor` of shape `(B,)`): which photographs.
        close_up (`torch.Tensor` of shape `(B,)`): crop around the face or not.
        faceless (`torch.Tensor` of shape `(B,)`): a piece below the chin.
        generator (`torch.Generator`): the only source of chance.
        side (`int`): of the pictures, in pixels.
        mirrored_landmarks (`torch.Tensor` of shape `(468,)`): see `mirror_landmark_order`.
    """
    boxes = folder.boxes[index]
    faces = len(index)
    reach, middle = _views(boxes, close_up, faceless, generator)
    angle = normal(generator, 0.12, faces) * (chance(generator, 0.6, faces) & ~faceless)
    flip = torch.where(chance(generator, 0.5, faces), -1.0, 1.0)
    cosine, sine = angle.cos(), angle.sin()
    # picture -> photograph, both in sides: photograph = middle + reach * turn(flip(picture - 0.5))
    matrix = (
        torch.stack((cosine * flip, -sine, sine * flip, cosine), dim=-1).unflatten(-1, (2, 2)) * reach[:, None, None]
    )
    around = torch.where(
        chance(generator, 0.5, faces, 1, 1, 1), sample_backgrounds(generator, faces, side), torch.tensor(PAD)
    )
    originals = _sample(folder.pixels[index], folder.extents[index], around, matrix, middle)
    inverse = torch.linalg.inv(matrix)
    landmarks = (folder.landmarks[index] - middle[:, None]) @ inverse.mT + 0.5
    landmarks = torch.where(flip[:, None, None] < 0, landmarks[:, mirrored_landmarks], landmarks)
    centre = ((0.5 - middle)[:, None] @ inverse.mT)[:, 0] + 0.5
    cropped = torch.cat((DEFAULT_FOCAL / reach[:, None], centre), dim=-1)
    # Nobody can tell that a picture of a scene holds another one.
    whole = default_picture_cameras(1, cropped).to(cropped.dtype)
    cameras = torch.where(close_up[:, None], cropped, whole)
    return PhotographCuts(_recolour(generator, originals), originals, cameras, landmarks)


def _views(boxes: Tensor, close_up: Tensor, faceless: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Side `(B,)` and middle `(B, 2)` of the part of each photograph that is shown, in sides of its square."""
    faces = len(boxes)
    extent = (boxes[:, 2:] - boxes[:, :2]).amax(-1)
    near = CLOSE_UP_SIDE * extent * normal(generator, 0.14, faces).exp()
    far = uniform(generator, *SCENE_SIDE, faces).exp()
    below = uniform(generator, *FACELESS_SIDE, faces)
    reach = torch.where(faceless, below, torch.where(close_up, near, far))
    shift = normal(generator, 0.05, faces, 2) * reach[:, None]
    free = (far - 1).clamp(min=0)[:, None] / 2
    scene = 0.5 + free * uniform(generator, -1.0, 1.0, faces, 2) + shift
    face = (boxes[:, :2] + boxes[:, 2:]) / 2 + shift
    chin = boxes[:, 3] + CHIN_MARGIN * extent
    piece = torch.stack((0.5 + uniform(generator, -0.3, 0.3, faces), chin + below / 2), dim=-1)
    return reach, torch.where(faceless[:, None], piece, torch.where(close_up[:, None], face, scene))


def mirror_landmark_order(face_model: MorphableModel) -> Tensor:
    """For each MediaPipe landmark its partner on the other side of the face, `(468,)`."""
    points = face_model.landmarks(face_model.template[None], "468")[0]
    return torch.cdist(points * torch.tensor([-1.0, 1.0, 1.0]), points).argmin(-1)


def _read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """Landmarks by the name of their file."""
    try:
        with np.load(path) as arrays:
            files, points = (arrays[name] for name in ("files", "mediapipe478"))
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"got {path}, which is no .npz file with files (M,) and mediapipe478 (M, 478, 2 or 3) ({error}); write one"
        ) from error
    if points.ndim != 3 or points.shape[1] not in MEDIAPIPE_COUNTS or len(points) != len(files):
        raise ValueError(
            f"got {path} with {len(files)} files and mediapipe478 of shape {points.shape}, wanted a row of 468 or 478 "
            "MediaPipe landmarks per file; the 3DMM has no others that could be compared"
        )
    return {Path(str(name)).name: rows[:, :2].astype(np.float32) for name, rows in zip(files, points, strict=True)}


def _letterbox(image) -> Tensor:
    scale = STORED_SIDE / max(image.size)
    small = image.resize([max(1, round(length * scale)) for length in image.size])
    pixels = torch.tensor(np.asarray(small)).permute(2, 0, 1)
    square = torch.full((3, STORED_SIDE, STORED_SIDE), round(255 * PAD), dtype=torch.uint8)
    top, left = (STORED_SIDE - pixels.shape[1]) // 2, (STORED_SIDE - pixels.shape[2]) // 2
    square[:, top : top + pixels.shape[1], left : left + pixels.shape[2]] = pixels
    return square


def _sample(pixels: Tensor, extents: Tensor, around: Tensor, matrix: Tensor, middle: Tensor) -> Tensor:
    """Twice as fine and averaged: photographs are mostly larger than their pictures. `around (B, 3, S, S)` shows
    where the photographs, `extents (B, 2)` of their squares, end."""
    side = 2 * around.shape[-1]
    grid = (pixel_grid(side).flatten(1).T[None] - 0.5) @ matrix.mT + middle[:, None]
    inside = ((grid - 0.5).abs() < extents[:, None] / 2).all(-1)
    grid = (2 * grid - 1).unflatten(1, (side, side))
    fine = F.grid_sample(pixels.float() / 255, grid, align_corners=False, padding_mode="border")
    covered = F.avg_pool2d(inside.float().unflatten(1, (1, side, side)), 2)
    shown = F.avg_pool2d(fine * inside.unflatten(1, (1, side, side)), 2)
    return shown + (1 - covered) * around


def _recolour(generator: torch.Generator, pictures: Tensor) -> Tensor:
    faces = len(pictures)
    gain = (normal(generator, 0.1, faces, 1, 1, 1) + normal(generator, 0.04, faces, 3, 1, 1)).exp()
    gamma = normal(generator, 0.15, faces, 1, 1, 1).exp()
    changed = (pictures.clamp(min=1e-4) * gain).clamp(1e-4, 1).pow(gamma)
    grey = changed.mean(1, keepdim=True)
    saturation = torch.where(chance(generator, 0.1, faces, 1, 1, 1), 0.0, uniform(generator, 0.7, 1.2, faces, 1, 1, 1))
    changed = grey + saturation * (changed - grey)
    noise = torch.randn(changed.shape, generator=generator) * uniform(generator, 0.0, 0.02, faces, 1, 1, 1)
    return (changed + noise).clamp(0, 1)
