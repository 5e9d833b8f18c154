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
"""Dialogues about faces: what was said, what the faces in it are, and what the model answers.

Every `<FACE>` of a dialogue stands for a face whose parameters are known: one that a person gave, or one of an earlier
answer. The model reads them where it has a face encoder. A face that an answer finds in a photograph is looked at once
more, and kept or dropped; one that it makes from words or by a change stays as it was decoded.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, TextStreamer

from .camera import Camera, default_camera
from .conversation import as_sentence, check_length, check_words
from .face_detection import FaceDetector, Photo, photo_camera, reconstruct
from .face_editing import FRESH
from .face_head import parameter_standard_deviation
from .face_parameters import (
    FaceParameters,
    concatenate_faces,
    parameter_sizes,
    parameters_to_vector,
    select_faces,
    vector_to_parameters,
)
from .processing_facegpt import FACE_TOKEN, FaceGPTProcessor
from .reconstruction import (
    Reconstruction,
    distinct_faces,
    face_boxes,
    landmarks_in_photo,
    poses_agree,
    select_reconstruction,
)

NEW_TOKENS = 96
IMAGINED_SIDE = 512  # pixels of the picture in which a face from words is placed

Message = dict[str, Any]


class Dialogue(NamedTuple):
    """What was said so far; the last message is a person's when an answer is asked for."""

    messages: tuple[Message, ...]  # as transformers' chat templates read them, images as `{"type": "image"}`
    faces: FaceParameters  # of each `<FACE>` in the messages, in reading order
    photograph: Photo | None = None  # of the one image in the messages, if there is one


class Answer(NamedTuple):
    """What the model said."""

    text: str  # with `<FACE>` where it shows a face
    faces: Reconstruction  # of each `<FACE>` of the text, in reading order
    references: tuple[int, ...]  # for each, which `<FACE>` of the dialogue it changes, or FRESH


def no_faces(model: Any) -> FaceParameters:
    """The record of no face at all, of the model's 3DMM."""
    config = model.face_model.config
    return vector_to_parameters(torch.zeros(0, sum(parameter_sizes(config)), device=model.device), config)


def user_message(words: str, processor: FaceGPTProcessor, *, image: bool = False, faces: int = 0) -> Message:
    """A person's turn, in words of their own, written as a sentence, about an image or faces that come before them.

    Raises:
        ValueError: if there are no words, or they spell a control token.
    """
    sentence = as_sentence(check_words(words, processor.tokenizer))
    text = " ".join([*[FACE_TOKEN] * faces, sentence])
    picture = [{"type": "image"}] if image else []
    return {"role": "user", "content": [*picture, {"type": "text", "text": text}]}


def assistant_message(text: str) -> Message:
    """A turn of the model."""
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def count_faces(messages: Sequence[Message]) -> int:
    """How many `<FACE>` the messages hold."""
    return sum(part["text"].count(FACE_TOKEN) for message in messages for part in message["content"] if "text" in part)


def give_faces(dialogue: Dialogue, faces: FaceParameters) -> Dialogue:
    """The dialogue with N more faces, which stand before the words of its first message."""
    first, *later = dialogue.messages
    *before, words = first["content"]
    text = " ".join([*[FACE_TOKEN] * faces.identity.shape[0], words["text"]])
    message = {**first, "content": [*before, {**words, "text": text}]}
    return dialogue._replace(messages=(message, *later), faces=concatenate_faces([faces, dialogue.faces]))


def look_first(
    model: Any, processor: FaceGPTProcessor, dialogues: Sequence[Dialogue]
) -> tuple[list[Dialogue], list[Reconstruction | None]]:
    """Dialogues that begin with a photograph, the faces that a look finds in it given before the first words; others
    as they are, and all of them where the model reads no faces. And what was found.

    A single prefill of a whole photograph sees little of a face; from what `reconstruct` has found, questions are
    answered and faces referred to.
    """
    rows = [row for row, dialogue in enumerate(dialogues) if dialogue.photograph is not None]
    pictures = [cast(Photo, dialogues[row].photograph) for row in rows]
    looked: list[Dialogue] = list(dialogues)
    seen: list[Reconstruction | None] = [None] * len(looked)
    if not pictures or model.face_encoder is None:
        return looked, seen
    images, focals = [picture.image for picture in pictures], [picture.focal for picture in pictures]
    for row, found in zip(rows, reconstruct(model, processor, images, focals=focals), strict=True):
        looked[row], seen[row] = give_faces(dialogues[row], found.parameters), found
    return looked, seen


def keep_what_is_known(answer: Answer, earlier: Iterable[Reconstruction | None]) -> Answer:
    """The answer with copies of `earlier` faces as they were, where one record, the newest first, holds them all;
    with changed faces before the camera of the newest record."""
    records = [record for record in earlier if record is not None and len(record.probability)]
    if not records or not answer.references or FRESH in answer.references:
        return answer
    said = parameters_to_vector(answer.faces.parameters)
    for record in records:
        same = (said[:, None] == parameters_to_vector(record.parameters)[None]).all(-1)
        if same.any(-1).all():
            return answer._replace(faces=select_reconstruction(record, same.int().argmax(-1)))
    camera = records[0].camera
    count = len(answer.references)
    before = Camera(camera.focal[:1].expand(count), camera.principal_point[:1].expand(count, 2))
    return answer._replace(faces=answer.faces._replace(size=records[0].size, camera=before))


