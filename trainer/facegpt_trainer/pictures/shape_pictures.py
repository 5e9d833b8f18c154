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
"""General pictures: drawn shapes of known kind, colour, size and place, with questions, so that a model that learns
faces keeps what else it can see."""

import random
from typing import NamedTuple

import torch
from torch import Tensor

from ..grammar import wordings
from ..grammar.attributes import ShapeSpace
from ..grammar.dialogues import SPLITS, Dialogue, Script, Source, capital, check_split
from .face_sampler import normal, uniform
from .picture_dialogues import NO_FACE, NUMBER_WORDS
from .scenery import noise, pixel_grid, soft_step

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.1, 0.1),
    "green": (0.1, 0.65, 0.15),
    "blue": (0.12, 0.2, 0.85),
    "yellow": (0.95, 0.88, 0.1),
    "white": (0.97, 0.97, 0.97),
    "black": (0.04, 0.04, 0.04),
    "orange": (0.98, 0.55, 0.05),
    "purple": (0.55, 0.12, 0.65),
}
SHAPES = ("circle", "square", "triangle", "cross")
# Where shapes stand: name, x and y of the middle in picture sides.
PLACES = {
    "on the left": (0.2, 0.5),
    "on the right": (0.8, 0.5),
    "at the top": (0.5, 0.2),
    "at the bottom": (0.5, 0.8),
    "in the middle": (0.5, 0.5),
}
BACKGROUND_GREY = 0.5
MOST_SHAPES = 3


class DrawnShape(NamedTuple):
    """One shape of a picture."""

    shape: str
    colour: str
    place: str


class ShapeGrammar:
    """Draws pictures of shapes, each with a dialogue. No two shapes of a picture are of one kind, colour or place.

    Args:
        shapes (`ShapeSpace`): what words mean for faces; nothing of it is asked here.
        parameter_count (`int`): numbers of a face.
        side (`int`): of the pictures in pixels.
        seed (`int`): of the whole stream.
        split (`str`): one of `SPLITS`.
    """

    def __init__(self, shapes: ShapeSpace, parameter_count: int, side: int, seed: int = 0, split: str = "train"):
        check_split(split)
        self.shapes, self.parameter_count, self.side = shapes, parameter_count, side
        self.seed, self.split = seed, split

    def batch(self, number: int, pictures: int) -> tuple[Tensor, list[Dialogue]]:
        """The `number`-th batch: pictures `(B, 3, S, S)`, sRGB in [0, 1], and a dialogue about each."""
        seed = random.Random(f"shapes {self.seed} {SPLITS.index(self.split)} {number}").getrandbits(62)
        source = Source(self.shapes, seed, self.split, portraits=1)
        drawn = [_sample_shapes(source) for _ in range(pictures)]
        dialogues = [_ask(source, shapes).finish(self.parameter_count) for shapes in drawn]
        return draw_shapes(source.generator, drawn, self.side), dialogues


def _sample_shapes(source: Source) -> list[DrawnShape]:
    count = source.choose(range(1, MOST_SHAPES + 1))
    chosen = (source.random.sample(sorted(names), count) for names in (SHAPES, COLOURS, PLACES))
    return [DrawnShape(*properties) for properties in zip(*chosen, strict=True)]


def draw_shapes(generator: torch.Generator, pictures: list[list[DrawnShape]], side: int) -> Tensor:
    """Pictures `(B, 3, S, S)`: shapes on muted grounds, a little turned, moved and scaled each."""
    count = len(pictures)
    ground = BACKGROUND_GREY + 0.12 * torch.randn(count, 3, 1, 1, generator=generator)
    canvas = ground + 0.05 * noise(generator, count, 1, 6, side)
    grid = pixel_grid(side)
    for layer in range(MOST_SHAPES):
        rows = [row for row, shapes in enumerate(pictures) if len(shapes) > layer]
        if not rows:
            break
        shapes = [pictures[row][layer] for row in rows]
        middle = torch.tensor([PLACES[shape.place] for shape in shapes]) + normal(generator, 0.015, len(rows), 2)
        distance = _distances(generator, shapes, grid[:, None] - middle.T[..., None, None])
        colour = torch.tensor([COLOURS[shape.colour] for shape in shapes])[..., None, None]
        colour = colour + normal(generator, 0.02, len(rows), 3, 1, 1)
        picture = canvas[rows]
        canvas = canvas.index_copy(0, torch.tensor(rows), picture + soft_step(distance, side) * (colour - picture))
    return canvas.clamp(0.0, 1.0)


def _distances(generator: torch.Generator, shapes: list[DrawnShape], offset: Tensor) -> Tensor:
    """Signed distances `(N, 1, S, S)` to the edges of shapes about the origin of `offset (2, N, S, S)`."""
    count = len(shapes)
    angle, size = normal(generator, 0.12, count, 1, 1), uniform(generator, 0.09, 0.14, count, 1, 1)
    x = angle.cos() * offset[0] + angle.sin() * offset[1]
    y = angle.cos() * offset[1] - angle.sin() * offset[0]
    thin = size / 3
    by_name = {
        "circle": (x.square() + y.square()).sqrt() - size,
        "square": torch.maximum(x.abs(), y.abs()) - 0.9 * size,
        "triangle": torch.maximum(y - 0.8 * size, 0.87 * x.abs() - 0.5 * y - 0.55 * size),
        "cross": torch.minimum(
            torch.maximum(x.abs() - size, y.abs() - thin), torch.maximum(x.abs() - thin, y.abs() - size)
        ),
    }
    index = torch.tensor([SHAPES.index(shape.shape) for shape in shapes])
    stacked = torch.stack([by_name[name] for name in SHAPES])
    return stacked[index, torch.arange(count)][:, None]


def _ask(source: Source, shapes: list[DrawnShape]) -> Script:
    """One or two questions on a picture of shapes."""
    script = Script("general", picture=True)
    for _ in range(source.choose((1, 1, 2))):
        question, answer = _question(source, shapes)
        script.ask(question)
        script.say(answer)
    return script


def _question(source: Source, shapes: list[DrawnShape]) -> tuple[str, str]:
    one = source.choose(shapes)
    match source.choose(("colour", "shape", "place", "count", "if", "face", "what")):
        case "colour":
            return source.word(wordings.ASK_COLOUR, shape=one.shape), f"{capital(one.colour)}."
        case "shape":
            return source.word(wordings.ASK_SHAPE_OF, colour=one.colour), f"The {one.shape}."
        case "place":
            return source.word(wordings.ASK_WHERE, shape=one.shape), f"{capital(one.place)}."
        case "count":
            return source.word(wordings.ASK_COUNT), f"{capital(NUMBER_WORDS[len(shapes)])}."
        case "if":
            asked = source.choose(SHAPES)
            there = any(shape.shape == asked for shape in shapes)
            return source.word(wordings.ASK_IF, shape=asked), "Yes." if there else "No."
        case "face":
            return source.word(wordings.ASK_PRESENCE), NO_FACE
    described = " and ".join(f"a{'n' if s.colour == 'orange' else ''} {s.colour} {s.shape}" for s in shapes)
    return source.word(wordings.WHAT_PICTURE), f"{capital(described)}."
