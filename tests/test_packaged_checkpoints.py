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
"""What comes with FaceGPT is found by its name from every directory; other names stay as they are."""

from pathlib import Path

import pytest
import yaml
from facegpt_trainer import packaged_checkpoints
from facegpt_trainer.packaged_checkpoints import locate_checkpoint
from facegpt_trainer.start import Start, load_start
from facegpt_trainer.training_config import FaceGPTTrainingConfig

RECIPES = Path(packaged_checkpoints.__file__).parent / "recipes"


def test_the_package_comes_first_then_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    places = tmp_path / "packaged", tmp_path / "checkout"
    monkeypatch.setattr(packaged_checkpoints, "PLACES", places)
    for place in reversed(places):
        assert locate_checkpoint("head") in ("head", str(places[1] / "head"))
        (place / "head").mkdir(parents=True)
        (place / "head" / "config.json").touch()
        assert locate_checkpoint("head") == str(place / "head")
    assert locate_checkpoint("owner/name") == "owner/name" and locate_checkpoint("") == ""


def test_a_training_starts_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the default 3DMM; `hub/anny-head` was a path of the checkout and, elsewhere, a name on the Hub."""
    monkeypatch.chdir(tmp_path)
    model, _ = load_start(Start())
    assert model.face_model.config.num_identity == 120 and model.face_model.template.abs().amax() > 0.05


def test_no_recipe_and_no_default_names_a_path_of_the_checkout():
    named = [FaceGPTTrainingConfig.face_model, Start().face_model]
    for recipe in RECIPES.glob("*.yaml"):
        settings = yaml.safe_load(recipe.read_text())
        named += [str(settings.get(name)) for name in ("face_model", "vlm")]
    assert not [name for name in named if name.startswith("hub/")]