@torch.no_grad()
def answer_dialogues(
    model: Any,
    processor: FaceGPTProcessor,
    dialogues: Sequence[Dialogue],
    *,
    on_words: Callable[[str], None] | None = None,
    **settings: Any,
) -> list[Answer]:
    """The model's answers; dialogues with and without a photograph are answered in a batch each.

    Args:
        model (`FaceGPTForConditionalGeneration`): answers, as in evaluation mode.
        processor (`FaceGPTProcessor`): the model's.
        dialogues (sequence of `Dialogue`): what was said.
        on_words (`Callable`, *optional*): told of the words as they are said; for a single dialogue.
        settings: of `generate`, such as `max_new_tokens`, `do_sample` or `min_faces`.

    Raises:
        ValueError: if a dialogue is longer than the model reads, or `on_words` is to hear several at once.
    """
    if on_words is not None and len(dialogues) != 1:
        raise ValueError(f"got on_words for {len(dialogues)} dialogues; have them answered one by one to listen")
    answers: dict[int, Answer] = {}
    for seen in (True, False):
        rows = [row for row, dialogue in enumerate(dialogues) if (dialogue.photograph is not None) == seen]
        chosen = [dialogues[row] for row in rows]
        if chosen:
            answers |= zip(rows, _answer_batch(model, processor, chosen, on_words, settings), strict=True)
    return [answers[row] for row in range(len(dialogues))]


def encode_dialogues(
    model: Any, processor: FaceGPTProcessor, dialogues: Sequence[Dialogue]
) -> tuple[Any, Tensor | None]:
    """Inputs of the model, and the cameras `(B, 3)` of the pictures; of dialogues that all have a photograph, or none.

    Raises:
        ValueError: if a dialogue has not as many faces as `<FACE>`.
    """
    for dialogue in dialogues:
        said, known = count_faces(dialogue.messages), dialogue.faces.identity.shape[0]
        if said != known:
            raise ValueError(f"got {known} faces for {said} {FACE_TOKEN} in a dialogue; give one per {FACE_TOKEN}")
    messages = [list(dialogue.messages) for dialogue in dialogues]
    photographs = [dialogue.photograph for dialogue in dialogues if dialogue.photograph is not None]
    if not photographs:
        return processor(messages=messages).to(model.device), None
    frames = [processor.frame_photograph(photograph.image, photograph.focal) for photograph in photographs]
    inputs = processor(pictures=torch.stack([frame.picture for frame in frames]), messages=messages)
    return inputs.to(model.device), torch.stack([frame.camera for frame in frames]).to(model.device)


class MostFacesLogitsProcessor(LogitsProcessor):
    """Lets an answer say `<FACE>` at most `max_faces` times.

    Args:
        face_token_id (`int`): id of `<FACE>`.
        max_faces (`int`): how many faces an answer may have.
        prompt_length (`int`): tokens before the answer.
    """

    def __init__(self, face_token_id: int, max_faces: int, prompt_length: int):
        self.face_token_id = face_token_id
        self.max_faces = max_faces
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        enough = (input_ids[:, self.prompt_length :] == self.face_token_id).sum(-1) >= self.max_faces
        silent = scores.clone()
        silent[enough, self.face_token_id] = -torch.inf
        return silent


class WordStreamer(TextStreamer):
    """Tells `on_words` of an answer as it is generated, `<FACE>` included, and keeps quiet otherwise."""

    def __init__(self, tokenizer: Any, on_words: Callable[[str], None]):
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.on_words = on_words

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self.on_words(text)


def _answer_batch(
    model: Any,
    processor: FaceGPTProcessor,
    dialogues: Sequence[Dialogue],
    on_words: Callable[[str], None] | None,
    settings: dict[str, Any],
) -> list[Answer]:
    inputs, cameras = encode_dialogues(model, processor, dialogues)
    settings = {"max_new_tokens": NEW_TOKENS, "do_sample": False, **settings}
    prompt = inputs["input_ids"]
    check_length(prompt, model.config.get_text_config(), settings["max_new_tokens"])
    if model.face_encoder is not None and any(count_faces(dialogue.messages) for dialogue in dialogues):
        faces = concatenate_faces([dialogue.faces for dialogue in dialogues])
        settings["given_faces"] = parameters_to_vector(faces).to(model.device)
    most = MostFacesLogitsProcessor(model.config.face_token_id, model.config.max_faces, prompt.shape[1])
    settings["logits_processor"] = LogitsProcessorList([most, *settings.get("logits_processor", ())])
    if on_words is not None:
        settings["streamer"] = WordStreamer(processor.tokenizer, on_words)
    output = model.generate(**inputs, picture_cameras=cameras, return_dict_in_generate=True, **settings)
    texts = processor.batch_decode(output.sequences[:, prompt.shape[1] :], skip_special_tokens=True)
    return [
        _read_answer(model, processor, dialogue, text.strip(), output, cameras, row)
        for row, (dialogue, text) in enumerate(zip(dialogues, texts, strict=True))
    ]


