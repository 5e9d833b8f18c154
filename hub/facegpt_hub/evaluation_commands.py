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
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from .waiting import loading, quiet_transformers

if TYPE_CHECKING:
    from .checkpoints import Checkpoint

app = typer.Typer(name="evaluate", help="Print how good a checkpoint or a 3DMM is.", no_args_is_help=True)

_STDOUT = Path("-")


def check_place(facts: Path | None) -> Path | None:
    """Where figures are to be written must be a place for a file before they are measured for minutes."""
    if facts is not None and facts != _STDOUT and (facts.is_dir() or not facts.absolute().parent.is_dir()):
        raise typer.BadParameter(f"got {facts}, wanted a file in a directory that exists, or - for stdout")
    return facts


Model = Annotated[str, typer.Option(help="Checkpoint: a name, a directory, or owner/name on the Hub.")]
Faces = Annotated[
    Path,
    typer.Option(exists=True, file_okay=False, help="Folder with landmarks.npz and the photographs that it names."),
]
Refine = Annotated[int, typer.Option(min=0, metavar="STEPS", help="Fit faces to their pixels.")]
Count = Annotated[int, typer.Option(min=1, help="How many are asked or drawn.")]
Seed = Annotated[int, typer.Option(min=0, help="Of what is asked or drawn; 0 is that of the figures in README.")]
Device = Annotated[str, typer.Option(help="Where the model runs, such as cpu or cuda.")]
Facts = Annotated[
    Path | None,
    typer.Option("--json", callback=check_place, help="Write the figures to this file, too; - prints them alone."),
]

DEFAULT = "facegpt-nano"


@app.command()
def photographs(
    data: Faces,
    model: Model = DEFAULT,
    everything: bool = False,
    refine: Refine = 0,
    device: Device = "cpu",
    facts: Facts = None,
) -> None:
    """Landmark errors and faces found on held-out photographs (with `--everything`, faces found on all of them)."""
    with loading(model):
        from facegpt_trainer.evaluation.reconstruction import evaluate_photographs

        name, judged, processor = load(model, device)
    subset = "all" if everything else "held-out"
    figures = evaluate_photographs(judged, processor, data, subset=subset, refine_steps=refine)
    print_figures(f"photographs: {name}", figures, facts)


@app.command()
def renders(
    model: Model = DEFAULT,
    pictures: Count = 200,
    refine: Refine = 0,
    seed: Seed = 0,
    device: Device = "cpu",
    facts: Facts = None,
) -> None:
    """Geometry against the truth on held-out renders of one face each."""
    with loading(model):
        from facegpt_trainer.evaluation.reconstruction import evaluate_renders

        name, judged, processor = load(model, device)
    figures = evaluate_renders(judged, processor, pictures=pictures, refine_steps=refine, seed=seed)
    print_figures(f"renders: {name}", figures, facts)


@app.command()
def groups(
    model: Model = DEFAULT, pictures: Count = 120, seed: Seed = 0, device: Device = "cpu", facts: Facts = None
) -> None:
    """Faces found in held-out renders of two to four people, also where they overlap."""
    with loading(model):
        from facegpt_trainer.evaluation.groups import evaluate_groups

        name, judged, processor = load(model, device)
    print_figures(f"groups: {name}", evaluate_groups(judged, processor, pictures=pictures, seed=seed), facts)


@app.command()
def presence(
    model: Model = DEFAULT,
    data: Faces | None = None,
    pictures: Count = 400,
    seed: Seed = 0,
    device: Device = "cpu",
    facts: Facts = None,
) -> None:
    """How often no face is found where there is none."""
    with loading(model):
        from facegpt_trainer.evaluation.reconstruction import evaluate_presence

        name, judged, processor = load(model, device)
    print_figures(f"presence: {name}", evaluate_presence(judged, processor, data, pictures=pictures, seed=seed), facts)


