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
"""The faces of dialogues that are going on: what was said can be referred to, and is read for what follows.

Each face of an answer is decoded as it is said: fresh, by the face head where its prompt has a picture and by the flow
head where there are only words; or as the earlier face that it refers to and an edit. The state that predicts each
token is at hand while an answer grows, so this takes no further pass.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import StoppingCriteria

from .camera import default_picture_cameras
from .face_editing import FRESH, apply_edits, chosen_references, faces_back
from .face_encoder import FaceOffsets, FacePlaces, find_faces
from .face_head import decode, encode
from .face_parameters import parameters_to_vector, vector_to_parameters
from .flow_head import FaceSampling, draw_noise, sample_codes


class SaidFaces(NamedTuple):
    """N faces of answers, row by row in reading order."""

    face_code: Tensor  # (N, P)
    face_log_variance: Tensor  # (N, P) of the code; NaN for a face that was not read from a picture
    face_parameters: Tensor  # (N, P)
    face_rows: Tensor  # (N,) which row says the face
    face_references: Tensor  # (N,) which face of its row, counted from 0, it changes; -1 for a fresh face

    def select(self, index: Tensor) -> "SaidFaces":
        return SaidFaces(*(value[index] for value in self))


class RunningFaces:
    """The faces of B prompts and of the answers to them.

    Args:
        model (`FaceGPTForConditionalGeneration`): decodes and encodes faces.
        places (`FacePlaces`): of M faces in the prompts.
        parameters (`torch.Tensor` of shape `(M, P)`): of these faces, NaN where not known.
        offsets (`FaceOffsets`, *optional*): of these faces; those of the answers are appended. A model without the
            parts for dialogue has none.
        cameras (`torch.Tensor` of shape `(B, 3)`): in which the answers' faces are seen.
        has_picture (`torch.Tensor` of shape `(B,)`): bool.
        sampling (`FaceSampling`): how faces are drawn that words leave open.
    """

    def __init__(
        self,
        model: Any,
        places: FacePlaces,
        parameters: Tensor,
        offsets: FaceOffsets | None,
        cameras: Tensor,
        has_picture: Tensor,
        sampling: FaceSampling,
    ):
        self.model, self.offsets, self.sampling = model, offsets, sampling
        self.batch = len(has_picture)
        self.places, self.parameters = places, parameters
        self.cameras, self.has_picture = cameras, has_picture
        self.face_states = parameters.new_zeros(len(parameters), model.config.get_text_config().hidden_size)
        self.last_states = self.face_states[:0]
        self.generator = sampling.generator or torch.Generator().manual_seed(0)
        self.said: list[SaidFaces] = []

    def read_states(self, hidden_states: Tensor) -> None:
        """Keep what a pass `(B, t, D)` says of faces, and of the last token, whose state predicts the next one."""
        start = self.offsets.length_read - hidden_states.shape[1]
        columns = self.places.columns - start
        read = ((columns >= 0) & (columns < hidden_states.shape[1])).nonzero()[:, 0]
        # Rows may be repeated, each next to itself, and the copies read the same prompt.
        rows = self.places.rows[read] * (hidden_states.shape[0] // self.batch)
        states = hidden_states[rows.to(hidden_states.device), columns[read].to(hidden_states.device)]
        self.keep_states(read, states)
        self.last_states = hidden_states[:, -1]

    def keep_states(self, numbers: Tensor, states: Tensor) -> None:
        """The states `(K, D)` at the `<FACE>` tokens of the faces `numbers` `(K,)`."""
        self.face_states = self.face_states.index_put((numbers,), states.to(self.face_states))

    def repeat_rows(self, batch: int) -> None:
        """Follow a batch whose rows are repeated, each next to itself, until there are `batch`."""
        times = batch // self.batch
        if times == 1:
            return
        copies = torch.arange(times, device=self.places.rows.device)
        rows = (self.places.rows[:, None] * times + copies).flatten()
        self.places = FacePlaces(rows, *(place.repeat_interleave(times) for place in self.places[1:]))
        for name in ("parameters", "face_states", "cameras", "has_picture"):
            setattr(self, name, getattr(self, name).repeat_interleave(times, 0))
        self.batch = batch

    def say(self, rows: Tensor, states: Tensor, column: int) -> Tensor:
        """Decode the faces that `rows` `(K,)` say in `column`, predicted by `states` `(K, D)`: their numbers."""
        rows = rows.to(self.parameters.device)
        states = states.to(self.parameters)
        known = len(self.parameters)
        orders = (rows[:, None] == self.places.rows).sum(-1)
        added = FacePlaces(rows, torch.full_like(rows, column), orders)
        self.places = FacePlaces(*(torch.cat(both) for both in zip(self.places, added, strict=True)))
        numbers = torch.arange(known, known + len(rows), device=rows.device)
        code, log_variance, parameters = self.model.decode_states(states, self.cameras[rows])
        faces = SaidFaces(code, log_variance, parameters, rows, torch.full_like(rows, FRESH))
        if self.offsets is not None:
            with torch.autocast(states.device.type, enabled=False):
                faces = self._draw(self._refer(faces, states, faces_back(self.places, numbers)[:, :known]), states)
                self.offsets.append(rows, added.columns, self.model.face_encoder(faces.face_parameters))
        self.parameters = torch.cat((self.parameters, faces.face_parameters))
        self.face_states = torch.cat((self.face_states, torch.zeros_like(states)))
        self.said.append(faces)
        return numbers

    def _refer(self, faces: SaidFaces, states: Tensor, back: Tensor) -> SaidFaces:
        """`faces`, of which those that refer to an earlier one are that one and an edit."""
        config = self.model.config.face_model_config
        known = self._codes(self.parameters, default_picture_cameras(len(self.parameters), states)).isfinite().all(-1)
        scores = self.model.reference_pointer(states, self.face_states, back * known)
        chosen = scores.argmax(-1) - 1
        index = (chosen >= 0).nonzero()[:, 0]
        referred, cameras = self.parameters[chosen[index]], self.cameras[faces.face_rows[index]]
        edits = self.model.edit_head(states[index], self._codes(referred, cameras))
        edited = apply_edits(referred, edits, cameras, config)
        return SaidFaces(
            face_code=faces.face_code.index_put((index,), self._codes(edited, cameras)),
            face_log_variance=faces.face_log_variance.index_fill(0, index, torch.nan),
            face_parameters=faces.face_parameters.index_put((index,), edited),
            face_rows=faces.face_rows,
            face_references=chosen_references(scores, self.places),
        )

    def _draw(self, faces: SaidFaces, states: Tensor) -> SaidFaces:
        """`faces`, of which the fresh ones of rows without a picture are drawn; with a drawer, all fresh ones."""
        fresh, seen = faces.face_references == FRESH, self.has_picture[faces.face_rows]
        drawer = self.sampling.drawer
        if len(index := (fresh & ~seen).nonzero()[:, 0]):
            rows, wanted = faces.face_rows[index], states[index]
            codes = self._imagine(wanted) if drawer is None else drawer.imagine(rows, self.model.flow_head, wanted)
            faces = self._replace_codes(faces, index, codes, torch.nan)
        if drawer is not None and len(index := (fresh & seen).nonzero()[:, 0]):
            rows, deviation = faces.face_rows[index], faces.face_log_variance[index]
            codes = drawer.read(rows, faces.face_code[index], deviation)
            faces = self._replace_codes(faces, index, codes, deviation)
        return faces

    def _imagine(self, states: Tensor) -> Tensor:
        noise = draw_noise(len(states), self.model.flow_head.code_size, self.generator)
        settings = {"steps": self.sampling.steps, "guidance_scale": self.sampling.guidance_scale}
        return sample_codes(self.model.flow_head, states, noise, **settings)

    def _replace_codes(
        self, faces: SaidFaces, index: Tensor, codes: Tensor, log_variance: Tensor | float
    ) -> SaidFaces:
        """`faces`, those at `index` with other codes and log-variances, each `(K, P)`."""
        drawn = decode(codes, self.cameras[faces.face_rows[index]], self.model.config.face_model_config)
        unsure = codes.new_zeros(codes.shape) + log_variance
        return faces._replace(
            face_code=faces.face_code.index_put((index,), codes),
            face_log_variance=faces.face_log_variance.index_put((index,), unsure),
            face_parameters=faces.face_parameters.index_put((index,), parameters_to_vector(drawn)),
        )

    def _codes(self, parameters: Tensor, cameras: Tensor) -> Tensor:
        config = self.model.config.face_model_config
        return encode(vector_to_parameters(parameters, config), cameras, config)

    def said_until(self, length: int) -> SaidFaces:
        """The faces of the answers in the first `length` columns."""
        none = self.parameters[:0]
        nowhere = torch.zeros(0, dtype=torch.long, device=none.device)
        parts = [SaidFaces(none, none, none, nowhere, nowhere), *self.said]
        said = SaidFaces(*(torch.cat(values) for values in zip(*parts, strict=True)))
        columns = self.places.columns[len(self.places.columns) - len(said.face_rows) :]
        order = said.face_rows.argsort(stable=True)
        return said.select(order[columns[order] < length])


class FaceListener(StoppingCriteria):
    """Stops nothing: the one place of `generate` that sees each token as it is chosen. Those that are `<FACE>` are
    decoded, and encoded for what follows. Rows must stay in their places, as in greedy decoding and sampling."""

    def __init__(self, faces: RunningFaces, face_token_id: int):
        self.faces = faces
        self.face_token_id = face_token_id

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        rows = (input_ids[:, -1] == self.face_token_id).nonzero()[:, 0]
        if len(rows):
            self.faces.repeat_rows(input_ids.shape[0])
            states = self.faces.last_states
            self.faces.say(rows, states[rows.to(states.device)], input_ids.shape[1] - 1)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def start_faces(
    model: Any,
    prompt_ids: Tensor | None,
    batch: int,
    *,
    given_faces: Tensor | None,
    picture_cameras: Tensor | None,
    sampling: FaceSampling,
) -> RunningFaces:
    """The faces of `batch` prompts whose answers are about to be generated; prompts may be embeddings without ids."""
    device = model.face_head.device
    dialogue = model.config.dialogue_hidden_size is not None
    ids = torch.zeros(batch, 0, dtype=torch.long) if prompt_ids is None or not dialogue else prompt_ids
    places = FacePlaces(*(place.to(device) for place in find_faces(ids, model.config.face_token_id)))
    has_picture, offsets = torch.ones(batch, dtype=torch.bool), None
    if given_faces is not None:
        offsets = model.encode_given_faces(prompt_ids, given_faces)
    given = (
        torch.full((len(places.rows), model.face_head.code_size), torch.nan) if given_faces is None else given_faces
    )
    if dialogue and prompt_ids is not None:
        has_picture = (prompt_ids == model.config.image_token_id).any(-1)
    if dialogue and offsets is None:
        offsets = model.encode_given_faces(ids, given)
    cameras = default_picture_cameras(batch, given) if picture_cameras is None else picture_cameras.float()
    return RunningFaces(
        model, places, given.to(device, torch.float32), offsets, cameras.to(device), has_picture.to(device), sampling
    )


def trace_faces(faces: RunningFaces, output: Any, face_token_id: int) -> None:
    """Decode the faces of answers that are complete, from the states that were kept while they were generated.

    For decoding that moves rows about or takes tokens back, where a face cannot be decoded as it is said: with beams
    each token's state is that of the beam it came from.
    """
    beams = output.get("beam_indices")
    last = [layers[-1] for layers in output.hidden_states]
    count = len(last) if beams is None else beams.shape[1]
    said = output.sequences[:, -count:] == face_token_id
    faces.repeat_rows(len(said))
    for step in said.any(0).nonzero()[:, 0].tolist():
        rows = said[:, step].nonzero()[:, 0]
        numbers = faces.say(
            rows, last[step][_sources(beams, rows, step), -1], output.sequences.shape[1] - count + step
        )
        if step + 1 < count:
            faces.keep_states(numbers, last[step + 1][_sources(beams, rows, step + 1), -1])


def _sources(beams: Tensor | None, rows: Tensor, step: int) -> Tensor:
    """Where the final `rows` were in the batch at one step; a beam that had ended before (-1) is of no interest."""
    return rows if beams is None else beams[rows, step].clamp(min=0)