def _read_answer(
    model: Any,
    processor: FaceGPTProcessor,
    dialogue: Dialogue,
    text: str,
    output: Any,
    cameras: Tensor | None,
    row: int,
) -> Answer:
    """The answer of one row of what `generate` gave."""
    mine = (output.face_rows == row).nonzero()[:, 0]
    config = model.face_model.config
    parameters = vector_to_parameters(output.face_parameters[mine], config)
    references = output.face_references[mine].tolist()
    if dialogue.photograph is None or cameras is None:
        return Answer(text, place_imagined(parameters), tuple(references))
    deviation = parameter_standard_deviation(
        output.face_log_variance[mine], parameters, cameras[row].expand(len(mine), 3), config
    )
    faces = photographed_faces(dialogue.photograph, parameters, deviation)
    seen, kept = _read_crops(model, processor, dialogue.photograph, faces, references)
    return _keep(Answer(text, seen, tuple(references)), kept)


def photographed_faces(
    photograph: Photo, parameters: FaceParameters, deviation: FaceParameters | None
) -> Reconstruction:
    """N faces in the camera of their photograph."""
    faces = parameters.identity.shape[0]
    return Reconstruction(
        size=photograph.image.size,
        camera=photo_camera(photograph, parameters.identity),
        parameters=parameters,
        standard_deviation=deviation,
        probability=parameters.identity.new_ones(faces),
    )


def place_imagined(parameters: FaceParameters, side: int = IMAGINED_SIDE) -> Reconstruction:
    """N faces that no photograph shows, before a camera of our own."""
    like = parameters.identity
    faces = like.shape[0]
    return Reconstruction(
        size=(side, side),
        camera=default_camera(faces, side, like),
        parameters=parameters,
        standard_deviation=None,
        probability=like.new_ones(faces),
    )


def _read_crops(
    model: Any, processor: FaceGPTProcessor, photograph: Photo, faces: Reconstruction, references: Sequence[int]
) -> tuple[Reconstruction, Tensor]:
    """`faces` with those that are no changes of earlier ones seen in their crops, and which of them are to be kept
    `(N,)`: not those whose crop shows none, nor second sights of another. The likeliest fresh one stays in any case.
    """
    fresh = [face for face, reference in enumerate(references) if reference == FRESH]
    kept = torch.ones_like(faces.probability, dtype=torch.bool)
    if not fresh:
        return faces._replace(standard_deviation=None), kept
    index = torch.tensor(fresh, dtype=torch.long, device=kept.device)
    found = FaceDetector(model, processor).refind(photograph, select_faces(faces.parameters, index))
    parameters = parameters_to_vector(faces.parameters).clone()
    deviation = parameters_to_vector(cast(FaceParameters, faces.standard_deviation)).clone()
    probability = faces.probability.clone()
    probability[index] = 0.0
    for face, detection in zip(fresh, found, strict=True):
        if len(detection.probability):
            probability[face] = detection.probability[0]
            parameters[face] = parameters_to_vector(detection.parameters)[0]
            deviation[face] = parameters_to_vector(detection.standard_deviation)[0]
    config = model.face_model.config
    unsure = vector_to_parameters(deviation, config)
    seen = faces._replace(
        parameters=vector_to_parameters(parameters, config),
        # Of changed faces, nobody says how sure they are.
        standard_deviation=unsure if deviation.isfinite().all() else None,
        probability=probability,
    )
    kept[index] = _are_faces_of_their_own(model, seen, unsure, index)
    return seen, kept


def _are_faces_of_their_own(model: Any, seen: Reconstruction, unsure: FaceParameters, index: Tensor) -> Tensor:
    """Which of the faces at `index` are to be kept: no second sights of another, and at least one."""
    chosen = select_faces(seen.parameters, index)
    camera = Camera(*(group[index] for group in seen.camera))
    boxes = face_boxes(landmarks_in_photo(model.face_model, chosen, camera))
    probability = seen.probability[index]
    own = distinct_faces(boxes, probability, alike=poses_agree(chosen, select_faces(unsure, index)))
    own &= probability > 0
    own[probability.argmax()] = True
    return own


def _keep(answer: Answer, kept: Tensor) -> Answer:
    """The answer without the faces that are not `kept (N,)`, nor their tokens in the text."""
    if kept.all():
        return answer
    pieces = answer.text.split(FACE_TOKEN)
    shown = [FACE_TOKEN if keep else "" for keep in kept.tolist()]
    text = pieces[0] + "".join(token + piece for token, piece in zip(shown, pieces[1:], strict=True))
    return Answer(
        text=text.strip(),
        faces=select_reconstruction(answer.faces, kept.nonzero()[:, 0]),
        references=tuple(reference for reference, keep in zip(answer.references, kept.tolist(), strict=True) if keep),
    )
