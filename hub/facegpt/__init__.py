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
"""FaceGPT under the name that it is installed by: `facegpt.load()`, and the public names of `modeling_facegpt`.

```python
import facegpt

model, processor = facegpt.load()
[faces] = model.reconstruct(["photo.jpg"], processor)
```

Nothing heavy is imported before it is asked for, so that `python -m facegpt --help` answers at once.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facegpt_hub.checkpoints import Checkpoint, CheckpointError, find_checkpoint

    from modeling_facegpt import (
        Answer,
        Camera,
        ChatSession,
        FaceChatPipeline,
        FaceGPTConfig,
        FaceGPTForConditionalGeneration,
        FaceGPTOutput,
        FaceGPTProcessor,
        FaceParameters,
        FaceSampling,
        Mesh,
        MorphableModel,
        MorphableModelConfig,
        Reconstruction,
        RenderOutput,
        Texture,
        UVMap,
        refine,
        render_group,
        render_mesh,
        supersample,
    )
    from modeling_facegpt.photograph import read_photograph

__version__ = version("facegpt")
__all__ = [
    "Answer",
    "Camera",
    "ChatSession",
    "Checkpoint",
    "CheckpointError",
    "FaceChatPipeline",
    "FaceGPTConfig",
    "FaceGPTForConditionalGeneration",
    "FaceGPTOutput",
    "FaceGPTProcessor",
    "FaceParameters",
    "FaceSampling",
    "Mesh",
    "MorphableModel",
    "MorphableModelConfig",
    "Reconstruction",
    "RenderOutput",
    "Texture",
    "UVMap",
    "find_checkpoint",
    "load",
    "read_photograph",
    "refine",
    "render_group",
    "render_mesh",
    "supersample",
]


def load(
    name: str = "facegpt-nano", device: str = "cpu"
) -> "tuple[FaceGPTForConditionalGeneration, FaceGPTProcessor]":
    """Model and processor of a checkpoint, ready to use; none of its code runs.

    Args:
        name (`str`): one that comes with FaceGPT, a directory, or `owner/name` on the Hub.
        device (`str`): where the model runs, such as `"cpu"` or `"cuda"`.

    Returns:
        The model, in evaluation mode and float32, and its processor.

    Raises:
        CheckpointError: a sentence that says why it cannot be loaded.
    """
    from facegpt_hub.checkpoints import load_checkpoint

    _, model, processor = load_checkpoint(name, device)
    return model, processor


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'facegpt' has no attribute {name!r}")
    import facegpt_hub.checkpoints as checkpoints

    import modeling_facegpt
    from modeling_facegpt import photograph

    return {**vars(photograph), **vars(modeling_facegpt), **vars(checkpoints)}[name]


def __dir__() -> list[str]:
    return __all__
