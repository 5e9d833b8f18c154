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
"""Publishing: half precision where it may be, the same faces after loading, and a card of the run's own facts."""

import json
from pathlib import Path

import pytest
import torch
from facegpt_hub.checkpoints import load_checkpoint
from facegpt_hub.publish import count_parameters, publish
from facegpt_hub.publish_code import travelling_files
from PIL import Image
from safetensors.torch import load_file

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor


@pytest.fixture
def run(eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    eager_facegpt.save_pretrained(directory)
    processor.save_pretrained(directory)
    config = {
        "output_dir": "runs/tiny",
        "pictures": 1234,
        "warm_up_pictures": 567,
        "photographs": None,
        "photograph_share": 0.0,
        "per_device_train_batch_size": 7,
        "learning_rate": 3e-4,
    }
    facts = {
        "config": config,
        "result": {"train_runtime": 120.0},
        "versions": {"python": "3.11", "torch": "2.13"},
        "host": {"processes": 2, "cpu_cores": 8, "threads": 1, "accelerators": 0, "accelerator": None},
        "seeds": {"weights": 42, "data": 6},
        "final_terms": {"text": 0.56078, "loss": 2.0},
    }
    (directory / "training.json").write_text(json.dumps(facts))
    return directory


def test_a_published_checkpoint_reconstructs_as_the_run_did(
    run: Path, eager_facegpt: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, tmp_path: Path
):
    evaluation = tmp_path / "renders.json"
    evaluation.write_text(json.dumps({"evaluation": "renders: tiny", "figures": {"vertex error, mm": 1.5}}))
    output = tmp_path / "published"
    publish([run], [evaluation], output)
    _, model, loaded = load_checkpoint(str(output))
    image = Image.new("RGB", (90, 120), (120, 90, 60))
    [ours], [theirs] = model.reconstruct([image], loaded), eager_facegpt.reconstruct([image], processor)
    for one, two in zip(ours.parameters, theirs.parameters, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0.05)
    state = load_file(output / "model.safetensors")
    assert state["face_head.output.weight"].dtype == torch.float16
    assert state["face_model.template"].dtype == torch.float32
    assert not state.keys() & eager_facegpt.all_tied_weights_keys.keys()  # a second copy of the embeddings
    assert {file.name for file in output.glob("*.py")} == {file.name for file in travelling_files()}
    card = (output / "README.md").read_text()
    assert "| tiny | 1,234 | none | 567 | 7 | 0.0003 | 2 |" in card
    assert "| renders | vertex error, mm | 1.50 |" in card
    assert "torch 2.13; 2 process(es) on 8 CPU cores; seeds: weights 42, data 6." in card
    assert "Loss terms at its end: text 0.561, loss 2." in card
    assert "which is what expression alone reaches" in card


def test_weights_that_two_layers_share_are_counted_once(eager_facegpt: FaceGPTForConditionalGeneration):
    others = sum(value.numel() for value in eager_facegpt.parameters())
    others -= sum(value.numel() for value in eager_facegpt.face_model.parameters())
    assert count_parameters(eager_facegpt) == others
    tied = eager_facegpt.get_input_embeddings().weight
    stored = sum(value.numel() for name, value in eager_facegpt.state_dict().items() if "face_model." not in name)
    assert eager_facegpt.get_output_embeddings().weight is tied and stored >= others + tied.numel()


def test_what_was_published_before_stays_until_all_is_written(run: Path, tmp_path: Path):
    output = tmp_path / "published"
    output.mkdir()
    (output / "README.md").write_text("before")
    (run / "training.json").unlink()
    with pytest.raises(FileNotFoundError):
        publish([run], [], output)
    assert [file.name for file in output.iterdir()] == ["README.md"]
    assert (output / "README.md").read_text() == "before"
