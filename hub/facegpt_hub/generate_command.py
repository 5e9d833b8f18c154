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
"""`facegpt generate`: 3D faces from words, several different ones for one prompt."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from .json_output import JsonOption, print_json, words_for_people
from .seeds import choose_seed
from .waiting import loading, quiet_transformers, waiting

if TYPE_CHECKING:
    from modeling_facegpt.reconstruction import Reconstruction

    from .checkpoints import Checkpoint

_DECLINED = 1
_SHEET = "sheet.png"


class FaceFiles(NamedTuple):
    """Where one face was written."""

    mesh: Path
    numbers: Path
    picture: Path


def generate(
    prompt: Annotated[str, typer.Argument(help='What the faces are like, such as "an old man, laughing".')],
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=100, help="How many different faces.")] = 4,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the faces (made if missing).")] = Path(
        "faces"
    ),
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="The same seed gives the same faces; default: another one each time.", show_default=False
        ),
    ] = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Higher: closer to the words; lower: more different from each other. Default: 1.75."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Checkpoint: a name, a directory, or owner/name on the Hub.")
    ] = "facegpt-nano",
    device: Annotated[str, typer.Option(help="Where the model runs, such as cpu or cuda.")] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """3D faces from words.

    Writes for each face a GLB, a JSON with all numbers, and a PNG, and one sheet that shows them all. What the model
    declines or does not understand is said in its own words, and the exit code is then 1.
    """
    with loading(model):
        from modeling_facegpt.dialogue import place_imagined

        from .checkpoints import load_checkpoint
        from .photograph_tasks import check_output

        quiet_transformers()
        check_output(output)
        checkpoint = load_checkpoint(model, device)
    seed = choose_seed(seed)
    settings: dict[str, Any] = {} if guidance_scale is None else {"guidance_scale": guidance_scale}
    with waiting("making faces"):
        drawn = checkpoint.model.imagine(
            _checked(prompt, checkpoint), checkpoint.processor, count=count, seed=seed, **settings
        )
        objection = _object(prompt, checkpoint)
    if objection:
        if as_json:
            print_json({"prompt": prompt, "seed": seed, "faces": [], "sheet": None, "declined": objection})
        typer.echo(f"facegpt: {objection}", err=True)
        raise typer.Exit(_DECLINED)
    with waiting("writing faces"):
        faces, sheet = write_faces(checkpoint, place_imagined(drawn), output)
    if as_json:
        print_json(_describe(prompt, seed, faces, sheet))
    with words_for_people(as_json):
        _report(prompt, seed, faces, sheet)


def _describe(prompt: str, seed: int, faces: list[FaceFiles], sheet: Path) -> dict[str, Any]:
    """For programs."""
    paths = [{kind: str(path) for kind, path in files._asdict().items()} for files in faces]
    return {"prompt": prompt, "seed": seed, "faces": paths, "sheet": str(sheet), "declined": None}


def _report(prompt: str, seed: int, faces: list[FaceFiles], sheet: Path) -> None:
    """For people."""
    from modeling_facegpt.photograph import shown_path

    count = "1 face" if len(faces) == 1 else f"{len(faces)} faces"
    typer.echo(f"{count} of {prompt!r}, seed {seed} (--seed {seed} makes them again)")
    for files in faces:
        typer.echo(f"  mesh     {shown_path(files.mesh)}")
    typer.echo(f"  sheet    {shown_path(sheet)}")


def write_faces(checkpoint: "Checkpoint", faces: "Reconstruction", output: Path) -> tuple[list[FaceFiles], Path]:
    """Write `face-1.glb`, `face-1.json`, `face-1.png` and so on, and the sheet of all -> the files of each face, and
    the sheet.

    Where a file has such a name that FaceGPT did not write, the result gets another.

    Args:
        checkpoint (`Checkpoint`): that made the faces.
        faces (`Reconstruction`): at least one face.
        output (`Path`): directory, made if missing.
    """
    from modeling_facegpt.files.export import encode_document, encode_mesh, encode_png
    from modeling_facegpt.files.result_document import describe_reconstruction
    from modeling_facegpt.files.result_files import free_path, write_files
    from modeling_facegpt.files.result_sheet import faces_sheet

    face_model = checkpoint.model.face_model
    contents: dict[Path, bytes] = {}
    written = []
    for number in range(len(faces.probability)):
        alone = _choose_face(faces, number)
        stem = output / f"face-{number + 1}"
        files = FaceFiles(
            mesh=free_path(stem.with_suffix(".glb"), "mesh"),
            numbers=free_path(stem.with_suffix(".json"), "numbers"),
            picture=free_path(stem.with_suffix(".png"), "sheet"),
        )
        document = describe_reconstruction(face_model, alone, photo=None, model=checkpoint.name)
        contents[files.mesh] = encode_mesh(face_model, alone, ".glb")
        contents[files.numbers] = encode_document(document)
        contents[files.picture] = encode_png(faces_sheet(face_model, alone))
        written.append(files)
    output.mkdir(parents=True, exist_ok=True)
    sheet = free_path(output / _SHEET, "of-faces")
    write_files({sheet: encode_png(faces_sheet(face_model, faces)), **contents})
    return written, sheet


def _checked(prompt: str, checkpoint: "Checkpoint") -> str:
    """The prompt, if the model can read it."""
    from modeling_facegpt.conversation import check_length, check_words

    words = check_words(prompt, checkpoint.processor.tokenizer)
    inputs = checkpoint.processor.tokenizer([words], return_tensors="pt")
    check_length(inputs["input_ids"], checkpoint.model.config.get_text_config(), 1)
    return words


def _object(prompt: str, checkpoint: "Checkpoint") -> str | None:
    """What the model says in place of a face: that it knows no such word, or that it makes nobody's likeness."""
    from modeling_facegpt.dialogue import Dialogue, answer_dialogues, no_faces, user_message

    asked = Dialogue((user_message(prompt, checkpoint.processor),), no_faces(checkpoint.model))
    [answer] = answer_dialogues(checkpoint.model, checkpoint.processor, [asked])
    return None if answer.references or not answer.text else answer.text


def _choose_face(faces: "Reconstruction", number: int) -> "Reconstruction":
    from modeling_facegpt.camera import Camera
    from modeling_facegpt.face_parameters import select_faces

    chosen = slice(number, number + 1)
    return faces._replace(
        camera=Camera(*(group[chosen] for group in faces.camera)),
        parameters=select_faces(faces.parameters, chosen),
        probability=faces.probability[chosen],
    )
