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
"""From a training run to what is published: weights at half precision, processor, code, and a card made from facts.

`python -m facegpt_hub.publish RUN… --evaluations FILE… --output DIRECTORY` takes the weights of the last run, and what
the card says from every run (`training.json`) and every evaluation (`facegpt evaluate … --json FILE`).
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from string import Template
from typing import Any

import torch
from torch import Tensor

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor
from modeling_facegpt.morphable_model import HALF_PRECISION_BUFFERS

from .publish_code import NANO_DIRECTORY, write_code_copy

CARD = Template(Path(__file__).with_name("card.md").read_text())


def publish(runs: list[Path], evaluations: list[Path], output: Path) -> None:
    """Write the checkpoint of the last of `runs` into `output`, replacing what is there only when all is written."""
    with tempfile.TemporaryDirectory(dir=output.parent) as name:
        staged = Path(name) / "checkpoint"
        write_checkpoint(runs[-1], staged)
        (staged / "README.md").write_text(write_card(staged, runs, evaluations))
        output.mkdir(parents=True, exist_ok=True)
        for file in staged.iterdir():
            shutil.move(file, output / file.name)


def write_checkpoint(run: Path, output: Path) -> None:
    """Weights, configuration, processor and code of a run."""
    model = FaceGPTForConditionalGeneration.from_pretrained(run, dtype=torch.float32, trust_remote_code=False)
    state = {name: _for_disk(name, value) for name, value in model.state_dict().items()}
    model.save_pretrained(output, state_dict=state)
    FaceGPTProcessor.from_pretrained(run, trust_remote_code=False).save_pretrained(output)
    write_code_copy(output)


def _for_disk(name: str, value: Tensor) -> Tensor:
    """Half precision where it is precise enough: not for positions on the face and running statistics."""
    is_statistic = "running_" in name or not value.is_floating_point()
    if is_statistic or (name.startswith("face_model.") and name.split(".")[-1] not in HALF_PRECISION_BUFFERS):
        return value
    return value.half()


def write_card(checkpoint: Path, runs: list[Path], evaluations: list[Path]) -> str:
    """The model card, every number of it from files that the runs and evaluations wrote."""
    facts = [json.loads((run / "training.json").read_text()) for run in runs]
    tables = [json.loads(path.read_text()) for path in evaluations]
    model = FaceGPTForConditionalGeneration.from_pretrained(checkpoint, trust_remote_code=False)
    return CARD.substitute(
        parameters=f"{count_parameters(model) / 1e6:.1f}",
        size=f"{(checkpoint / 'model.safetensors').stat().st_size / 1e6:.1f}",
        runs="\n".join(_run_row(fact) for fact in facts),
        facts=_run_facts(facts[-1]),
        figures="\n".join(row for table in tables for row in _figure_rows(table)),
    )


def count_parameters(model: FaceGPTForConditionalGeneration) -> int:
    """Weights that training moves, those that two layers share once; neither the 3DMM's nor statistics of norms."""
    return sum(weights.numel() for name, weights in model.named_parameters() if not name.startswith("face_model."))


def _run_row(facts: dict[str, Any]) -> str:
    config, result = facts["config"], facts["result"]
    photographs = f"{config['photograph_share']:.0%}" if config["photographs"] else "none"
    minutes = result["train_runtime"] / 60
    return (
        f"| {Path(config['output_dir']).name} | {config['pictures']:,} | {photographs} | "
        f"{config['warm_up_pictures']:,} | {config['per_device_train_batch_size']} | "
        f"{config['learning_rate']:g} | {minutes:.0f} |"
    )


def _run_facts(facts: dict[str, Any]) -> str:
    """Software, machine, seeds and last loss terms of a run; nothing of runs from before they were written down."""
    if "versions" not in facts:
        return ""
    host = facts["host"]
    software = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    seeds = ", ".join(f"{name} {seed}" for name, seed in facts["seeds"].items())
    terms = ", ".join(f"{name} {value:.3g}" for name, value in facts["final_terms"].items())
    machine = f"{host['processes']} process(es) on {host['cpu_cores']} CPU cores"
    if host["accelerators"]:
        machine += f" and {host['accelerators']} x {host['accelerator']}"
    return f"Last run: {software}; {machine}; seeds: {seeds}. Loss terms at its end: {terms}."


def _figure_rows(table: dict[str, Any]) -> list[str]:
    evaluation = table["evaluation"].split(":")[0]
    return [f"| {evaluation} | {name} | {value:.2f} |" for name, value in table["figures"].items()]


def main() -> None:
    parser = argparse.ArgumentParser(description="write a checkpoint with its code and its card")
    parser.add_argument("runs", nargs="+", type=Path, help="output directories of training, in order")
    parser.add_argument("--evaluations", nargs="*", default=[], type=Path, help="files of facegpt evaluate --json")
    parser.add_argument("--output", type=Path, default=NANO_DIRECTORY)
    arguments = parser.parse_args()
    publish(arguments.runs, arguments.evaluations, arguments.output)


if __name__ == "__main__":
    main()
