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
"""`facegpt evaluate uncertainty` and `facegpt calibrate`: how honest a checkpoint's standard deviations are."""

import json
from typing import Annotated

import typer

from .evaluation_commands import DEFAULT, Facts, Model, show
from .evaluation_commands import app as evaluation


@evaluation.command()
def uncertainty(
    model: Model = DEFAULT,
    pictures: int = 600,
    calibrated: Annotated[
        bool, typer.Option(help="Calibrate on other renders first, as `facegpt calibrate` does, without saving.")
    ] = False,
    facts: Facts = None,
) -> None:
    """How many true values 90 % intervals cover, and whether errors fall as confidence rises, on held-out renders."""
    from facegpt_trainer.evaluation.calibration import calibrate as fit
    from facegpt_trainer.evaluation.calibration import evaluate_uncertainty

    title = "uncertainty, calibrated" if calibrated else "uncertainty"
    show(
        title,
        model,
        "cpu",
        facts,
        lambda loaded: evaluate_uncertainty(
            fit(*loaded, pictures=pictures) if calibrated else loaded[0], loaded[1], pictures=pictures
        ),
    )


def calibrate(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint: a name or a directory.", show_default=False)],
    pictures: Annotated[int, typer.Option(min=10, help="Renders of one face to calibrate on.")] = 600,
) -> None:
    """Make 90 % intervals cover 90 %: fits what is added to the log-variances, and writes it into config.json."""
    from facegpt_trainer.evaluation.calibration import calibrate as fit
    from transformers.utils import logging

    from modeling_facegpt.files.export import encode_document, write_files

    from .checkpoints import find_checkpoint, load_checkpoint

    logging.disable_progress_bar()
    path = find_checkpoint(checkpoint) / "config.json"
    loaded = load_checkpoint(checkpoint)
    offset = fit(loaded.model, loaded.processor, pictures=pictures).config.log_variance_offset
    # Of the file, only this changes: what the weights are and how they are stored stays as it was said.
    written = {**json.loads(path.read_text()), "log_variance_offset": offset}
    write_files({path: encode_document(written)})
    typer.echo(f"calibrated on {pictures} renders: {path}")
