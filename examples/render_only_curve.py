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
"""What photographs alone teach, over several seeds: `python -m examples.render_only_curve`.

Trains the recipe once per seed (of weights and of the stream of photographs), measures the landmark error of
photographs that training never saw at the start and at checkpoints on the way, prints a Markdown table and draws the
curves. What was trained or measured before is not done again: a run that was stopped goes on.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from facegpt_trainer.evaluation.reconstruction import evaluate_photographs
from facegpt_trainer.recipe_reader import read_recipe
from facegpt_trainer.training import train
from facegpt_trainer.training_config import FaceGPTTrainingConfig
from PIL import Image, ImageDraw, ImageFont

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor

RECIPE = Path("trainer/facegpt_trainer/recipes/render_only.yaml")
# What is drawn, one panel each: title and figure of `evaluate_photographs`.
PANELS = {
    "Congress, held out: 68 machine points": "congress: 68 machine points, % of outer-eye distance",
    "London: 68 machine points": "london: 68 machine points, % of outer-eye distance",
    "London: 11 human points": "london: 11 human points, % of outer-eye distance",
}
COLOURS = ("Congress, held out: colour of the face", "congress: colour of the face, % of white")
SEED_INKS = ("#7fb3d5", "#f0b27a", "#82c99d", "#c39bd3", "#bfb27a")
MEAN_INK, START_INK, INK, GRID_INK = "#1b2631", "#c0392b", "#444444", "#e4e4e4"
WIDTH, HEIGHT, LEGEND, SCALE = 460, 400, 30, 2  # of a panel and of the row below, in points; pixels per point
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 44, 52  # margins in points

Figures = dict[str, float]
Curve = dict[int, Figures]  # by photographs seen


class Box(NamedTuple):
    """Where a panel's data lie, in pixels, and what its sides stand for."""

    left: float
    top: float
    right: float
    bottom: float
    most_seen: float
    lowest: float
    highest: float

    def place(self, seen: float, error: float) -> tuple[float, float]:
        across = self.left + (self.right - self.left) * seen / self.most_seen
        down = (self.highest - error) / (self.highest - self.lowest)
        return across, self.top + (self.bottom - self.top) * down


def seed_config(recipe: Path, output: Path, seed: int, points: int) -> FaceGPTTrainingConfig:
    """The recipe with weights' and data's seed changed, that keeps `points` checkpoints."""
    config = read_recipe(recipe, FaceGPTTrainingConfig)
    config.seed, config.data_seed = seed, config.data_seed + seed
    config.output_dir = str(output / f"seed-{seed}")
    config.save_steps = max(1, config.pictures // config.per_device_train_batch_size // points)
    config.save_total_limit = None
    return config


def measure(checkpoint: Path, data: Path, known: Path) -> Figures:
    """Errors on photographs that training never saw; if they are `known` already, they are read there."""
    if not known.exists():
        model = FaceGPTForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32, trust_remote_code=False
        ).eval()
        figures = evaluate_photographs(
            model, FaceGPTProcessor.from_pretrained(checkpoint, trust_remote_code=False), data
        )
        known.write_text(json.dumps(figures, indent=1))
    return json.loads(known.read_text())


def learn(config: FaceGPTTrainingConfig, data: Path) -> Curve:
    """Train one seed and measure its checkpoints; the start is the curve's first point."""
    output = Path(str(config.output_dir))
    if not (output / "training.json").exists():
        train(config)
    curve = {0: measure(Path(config.model), data, output.parent / "start.json")}
    for step in sorted(int(path.name.split("-")[1]) for path in output.glob("checkpoint-*")):
        seen = step * config.per_device_train_batch_size
        curve[seen] = measure(output / f"checkpoint-{step}", data, output / f"photographs-{seen}.json")
    return curve


def write_table(curves: Sequence[Curve]) -> str:
    """Before, after (mean over seeds, and each), gain and its standard error, in Markdown."""
    last = max(curves[0])
    lines = [
        f"| photographs that training never saw | before | after {last} photographs, mean of {len(curves)} seeds "
        "| gain ± standard error | each seed after |",
        "|---|---|---|---|---|",
    ]
    for title, name in (*PANELS.items(), COLOURS):
        before, after = curves[0][0][name], [curve[last][name] for curve in curves]
        error = statistics.stdev(after) / len(after) ** 0.5 if len(after) > 1 else float("nan")
        each = ", ".join(f"{value:.2f}" for value in after)
        mean = statistics.mean(after)
        lines.append(f"| {title} | {before:.2f} % | {mean:.2f} % | {before - mean:.2f} ± {error:.2f} | {each} |")
    return "\n".join(lines)


def draw_curves(curves: Sequence[Curve], seeds: Sequence[int]) -> Image.Image:
    """One panel per figure: each seed, their mean, and the start as a line."""
    image = Image.new("RGB", (SCALE * WIDTH * len(PANELS), SCALE * (HEIGHT + LEGEND)), "white")
    draw = ImageDraw.Draw(image)
    inks = [SEED_INKS[place % len(SEED_INKS)] for place in range(len(seeds))]
    for number, (title, name) in enumerate(PANELS.items()):
        errors = [{seen: figures[name] for seen, figures in curve.items()} for curve in curves]
        draw_panel(draw, SCALE * WIDTH * number, title, errors, inks)
    names = ["start", *(f"seed {seed}" for seed in seeds), "mean of seeds"]
    draw_legend(draw, dict(zip(names, [START_INK, *inks, MEAN_INK], strict=True)))
    return image


