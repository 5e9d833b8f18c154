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
"""Whether the people of a 3DMM are believable: colours of their skin, and how well measures tell what words mean."""

from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from modeling_facegpt.face_parameters import FaceParameters, parameter_sizes
from modeling_facegpt.files.visualization import draw_in_studio
from modeling_facegpt.morphable_model import MorphableModel
from modeling_facegpt.person import sample_people
from modeling_facegpt.person_faces import FaceCode, draw_code, knows_people
from modeling_facegpt.person_measurements import PersonMeasurer, PersonMeasures

from ..grammar.person_words import PERSON_WORDS, holds, is_measured

# The same figures of the 3DMM of 2026-11, which drew every coefficient by itself.
BEFORE = {
    "skin L*, 1st percentile": 33.0,
    "skin L*, 99th percentile": 85.0,
    "skin hue, median, degrees": 46.0,
    "share of people with white skin": 0.05,
}
SHEETS = {
    "woman-25": {"sex": 0, "age": 25},
    "woman-70": {"sex": 0, "age": 70},
    "man-30-clean-shaven": {"sex": 1, "age": 30, "beard": 0, "moustache": 0},
    "man-60-grey-beard": {"sex": 1, "age": 60, "beard": (0.8, 1.0), "grey": (0.6, 1.0)},
}
PUBLISHED_LIGHTNESS = (25.0, 76.0)  # L* of people, by the ranges that are named in `skin_reflectance`
COLUMNS, SIDE = 8, 256
TONES, AGES = (28, 36, 44, 52, 60, 66, 71, 75), (20, 45, 75)


@torch.no_grad()
def evaluate_people(face_model: MorphableModel, count: int = 2000, seed: int = 0) -> dict[str, float]:
    """Figures of random people: skin, and the AUC of each measured word.

    Raises:
        ValueError: if the 3DMM does not know people.
    """
    check_knows_people(face_model)
    generator = torch.Generator().manual_seed(seed)
    person = sample_people(generator, count)
    code = draw_code(generator, face_model, person)
    measures = PersonMeasurer(face_model).measure(code)
    figures = skin_figures(face_model, code, measures)
    for name, word in PERSON_WORDS.items():
        have, lack = holds(word, person), ~holds(word, person)
        if have.sum() > 4:
            score = is_measured(word, measures)
            figures[f"AUC of '{name}'"] = area_under_curve(score[have], score[lack])
    return figures


def skin_figures(face_model: MorphableModel, code: FaceCode, measures: PersonMeasures) -> dict[str, float]:
    """What the skin of N people looks like in numbers."""
    skin = face_model.region("skin") > 0.5
    shares = torch.histc(measures.lightness, 10, *PUBLISHED_LIGHTNESS) / len(measures.lightness) * 10
    white = [(face_model.albedo(part)[:, skin] >= 1).any(1).any(1) for part in code.albedo.split(100)]
    low, high = measures.lightness.quantile(torch.tensor([0.01, 0.99])).tolist()
    hues = measures.hue.quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
    return {
        "skin L*, 1st percentile": low,
        "skin L*, 99th percentile": high,
        "skin L*, fewest people in a tenth of the range, over the mean": float(shares.min()),
        "skin L*, most people in a tenth of the range, over the mean": float(shares.max()),
        "skin hue, 5th percentile, degrees": hues[0],
        "skin hue, median, degrees": hues[1],
        "skin hue, 95th percentile, degrees": hues[2],
        "share of people with white skin": float(torch.cat(white).float().mean()),
    }


def area_under_curve(have: Tensor, lack: Tensor) -> float:
    """How often a score of one group `(N,)` is above one of the other `(M,)`; ties count half."""
    order = torch.cat((have, lack)).double()
    values, index, counts = order.unique(return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0) - (counts - 1) / 2
    total = ranks[index[: len(have)]].sum()
    return float((total - len(have) * (len(have) + 1) / 2) / (len(have) * len(lack)))


@torch.no_grad()
def draw_sheets(face_model: MorphableModel, directory: Path, seed: int = 0) -> Iterator[Path]:
    """Write sheets of people (PNG), eight in a row, and a grid of skin tones, ages and sexes; gives their paths."""
    check_knows_people(face_model)
    directory.mkdir(parents=True, exist_ok=True)
    for number, (name, wanted) in enumerate(SHEETS.items()):
        generator = torch.Generator().manual_seed(seed + number)
        code = draw_code(generator, face_model, sample_people(generator, COLUMNS, wanted))
        yield _save(_row_of_pictures(face_model, [code]), directory / f"{name}.png")
    generator = torch.Generator().manual_seed(seed)
    rows = [
        [sample_people(generator, 1, {"sex": sex, "age": age, "lightness": tone}) for tone in TONES]
        for age in AGES
        for sex in (0, 1)
    ]
    codes = [[draw_code(generator, face_model, person) for person in row] for row in rows]
    joined = [FaceCode(*(torch.cat(groups) for groups in zip(*row, strict=True))) for row in codes]
    yield _save(_row_of_pictures(face_model, joined), directory / "skin-tones-ages-sexes.png")


def _row_of_pictures(face_model: MorphableModel, rows: list[FaceCode]) -> Image.Image:
    sheet = Image.new("RGB", (COLUMNS * SIDE, len(rows) * SIDE))
    for row, code in enumerate(rows):
        for column in range(len(code.identity)):
            picture = draw_person(face_model, FaceCode(*(group[column : column + 1] for group in code)), SIDE)
            sheet.paste(picture, (column * SIDE, row * SIDE))
    return sheet


def draw_person(face_model: MorphableModel, code: FaceCode, side: int, yaw: float = 0.0) -> Image.Image:
    """One face `(1, ...)` without expression in soft light."""
    still = FaceParameters(*(torch.zeros(1, size) for size in parameter_sizes(face_model.config)))
    return draw_in_studio(face_model, still._replace(identity=code.identity, albedo=code.albedo), side, yaw=yaw)


def _save(picture: Image.Image, path: Path) -> Path:
    picture.save(path)
    return path


def check_knows_people(face_model: MorphableModel) -> None:
    """Refuse a 3DMM of which no people can be drawn."""
    if not knows_people(face_model.config):
        raise ValueError(
            f"got the 3DMM {face_model.config.face_model_id}, which does not know how faces follow from people; "
            "build one that does with: facegpt convert-3dmm anny -o DIR"
        )
