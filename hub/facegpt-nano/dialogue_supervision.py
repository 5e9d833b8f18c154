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
"""How dialogue about faces is supervised: faces that refer to earlier ones, and faces that words alone describe.

A face of an answer is one of three kinds. It refers to an earlier `<FACE>` of its row: then pointer and edit head are
trained. It is fresh, and its row has a picture: then the face head is, see `face_supervision`. Or it is fresh and
there are only words: then the flow head is.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .face_editing import (
    FRESH,
    FaceEdits,
    apply_edits,
    changed_groups,
    chosen_references,
    faces_back,
    sum_over_groups,
)
from .face_encoder import FacePlaces, find_faces
from .face_head import encode
from .face_parameters import rows_where, select_faces, vector_to_parameters
from .face_supervision import FaceTargets, face_loss_terms
from .flow_head import draw_flow_examples
from .losses import code_loss, flow_loss, gate_loss, reference_loss
from .morphable_model import MorphableModel
from .output_facegpt import LossTerm


class DecodedFaces(NamedTuple):
    """The N faces of a batch that are decoded, among its M `<FACE>` tokens."""

    places: FacePlaces  # of all M
    numbers: Tensor  # (N,) which of M each is
    states: Tensor  # (N, D) that predict them
    face_states: Tensor  # (M, D) at the `<FACE>` tokens


class FaceOutcome(NamedTuple):
    """What the N faces of answers are, and what they cost."""

    terms: dict[str, LossTerm]  # by name; none in inference
    code: Tensor  # (N, P) as the face head says it
    log_variance: Tensor  # (N, P) of the code
    parameters: Tensor  # (N, P) with edits applied
    references: Tensor | None  # (N,) what the pointer chose, where references were given


class DialogueOutcome(NamedTuple):
    """What dialogue makes of the N decoded faces."""

    terms: dict[str, LossTerm]  # by name
    parameters: Tensor  # (N, P) with edits applied
    references: Tensor | None  # (N,) what the pointer chose, where references were given
    from_picture: Tensor  # (N,) bool: faces that the face head is supervised on
    touched: Tensor  # sum of all that the heads said, so that each of them has a gradient


def find_decoded_faces(
    hidden_states: Tensor, input_ids: Tensor, labels: Tensor | None, face_token_id: int, device: torch.device
) -> DecodedFaces:
    """The `<FACE>` tokens of answers, those that `labels` hold too (or all, without labels), and of `hidden_states`
    `(B, T, D)` those that predict them, one position before; states in float32 and all on `device`."""
    places = find_faces(input_ids, face_token_id)
    said = (input_ids if labels is None else labels)[places.rows, places.columns] == face_token_id
    numbers = (said & (places.columns > 0)).nonzero()[:, 0]
    return DecodedFaces(
        places=FacePlaces(*(place.to(device) for place in places)),
        numbers=numbers.to(device),
        states=hidden_states[places.rows[numbers], places.columns[numbers] - 1].to(device, torch.float32),
        face_states=hidden_states[places.rows, places.columns].to(device, torch.float32),
    )


def supervise_faces(
    model: Any,
    decoded: FaceOutcome,
    faces: DecodedFaces,
    given_faces: Tensor | None,
    targets: FaceTargets,
    has_picture: Tensor,
) -> tuple[FaceOutcome, Tensor]:
    """The N faces of `decoded` with their loss terms and edits, and the sum of all that the heads said, through which
    each of them gets a gradient. Arguments as of `supervise_dialogue`."""
    touched, chosen = decoded.code.sum() + decoded.log_variance.sum(), slice(None)
    outcome, terms = decoded, {}
    if model.config.dialogue_hidden_size:
        said = supervise_dialogue(model, faces, decoded.parameters, given_faces, targets, has_picture)
        touched, chosen, terms = touched + said.touched, rows_where(said.from_picture), said.terms
        outcome = decoded._replace(parameters=said.parameters, references=said.references)
    terms |= face_loss_terms(
        model.face_model,
        decoded.code[chosen],
        decoded.log_variance[chosen],
        select_faces(vector_to_parameters(decoded.parameters, model.face_model.config), chosen),
        targets.select(chosen),
        model.compare_images(),
    )
    return outcome._replace(terms=terms), touched


def supervise_dialogue(
    model: Any,
    faces: DecodedFaces,
    parameters: Tensor,
    given_faces: Tensor | None,
    targets: FaceTargets,
    has_picture: Tensor,
) -> DialogueOutcome:
    """Loss terms of faces that refer to earlier ones or that words alone describe.

    Args:
        model (`FaceGPTForConditionalGeneration`): with the parts for dialogue.
        faces (`DecodedFaces`): N faces of M.
        parameters (`torch.Tensor` of shape `(N, P)`): as the face head decodes them.
        given_faces (`torch.Tensor` of shape `(M, P)`, *optional*): parameters of all faces; NaN where not known.
        targets (`FaceTargets`): of N faces, checked. Without references, all faces are fresh.
        has_picture (`torch.Tensor` of shape `(B,)`): bool.

    Raises:
        ValueError: if a face refers to none that stands before it in its row.
    """
    references = torch.full_like(faces.numbers, FRESH) if targets.references is None else targets.references
    orders = faces.places.orders[faces.numbers]
    if not ((references >= FRESH) & (references < orders)).all():
        raise ValueError(
            f"got face_references {references.tolist()} for faces that are number {orders.tolist()} of their rows; "
            f"give the number, from 0, of an earlier <FACE> of the same row, or {FRESH} for a fresh face"
        )
    meant = faces.numbers - orders + references
    fresh, seen = references == FRESH, has_picture[faces.places.rows[faces.numbers]]
    unknown = parameters.new_full((len(faces.places.rows), parameters.shape[1]), torch.nan)
    given = unknown if given_faces is None else given_faces.to(parameters)
    pointing = _supervise_pointer(model, faces, meant, fresh, targets.references is not None)
    editing = _supervise_edits(model, faces, parameters, given[meant.clamp(min=0)], ~fresh, targets)
    imagining = _supervise_flow(model, faces, parameters, fresh & ~seen, targets)
    encoded = model.face_encoder(given[:0])
    return DialogueOutcome(
        terms=pointing.terms | editing.terms | imagining.terms,
        parameters=editing.result,
        references=pointing.result,
        from_picture=fresh & seen,
        touched=pointing.touched + editing.touched + imagining.touched + encoded.sum(),
    )


class _Supervised(NamedTuple):
    """Of one part: its loss terms, the sum of all that it said, and what it makes of the N faces."""

    terms: dict[str, LossTerm]
    touched: Tensor
    result: Any = None


def _supervise_pointer(model: Any, faces: DecodedFaces, meant: Tensor, fresh: Tensor, known: bool) -> _Supervised:
    # Where nobody knows what is referred to, nothing is asked; yet the pointer must have a gradient.
    asked = faces.numbers if known else faces.numbers[:0]
    back = faces_back(faces.places, asked)
    scores = model.reference_pointer(faces.states[: len(asked)], faces.face_states, back)
    touched = scores.masked_fill(scores.isinf(), 0.0).sum()
    if not known:
        return _Supervised({}, touched)
    terms = {"reference": LossTerm.of(reference_loss(scores, torch.where(fresh, 0, 1 + meant)))}
    return _Supervised(terms, touched, chosen_references(scores, faces.places))


def _supervise_edits(
    model: Any, faces: DecodedFaces, parameters: Tensor, referred: Tensor, refers: Tensor, targets: FaceTargets
) -> _Supervised:
    """Faces that refer to one whose parameters are known; `referred` `(N, P)` are those, NaN elsewhere."""
    config = model.config.face_model_config
    index = (refers & referred.isfinite().all(-1)).nonzero()[:, 0]
    referred, cameras = referred[index], targets.picture_cameras[index]
    codes = encode(vector_to_parameters(referred, config), cameras, config)
    edits = model.edit_head(faces.states[index], codes)
    edited = apply_edits(referred, edits, cameras, config).detach()
    terms = {}
    if targets.parameters is not None and targets.references is not None:
        terms = _edit_terms(model.face_model, edits, codes, referred, targets.parameters[index].to(referred), cameras)
    return _Supervised(terms, edits.change.sum() + edits.gates.sum(), parameters.index_put((index,), edited))


def _edit_terms(
    face_model: MorphableModel, edits: FaceEdits, codes: Tensor, referred: Tensor, true: Tensor, cameras: Tensor
) -> dict[str, LossTerm]:
    config = face_model.config
    known = true.isfinite().all(-1).nonzero()[:, 0]
    opened = changed_groups(true[known], referred[known], config)
    true_codes = encode(vector_to_parameters(true[known], config), cameras[known], config)
    # Sums: an edit of a shape moves few of many numbers, each by little, and must count as much as one of a pose.
    changes = sum_over_groups(code_loss(codes[known] + edits.change[known], true_codes), config)[opened]
    return {"edit_gates": LossTerm.of(gate_loss(edits.gates[known], opened)), "edit_change": LossTerm.of(changes)}


def _supervise_flow(
    model: Any, faces: DecodedFaces, parameters: Tensor, imagined: Tensor, targets: FaceTargets
) -> _Supervised:
    config = model.config.face_model_config
    labelled = targets.parameters is not None
    true = targets.parameters.to(parameters) if labelled else torch.full_like(parameters, torch.nan)
    index = (imagined & true.isfinite().all(-1)).nonzero()[:, 0]
    codes = encode(vector_to_parameters(true[index], config), targets.picture_cameras[index], config)
    states, visibility = faces.states[index], model.face_model.component_visibility.to(codes)
    example, wanted = draw_flow_examples(codes, states)
    velocity = model.flow_head(*example)
    means, mean_codes = _typical_codes(model, codes, states, targets.select(index))
    terms = {
        "flow": LossTerm.of(flow_loss(velocity, wanted) * visibility),
        # A sum, as in the likelihood of codes: the mean of a group would hide a named shape among its many numbers.
        "flow_mean": LossTerm.of(code_loss(means, mean_codes).sum(-1)),
    }
    return _Supervised(terms if labelled else {}, velocity.sum() + means.sum())


def _typical_codes(model: Any, codes: Tensor, states: Tensor, targets: FaceTargets) -> tuple[Tensor, Tensor]:
    """What the flow head takes for the means of faces, with the words and without, and what they are, `(2K, P)`."""
    if targets.typical is not None:
        config = model.config.face_model_config
        known = targets.typical.isfinite().all(-1).nonzero()[:, 0]
        typical = vector_to_parameters(targets.typical[known].to(codes), config)
        codes = codes.index_put((known,), encode(typical, targets.picture_cameras[known], config))
    unconditional = torch.arange(2, device=states.device).repeat_interleave(len(states)) > 0
    return model.flow_head.means(states.repeat(2, 1), unconditional), codes.repeat(2, 1)
