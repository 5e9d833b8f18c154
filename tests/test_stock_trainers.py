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
"""Trainers that know nothing of FaceGPT: `Trainer` resumes exactly, `SFTTrainer` is told that it trains no face."""

import copy
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch import Tensor
from transformers import Trainer, TrainingArguments
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor
from modeling_facegpt.pretrained_mixin import NO_FACES_LEARNED

SETTINGS = {
    "per_device_train_batch_size": 2,
    "learning_rate": 1e-3,
    "use_cpu": True,
    "report_to": "none",
    "disable_tqdm": True,
    "remove_unused_columns": False,
}


class Questions:
    """Pictures and answers with a face, by their numbers."""

    def __init__(self, processor: FaceGPTProcessor):
        self.processor = processor

    def __call__(self, rows: list[dict]) -> dict[str, Tensor]:
        pictures = torch.stack(
            [torch.rand(3, 112, 112, generator=torch.Generator().manual_seed(row["number"])) for row in rows]
        )
        answer = {"role": "assistant", "content": "<FACE>"}
        dialogues = [[*self.processor.reconstruct_messages(), answer]] * len(rows)
        inputs = self.processor(pictures=pictures, messages=dialogues)
        return {**inputs, "labels": inputs["input_ids"].clone()}


def train(model: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, output: Path, **settings) -> Trainer:
    resume = settings.pop("resume", None)
    arguments = TrainingArguments(output_dir=str(output), **{**SETTINGS, **settings})
    data = Dataset.from_dict({"number": range(8)})
    trainer = Trainer(model, arguments, data_collator=Questions(processor), train_dataset=data)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_any_trainer_resumes(facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path):
    """From weights on disk, into a model that was just built: the backbone goes on, and does not start again."""
    whole = train(copy.deepcopy(facegpt), processor, tmp_path / "run", max_steps=4, save_steps=2).model
    cut = tmp_path / "run" / "checkpoint-2"
    assert load_file(cut / "model.safetensors").keys() <= facegpt.state_dict().keys()
    resumed = train(copy.deepcopy(facegpt), processor, tmp_path / "again", max_steps=4, resume=str(cut)).model
    for (name, one), two in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0, msg=name)
    back = FaceGPTForConditionalGeneration.from_pretrained(tmp_path / "run" / "checkpoint-4")
    for (name, one), two in zip(whole.state_dict().items(), back.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0, msg=name)


def test_a_trainer_that_passes_the_faces_by_is_named(
    facegpt: FaceGPTForConditionalGeneration,
    processor: FaceGPTProcessor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    cast(Any, logging.get_logger()).warning_once.cache_clear()
    monkeypatch.setattr(logging.get_logger("transformers"), "propagate", True)
    settings = {name: value for name, value in SETTINGS.items() if name != "remove_unused_columns"}
    config = SFTConfig(str(tmp_path), max_steps=1, bf16=False, max_length=None, **settings)
    data = Dataset.from_dict({"text": ["A man: <FACE>"] * 2})
    SFTTrainer(facegpt, config, train_dataset=data, processing_class=processor.tokenizer).train()
    assert caplog.text.count(NO_FACES_LEARNED) == 1
