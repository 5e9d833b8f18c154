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
"""What a training run was: settings, versions, machine, seeds and results, for the model card and for whoever repeats
it."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RECORDED_PACKAGES = ("facegpt", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "numba")
NO_TERMS = ("epoch", "step", "learning_rate", "grad_norm")


def describe_run(
    config: Any, result: Mapping[str, Any], log: Sequence[Mapping[str, Any]], processes: int
) -> dict[str, Any]:
    """The facts of a run, ready for JSON; nothing in them names a person or a path outside the recipe.

    Args:
        config (`FaceGPTTrainingConfig`): the recipe with all defaults.
        result (`Mapping`): figures of the whole run, as `Trainer.train` gives them.
        log (`Sequence`): what was logged, step by step.
        processes (`int`): that trained together.
    """
    return {
        "config": config.to_dict(),
        "result": dict(result),
        "versions": package_versions(),
        "host": describe_host(processes),
        "seeds": {"weights": config.seed, "data": config.data_seed},
        "final_terms": final_terms(log),
        "log": list(log),
    }


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a run depends on; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe_host(processes: int) -> dict[str, Any]:
    """How much machine a run had: counts and kinds, no names."""
    accelerators = torch.cuda.device_count()
    return {
        "processes": processes,
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerators": accelerators,
        "accelerator": torch.cuda.get_device_name(0) if accelerators else None,
    }


def final_terms(log: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The last logged value of each loss term, by name."""
    terms: dict[str, float] = {}
    for entry in log:
        if "loss" not in entry:
            continue  # of an evaluation, or of the run as a whole
        terms |= {name: value for name, value in entry.items() if name not in NO_TERMS}
    return terms


def write_whole(path: Path, text: str) -> None:
    """A file that is there with all of its text or as it was before, whenever the process ends."""
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_text(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
