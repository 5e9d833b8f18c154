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
"""Edits over several turns: `make him smile`, `a little less`, `turn to the left`, `undo`.

Every edit has one exact target: the groups of parameters that its words name change by a fixed rule, all others stay
as they are, and an undo gives the earlier face back, number for number.
"""

from typing import NamedTuple

from facegpt_trainer.grammar.face_words import EMOTION_WORDS, SHAPE_WORDS, with_article
from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.facial_expressions import ACTIONS, CALM, EMOTIONS
from modeling_facegpt.processing_facegpt import FACE_TOKEN

from . import wordings
from .attributes import (
    BRIGHTENING,
    EDIT_STEP,
    GAZE_STEP,
    TURN_STEP,
    ShapeSpace,
    act,
    brighten,
    express,
    face_camera,
    light_from,
    look,
    turn,
)
from .dialogues import Edit, Script, Source, fill
from .face_prompts import explicit_request, show_expression
from .person_edits import PERSON_EDITS, change_person

DEGREES = {"": 1.0, "a little": 0.5, "much": 1.6}  # before comparatives
ADJECTIVE_DEGREES = {"": 1.0, "slightly": 0.6, "very": 1.3}
MORE, LESS = 1.5, 0.5
PERSON_EDIT_SHARE = 0.3  # of the edits, where the 3DMM knows people
LARGEST_AMOUNT = 2.4
PRONOUNS = (("he", "him", "his"), ("she", "her", "her"), ("they", "them", "their"), ("it", "it", "its"))
EMOTION_VERBS = {"happy": "smile", "amused": "laugh", "loving": "blow a kiss"}
ACTION_VERBS = {
    "open mouth": ("open the mouth",),
    "closed eyes": ("close the eyes", "close both eyes"),
    "left wink": ("wink with the left eye", "close the left eye"),
    "right wink": ("wink with the right eye", "close the right eye"),
    "raised brows": ("raise the eyebrows", "lift the eyebrows"),
    "lowered brows": ("frown", "lower the eyebrows"),
    "pursed lips": ("purse the lips",),
    "puffed cheeks": ("puff the cheeks",),
}
# Kind of turn, sign, and what the person is told to do.
TURN_VERBS = (
    ("yaw", 1, ("turn to the left", "turn the head to the left")),
    ("yaw", -1, ("turn to the right", "turn the head to the right")),
    ("pitch", 1, ("raise the head", "lift the chin")),
    ("pitch", -1, ("lower the head", "lower the chin")),
    ("roll", 1, ("tilt the head to the left",)),
    ("roll", -1, ("tilt the head to the right",)),
    ("gaze yaw", 1, ("look to the left", "turn the eyes to the left")),
    ("gaze yaw", -1, ("look to the right", "turn the eyes to the right")),
    ("gaze pitch", 1, ("turn the eyes up",)),
    ("gaze pitch", -1, ("turn the eyes down",)),
    ("straight", 1, ("face the camera", "turn to the camera")),
)
LIGHT_SIDES = {
    "left": ("the left", "on the left"),
    "right": ("the right", "on the right"),
    "above": ("above", "above the head"),
    "below": ("below", "below the chin"),
}
NOTHING_TO_UNDO = "There is nothing to undo."
NO_FACE_YET = "There is no face yet to change."


class EditRequest(NamedTuple):
    """What is said, and what it means."""

    text: str
    edit: Edit


class _State(NamedTuple):
    """A face of the dialogue as it was after some edits."""

    index: int  # among the dialogue's faces
    face: FaceParameters
    edit: Edit | None  # that led here
    before: FaceParameters | None  # what that edit was applied to


def apply_edit(shapes: ShapeSpace, face: FaceParameters, edit: Edit) -> FaceParameters:
    """The face that an edit asks for. Groups that it does not name stay the very same tensors."""
    measurer, amount = shapes.measurer, edit.amount
    match edit.kind:
        case "shape":
            return shapes.change(face, edit.name, EDIT_STEP * amount)
        case "person":
            return change_person(measurer, face, edit.name, amount)
        case "emotion":
            return express(face, measurer, edit.name, amount)
        case "action":
            return act(face, measurer, edit.name, amount)
        case "yaw" | "pitch" | "roll":
            return turn(face, **{edit.kind: TURN_STEP * amount})
        case "gaze yaw":
            return look(face, GAZE_STEP * amount, 0.0)
        case "gaze pitch":
            return look(face, 0.0, GAZE_STEP * amount)
        case "light":
            return light_from(face, edit.name, amount)
        case "brightness":
            return brighten(face, BRIGHTENING**amount)
        case "straight":
            return face_camera(face)
    raise ValueError(f"got an edit of kind {edit.kind!r}, which is none; see Edit")


