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
"""Loading checkpoints: whole and float32, or refused in one sentence."""

import ast
import json
import shutil
from pathlib import Path

import pytest
import torch
from facegpt_hub.checkpoints import CheckpointError, find_checkpoint, load_checkpoint
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="session")
def saved(tmp_path_factory, _facegpt, processor):
    directory = tmp_path_factory.mktemp("checkpoints") / "tiny"
    _facegpt.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


@pytest.fixture
def checkpoint(saved, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(saved, tmp_path / "tiny")


def change_weights(directory, change) -> None:
    weights = load_file(directory / "model.safetensors")
    change(weights)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def test_a_checkpoint_comes_back_as_it_was(saved, _facegpt):
    name, model, processor = load_checkpoint(str(saved))
    assert name == "tiny" and not model.training
    for key, value in _facegpt.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=0, atol=0)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert processor.face_token_id == model.config.face_token_id


def test_half_precision_weights_are_loaded_as_float32(checkpoint):
    def halve(weights):
        for key, value in weights.items():
            weights[key] = value.half() if value.is_floating_point() else value

    change_weights(checkpoint, halve)
    model = load_checkpoint(str(checkpoint)).model
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_packaged_checkpoints_come_first(saved, tmp_path, monkeypatch):
    packaged, checkout = tmp_path / "packaged", tmp_path / "checkout"
    monkeypatch.setattr("facegpt_hub.checkpoints._PACKAGED", packaged)
    monkeypatch.setattr("facegpt_hub.checkpoints._CHECKOUT", checkout)
    monkeypatch.chdir(saved.parent)
    assert find_checkpoint("tiny").resolve() == saved
    shutil.copytree(saved, checkout / "tiny")
    assert find_checkpoint("tiny") == checkout / "tiny"
    shutil.copytree(saved, packaged / "tiny")
    assert find_checkpoint("tiny") == packaged / "tiny"
    assert load_checkpoint("tiny").name == "tiny"


def face_head_key(weights) -> str:
    return next(key for key in weights if key.startswith("face_head."))


def drop(weights):
    del weights[face_head_key(weights)]


def resize(weights):
    weights[face_head_key(weights)] = torch.zeros(3, 3)


def add(weights):
    weights["face_head.surprise"] = torch.zeros(2)


@pytest.mark.parametrize(
    ("change", "words"), [(drop, "are missing"), (resize, "have another size"), (add, "are unknown")]
)
def test_weights_that_do_not_fit_are_named_and_refused(checkpoint, change, words):
    change_weights(checkpoint, change)
    with pytest.raises(CheckpointError, match=rf"1 of its weights {words} \(face_head\.") as caught:
        load_checkpoint(str(checkpoint))
    assert "\n" not in str(caught.value)


def remove_weights(directory):
    (directory / "model.safetensors").unlink()