def draw_panel(
    draw: ImageDraw.ImageDraw, offset: float, title: str, errors: Sequence[dict[int, float]], inks: Sequence[str]
) -> None:
    """One figure of all seeds, by photographs seen, from `offset` pixels on."""
    values = [value for curve in errors for value in curve.values()]
    margin = 0.08 * (max(values) - min(values)) + 0.05
    box = Box(
        offset + SCALE * LEFT,
        SCALE * TOP,
        offset + SCALE * (WIDTH - RIGHT),
        SCALE * (HEIGHT - BOTTOM),
        max(errors[0]),
        min(values) - margin,
        max(values) + 2 * margin,
    )
    draw_axes(draw, box, offset, title)
    start = errors[0][0]
    draw.line([box.place(0, start), box.place(box.most_seen, start)], fill=START_INK, width=2 * SCALE)
    for curve, ink in zip(errors, inks, strict=True):
        draw_curve(draw, box, curve, ink, 2)
    mean = {seen: statistics.mean(curve[seen] for curve in errors) for seen in errors[0]}
    draw_curve(draw, box, mean, MEAN_INK, 4)


def draw_curve(draw: ImageDraw.ImageDraw, box: Box, curve: dict[int, float], ink: str, width: int) -> None:
    places = [box.place(seen, value) for seen, value in sorted(curve.items())]
    draw.line(places, fill=ink, width=width * SCALE, joint="curve")
    radius = (width + 1) * SCALE
    for across, down in places:
        draw.ellipse((across - radius, down - radius, across + radius, down + radius), fill=ink)


def draw_axes(draw: ImageDraw.ImageDraw, box: Box, offset: float, title: str) -> None:
    middle, font = (box.left + box.right) / 2, _font(13)
    draw.text((offset + SCALE * WIDTH / 2, SCALE * TOP / 2), title, fill=INK, font=_font(16), anchor="mm")
    for value in ticks(box.lowest, box.highest):
        left, height = box.place(0, value)
        draw.line([(left, height), (box.right, height)], fill=GRID_INK, width=SCALE)
        draw.text((left - 6 * SCALE, height), f"{value:g}", fill=INK, font=font, anchor="rm")
    for seen in ticks(0, box.most_seen):
        across, _ = box.place(seen, box.lowest)
        draw.line([(across, box.bottom), (across, box.bottom + 4 * SCALE)], fill=INK, width=SCALE)
        draw.text((across, box.bottom + 7 * SCALE), f"{seen:g}", fill=INK, font=font, anchor="mt")
    draw.line([(box.left, box.top), (box.left, box.bottom), (box.right, box.bottom)], fill=INK, width=SCALE)
    draw.text((middle, SCALE * (HEIGHT - 16)), "unlabelled photographs seen", fill=INK, font=font, anchor="mm")
    draw_upright(draw, offset + SCALE * 16, (box.top + box.bottom) / 2, "landmark error, % of outer-eye distance")


def draw_upright(draw: ImageDraw.ImageDraw, across: float, down: float, text: str) -> None:
    """Text that is read from below, its middle at a place."""
    _, _, width, height = (round(length) for length in draw.textbbox((0, 0), text, font=_font(13)))
    label = Image.new("L", (width, height + 2 * SCALE))
    ImageDraw.Draw(label).text((0, 0), text, fill=255, font=_font(13))
    label = label.rotate(90, expand=True)
    draw.bitmap((round(across - label.width / 2), round(down - label.height / 2)), label, fill=INK)


def draw_legend(draw: ImageDraw.ImageDraw, inks: dict[str, str]) -> None:
    """In a row below the panels, which it would hide parts of."""
    down, width = SCALE * (HEIGHT + LEGEND / 3), 120 * SCALE
    left = SCALE * WIDTH * len(PANELS) / 2 - width * len(inks) / 2
    for number, (name, ink) in enumerate(inks.items()):
        across = left + number * width
        draw.line([(across, down), (across + 24 * SCALE, down)], fill=ink, width=3 * SCALE)
        draw.text((across + 30 * SCALE, down), name, fill=INK, font=_font(13), anchor="lm")


def ticks(lowest: float, highest: float) -> list[float]:
    """About five round numbers between two."""
    rough = (highest - lowest) / 5
    power = 10.0 ** int(f"{rough:e}".split("e")[1])
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = -int(-lowest // step) if lowest > 0 else 0
    return [round(step * number, 9) for number in range(first, int(highest // step) + 1)]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(SCALE * size)


def main(arguments: list[str] | None = None) -> None:
    """Parse, train, measure, print and draw."""
    parser = argparse.ArgumentParser(description="what photographs alone teach, over several seeds")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--points", type=int, default=5, help="checkpoints that are measured on the way")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/faces"), help="with landmarks.npz")
    parser.add_argument("--runs", type=Path, default=Path("runs/render_only_curve"))
    parser.add_argument("--picture", type=Path, default=Path("docs/pictures/render_only.png"))
    given = parser.parse_args(arguments)
    curves = [learn(seed_config(given.recipe, given.runs, seed, given.points), given.data) for seed in given.seeds]
    print(write_table(curves))
    draw_curves(curves, given.seeds).save(given.picture, optimize=True)
    print(f"drawn: {given.picture}")


if __name__ == "__main__":
    main()
