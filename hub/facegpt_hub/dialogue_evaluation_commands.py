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

from .evaluation_commands import DEFAULT, Facts, Model, app, print_figures

if TYPE_CHECKING:
    from facegpt_trainer.evaluation.dialogues import Talker

Count = Annotated[int, typer.Option(min=1, help="How many are asked.")]
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
    facts: Facts = None,
) -> None:
    """Faces from explicit descriptions: whether what was named is on the mesh, in held-out wordings."""
    _requests("prompts", model, requests, guidance_scale, baseline, facts)


@app.command()
def situations(
    model: Model = DEFAULT,
    requests: Count = 200,
    guidance_scale: Guidance = None,
    baseline: Baseline = None,
    facts: Facts = None,
) -> None:
    """Faces from situations that training never saw: whether the right expression is the strongest on the mesh."""
    _requests("situations", model, requests, guidance_scale, baseline, facts)


@app.command()
def edits(model: Model = DEFAULT, count: Count = 200, facts: Facts = None) -> None:
    """Edits of given faces: done, nothing else changed, undone exactly."""
    from facegpt_trainer.evaluation.edits import evaluate_edits

    print_figures(f"edits: {model}", evaluate_edits(_load(model), edits=count), facts)


@app.command()
def references(model: Model = DEFAULT, pictures: Count = 200, facts: Facts = None) -> None:
    """Faces that words name, of two to five in held-out renders."""
    from facegpt_trainer.evaluation.dialogues import evaluate_references

    print_figures(f"references: {model}", evaluate_references(_load(model), pictures=pictures), facts)


@app.command()
def questions(model: Model = DEFAULT, pictures: Count = 300, facts: Facts = None) -> None:
    """Questions on faces of held-out renders and on given faces, by topic."""
    from facegpt_trainer.evaluation.dialogues import evaluate_questions

    print_figures(f"questions: {model}", evaluate_questions(_load(model), pictures=pictures), facts)


@app.command()
def general(model: Model = DEFAULT, pictures: Count = 300, facts: Facts = None) -> None:
    """Questions on drawn shapes; run it on the checkpoint from before face training, too."""
    from facegpt_trainer.evaluation.dialogues import evaluate_general

    figures = evaluate_general(_load(model, about_faces=False), pictures=pictures)
    print_figures(f"general: {model}", figures, facts)


@app.command()
def emission(model: Model = DEFAULT, dialogues: Count = 400, facts: Facts = None) -> None:
    """Whether a face is answered where one is asked for, and nowhere else."""
    from facegpt_trainer.evaluation.dialogues import evaluate_emission

    print_figures(f"emission: {model}", evaluate_emission(_load(model), dialogues=dialogues), facts)


@app.command()
def smiles(
    data: Annotated[Path, typer.Option(help="Folder of the Face Research Lab London Set.")],
    model: Model = DEFAULT,
    facts: Facts = None,
) -> None:
    """Smiling against neutral photographs, in words and on the mesh."""
    from facegpt_trainer.evaluation.smiles import evaluate_smiles

    print_figures(f"smiles: {model}", evaluate_smiles(_load(model), data), facts)


def _requests(
    kind: str, model: str, requests: int, guidance_scale: float | None, baseline: Path | None, facts: Path | None
) -> None:
    from facegpt_trainer.evaluation.dialogues import evaluate_prompts, evaluate_situations, imagining

    evaluate = {"prompts": evaluate_prompts, "situations": evaluate_situations}[kind]
    talker = _load(model)
    figures = evaluate(imagining(talker, guidance_scale), talker.measurer, requests=requests)
    if baseline is not None:
        from facegpt_trainer.evaluation.text_baseline import load_baseline

        theirs = evaluate(load_baseline(baseline), talker.measurer, requests=requests)
        figures |= {f"text encoder alone, {name}": value for name, value in theirs.items()}
    print_figures(f"{kind}: {model}", figures, facts)


def _load(model: str, *, about_faces: bool = True) -> "Talker":
    """A checkpoint; one that does not talk about faces is refused where it must."""
    from facegpt_trainer.evaluation.dialogues import Talker
    from transformers.utils import logging

    from modeling_facegpt.face_measurements import FaceMeasurer

    from .checkpoints import load_checkpoint

    logging.disable_progress_bar()
    loaded = load_checkpoint(model)
    if about_faces and not loaded.model.config.dialogue_hidden_size:
        raise ValueError(
            f"got {model}, which was not trained on dialogues about faces; name a checkpoint that was (nano_chat.yaml)"
        )
    return Talker(loaded.model, loaded.processor, FaceMeasurer(loaded.model.face_model))
