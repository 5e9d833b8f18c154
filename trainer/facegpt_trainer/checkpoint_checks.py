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
"""Whether a checkpoint and what a recipe wants to do with it belong together."""

import json
from pathlib import Path
from typing import Any

from modeling_facegpt.configuration_facegpt import FaceGPTConfig, MorphableModelConfig

from .recipe_checks import MOST_NAMED

# What says how a 3DMM's numbers are to be read; all else of its configuration is about files.
BOOKKEEPING = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "auto_map")
TEXT_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers")


def check_face_model(checkpoint: str, config: FaceGPTConfig, face_model: str) -> None:
    """Raise `ValueError` unless a checkpoint was built on the 3DMM that is asked for.

    Args:
        checkpoint (`str`): its name, for the message.
        config (`FaceGPTConfig`): its configuration.
        face_model (`str`): path or Hub id of the `MorphableModel`.
    """
    wanted = MorphableModelConfig.from_pretrained(face_model, trust_remote_code=False)
    if different := _differences(_plain(config.face_model_config), _plain(wanted)):
        raise ValueError(
            f"got the checkpoint {checkpoint} of another 3DMM than {face_model} ({different}); leave face_model out, "
            "or start from a checkpoint of that one"
        )


def check_goes_on(checkpoint: str, config: FaceGPTConfig) -> None:
    """Raise `ValueError` if a run's last checkpoint is of another model than the run starts from.

    Args:
        checkpoint (`str`): directory of the last checkpoint; one without a configuration, as of adapters, passes.
        config (`FaceGPTConfig`): of the model to train.
    """
    path = Path(checkpoint) / "config.json"
    if not path.is_file():
        return
    last = FaceGPTConfig.from_dict(json.loads(path.read_text()))
    pairs = [
        (_plain(last.face_model_config), _plain(config.face_model_config)),
        *(tuple({name: getattr(one.get_text_config(), name) for name in TEXT_SIZES} for one in (last, config)),),
        ({"dialogue_hidden_size": last.dialogue_hidden_size}, {"dialogue_hidden_size": config.dialogue_hidden_size}),
    ]
    if different := "; ".join(filter(None, (_differences(*pair) for pair in pairs))):
        raise ValueError(
            f"got {checkpoint}, which is of another model than this run starts from ({different}); give another "
            "output_dir, or the start that it was begun with"
        )


def _plain(config: Any) -> dict[str, Any]:
    # Through JSON, as what is read from files has lists for tuples.
    return json.loads(json.dumps({name: value for name, value in config.to_dict().items() if name not in BOOKKEEPING}))


def _differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    told = [f"{name} {_short(there.get(name))} and not {_short(here.get(name))}" for name in names[:MOST_NAMED]]
    return ", ".join(told) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
