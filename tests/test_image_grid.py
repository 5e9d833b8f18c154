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
"""What a run leaves behind beside its weights: image grids, loss weights by step, facts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from facegpt_trainer.collator import FaceCollator
from facegpt_trainer.image_grid import CAPTION_HEIGHT, CAPTIONS, SHOWN_SIDE, choose_pictures, draw_grid, show_faces
from facegpt_trainer.pictures.data_engine import DataEngine
from facegpt_trainer.training import train
from facegpt_trainer.training_config import FaceGPTTrainingConfig
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor


@pytest.fixture
def looks(facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor) -> FaceCollator:
    return FaceCollator(processor, DataEngine(facegpt.face_model, 112, seed=0))


def run(model: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, output: Path, **settings: Any) -> Path:
    model.save_pretrained(output / "start")
    processor.save_pretrained(output / "start")
    config = FaceGPTTrainingConfig(
        model=str(output / "start"),
        output_dir=str(output / "run"),
        pictures=12,
        per_device_train_batch_size=3,
        num_train_epochs=1,
        learning_rate=1e-3,
        logging_steps=1,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        **settings,
    )
    return train(config)


def test_a_run_leaves_grids_and_facts_and_learns_as_without_them(
    facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path, monkeypatch
):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    schedules: dict[str, Any] = {"text": {0: 0.0, 4: 2.0}, "label_shape": {2: 1.0}}
    plain = run(facegpt, processor, tmp_path / "plain", report_to="none", loss_weight_schedules=schedules)
    shown = run(
        facegpt,
        processor,
        tmp_path / "shown",
        report_to="tensorboard",
        loss_weight_schedules=schedules,
        image_grid_steps=2,
    )
    grids = sorted(shown.glob("image_grid/*.png"))
    assert [grid.name for grid in grids] == ["step_0000002.png", "step_0000004.png"]
    assert Image.open(grids[0]).width == len(CAPTIONS) * SHOWN_SIDE
    events = EventAccumulator(str(next((shown / "runs").iterdir())), size_guidance={"images": 0}).Reload()
    assert [image.step for image in events.Images("image_grid")] == [2, 4]
    one, two = (load_file(output / "model.safetensors") for output in (plain, shown))
    assert all(torch.equal(one[name], two[name]) for name in one)
    weights = json.loads((shown / "config.json").read_text())["loss_weights"]
    assert weights["text"] == pytest.approx(1.5) and weights["label_shape"] == 1.0  # those of the last step, number 3
    facts = json.loads((shown / "training.json").read_text())
    assert facts["versions"]["torch"] == torch.__version__ and facts["host"]["processes"] == 1
    assert facts["seeds"] == {"weights": 42, "data": 0}
    assert facts["final_terms"]["text"] == [entry["text"] for entry in facts["log"] if "text" in entry][-1]
    assert {"loss", "label_shape"} <= set(facts["final_terms"]) and "train_runtime" not in facts["final_terms"]
    # The first step is taken without the term of words, the second with a quarter of its last weight.
    terms = [entry for entry in facts["log"] if "text" in entry]
    weights |= {"text": 0.0}
    assert terms[0]["loss"] == pytest.approx(
        sum(weights[name] * terms[0].get(name, 0.0) for name in weights), rel=1e-3
    )


def test_a_grid_shows_photograph_render_error_and_mask(facegpt: FaceGPTForConditionalGeneration, looks: FaceCollator):
    batch = choose_pictures(looks.draw(0, 24), 3)
    assert batch.close_up.all() and (batch.counts == 1).all() and len(batch.face_targets) == 3
    pictures = show_faces(facegpt.train(), looks, batch)
    assert facegpt.training
    assert torch.equal(pictures.photographs, batch.pictures)
    for values in (pictures.errors, pictures.masks):
        assert values.shape == (3, 1, 112, 112) and values.min() >= 0 and values.max() <= 1
    # Where there is no face there is no error; where there is most, trust is not.
    shown = pictures.masks > 0
    assert shown.any() and not pictures.errors[~shown].any()
    for error, mask in zip(pictures.errors, pictures.masks, strict=True):
        assert mask.flatten()[error.argmax()] < mask.max() or not error.any()
    grid = np.asarray(draw_grid(pictures))
    assert grid.shape == (CAPTION_HEIGHT + 3 * SHOWN_SIDE, 4 * SHOWN_SIDE, 3)
    first = grid[CAPTION_HEIGHT : CAPTION_HEIGHT + SHOWN_SIDE, :SHOWN_SIDE]
    middle = (255 * batch.pictures[0, :, 56, 56]).round()
    assert np.abs(first[84, 84].astype(int) - middle.numpy()).max() <= 1


def test_a_batch_without_close_ups_gives_no_rows(looks: FaceCollator):
    batch = looks.draw(0, 24)
    none = choose_pictures(batch._replace(close_up=torch.zeros_like(batch.close_up)), 4)
    assert len(none.pictures) == 0 and len(none.face_targets) == 0


def test_a_negative_number_of_steps_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="image_grid_steps=-1"):
        FaceGPTTrainingConfig(output_dir=str(tmp_path), image_grid_steps=-1)
