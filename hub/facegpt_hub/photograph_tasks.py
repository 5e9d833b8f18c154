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
"""From photograph files to result files: finds the photographs, names the results, and does what can be done."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modeling_facegpt.files.export import MESH_SUFFIXES, encode_document, encode_mesh, encode_png
from modeling_facegpt.files.result_document import describe_reconstruction
from modeling_facegpt.files.result_files import (
    check_directory,
    free_path,
    is_result,
    path_key,
    prepare_directory,
    write_files,
)
from modeling_facegpt.files.result_sheet import result_sheet
from modeling_facegpt.photograph import SUFFIXES, Photograph, PhotographError, read_photograph, shown_path
from modeling_facegpt.reconstruction import Reconstruction

from .checkpoints import Checkpoint

# Photographs wait in memory until their batch is full: large ones fill it sooner.
_PIXELS_PER_BATCH = 64_000_000
_LONGEST_STEM = 225  # bytes of a result's name


class OutputError(ValueError):
    """A place where results cannot be written; the message is one sentence that names it."""


class Task(NamedTuple):
    """One photograph and where its results go."""

    photograph: Path
    mesh: Path
    document: Path
    sheet: Path
    kept: tuple[Path, ...] = ()  # files that have a result's usual name and stay, since FaceGPT did not write them


class Outcome(NamedTuple):
    """What became of one task."""

    task: Task
    faces: int
    problem: str | None  # one sentence, where there are no results
    notes: tuple[str, ...] = ()  # sentences on what people may not expect of the results


def find_photographs(sources: Sequence[Path]) -> list[Path]:
    """The given files, and those of the given directories (not of directories in them) that are named as pictures and
    that FaceGPT did not write.

    Raises:
        PhotographError: if a directory holds none.
    """
    found = []
    for source in sources:
        if not source.is_dir():
            found.append(source)
            continue
        inside = sorted(path for path in source.iterdir() if _may_be_photograph(path))
        if not inside:
            raise PhotographError(f"the directory {shown_path(source)} holds no photographs")
        found += inside
    return found


def plan_tasks(photographs: Sequence[Path], output: str, suffix: str | None) -> list[Task]:
    """Name the results: `output` is a mesh file for one photograph, or a directory.

    Raises:
        OutputError: if `output` fits neither, or cannot be written to.
    """
    path = Path(output).expanduser()
    is_directory = path.is_dir() or output.endswith(("/", os.sep)) or not path.suffix
    if not is_directory and path.suffix.lower() not in MESH_SUFFIXES:
        raise OutputError(
            f"{output} cannot be written: meshes are {', '.join(MESH_SUFFIXES)} files, "
            "and the name of a new directory ends in /"
        )
    if not is_directory and len(photographs) > 1:
        raise OutputError(f"got {len(photographs)} photographs and one file {output}: give a directory instead")
    if not is_directory and suffix not in (None, path.suffix.lower()):
        raise OutputError(f"got the format {suffix} and the file {output}: give one of them")
    prepare_output(path if is_directory else path.parent)
    end = suffix or MESH_SUFFIXES[0]
    meshes = [path / f"{name}{end}" for name in _unique_stems(photographs)] if is_directory else [path]
    taken = {path_key(name) for photograph in photographs for name in (photograph, photograph.resolve())}
    return [
        _name_results(photograph, mesh, taken, named=not is_directory)
        for photograph, mesh in zip(photographs, meshes, strict=True)
    ]


def run_tasks(
    tasks: Sequence[Task],
    load: Callable[[], Checkpoint],
    *,
    reference: str | None = None,
    refine_steps: int = 0,
    neutral: bool = False,
    batch_size: int = 8,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Reconstruct the photographs and write what was found. One that cannot be done does not stop the others.

    Args:
        tasks (sequence of `Task`): what to do.
        load (`Callable`): gives the checkpoint; only called if there is a photograph to look at.
        reference (`str`, *optional*): words that name the faces that are wanted; default: all.
        refine_steps (`int`): of fitting each face to its pixels.
        neutral (`bool`): write meshes without expression and pose.
        batch_size (`int`): photographs looked at together.
        done (`Callable`): told of each outcome as soon as it is known.
    """
    outcomes: list[Outcome] = []
    checkpoint = None
    settings: dict[str, Any] = {"reference": reference, "refine_steps": refine_steps}

    def finish(outcome: Outcome) -> None:
        outcomes.append(outcome)
        done(outcome)

    for batch in _read_in_batches(tasks, batch_size, finish):
        checkpoint = checkpoint or load()
        for (task, photograph), seen in zip(batch, _look(checkpoint, batch, settings), strict=True):
            if isinstance(seen, Exception):
                finish(Outcome(task, 0, f"{photograph.name} cannot be reconstructed ({seen})"))
            else:
                finish(_write_results(task, photograph, seen, checkpoint, neutral))
    return outcomes


