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
"""Says what became of photographs: results on stdout, what went wrong or may surprise on stderr, names whole."""

from pathlib import Path

import typer

from modeling_facegpt.photograph import shown_path

from .photograph_tasks import Outcome

_FAILED = 1
_NAMED_FILES = 5


def report(outcomes: list[Outcome], wanted: str) -> None:
    """Say what was done; end with a non-zero exit code unless all could be done and there is a face."""
    problems = [outcome for outcome in outcomes if outcome.problem]
    good = [outcome for outcome in outcomes if not outcome.problem]
    faces = sum(outcome.faces for outcome in good)
    empty = [outcome for outcome in good if not outcome.faces]
    if len(outcomes) == 1:
        _report_one(outcomes[0], wanted)
    else:
        place = shown_path(outcomes[0].task.mesh.parent)
        typer.echo(f"{_count(len(good), 'photograph')}, {_count(faces, 'face')} -> {place}")
        for outcome in empty:
            typer.echo(f"no {wanted} found in {shown_path(outcome.task.photograph)}", err=True)
        _list_problems(problems)
    _tell_notes(good)
    if problems or not faces:
        raise typer.Exit(_FAILED)


def _report_one(outcome: Outcome, wanted: str) -> None:
    photograph, mesh, document, sheet = (shown_path(path) for path in outcome.task[:4])
    if outcome.problem:
        typer.echo(f"facegpt: {outcome.problem}", err=True)
    elif not outcome.faces:
        typer.echo(f"facegpt: no {wanted} found in {photograph} ({document} says so)", err=True)
    else:
        typer.echo(f"{_count(outcome.faces, 'face')} in {photograph}")
        typer.echo(f"  mesh     {mesh}\n  numbers  {document}\n  picture  {sheet}")


def _list_problems(problems: list[Outcome]) -> None:
    """One line each, whole, so that the names can be read and cut out of a log."""
    if problems:
        typer.echo(f"{_count(len(problems), 'photograph')} could not be done:", err=True)
    for outcome in problems:
        typer.echo(f"  {outcome.problem}", err=True)


def _tell_notes(outcomes: list[Outcome]) -> None:
    """What people may not expect of the results that were written."""
    for outcome in outcomes:
        for note in outcome.notes:
            typer.echo(f"facegpt: {note}", err=True)
    photographs = {outcome.task.photograph for outcome in outcomes}
    tell_kept([path for outcome in outcomes if outcome.faces for path in outcome.task.kept if path not in photographs])


def tell_kept(kept: list[Path]) -> None:
    """Say which files stayed that have the usual names of results."""
    if not kept:
        return
    shown = ", ".join(map(shown_path, kept[:_NAMED_FILES])) + (", ..." if len(kept) > _NAMED_FILES else "")
    typer.echo(
        f"facegpt: {_count(len(kept), 'file')} that FaceGPT did not write stayed ({shown}): "
        "results that would be named so have longer names",
        err=True,
    )


def tell_interruption(outcomes: list[Outcome], total: int) -> str:
    """What a person who pressed Ctrl-C wants to know."""
    done = sum(outcome.problem is None for outcome in outcomes)
    place = f" and in {shown_path(outcomes[0].task.mesh.parent)}" if done else ""
    return f"stopped: {done} of {_count(total, 'photograph')} {'is' if done == 1 else 'are'} done{place}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
