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
"""Faces in: parameters of a given or an earlier face, added to the embedding of its `<FACE>` token.

Embeddings are made inside the vision-language model, whichever that is, so they are reached by a forward hook on its
embedding layer. Each face is known by its place in the batch, and the hook keeps count of what was embedded: it serves
a batch that is read at once, a prompt that is read in pieces, and an answer that grows token by token.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .camera import default_picture_cameras
from .configuration_facegpt import FaceGPTConfig, MorphableModelConfig
from .face_head import bounded_code, encode
from .face_parameters import parameter_sizes, vector_to_parameters
from .module_state import FullPrecisionModule


class FacePlaces(NamedTuple):
    """Where the M `<FACE>` tokens of a batch stand, row by row in reading order."""

    rows: Tensor  # (M,)
    columns: Tensor  # (M,)
    orders: Tensor  # (M,) which of its row's faces each is, from 0


def find_faces(input_ids: Tensor, face_token_id: int) -> FacePlaces:
    """The places of the `<FACE>` tokens in `input_ids` `(B, T)`."""
    is_face = input_ids == face_token_id
    rows, columns = is_face.nonzero(as_tuple=True)
    return FacePlaces(rows, columns, is_face.cumsum(-1)[rows, columns] - 1)


def check_given_faces(given_faces: Tensor, faces: int, config: MorphableModelConfig) -> None:
    """One row of parameters per `<FACE>`, else a `ValueError` says so."""
    size = sum(parameter_sizes(config))
    if given_faces.shape != (faces, size):
        raise ValueError(
            f"got given_faces of shape {tuple(given_faces.shape)} for {faces} <FACE> tokens and {size} parameters; "
            "give one row per <FACE> of the whole input, in reading order, and NaN where a face is not known"
        )


class FaceEncoder(FullPrecisionModule):
    """Two-layer perceptron from the parameters of a face to what is added to the embedding of its `<FACE>`.

    The last layer starts at zero, so that a new encoder changes no answer. Faces are encoded as seen by the default
    camera, whichever picture they come from.
    """

    def __init__(self, config: FaceGPTConfig, hidden_size: int, width: int):
        super().__init__()
        self.face_model_config = config.face_model_config
        self.hidden = nn.Linear(sum(parameter_sizes(config.face_model_config)), width)
        self.activation = nn.GELU()
        self.output = nn.Linear(width, hidden_size)

    def forward(self, parameters: Tensor) -> Tensor:
        """What is added to the embeddings, `(M, D)`.

        Args:
            parameters (`torch.Tensor` of shape `(M, P)`): vectors of `FaceParameters`. For a row that is not known
                (NaN), or is no face before a camera, nothing is added.
        """
        with torch.no_grad():
            faces = vector_to_parameters(parameters, self.face_model_config)
            code = encode(faces, default_picture_cameras(len(parameters), parameters), self.face_model_config)
            known = code.isfinite().all(-1, keepdim=True)
            code = bounded_code(torch.where(known, code, 0.0))
        return self.output(self.activation(self.hidden(code))) * known


class FaceOffsets:
    """What is added to the embeddings of the `<FACE>` tokens of a batch, which may be read in pieces.

    Args:
        places (`FacePlaces`): of M faces, in rows of the batch as it was given.
        values (`torch.Tensor` of shape `(M, D)`): one per face.
        batch (`int`): rows of the batch as it was given; each may be read several times, side by side.
    """

    def __init__(self, places: FacePlaces, values: Tensor, batch: int):
        self.rows, self.columns = places.rows, places.columns
        self.values = values
        self.batch = batch
        self.length_read = 0

    def add_to(self, embedded: Tensor) -> Tensor:
        """The next piece `(B, t, D)` with its faces; a piece longer than all that was read begins anew."""
        length = embedded.shape[1]
        start = 0 if length > self.length_read else self.length_read
        self.length_read = start + length
        self.repeat_rows(embedded.shape[0])
        here = (self.columns >= start) & (self.columns < start + length)
        places = tuple(place[here].to(embedded.device) for place in (self.rows, self.columns - start))
        return embedded.index_put(places, self.values[here].to(embedded), accumulate=True)

    def append(self, rows: Tensor, columns: Tensor, values: Tensor) -> None:
        """More faces, in text that is still to be read."""
        self.rows, self.columns = torch.cat((self.rows, rows)), torch.cat((self.columns, columns))
        self.values = torch.cat((self.values, values))

    def repeat_rows(self, batch: int) -> None:
        """Follow a batch whose rows were repeated, each next to itself, until there are `batch`."""
        times = batch // self.batch
        if times > 1:
            copies = torch.arange(times, device=self.rows.device)
            self.rows = (self.rows[:, None] * times + copies).flatten()
            self.columns = self.columns.repeat_interleave(times)
            self.values = self.values.repeat_interleave(times, 0)
            self.batch = batch


class _Reading:
    """What one call adds to embeddings, and who is told of the hidden states."""

    def __init__(self, hook: "FaceHook", offsets: FaceOffsets, follow: Callable[[Tensor], None] | None):
        self.hook, self.offsets, self.follow = hook, offsets, follow
        self.active = True  # not during passes that only serve to compare


# Of one thread or task: calls that run side by side must not see each other's faces.
_READING: ContextVar[_Reading | None] = ContextVar("faces_being_read", default=None)


class FaceHook:
    """The forward hooks on a vision-language model and its embeddings; silent until there are faces to add. It keeps
    nothing of a call, so that several threads can use one model.

    Args:
        vlm (`torch.nn.Module`): the whole model, whose hidden states can be followed.
        embeddings (`torch.nn.Module`): its embedding layer.
    """

    _lock = Lock()

    def __init__(self, vlm: nn.Module, embeddings: nn.Module):
        self._calls = 0  # that add faces now; a compiled model can read this number, but no `ContextVar`
        self._attach(embeddings)
        vlm.register_forward_pre_hook(self._begin_pass, with_kwargs=True)
        vlm.register_forward_hook(self._pass_on_states)

    def _attach(self, embeddings: nn.Module) -> None:
        self._handle = embeddings.register_forward_hook(self._add)

    @contextmanager
    def adding(
        self, offsets: FaceOffsets, embeddings: nn.Module, follow: Callable[[Tensor], None] | None = None
    ) -> Iterator[None]:
        """Add `offsets` to what `embeddings` give within this context, in this thread.

        Args:
            offsets (`FaceOffsets`): what to add.
            embeddings (`torch.nn.Module`): the layer in use, which an adapter may have put in place of the first one.
            follow (callable, *optional*): called with the last hidden states `(B, t, D)` of each pass for which hidden
                states were asked. Faces are added to those passes alone: others, such as the one without the prompt
                of classifier-free guidance, read another text.
        """
        with self._lock:
            self._calls += 1
            if self._handle.id not in embeddings._forward_hooks:
                self._handle.remove()
                self._attach(embeddings)
        token = _READING.set(_Reading(self, offsets, follow))
        try:
            yield
        finally:
            _READING.reset(token)
            with self._lock:
                self._calls -= 1

    def _current(self) -> _Reading | None:
        """What this thread reads, if it reads by this hook's model: another model may run inside its call."""
        reading = _READING.get() if self._calls else None
        return reading if reading is not None and reading.hook is self else None

    def _begin_pass(self, module: nn.Module, arguments: Any, settings: dict[str, Any]) -> None:
        if (reading := self._current()) is not None and reading.follow is not None:
            reading.active = bool(settings.get("output_hidden_states"))

    def _add(self, module: nn.Module, arguments: Any, embedded: Tensor) -> Tensor | None:
        # Some models embed a single token on the side, to compare it with others.
        if (reading := self._current()) is None or not reading.active or embedded.ndim != 3:
            return None
        return reading.offsets.add_to(embedded)

    def _pass_on_states(self, module: nn.Module, arguments: Any, output: Any) -> None:
        if (reading := self._current()) is not None and reading.active and reading.follow is not None:
            reading.follow(output.hidden_states[-1])
