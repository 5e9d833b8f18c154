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
"""Lays out what a person wants to see of a result on one sheet: photograph, overlay, and two views of each face."""

import math
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..face_parameters import select_faces
from ..morphable_model import MorphableModel
from ..reconstruction import Reconstruction, face_boxes, landmarks_in_photo
from .visualization import Window, draw_as_seen, draw_in_studio, draw_overlay

_HEIGHT = 512  # pixels of a panel
_WIDEST = 1.5  # times the height, for the photograph
_SURROUNDINGS = 2.4  # side of the part of the photograph that is shown, over the faces' box
_ROWS = 2  # of views, where there are several faces
_GAP = 8
_CAPTION = 28
_PAPER, _INK = (255, 255, 255), (80, 80, 80)
_TURN = math.radians(40.0)


def result_sheet(image: Image.Image, face_model: MorphableModel, reconstruction: Reconstruction) -> Image.Image:
    """Photograph, overlay, neutral and turned view side by side.

    Where there are several faces, smaller pairs of views follow, numbered as in the overlay from left to right.

    Args:
        image (`PIL.Image.Image`): the photograph, RGB and upright.
        face_model (`MorphableModel`): the 3DMM.
        reconstruction (`Reconstruction`): of that photograph, at least one face.
    """
    count = len(reconstruction.probability)
    boxes = face_boxes(landmarks_in_photo(face_model, reconstruction.parameters, reconstruction.camera))
    window = _choose_window(boxes, image.size)
    photograph = image.resize(window.size, Image.Resampling.LANCZOS, box=window.box)
    overlay = draw_overlay(image, window, face_model, reconstruction)
    if count == 1:
        views = _views(face_model, reconstruction, 0, _HEIGHT)
        return lay_out([photograph, overlay, *views], ["photograph", "reconstruction", "neutral", "turned"])
    small = (_HEIGHT - _GAP * (_ROWS - 1)) // _ROWS
    pairs = [_join(_views(face_model, reconstruction, face, small), across=True) for face in range(count)]
    for face, pair in enumerate(pairs):
        _write(pair, (_GAP, _GAP), str(face + 1))
    _number_faces(overlay, boxes, window)
    columns = [_join(pairs[start : start + _ROWS], across=False) for start in range(0, count, _ROWS)]
    captions = ["photograph", "reconstruction", "neutral and turned", *[""] * (len(columns) - 1)]
    return lay_out([photograph, overlay, *columns], captions)


def faces_sheet(face_model: MorphableModel, faces: Reconstruction) -> Image.Image:
    """Faces that no photograph shows, numbered, one below the other in columns: as their camera sees them, and turned.

    Args:
        face_model (`MorphableModel`): the 3DMM.
        faces (`Reconstruction`): at least one face.
    """
    count = len(faces.probability)
    side = _HEIGHT // 2
    rows = []
    for face in range(count):
        turned = draw_in_studio(face_model, select_faces(faces.parameters, slice(face, face + 1)), side, yaw=_TURN)
        rows.append(_join([draw_as_seen(face_model, faces, face, side), turned], across=True))
        _write(rows[-1], (_GAP, _GAP), str(face + 1))
    columns = max(1, round(math.sqrt(count / 2)))
    height = math.ceil(count / columns)
    stacks = [_join(rows[start : start + height], across=False) for start in range(0, count, height)]
    return lay_out(stacks, ["as seen, and turned"] * len(stacks))


def _views(
    face_model: MorphableModel, reconstruction: Reconstruction, face: int, side: int
) -> tuple[Image.Image, Image.Image]:
    parameters = select_faces(reconstruction.parameters, slice(face, face + 1))
    neutral = draw_in_studio(face_model, parameters, side, neutral=True)
    return neutral, draw_in_studio(face_model, parameters, side, yaw=_TURN)


def _choose_window(boxes: Tensor, size: tuple[int, int]) -> Window:
    """The faces and their surroundings, or the whole photograph if they lie outside it."""
    low, high = boxes[:, :2].amin(0), boxes[:, 2:].amax(0)
    centre, half = (low + high) / 2, (high - low).amax() * (_SURROUNDINGS / 2)
    limit = torch.tensor(size).to(boxes)
    left, top = (centre - half).clamp(min=0).floor().long().tolist()
    right, bottom = torch.minimum(centre + half, limit).ceil().long().tolist()
    if right - left < 2 or bottom - top < 2:
        left, top, right, bottom = 0, 0, *size
    scale = _HEIGHT * min(1 / (bottom - top), _WIDEST / (right - left))
    shown = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    return Window((left, top, right, bottom), shown)


def _number_faces(overlay: Image.Image, boxes: Tensor, window: Window) -> None:
    left, top, right, _ = window.box
    scale = window.size[0] / (right - left)
    for face, box in enumerate(boxes.tolist()):
        corner = (max((box[0] - left) * scale, 0), max((box[1] - top) * scale, 0))
        _write(overlay, corner, str(face + 1))


def lay_out(panels: list[Image.Image], captions: list[str]) -> Image.Image:
    """Panels from left to right with a caption under each."""
    row = _join(panels, across=True)
    sheet = Image.new("RGB", (row.width + 2 * _GAP, row.height + 2 * _GAP + _CAPTION), _PAPER)
    sheet.paste(row, (_GAP, _GAP))
    left = _GAP
    for panel, caption in zip(panels, captions, strict=True):
        place = (left + panel.width / 2, row.height + _GAP + _CAPTION / 2)
        ImageDraw.Draw(sheet).text(place, caption, fill=_INK, font=ImageFont.load_default(16), anchor="mm")
        left += panel.width + _GAP
    return sheet


def _join(panels: Sequence[Image.Image], *, across: bool) -> Image.Image:
    """Panels side by side or one below the other, aligned at the top left."""
    widths, heights = [panel.width for panel in panels], [panel.height for panel in panels]
    gaps = _GAP * (len(panels) - 1)
    size = (sum(widths) + gaps, max(heights)) if across else (max(widths), sum(heights) + gaps)
    joined = Image.new("RGB", size, _PAPER)
    at = 0
    for panel in panels:
        joined.paste(panel, (at, 0) if across else (0, at))
        at += (panel.width if across else panel.height) + _GAP
    return joined


def _write(image: Image.Image, place: tuple[float, float], text: str) -> None:
    """Text in a picture, readable on light and dark."""
    font = ImageFont.load_default(18)
    ImageDraw.Draw(image).text(place, text, fill="white", font=font, stroke_width=2, stroke_fill="black")