def edit_request(source: Source) -> EditRequest:
    """One edit that needs no earlier one."""
    pronoun, person, possessive = source.choose(PRONOUNS)
    blanks = {"pronoun": pronoun, "object": person, "possessive": possessive}
    if source.shapes.knows_people and source.chance(PERSON_EDIT_SHARE):
        return _person_request(source, blanks)
    kind = source.random.random()
    if kind < 0.38:
        return _shape_request(source, blanks)
    if kind < 0.68:
        return _emotion_request(source, blanks)
    if kind < 0.78:
        action = source.choose(tuple(ACTIONS))
        verb = source.choose(ACTION_VERBS[action])
        return EditRequest(source.word(wordings.VERB_EDIT, verb=verb, **blanks), Edit("action", action))
    if kind < 0.92:
        name, sign, verbs = source.choose(TURN_VERBS)
        text = source.word(wordings.VERB_EDIT, verb=source.choose(verbs), **blanks)
        return EditRequest(text, Edit(name, amount=float(sign)))
    return _light_request(source)


def _person_request(source: Source, blanks: dict[str, str]) -> EditRequest:
    name = source.choose(tuple(PERSON_EDITS))
    texts = PERSON_EDITS[name].texts
    template = texts[-1] if source.split == "held_out_wordings" else source.choose(texts[:-1])
    return EditRequest(fill(template, blanks), Edit("person", name))


def _shape_request(source: Source, blanks: dict[str, str]) -> EditRequest:
    name = source.choose(source.shapes.names)
    words = SHAPE_WORDS[name]
    sign = 1 if source.chance(0.5) else -1
    comparative = words.higher if sign > 0 else words.lower
    if not words.part:  # the whole person
        text = source.word(wordings.EMOTION_EDIT, **blanks, degree="", adjective=comparative)
        return EditRequest(text, Edit("shape", name, float(sign)))
    template = source.template(wordings.SHAPE_EDIT)
    degree = source.choose(tuple(DEGREES)) if "{degree}" in template else ""
    phrase = f"{comparative} {words.part}"
    phrase = phrase if words.plural else with_article(phrase)
    # `much` goes before a comparative only; a phrase such as `wider apart` goes behind its noun only.
    if "{phrase}" in template and comparative.split()[-1] in ("apart", "together", "set"):
        template = "Make the {part} {comparative}."
    blanks |= {"part": words.part, "comparative": comparative, "phrase": phrase, "degree": degree}
    text = fill(template, blanks)
    return EditRequest(text, Edit("shape", name, sign * DEGREES[degree]))


def _emotion_request(source: Source, blanks: dict[str, str]) -> EditRequest:
    emotion = source.choose((*EMOTIONS, CALM))
    if emotion == "loving" or emotion in EMOTION_VERBS and source.chance(0.5):
        text = source.word(wordings.VERB_EDIT, verb=EMOTION_VERBS[emotion], **blanks)
        return EditRequest(text, Edit("emotion", emotion))
    template = source.template(wordings.EMOTION_EDIT)
    graded = "{degree}" in template and emotion not in (CALM, "in pain")
    degree = source.choose(tuple(ADJECTIVE_DEGREES)) if graded else ""
    adjective = emotion if emotion in EMOTION_VERBS else source.choose(EMOTION_WORDS[emotion])
    text = fill(template, blanks | {"adjective": adjective, "degree": degree})
    return EditRequest(text, Edit("emotion", emotion, ADJECTIVE_DEGREES[degree]))


def _light_request(source: Source) -> EditRequest:
    if source.chance(0.3):
        sign = 1 if source.chance(0.5) else -1
        text = source.word(wordings.BRIGHTER if sign > 0 else wordings.DIMMER)
        return EditRequest(text, Edit("brightness", amount=float(sign)))
    side = source.choose(tuple(LIGHT_SIDES))
    named, place = LIGHT_SIDES[side]
    return EditRequest(source.word(wordings.LIGHT_EDIT, side=named, place=place), Edit("light", side))


