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
"""The processor that lies beside a model's weights: where that is, is remembered when the model is loaded."""

from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from .processing_facegpt import FaceGPTProcessor

# What says from where, and of which version, a checkpoint's files are taken, and whether its code may run.
REMEMBERED = ("cache_dir", "local_files_only", "revision", "subfolder", "trust_remote_code")


class ProcessorSource(NamedTuple):
    """Where a model was loaded from."""

    name: str  # a directory by its whole path, or a name on the Hub
    settings: dict[str, Any]  # of `from_pretrained`


class LoadsProcessor:
    """A model that finds its own processor again: of the same revision, and from another working directory too."""

    processor_source: ProcessorSource | None = None

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | PathLike | None, *model_args: Any, **kwargs: Any
    ) -> Any:
        """As of any model of transformers."""
        given = {name: kwargs[name] for name in REMEMBERED if kwargs.get(name) is not None}
        loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)  # type: ignore[misc]
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if pretrained_model_name_or_path is not None:
            # A directory's path is looked up now: the working directory may be another one later.
            directory = Path(pretrained_model_name_or_path)
            name = directory.resolve() if directory.is_dir() else pretrained_model_name_or_path
            model.processor_source = ProcessorSource(str(name), given)
        return loaded

    def load_processor(self) -> FaceGPTProcessor:
        """The processor that was saved beside this model.

        Raises:
            ValueError: if this model was not loaded from anywhere.
        """
        if self.processor_source is None:
            raise ValueError(
                "got no processor, and this model was not loaded by from_pretrained, so that none lies beside it; "
                "give the processor"
            )
        return FaceGPTProcessor.from_pretrained(self.processor_source.name, **self.processor_source.settings)
