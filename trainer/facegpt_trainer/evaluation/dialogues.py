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
"""How well a checkpoint talks about faces: references, questions, edits, general questions, and when it says `<FACE>`.

Dialogues come from the grammar's held-out wordings and from seeds that training never uses; answers are decoded freely
and greedily. Pictures with faces are shown as photographs are in a chat, which looks for their faces first.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from modeling_facegpt.camera import default_picture_cameras
from modeling_facegpt.dialogue import Dialogue as ChatDialogue
from modeling_facegpt.dialogue import answer_dialogues as model_answers
from modeling_facegpt.dialogue import look_first, no_faces
from modeling_facegpt.face_detection import check_photos
from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.face_parameters import FaceParameters, parameter_sizes, vector_to_parameters
from modeling_facegpt.processing_facegpt import FaceGPTProcessor

from ..grammar.attributes import ShapeSpace
from ..grammar.dialogues import Dialogue
from ..grammar.text_dialogues import TextGrammar
from ..pictures.data_engine import DataEngine
from ..pictures.picture_dialogues import PictureGrammar
from ..pictures.shape_pictures import ShapeGrammar
from .held_out import held_out_seed
from .reconstruction import RENDERED_SIDE, to_images
from .requests import BETWEEN_NOISES, MakeFaces, evaluate_requests, share

BATCH = 16
LONGEST_ANSWER = 40
SAME_PLACE = 0.1  # picture sides between a decoded face and the one that it is taken for

SPLIT = "held_out_wordings"
# Words of a question by which its topic is told, in this order.
TOPICS = {
    "occlusion": ("visible", "hidden", "see the"),
    "glasses": ("glasses",),
    "presence": ("face?", "somebody", "faces", "people"),
    "pose": ("head", "face point"),
    "gaze": ("look", "gaze"),
    "light": ("light", "lit", "lamp"),
    "mouth and eyes": ("mouth open", "mouth closed", "eyes open", "eyes closed"),
    "expression": ("expression", "feel", "mood", "show"),
    "declined": ("person", "who", "celebrity", "famous", "film star", "president", "criminal", "king"),
}


class Talker(NamedTuple):
    """A checkpoint, and what measures its faces."""

    model: Any  # `FaceGPTForConditionalGeneration`
    processor: FaceGPTProcessor
    measurer: FaceMeasurer


class Answer(NamedTuple):
    """What a checkpoint said to one dialogue, and the faces in it."""

    text: str
    faces: FaceParameters
    references: tuple[int, ...]


@torch.no_grad()
def answer_dialogues(
    talker: Talker,
    messages: Sequence[list[dict[str, Any]]],
    pictures: Tensor,
    given_faces: Tensor,
    cameras: Tensor,
) -> list[Answer]:
    """Greedy answers to B dialogues that end with the user's turn.

    Args:
        talker (`Talker`): the checkpoint.
        messages (`Sequence`): the dialogues.
        pictures (`torch.Tensor` of shape `(K, 3, S, S)`): one per dialogue that begins with one.
        given_faces (`torch.Tensor` of shape `(M, P)`): of every `<FACE>` in them, in reading order.
        cameras (`torch.Tensor` of shape `(B, 3)`): of the dialogues' pictures.
    """
    inputs = talker.processor(pictures=pictures if len(pictures) else None, messages=messages).to(talker.model.device)
    given = {"given_faces": given_faces.to(talker.model.device)} if len(given_faces) else {}
    output = talker.model.generate(
        **inputs,
        **given,
        picture_cameras=cameras.to(talker.model.device),
        do_sample=False,
        max_new_tokens=LONGEST_ANSWER,
        return_dict_in_generate=True,
    )
    texts = talker.processor.batch_decode(
        output.sequences[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    rows = output.face_rows.cpu()
    references = [-1] * len(rows) if output.face_references is None else output.face_references.tolist()
    answers = []
    for row, text in enumerate(texts):
        index = (rows == row).nonzero()[:, 0]
        faces = vector_to_parameters(output.face_parameters.cpu()[index], talker.model.config.face_model_config)
        answers.append(Answer(text.strip(), faces, tuple(references[number] for number in index.tolist())))
    return answers


@torch.no_grad()
def chat_about(talker: Talker, messages: Sequence[list[dict[str, Any]]], pictures: Tensor) -> list[Answer]:
    """Greedy answers to B first messages, each about one of the `pictures` `(B, 3, S, S)`, shown as a photograph."""
    model, processor = talker.model, talker.processor
    photographs = check_photos(to_images(pictures))
    asked = [
        ChatDialogue(tuple(message), no_faces(model), photograph)
        for message, photograph in zip(messages, photographs, strict=True)
    ]
    looked, _ = look_first(model, processor, asked)
    answers = model_answers(model, processor, looked, max_new_tokens=LONGEST_ANSWER)
    return [Answer(answer.text, _on_cpu(answer.faces.parameters), answer.references) for answer in answers]


def _on_cpu(faces: FaceParameters) -> FaceParameters:
    return FaceParameters(*(group.cpu() for group in faces))


def imagining(talker: Talker, guidance_scale: float | None = None, seed: int = 0) -> MakeFaces:
    """The checkpoint as a function from requests to faces; every call draws other noise than the one before."""
    settings: dict[str, Any] = {} if guidance_scale is None else {"guidance_scale": guidance_scale}
    calls = itertools.count(BETWEEN_NOISES * seed)

    def make_faces(dialogues: list[list[dict]], count: int) -> FaceParameters:
        faces = talker.model.imagine(dialogues, talker.processor, count=count, seed=next(calls), **settings)
        return _on_cpu(faces)

    return make_faces


def evaluate_prompts(
    make_faces: MakeFaces, measurer: FaceMeasurer, *, requests: int = 200, seed: int = 0
) -> dict[str, float]:
    """Explicit requests, in wordings and in combinations of properties that training never saw."""
    figures = {}
    for split in ("held_out_wordings", "held_out_combinations"):
        found = evaluate_requests(make_faces, measurer, "explicit", split, requests=requests, seed=seed)
        figures |= {f"{split.replace('_', ' ')}: {name}": value for name, value in found.items()}
    return figures


def evaluate_situations(
    make_faces: MakeFaces, measurer: FaceMeasurer, *, requests: int = 200, seed: int = 0
) -> dict[str, float]:
    """Speculative requests, on situations and on wordings that training never saw."""
    figures = {}
    for split in ("held_out_situations", "held_out_wordings"):
        found = evaluate_requests(make_faces, measurer, "speculative", split, requests=requests, seed=seed)
        figures |= {f"{split.replace('_', ' ')}: {name}": value for name, value in found.items()}
    return figures


def evaluate_references(talker: Talker, *, pictures: int = 200, seed: int = 0) -> dict[str, float]:
    """Faces of pictures with two to five, named by words: whether exactly those are decoded that are meant."""
    grammar = _picture_grammar(talker, seed)
    right: dict[str, list[bool]] = defaultdict(list)
    for number, count in batches(pictures):
        batch, dialogues = grammar.batch(number, count, ("refer",), found=False)
        answers = chat_about(talker, [dialogue.messages[:1] for dialogue in dialogues], batch.pictures)
        everybody = torch.split(batch.face_targets, batch.counts.tolist())
        for dialogue, answer, people in zip(dialogues, answers, everybody, strict=True):
            if len(people) < 2:  # the others are hidden
                continue
            wanted = vector_to_parameters(dialogue.faces, talker.model.config.face_model_config)
            all_people = vector_to_parameters(people, talker.model.config.face_model_config)
            kind = "none or several meant" if len(dialogue.faces) != 1 else "one meant"
            right[kind].append(_same_faces(answer.faces, wanted, all_people))
    return {f"the right faces, {kind}, %": share(found) for kind, found in sorted(right.items())} | {
        "the right faces, %": share([found for part in right.values() for found in part])
    }


def _same_faces(found: FaceParameters, wanted: FaceParameters, people: FaceParameters) -> bool:
    """Whether the people who stand nearest to the found faces are those who are wanted, no more and no fewer."""
    if len(found.identity) != len(wanted.identity):
        return False
    places = _places(people)
    nearest = torch.cdist(_places(found), places)
    meant = torch.cdist(_places(wanted), places).argmin(-1)
    if not len(nearest):
        return True
    close = nearest.amin(-1) < SAME_PLACE
    return bool(close.all()) and sorted(nearest.argmin(-1).tolist()) == sorted(meant.tolist())


def _places(faces: FaceParameters) -> Tensor:
    """Where faces are seen, `(N, 2)` in picture sides, by the camera of whole photographs."""
    camera = default_picture_cameras(len(faces.identity))
    focal = camera[:, :1] * faces.log_focal.exp()
    return camera[:, 1:] + focal * faces.translation[:, :2] / faces.translation[:, 2:]


def evaluate_questions(talker: Talker, *, pictures: int = 300, seed: int = 0) -> dict[str, float]:
    """Questions on held-out renders and on given faces: whether the answer is word for word the true one."""
    grammar, texts = _picture_grammar(talker, seed), TextGrammar(talker.measurer, held_out_seed(seed), SPLIT)
    right: dict[str, list[bool]] = defaultdict(list)
    for number, count in batches(pictures):
        batch, dialogues = grammar.batch(number, count, ("question", "presence", "declined"), found=False)
        _judge_words(dialogues, chat_about(talker, _first(dialogues), batch.pictures), right, "renders")
        dialogues = texts.batch(number, count, ("question given", "unknown word", "declined", "no face yet"))
        _judge_words(dialogues, _ask(talker, dialogues, batch.pictures[:0]), right, "given faces and words")
    figures = {f"{topic}, %": share(found) for topic, found in sorted(right.items())}
    for source in ("renders", "given faces and words"):
        together = [found for topic, part in right.items() if topic.startswith(source) for found in part]
        figures[f"{source}: all, %"] = share(together)
    return figures


def evaluate_general(talker: Talker, *, pictures: int = 300, seed: int = 0) -> dict[str, float]:
    """Questions on drawn shapes: whether the answer is word for word the true one. Any checkpoint can be asked,
    also one from before it learned to talk about faces."""
    grammar = _shape_grammar(talker, seed)
    right: list[bool] = []
    for number, count in batches(pictures):
        drawn, dialogues = grammar.batch(number, count)
        found: dict[str, list[bool]] = defaultdict(list)
        _judge_words(dialogues, _ask(talker, dialogues, drawn), found, "general")
        right += [one for part in found.values() for one in part]
    return {"general questions answered, %": share(right)}


def _first(dialogues: list[Dialogue]) -> list[list[dict[str, Any]]]:
    return [dialogue.messages[:1] for dialogue in dialogues]


def _ask(talker: Talker, dialogues: list[Dialogue], pictures: Tensor) -> list[Answer]:
    """Ask the first question of each dialogue."""
    given = [dialogue.faces[: _face_count(dialogue.messages[0])] for dialogue in dialogues]
    cameras = default_picture_cameras(len(dialogues))
    return answer_dialogues(talker, _first(dialogues), pictures, torch.cat(given), cameras)


def _judge_words(dialogues: list[Dialogue], answers: list[Answer], right: dict[str, list[bool]], source: str) -> None:
    """Note by topic whether the answer to the first question of each dialogue is the true one."""
    for dialogue, answer in zip(dialogues, answers, strict=True):
        true = "".join(part.get("text", "") for part in dialogue.messages[1]["content"])
        topic = _topic(dialogue) if dialogue.kind in ("question", "question given") else dialogue.kind
        right[f"{source}: {topic}"].append(answer.text == true)


def _face_count(turn: dict[str, Any]) -> int:
    return sum(part.get("text", "").count("<FACE>") for part in turn["content"])


def _topic(dialogue: Dialogue) -> str:
    question = "".join(part.get("text", "") for part in dialogue.messages[0]["content"]).lower()
    return next((topic for topic, words in TOPICS.items() if any(word in question for word in words)), "shape")


def evaluate_emission(
    talker: Talker,
    *,
    dialogues: int = 400,
    seed: int = 0,
) -> dict[str, float]:
    """Whether `<FACE>` is said where a face is asked for, and nowhere else; nothing is constrained."""
    texts, pictures = TextGrammar(talker.measurer, held_out_seed(seed), SPLIT), _picture_grammar(talker, seed)
    shapes = _shape_grammar(talker, seed)
    said: dict[bool, list[bool]] = {True: [], False: []}
    for number, count in batches(dialogues):
        nothing = torch.zeros(0, 3, 1, 1)
        drawn, about_faces = pictures.batch(number, count // 2, found=False)
        shape_pictures, about_shapes = shapes.batch(number, count // 8)
        about_words = texts.batch(number, count)
        _count_faces(about_words, _ask(talker, about_words, nothing), said)
        for part, shown in ((about_faces, drawn.pictures), (about_shapes, shape_pictures)):
            if part:
                _count_faces(part, chat_about(talker, _first(part), shown), said)
    return {
        "requests for a face": float(len(said[True])),
        "answered with a face, %": share(said[True]),
        "other questions": float(len(said[False])),
        "answered without one, %": share([not face for face in said[False]]),
    }


def _count_faces(dialogues: list[Dialogue], answers: list[Answer], said: dict[bool, list[bool]]) -> None:
    for dialogue, answer in zip(dialogues, answers, strict=True):
        said[_face_count(dialogue.messages[1]) > 0].append(len(answer.faces.identity) > 0)


def batches(count: int) -> Iterator[tuple[int, int]]:
    """Numbers and sizes of batches; a terminal shows how many are done."""
    for start in tqdm(range(0, count, BATCH), desc="dialogues", unit="batch", disable=None):
        yield start, min(BATCH, count - start)


def _picture_grammar(talker: Talker, seed: int) -> PictureGrammar:
    side = RENDERED_SIDE * talker.model.config.render_size
    engine = DataEngine(talker.measurer.face_model, side, held_out_seed(seed))
    return PictureGrammar(engine, talker.measurer, held_out_seed(seed), SPLIT)


def _shape_grammar(talker: Talker, seed: int) -> ShapeGrammar:
    count = sum(parameter_sizes(talker.measurer.face_model.config))
    return ShapeGrammar(
        ShapeSpace(talker.measurer), count, talker.model.config.render_size, held_out_seed(seed), SPLIT
    )