def one_edit_dialogue(source: Source) -> Script:
    """A given face and one edit of it."""
    script = Script("one edit")
    face, request = lively_portrait(source), edit_request(source)
    script.ask(f"{FACE_TOKEN} {request.text}", face)
    _show_edit(source, script, _State(0, face, None, None), request.edit)
    return script


def edit_dialogue(source: Source) -> Script:
    """A face, given or made from words, and one to four edits of it."""
    script = Script("edit")
    request = edit_request(source)
    if source.chance(0.5):
        face = lively_portrait(source)
        script.ask(f"{FACE_TOKEN} {request.text}", face)
        index = 0
    else:
        asked = explicit_request(source)
        script.wanted = asked.wanted
        script.ask(asked.text)
        index, face = script.show(asked.face, typical=asked.typical), asked.face
        script.ask(request.text)
    continue_edits(source, script, index, face, request)
    return script


def continue_edits(source: Source, script: Script, index: int, face: FaceParameters, request: EditRequest) -> None:
    """Answer an edit that was just asked for, of the `index`-th face of the dialogue, and go on for some turns."""
    history = [_State(index, face, None, None)]
    history.append(_show_edit(source, script, history[-1], request.edit))
    for _ in range(source.choose((0, 0, 1, 1, 2, 3))):
        _one_more_turn(source, script, history)


def _show_edit(source: Source, script: Script, state: _State, edit: Edit) -> _State:
    changed = apply_edit(source.shapes, state.face, edit)
    script.edits.append(edit)
    return _State(script.show(changed, state.index), changed, edit, state.face)


def _one_more_turn(source: Source, script: Script, history: list[_State]) -> None:
    kind = source.random.random()
    state = history[-1]
    if kind < 0.25:
        _undo(source, script, history)
    elif kind < 0.5 and state.edit is not None and state.before is not None and _has_degrees(state.edit):
        more = source.chance(0.5)
        amount = state.edit.amount * (MORE if more else LESS)
        amount = max(-LARGEST_AMOUNT, min(LARGEST_AMOUNT, amount))
        edit = state.edit._replace(amount=amount)
        script.ask(source.word(wordings.MORE if more else wordings.LESS))
        changed = apply_edit(source.shapes, state.before, edit)
        script.edits.append(edit)
        history.append(_State(script.show(changed, state.index), changed, edit, state.before))
    else:
        request = edit_request(source)
        script.ask(request.text)
        history.append(_show_edit(source, script, state, request.edit))


def _has_degrees(edit: Edit) -> bool:
    if edit.kind == "person":
        return PERSON_EDITS[edit.name].degrees
    return edit.kind not in ("straight",) and edit.name != CALM


def _undo(source: Source, script: Script, history: list[_State]) -> None:
    """Back to the face before the last edit or the last two; the dialogue's history forgets what is undone."""
    steps = 2 if len(history) > 2 and source.chance(0.35) else 1
    script.ask(source.word(wordings.UNDO_TWICE if steps == 2 else wordings.UNDO))
    if len(history) <= steps:
        script.say(NOTHING_TO_UNDO)
        return
    del history[-steps:]
    state = history[-1]
    script.edits.append(None)
    history[-1] = _State(script.show(state.face, state.index), state.face, None, None)


def lively_portrait(source: Source) -> FaceParameters:
    """A random person who shows something, is turned somewhere, and lit from somewhere."""
    face = source.portrait()
    if source.chance(0.6):
        face = show_expression(source, face, source.choose(tuple(EMOTIONS)), source.random.uniform(0.6, 1.1))
    if source.chance(0.3):
        face = turn(
            face, source.random.uniform(-35, 35), source.random.uniform(-20, 20), source.random.uniform(-15, 15)
        )
    if source.chance(0.2):
        face = look(face, source.random.uniform(-25, 25), source.random.uniform(-15, 15))
    return light_from(face, source.choose(tuple(LIGHT_SIDES))) if source.chance(0.2) else face


def edit_before_face_dialogue(source: Source) -> Script:
    """An edit where there is nothing to edit: one sentence says so."""
    script = Script("no face yet")
    if source.chance(0.3):
        script.ask(source.word(wordings.UNDO if source.chance(0.7) else wordings.UNDO_TWICE))
        script.say(NOTHING_TO_UNDO)
    else:
        script.ask(edit_request(source).text)
        script.say(NO_FACE_YET)
    return script