def _may_be_photograph(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not is_result(path)


def prepare_output(directory: Path) -> None:
    """Make the directory of results, before hours of work end in it.

    Raises:
        OutputError: if nothing can be written to it.
    """
    _try_output(prepare_directory, directory)


def check_output(directory: Path) -> None:
    """As `prepare_output`, but a missing directory is not made yet: there may be nothing to write."""
    _try_output(check_directory, directory)


def _try_output(attempt: Callable[[Path], None], directory: Path) -> None:
    try:
        attempt(directory)
    except OSError as error:
        raise OutputError(f"nothing can be written to {shown_path(directory)} ({error.strerror})") from error


def _unique_stems(photographs: Sequence[Path]) -> list[str]:
    """The files' names without suffix; one that is there already gets -2, -3, ... whatever the case of its letters."""
    taken: set[str] = set()
    names = []
    for photograph in photographs:
        stem = _short_enough(photograph.stem)
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _short_enough(stem: str) -> str:
    """A name that leaves room for longer suffixes than the photograph's: file systems end names at 255 bytes."""
    while len(os.fsencode(stem)) > _LONGEST_STEM:
        stem = stem[:-1]
    return stem


def _name_results(photograph: Path, mesh: Path, taken: set[str], *, named: bool) -> Task:
    """Names by which no file is replaced that is a photograph, another task's or not FaceGPT's; a person who `named`
    the mesh wants that one replaced. What is named is added to `taken`."""
    wanted = (mesh, mesh.with_suffix(".json"), mesh.with_suffix(".png"))
    given = [
        path if named and path == mesh else free_path(path, kind, taken)
        for path, kind in zip(wanted, ("mesh", "numbers", "sheet"), strict=True)
    ]
    taken.update(map(path_key, given))
    kept = tuple(old for old, new in zip(wanted, given, strict=True) if old != new)
    mesh, numbers, sheet = given
    return Task(photograph, mesh, numbers, sheet, kept)


def _read_in_batches(
    tasks: Sequence[Task], batch_size: int, finish: Callable[[Outcome], None]
) -> Iterator[list[tuple[Task, Photograph]]]:
    """Photographs that could be read; of the others, `finish` is told."""
    batch: list[tuple[Task, Photograph]] = []
    pixels = 0
    for task in tasks:
        try:
            photograph = read_photograph(task.photograph)
        except PhotographError as error:
            finish(Outcome(task, 0, str(error)))
            continue
        batch.append((task, photograph))
        pixels += photograph.image.width * photograph.image.height
        if len(batch) == batch_size or pixels > _PIXELS_PER_BATCH:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _look(
    checkpoint: Checkpoint, batch: Sequence[tuple[Task, Photograph]], settings: dict[str, Any]
) -> list[Reconstruction | Exception]:
    """One result per photograph; where a batch fails, its photographs are tried one by one."""
    photographs = [photograph for _, photograph in batch]
    try:
        return list(
            checkpoint.model.reconstruct(
                [photograph.image for photograph in photographs],
                checkpoint.processor,
                focals=[photograph.focal for photograph in photographs],
                **settings,
                batch_size=len(batch),
            )
        )
    except (RuntimeError, ValueError) as error:
        if len(batch) == 1:
            return [error]
        return [seen for item in batch for seen in _look(checkpoint, [item], settings)]


def _write_results(
    task: Task, photograph: Photograph, reconstruction: Reconstruction, checkpoint: Checkpoint, neutral: bool
) -> Outcome:
    """All files of one photograph; of one without a face, only the JSON that says so."""
    face_model = checkpoint.model.face_model
    faces = len(reconstruction.probability)
    notes = _notes(photograph, reconstruction)
    try:
        document = describe_reconstruction(
            face_model, reconstruction, photo=photograph.name, model=checkpoint.name, notes=notes
        )
        files = {task.document: encode_document(document)}
        if faces:
            files[task.mesh] = encode_mesh(face_model, reconstruction, task.mesh.suffix.lower(), neutral=neutral)
            files[task.sheet] = encode_png(result_sheet(photograph.image, face_model, reconstruction))
        write_files(files)
    except ValueError as error:
        return Outcome(task, faces, f"{photograph.name}: {error}")
    except OSError as error:
        place = shown_path(task.mesh.parent)
        return Outcome(task, faces, f"{photograph.name}: nothing was written to {place} ({error.strerror})")
    return Outcome(task, faces, None, notes)


def _notes(photograph: Photograph, reconstruction: Reconstruction) -> tuple[str, ...]:
    notes = () if photograph.note is None else (photograph.note,)
    if not reconstruction.left_out:
        return notes
    shown = len(reconstruction.probability)
    return (
        *notes,
        f"{photograph.name} shows {shown + reconstruction.left_out} faces, of which the {shown} surest are given: the "
        "checkpoint gives no more of one photograph; cut it into parts to have all",
    )