@app.command("morphable-model")
def morphable_model(
    data: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="ict_facekit_light.npz, of ICT-FaceKit.")],
    face_model: Annotated[
        str, typer.Option(help="3DMM: a name, a directory, or owner/name on the Hub.")
    ] = "anny-head",
    count: Annotated[int, typer.Option(min=1, help="Random identities to fit.")] = 40,
    people: Annotated[int, typer.Option(min=1, help="Random people in whom crossing surfaces are counted.")] = 200,
    seed: Seed = 0,
    facts: Facts = None,
) -> None:
    """How well the 3DMM fits faces of ICT-FaceKit, and what its people, expressions, mouth and eyes are like."""
    with loading(face_model):
        import torch
        from facegpt_trainer.evaluation.crossings import face_crossings
        from facegpt_trainer.evaluation.face_shapes import shape_figures
        from facegpt_trainer.evaluation.morphable_model import evaluate_morphable_model

        from modeling_facegpt import MorphableModel

        from .checkpoints import find_checkpoint

        model = MorphableModel.from_pretrained(
            find_checkpoint(face_model), dtype=torch.float32, trust_remote_code=False
        )
    results = evaluate_morphable_model(model, data, count, seed)
    medians = sorted(result.median for result in results)
    figures = {
        "identities": float(count),
        "point to surface, mm, median over identities": medians[len(medians) // 2],
        "point to surface, mm, worst identity": medians[-1],
        "the same of the mean face, mm, mean": sum(result.mean_face for result in results) / count,
        "root mean square coefficient, largest": max(result.coefficient_rms for result in results),
    }
    figures |= shape_figures(model, data)
    figures |= {f"crossings, {name}, worst of {people} people": n for name, n in face_crossings(model, people).items()}
    print_figures(f"morphable-model: {face_model}", figures, facts)


@app.command()
def people(
    face_model: Annotated[
        str, typer.Option(help="3DMM: a name, a directory, or owner/name on the Hub.")
    ] = "anny-head",
    count: Annotated[int, typer.Option(min=100, help="Random people to measure.")] = 2000,
    sheets: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw sheets of people (PNG) there.")] = None,
    seed: Seed = 0,
    facts: Facts = None,
) -> None:
    """Whether a 3DMM's people are believable: colours of skin, and how well measures tell what words mean."""
    with loading(face_model):
        import torch
        from facegpt_trainer.evaluation.people import BEFORE, check_knows_people, draw_sheets, evaluate_people

        from modeling_facegpt import MorphableModel

        from .checkpoints import find_checkpoint

        place = find_checkpoint(face_model)
        model = MorphableModel.from_pretrained(place, dtype=torch.float32, trust_remote_code=False)
    try:
        check_knows_people(model)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--face-model") from error
    for path in draw_sheets(model, sheets, seed) if sheets else ():
        Console().print(f"{path}")
    print_figures(f"people: {face_model}", evaluate_people(model, count, seed), facts, BEFORE)


def load(model: str, device: str) -> "Checkpoint":
    """A checkpoint, without the bars of its loading."""
    from .checkpoints import load_checkpoint

    quiet_transformers()
    return load_checkpoint(model, device)


def print_figures(
    title: str, figures: dict[str, float], facts: Path | None, before: dict[str, float] | None = None
) -> None:
    """A table of figures, beside those of `before` where given, and with `facts` a JSON file of them; `-` prints the
    JSON in place of the table."""
    content = json.dumps({"evaluation": title, "figures": figures}, indent=1)
    if facts == _STDOUT:
        typer.echo(content)
        return
    table = Table("figure", *(["before"] if before else []), "value", title=title)
    for name, value in figures.items():
        row = [_rounded(before[name]) if name in before else "-"] if before else []
        table.add_row(name, *row, _rounded(value))
    Console().print(table)
    if facts is not None:
        partial = facts.with_name(facts.name + ".partial")
        partial.write_text(content)
        partial.replace(facts)


def _rounded(value: float) -> str:
    if value == int(value) and value > 50:
        return f"{value:.0f}"
    return f"{value:.4f}" if 0.95 < value < 1 else f"{value:.2f}"
