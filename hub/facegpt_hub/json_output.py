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
"""Results for programs: with `--json` a JSON document is alone on stdout, and words for people go to stderr."""

import json
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from .photograph_tasks import Outcome

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs, and nothing else, on stdout.")]


def words_for_people(as_json: bool) -> AbstractContextManager[Any]:
    """Where they go: to stdout, or to stderr if stdout is for a program."""
    return redirect_stdout(sys.stderr) if as_json else nullcontext()


def print_json(document: dict[str, Any]) -> None:
    """On one line, in ASCII: any name of a file can be read back, whatever the terminal's encoding."""
    typer.echo(json.dumps(document, allow_nan=False))


def describe_outcomes(outcomes: "list[Outcome]") -> dict[str, Any]:
    """What became of each photograph; a path is null where there is no file."""
    return {"photographs": [_describe(outcome) for outcome in outcomes]}


def _describe(outcome: "Outcome") -> dict[str, Any]:
    task, written = outcome.task, outcome.problem is None
    seen = written and outcome.faces > 0
    return {
        "photograph": str(task.photograph),
        "faces": outcome.faces if written else 0,
        "mesh": str(task.mesh) if seen else None,
        "numbers": str(task.document) if written else None,
        "picture": str(task.sheet) if seen else None,
        "problem": outcome.problem,
    }
