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
"""`facegpt evaluate prompts`, `situations`, `edits`, `references`, `questions`, `general`, `emission` and `smiles`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .evaluation_commands import DEFAULT, Count, Device, Facts, Model, Seed, app, load, print_figures
from .waiting import loading

if TYPE_CHECKING:
    from facegpt_trainer.evaluation.dialogues import Talker

Guidance = Annotated[float | None, typer.Option(min=0, help="Guidance scale; default: the checkpoint's.")]
Baseline = Annotated[
    Path | None, typer.Option(help="Trained text encoder without a vision-language model, judged beside it.")
]


@app.command()
def prompts(
    model: Model = DEFAULT,
    requests: Count = 200,
    guidance_scale: Guidance = None,
    baseline: Baseline = None,
    seed: Seed = 0,
    device: Device = "cpu",
    facts: Facts = None,
) -> None:
    """Faces from explicit descriptions: whether what was named is on the mesh, in held-out wordings."""
    _requests("prompts", model, requests, guidance_scale, baseline, seed, device, facts)


@app.command()
def situations(
    model: Model = DEFAULT,
    requests: Count = 200,
    guidance_scale: Guidance = None,
    baseline: Baseline = None,
    seed: Seed = 0,
    device: Device = "cpu",
    facts: Facts = None,
) -> None:
    """Faces from situations that training never saw: whether the right expression is the strongest on the mesh."""
    _requests("situations", model, requests, guidance_scale, baseline, seed, device, facts)


@app.command()
def edits(
    model: Model = DEFAULT, count: Count = 200, seed: Seed = 0, device: Device = "cpu", facts: Facts = None
) -> None:
    """Edits of given faces: done, nothing else changed, undone exactly."""
    with loading(model):
        from facegpt_trainer.evaluation.edits import evaluate_edits

        talker = _load(model, device)
    print_figures(f"edits: {model}", evaluate_edits(talker, edits=count, seed=seed), facts)


@app.command()
def references(
    model: Model = DEFAULT, pictures: Count = 200, seed: Seed = 0, device: Device = "cpu", facts: Facts = None
) -> None:
    """Faces that words name, of two to five in held-out renders."""
    with loading(model):
        from facegpt_trainer.evaluation.dialogues import evaluate_references

        talker = _load(model, device)
    print_figures(f"references: {model}", evaluate_references(talker, pictures=pictures, seed=seed), facts)


@app.command()
def questions(
    model: Model = DEFAULT, pictures: Count = 300, seed: Seed = 0, device: Device = "cpu", facts: Facts = None
) -> None:
    """Questions on faces of held-out renders and on given faces, by topic."""
    with loading(model):
        from facegpt_trainer.evaluation.dialogues import evaluate_questions

        talker = _load(model, device)
    print_figures(f"questions: {model}", evaluate_questions(talker, pictures=pictures, seed=seed), facts)


@app.command()
def general(
    model: Model = DEFAULT, pictures: Count = 300, seed: Seed = 0, device: Device = "cpu", facts: Facts = None
) -> None:
    """Questions on drawn shapes; run it on the checkpoint from before face training, too."""
    with loading(model):
        from facegpt_trainer.evaluation.dialogues import evaluate_general

        talker = _load(model, device, about_faces=False)
    print_figures(f"general: {model}", evaluate_general(talker, pictures=pictures, seed=seed), facts)


@app.command()
def emission(
    model: Model = DEFAULT, dialogues: Count = 400, seed: Seed = 0, device: Device = "cpu", facts: Facts = None
) -> None:
    """Whether a face is answered where one is asked for, and nowhere else."""
    with loading(model):
        from facegpt_trainer.evaluation.dialogues import evaluate_emission

        talker = _load(model, device)
    print_figures(f"emission: {model}", evaluate_emission(talker, dialogues=dialogues, seed=seed), facts)


@app.command()
def smiles(
    data: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder of the Face Research Lab London Set.")
    ],
    model: Model = DEFAULT,
    device: Device = "cpu",
    facts: Facts = None,
) -> None:
    """Smiling against neutral photographs, in words and on the mesh."""
    with loading(model):
        from facegpt_trainer.evaluation.smiles import evaluate_smiles

        talker = _load(model, device)
    print_figures(f"smiles: {model}", evaluate_smiles(talker, data), facts)


def _requests(
    kind: str,
    model: str,
    requests: int,
    guidance_scale: float | None,
    baseline: Path | None,
    seed: int,
    device: str,
    facts: Path | None,
) -> None:
    with loading(model):
        from facegpt_trainer.evaluation.dialogues import evaluate_prompts, evaluate_situations, imagining

        talker = _load(model, device)
        evaluate = {"prompts": evaluate_prompts, "situations": evaluate_situations}[kind]
    figures = evaluate(imagining(talker, guidance_scale, seed), talker.measurer, requests=requests, seed=seed)
    if baseline is not None:
        from facegpt_trainer.evaluation.text_baseline import load_baseline

        theirs = evaluate(load_baseline(baseline, seed), talker.measurer, requests=requests, seed=seed)
        figures |= {f"text encoder alone, {name}": value for name, value in theirs.items()}
    print_figures(f"{kind}: {model}", figures, facts)


def _load(model: str, device: str, *, about_faces: bool = True) -> "Talker":
    """A checkpoint; one that does not talk about faces is refused where it must."""
    from facegpt_trainer.evaluation.dialogues import Talker
    from facegpt_trainer.evaluation.held_out import face_model_on_cpu

    from modeling_facegpt.face_measurements import FaceMeasurer

    loaded = load(model, device)
    if about_faces and not loaded.model.config.dialogue_hidden_size:
        raise ValueError(
            f"got {model}, which was not trained on dialogues about faces; name a checkpoint that was (nano_chat.yaml)"
        )
    return Talker(loaded.model, loaded.processor, FaceMeasurer(face_model_on_cpu(loaded.model)))