def cut_weights(directory):
    content = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(content[: len(content) // 2])


def remove_config(directory):
    (directory / "config.json").unlink()


def break_config(directory):
    (directory / "config.json").write_text("{ not json")


def use_another_model(directory):
    (directory / "config.json").write_text(json.dumps({"model_type": "bert"}))


def remove_processor(directory):
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (directory / name).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove_weights, "has no weights"),
        (cut_weights, "weights of checkpoint .* cannot be loaded"),
        (remove_config, "holds no config.json"),
        (break_config, "configuration of checkpoint .* cannot be read"),
        (use_another_model, "is a 'bert' model"),
        (remove_processor, "processor of checkpoint .* cannot be loaded"),
        (shutil.rmtree, "there is no checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_sentence(checkpoint, damage, words):
    damage(checkpoint)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_checkpoint(str(checkpoint))
    assert "\n" not in str(caught.value)


def test_a_text_file_is_no_checkpoint(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("weights: later")
    with pytest.raises(CheckpointError, match="notes.txt is a file"):
        load_checkpoint(str(path))


def test_a_hub_name_without_network(monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise OSError("no route\nto host")

    monkeypatch.setattr("facegpt_hub.checkpoints.snapshot_download", unreachable)
    with pytest.raises(CheckpointError, match=r"the Hub cannot be reached \(no route to host\)"):
        load_checkpoint("somebody/something")
    with pytest.raises(CheckpointError, match="there is no checkpoint nothing"):
        load_checkpoint("nothing")


def test_an_unknown_device(saved):
    with pytest.raises(CheckpointError, match="device"):
        load_checkpoint(str(saved), "abacus")


STRANGE_CODE = """
from pathlib import Path
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin
Path(__file__).with_name("ran").touch()
Path({mark!r}).touch()


class Strange(PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin):
    pass
"""
STRANGE_CLASSES = ("AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoTokenizer", "AutoProcessor")
REPOSITORY = Path(__file__).parents[1]


def point_to_code(path: Path, part: str | None = None, **changes) -> None:
    """Let a file of settings, or a part of it, name code that lies beside it for everything."""
    settings = json.loads(path.read_text()) if path.is_file() else {}
    changed = settings if part is None else settings[part]
    changed |= {"auto_map": dict.fromkeys(STRANGE_CLASSES, "strange.Strange"), **changes}
    path.write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("file", "part", "changes", "words"),
    [
        ("config.json", None, {}, None),
        ("config.json", None, {"model_type": "strange"}, "is a 'strange' model"),
        ("config.json", "vlm_config", {}, None),
        ("tokenizer_config.json", None, {}, None),
        ("tokenizer_config.json", None, {"tokenizer_class": "Strange"}, "processor of checkpoint"),
        ("processor_config.json", None, {}, None),
        ("processor_config.json", None, {"vlm_processor_class": "Strange"}, "vlm_processor_class"),
        ("preprocessor_config.json", None, {}, None),
    ],
)
def test_code_in_a_checkpoint_never_runs(checkpoint, tmp_path, monkeypatch, file, part, changes, words):
    """Nor is anybody asked whether it may: a checkpoint is data."""
    mark, asked = tmp_path / "ran", []
    (checkpoint / "strange.py").write_text(STRANGE_CODE.format(mark=str(mark)))
    point_to_code(checkpoint / file, part, **changes)
    monkeypatch.setattr("builtins.input", lambda *question: asked.append(question) or "y")
    if words is None:
        load_checkpoint(str(checkpoint))
    else:
        with pytest.raises(CheckpointError, match=words) as caught:
            load_checkpoint(str(checkpoint))
        assert "trust_remote_code" not in str(caught.value)
    assert not mark.exists() and not asked


def loading_calls() -> list:
    """Every call of `from_pretrained` in what is installed; adapters of PEFT carry no code."""
    folders = ("modeling_facegpt", "trainer", "hub/facegpt_hub", "examples")
    calls = []
    for file in (path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value)
                if node.func.attr == "from_pretrained" and owner not in ("super()", "processor_class", "PeftModel"):
                    calls.append(pytest.param(node, id=f"{file.stem}:{node.lineno}"))
    return calls


@pytest.mark.parametrize("call", loading_calls())
def test_everything_is_loaded_without_its_code(call: ast.Call):
    """But for a model's own processor, which may run what the model may."""
    settings = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert (
        settings.get("trust_remote_code") == "False"
        or settings.get(None)
        in ("_AS_DATA", "self.processor_source.settings")  # of modeling_facegpt, pretrained_mixin
    ), ast.unparse(call)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vlm_config.text_config.num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, and such a size"),
        ({"vlm_config.text_config.num_hidden_layers": 10**4}, "num_hidden_layers is 10000, and the weights are"),
        ({"vlm_config.vision_config.image_size": 10**12}, "image_size is 1000000000000"),
        ({"vlm_config.text_config.hidden_size": -5}, "hidden_size is -5"),
        ({"vlm_config.text_config.intermediate_size": 10**6}, "asks for .* numbers, and the files hold"),
        ({"vlm_config.text_config.rms_norm_eps": float("inf")}, "rms_norm_eps is inf"),
        ({"face_model_config.num_vertices": 10**9}, "num_vertices is 1000000000"),
    ],
)
def test_settings_that_no_model_has_are_refused_at_once(checkpoint, change, words):
    settings = json.loads((checkpoint / "config.json").read_text())
    for name, value in change.items():
        *rooms, last = name.split(".")
        inner = settings
        for room in rooms:
            inner = inner[room]
        inner[last] = value
    (checkpoint / "config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=words) as caught:
        load_checkpoint(str(checkpoint))
    assert "\n" not in str(caught.value)


def test_long_reasons_end_at_a_word(checkpoint, monkeypatch):
    def fail(*arguments, **settings):
        raise RuntimeError("reason\nafter reason " * 60)

    monkeypatch.setattr("facegpt_hub.checkpoints.FaceGPTProcessor.from_pretrained", fail)
    with pytest.raises(CheckpointError, match=r"\(reason after reason .* (reason|after) \.\.\.\)$"):
        load_checkpoint(str(checkpoint))
