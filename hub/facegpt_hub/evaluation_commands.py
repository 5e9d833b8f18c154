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
"""`facegpt evaluate …`: the figures that README and model card quote, each printed by the command beside it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(name="evaluate", help="Print how good a checkpoint or a 3DMM is.", no_args_is_help=True)

Model = Annotated[str, typer.Option(help="Checkpoint: a name, a directory, or owner/name on the Hub.")]
Faces = Annotated[Path, typer.Option(help="Folder with landmarks.npz and the photographs that it names.")]
Refine = Annotated[int, typer.Option(min=0, metavar="STEPS", help="Fit faces to their pixels.")]
Facts = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file, too.")]

DEFAULT = "facegpt-nano"


@app.command()
def photographs(
    data: Faces,
    model: Model = DEFAULT,
    everything: bool = False,
    refine: Refine = 0,
    facts: Facts = None,
) -> None:
    """Landmark errors and faces found on held-out photographs (with `--everything`, faces found on all of them)."""
    from facegpt_trainer.evaluation.reconstruction import evaluate_photographs

    subset = "all" if everything else "held-out"
    _show(
        "photographs",
        model,
        facts,
        lambda loaded: evaluate_photographs(*loaded, data, subset=subset, refine_steps=refine),
    )


@app.command()
def renders(model: Model = DEFAULT, pictures: int = 200, refine: Refine = 0, facts: Facts = None) -> None:
    """Geometry against the truth on held-out renders of one face each."""
    from facegpt_trainer.evaluation.reconstruction import evaluate_renders

    _show("renders", model, facts, lambda loaded: evaluate_renders(*loaded, pictures=pictures, refine_steps=refine))


@app.command()
def groups(model: Model = DEFAULT, pictures: int = 120, facts: Facts = None) -> None:
    """Faces found in held-out renders of two to four people, also where they overlap."""
    from facegpt_trainer.evaluation.groups import evaluate_groups

    _show("groups", model, facts, lambda loaded: evaluate_groups(*loaded, pictures=pictures))


@app.command()
def presence(model: Model = DEFAULT, data: Faces | None = None, pictures: int = 400, facts: Facts = None) -> None:
    """How often no face is found where there is none."""
    from facegpt_trainer.evaluation.reconstruction import evaluate_presence

    _show("presence", model, facts, lambda loaded: evaluate_presence(*loaded, data, pictures=pictures))


@app.command("morphable-model")
def morphable_model(
    data: Annotated[Path, typer.Option(help="ict_facekit_light.npz, of ICT-FaceKit.")],
    face_model: Annotated[
        str, typer.Option(help="3DMM: a name, a directory, or owner/name on the Hub.")
    ] = "anny-head",
    count: Annotated[int, typer.Option(min=1, help="Random identities to fit.")] = 12,
    facts: Facts = None,
) -> None:
    """How well the 3DMM's identity basis fits faces of another 3DMM: random ICT-FaceKit identities, fixed seeds."""
    import torch
    from facegpt_trainer.evaluation.morphable_model import evaluate_morphable_model

    from modeling_facegpt import MorphableModel

    from .checkpoints import find_checkpoint

    model = MorphableModel.from_pretrained(find_checkpoint(face_model), dtype=torch.float32)
    results = evaluate_morphable_model(model, data, count)
    medians = sorted(result.median for result in results)
    figures = {
        "identities": float(count),
        "point to surface, mm, median over identities": medians[len(medians) // 2],
        "point to surface, mm, worst identity": medians[-1],
        "the same of the mean face, mm, mean": sum(result.mean_face for result in results) / count,
        "root mean square coefficient, largest": max(result.coefficient_rms for result in results),
    }
    print_figures(f"morphable-model: {face_model}", figures, facts)


@app.command()
def people(
    face_model: Annotated[
        str, typer.Option(help="3DMM: a name, a directory, or owner/name on the Hub.")
    ] = "anny-head",
    count: Annotated[int, typer.Option(min=100, help="Random people to measure.")] = 2000,
    sheets: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw sheets of people (PNG) there.")] = None,
    facts: Facts = None,
) -> None:
    """Whether a 3DMM's people are believable: colours of skin, and how well measures tell what words mean."""
    import torch
    from facegpt_trainer.evaluation.people import BEFORE, check_knows_people, draw_sheets, evaluate_people

    from modeling_facegpt import MorphableModel

    from .checkpoints import find_checkpoint

    model = MorphableModel.from_pretrained(find_checkpoint(face_model), dtype=torch.float32)
    try:
        check_knows_people(model)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--face-model") from error
    for path in draw_sheets(model, sheets) if sheets else ():
        Console().print(f"{path}")
    print_figures(f"people: {face_model}", evaluate_people(model, count), facts, BEFORE)


def _show(title: str, model: str, facts: Path | None, evaluate: Callable[[tuple[Any, Any]], dict[str, float]]) -> None:
    from transformers.utils import logging

    from .checkpoints import load_checkpoint

    logging.disable_progress_bar()
    checkpoint = load_checkpoint(model)
    print_figures(f"{title}: {checkpoint.name}", evaluate((checkpoint.model, checkpoint.processor)), facts)


def print_figures(
    title: str, figures: dict[str, float], facts: Path | None, before: dict[str, float] | None = None
) -> None:
    """A table of figures, beside those of `before` where given, and with `facts` a JSON file of them."""
    table = Table("figure", *(["before"] if before else []), "value", title=title)
    for name, value in figures.items():
        row = [_rounded(before[name]) if name in before else "-"] if before else []
        table.add_row(name, *row, _rounded(value))
    Console().print(table)
    if facts is not None:
        partial = facts.with_name(facts.name + ".partial")
        partial.write_text(json.dumps({"evaluation": title, "figures": figures}, indent=1))
        partial.replace(facts)


def _rounded(value: float) -> str:
    if value == int(value) and value > 50:
        return f"{value:.0f}"
    return f"{value:.4f}" if 0.95 < value < 1 else f"{value:.2f}"
