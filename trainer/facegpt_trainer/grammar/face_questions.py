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
"""Words about faces: descriptions, questions, comparisons, and what is declined. What is said is measured."""

from typing import NamedTuple

import torch
from torch import Tensor

from facegpt_trainer.grammar.face_words import (
    EMOTION_WORDS,
    GAZE_STRAIGHT,
    GAZE_TURNED,
    LIGHT_EVEN,
    LIGHT_SIDED,
    SHAPE_WORDS,
    STRAIGHT,
    TURNED,
    shape_phrases,
    side_word,
    with_article,
)
from modeling_facegpt.face_measurements import (
    PRESENT,
    ExpressionMeasures,
    FaceMeasurer,
    measure_gaze,
    measure_light,
    measure_pose,
)
from modeling_facegpt.face_parameters import FaceParameters, concatenate_faces, select_faces
from modeling_facegpt.facial_expressions import CALM, EMOTIONS
from modeling_facegpt.processing_facegpt import FACE_TOKEN

from . import wordings
from .dialogues import Script, Source, capital, fill
from .face_edits import PRONOUNS, lively_portrait
from .face_prompts import join_words
from .person_words import PERSON_WORDS, is_measured

# Said of a face when they hold, the most striking first; and what goes without saying.
TOLD_WORDS = (
    *("bearded", "moustache", "stubbly", "bald", "red-haired", "grey", "freckled", "lipstick"),
    *("blue-eyed", "green-eyed", "wrinkled", "pale", "dark", "tanned", "thick eyebrows", "thin eyebrows"),
)
IMPLIED = ({"thick eyebrows", "man"}, {"thin eyebrows", "woman"})
WITNESSED = 16  # people that are measured at once
AVERAGE = 0.6  # standard deviations within which a measure is called average
CLEAR_CORRELATION, CLEAR_LEAD = 0.6, 0.08  # of the strongest emotion, and before the next one
CLEAR_MOVEMENT, NO_MOVEMENT = 0.5, 0.25
OPEN_MOUTH, CLOSED_MOUTH = 7.0, 2.0  # millimetres more than at rest
CLOSED_EYES, OPEN_EYES = 0.6, 0.3
CLEAR_DIFFERENCE = 1.2  # standard deviations
NO_NAMES = "I do not identify people or copy their looks."
NO_JUDGEMENT = "A face does not tell that, so I do not judge it."
SYLLABLES = "wib flum snor blor gli zup tor dru nim pol kwa ster mib lu fra goz".split()
ENDINGS = "bly py ky fy ly mish".split()


def _opposites() -> tuple[tuple[str, str], ...]:
    """Adjectives and their opposites, where there is one only: `broad` is narrow of a nose and pointed of a chin."""
    pairs = {(words.high[0], words.low[0]) for words in SHAPE_WORDS.values()}
    pairs |= {(low, high) for high, low in pairs}
    first = [word for word, _ in pairs]
    return tuple(sorted(pair for pair in pairs if first.count(pair[0]) == 1))


OPPOSITES = _opposites()


class Truth(NamedTuple):
    """What is measured of one face, as far as it is clear enough. `None`: not clear; `""`: straight, even."""

    scores: Tensor  # (A,) standard scores of the shape
    masculinity: float | None  # one of them, where the 3DMM has it
    emotion: str | None  # of EMOTIONS, or calm
    mouth_open: bool | None
    eyes_closed: bool | None  # both
    yaw: str | None  # left, right of the subject
    pitch: str | None  # up, down
    roll: str | None  # left, right shoulder
    gaze: str | None  # left, right of the subject
    light: str | None  # left, right of the picture
    words: dict[str, bool | None] | None = None  # of PERSON_WORDS; None where the 3DMM does not know people


def tell_truths(measurer: FaceMeasurer, faces: FaceParameters) -> list[Truth]:
    """Truths of N faces, measured at once."""
    scores = measurer.identity_scores(faces.identity)
    shown = measurer.measure_activations(faces.identity, faces.expression)
    emotions = clear_emotions(shown)
    pose, (gaze, _), light = measure_pose(faces), measure_gaze(faces), measure_light(faces.light)
    columns = torch.stack((*pose, gaze, light.from_right, shown.mouth_opening), dim=-1).tolist()
    masculinity = measurer.names.index("masculinity") if "masculinity" in measurer.names else None
    words = measured_words(measurer, faces)
    truths = []
    for row, (yaw, pitch, roll, looks, right, opening) in enumerate(columns):
        closed = shown.eyes_closed[row]
        truths.append(
            Truth(
                scores=scores[row],
                masculinity=float(scores[row, masculinity]) if masculinity is not None else None,
                emotion=emotions[row],
                mouth_open=_clear(opening, CLOSED_MOUTH, OPEN_MOUTH),
                eyes_closed=_clear(float(closed.amin()), OPEN_EYES, CLOSED_EYES),
                yaw=side_word(yaw, STRAIGHT, TURNED, "left", "right"),
                pitch=side_word(pitch, STRAIGHT, TURNED, "up", "down"),
                roll=side_word(roll, STRAIGHT, TURNED, "left", "right"),
                gaze=side_word(looks, GAZE_STRAIGHT, GAZE_TURNED, "left", "right"),
                light=side_word(right, LIGHT_EVEN, LIGHT_SIDED, "right", "left"),
                words=words[row] if words else None,
            )
        )
    return truths


def measured_words(measurer: FaceMeasurer, faces: FaceParameters) -> list[dict[str, bool | None]] | None:
    """Which of `PERSON_WORDS` hold of N faces; `None` for a word of which it is not clear."""
    measures = measurer.measure_people(faces.identity, faces.albedo)
    if measures is None:
        return None
    columns = {name: is_measured(word, measures).tolist() for name, word in PERSON_WORDS.items()}
    return [
        {name: _clear(columns[name][row], word.no, word.yes) for name, word in PERSON_WORDS.items()}
        for row in range(len(faces.identity))
    ]


def clear_emotions(shown: ExpressionMeasures) -> list[str | None]:
    """The strongest emotion of each of N faces; `None` where another one is as strong, or where little is seen."""
    names = list(EMOTIONS)
    best, order = shown.emotions.topk(2, dim=-1)
    rows = zip(best.tolist(), order[:, 0].tolist(), shown.movement.tolist(), strict=True)
    return [_clear_emotion(names[index], first, second, moved) for (first, second), index, moved in rows]


def _clear_emotion(name: str, first: float, second: float, moved: float) -> str | None:
    if moved < NO_MOVEMENT:
        return CALM
    clear = moved > CLEAR_MOVEMENT and first > CLEAR_CORRELATION and first - second > CLEAR_LEAD
    return name if clear else None


def _clear(value: float, no: float, yes: float) -> bool | None:
    return None if no < value < yes else value >= yes


def witnessed_portrait(source: Source) -> tuple[FaceParameters, Truth]:
    """A random lively person and the truth about them; measured some at a time, which costs little more than one."""
    if not source.witnessed:
        faces = concatenate_faces([lively_portrait(source) for _ in range(WITNESSED)])
        truths = tell_truths(source.measurer, faces)
        source.witnessed.extend((select_faces(faces, slice(row, row + 1)), truth) for row, truth in enumerate(truths))
    return source.witnessed.pop()


def describe(names: tuple[str, ...], truth: Truth, most: int = 2) -> str:
    """One sentence: who, with which shape, doing what, turned where."""
    by_name = dict(zip(names, truth.scores.tolist(), strict=True))
    person = person_words(by_name.get("masculinity", 0.0), by_name.get("age", 0.0))
    phrases = shape_phrases(names, truth.scores, most)
    if truth.words is not None:
        person, seen = spoken_words(truth.words)
        phrases = [*seen, *phrases[:1]]
    shape = join_words(phrases)
    parts = [f"{with_article(person)} with {shape}" if shape else with_article(person)]
    parts += [EMOTION_WORDS[truth.emotion][0]] if truth.emotion else []
    parts += [f"turned to the {truth.yaw}"] if truth.yaw else []
    return capital(", ".join(parts) + ".")


def spoken_words(words: dict[str, bool | None]) -> tuple[str, list[str]]:
    """Such as `old man`, and up to two things that he has, such as `a beard`."""
    sex = next((name for name in ("woman", "man") if words[name]), "person")
    years = next(
        (PERSON_WORDS[name].adjectives[-1] for name in ("young", "middle-aged", "elderly") if words[name]), ""
    )
    have = [name for name in TOLD_WORDS if words[name] and not any({name, sex} <= pair for pair in IMPLIED)]
    return f"{years} {sex}".strip(), [PERSON_WORDS[name].phrases[0] for name in have[:2]]


def person_words(masculinity: float, age: float) -> str:
    """Such as `old man`, by scores; `person` where the shape does not say."""
    sex = "man" if masculinity > PRESENT else "woman" if masculinity < -PRESENT else "person"
    years = "old " if age > PRESENT else "young " if age < -PRESENT else ""
    return years + sex


def shape_question(source: Source, scores: Tensor) -> tuple[str, str] | None:
    """A question on one part, and the answer; `None` where the part is neither average nor clearly special."""
    named = [index for index, name in enumerate(source.shapes.names) if SHAPE_WORDS[name].part]
    index = source.choose(named)
    words, score = SHAPE_WORDS[source.shapes.names[index]], float(scores[index])
    if AVERAGE < abs(score) <= PRESENT:
        return None
    is_, it = ("are", "they are") if words.plural else ("is", "it is")
    true = words.high[0] if score > 0 else words.low[0]
    if source.chance(0.7):
        asked = source.choose((words.high[0], words.low[0]))
        text = f"{is_} the {words.part} {asked}?"
        if abs(score) < AVERAGE:
            return capital(text), f"No, {it} average."
        return capital(text), f"Yes, {it} {true}." if asked == true else f"No, {it} {true}."
    best = _special(source, words.part, scores)
    answer = f"The {words.part} {is_} {best or 'average'}."
    return source.word(wordings.ASK_PART, part=words.part, verb=is_), answer


def _special(source: Source, part: str, scores: Tensor) -> str | None:
    """The adjective that fits a part best; `None` where it is average in every way."""
    found = [
        (abs(float(score)), words.high[0] if score > 0 else words.low[0])
        for name, score in zip(source.shapes.names, scores, strict=True)
        if (words := SHAPE_WORDS[name]).part == part
    ]
    size, adjective = max(found)
    return adjective if size > PRESENT else None


def state_question(source: Source, truth: Truth) -> tuple[str, str] | None:
    """A question on what a face does, how it is turned or lit, and the answer; `None` where that is not clear."""
    kind = source.choose(("expression", "expression", "pose", "tilt", "gaze", "light", "mouth", "eyes"))
    match kind:
        case "expression" if truth.emotion:
            return source.word(wordings.ASK_EXPRESSION), f"{capital(EMOTION_WORDS[truth.emotion][0])}."
        case "pose" if truth.yaw is not None and (truth.yaw or truth.pitch is not None):
            return source.word(wordings.ASK_POSE), _pose_answer(truth.yaw, truth.pitch)
        case "tilt" if truth.roll is not None:
            answer = f"To the {truth.roll} shoulder." if truth.roll else "It is upright."
            return source.word(wordings.ASK_TILT), answer
        case "gaze" if truth.gaze is not None and truth.eyes_closed is False:
            return source.word(wordings.ASK_GAZE), f"To the {truth.gaze}." if truth.gaze else "Straight ahead."
        case "light" if truth.light is not None:
            answer = f"From the {truth.light}." if truth.light else "From no side."
            return source.word(wordings.ASK_LIGHT), answer
        case "mouth" if truth.mouth_open is not None:
            return source.word(wordings.ASK_MOUTH), f"The mouth is {'open' if truth.mouth_open else 'closed'}."
        case "eyes" if truth.eyes_closed is not None:
            return source.word(wordings.ASK_EYES), f"The eyes are {'closed' if truth.eyes_closed else 'open'}."
    return None


def person_question(source: Source, words: dict[str, bool | None]) -> tuple[str, str] | None:
    """A question on who somebody is, and the answer; `None` where that is not clear."""
    group = source.choose(tuple(wordings.ASK_PERSON))
    names = [name for name, word in PERSON_WORDS.items() if word.group == group]
    true = [name for name in names if words[name]]
    if len(true) == 1:
        return source.word(wordings.ASK_PERSON[group]), wordings.PERSON_ANSWERS[true[0]]
    nothing = wordings.NOTHING_OF_PERSON.get(group)
    if nothing and all(words[name] is False for name in names):
        return source.word(wordings.ASK_PERSON[group]), nothing
    return None


def _pose_answer(yaw: str, pitch: str | None) -> str:
    if yaw:
        return f"To the {yaw}."
    return {"up": "Up.", "down": "Down."}.get(pitch or "", "To the camera.")


def describe_given_dialogue(source: Source) -> Script:
    """A given face, described."""
    script = Script("describe given")
    face, truth = witnessed_portrait(source)
    script.ask(source.word(wordings.DESCRIBE_GIVEN, face=FACE_TOKEN), face)
    script.say(describe(source.shapes.names, truth))
    return script


def question_given_dialogue(source: Source) -> Script:
    """Questions on a given face."""
    script = Script("question given")
    face, truth = witnessed_portrait(source)
    for number in range(source.choose((1, 1, 2))):
        question, answer = clear_question(source, truth)
        script.ask(question if number else f"{FACE_TOKEN} {question}", *([] if number else [face]))
        script.say(answer)
    return script


def clear_question(source: Source, truth: Truth, shape_share: float = 0.45) -> tuple[str, str]:
    """A question whose answer is clear, and the answer."""
    while True:
        if truth.words is not None and source.chance(0.35):
            found = person_question(source, truth.words)
            if found is not None:
                return found
        found = shape_question(source, truth.scores) if source.chance(shape_share) else state_question(source, truth)
        if found is not None:
            return found


def compare_dialogue(source: Source) -> Script:
    """Two given faces, compared in words and millimetres."""
    script = Script("compare")
    (first, first_scores), (second, second_scores) = source.scored_portrait(), source.scored_portrait()
    more = first_scores - second_scores
    lengths = source.measurer.identity_millimetres(torch.cat((first.identity, second.identity)))
    millimetres = lengths[0] - lengths[1]  # NaN for what is no length
    agree = (more.abs() > CLEAR_DIFFERENCE) & (millimetres.abs() > 1) & (more.sign() == millimetres.sign())
    usable = agree.nonzero()[:, 0].tolist()
    if source.chance(0.35) or not usable:
        script.ask(source.word(wordings.DIFFERENCE, face=FACE_TOKEN), first, second)
        script.say(_difference(source, more))
        return script
    index = source.choose(usable)
    words = SHAPE_WORDS[source.shapes.names[index]]
    asked_higher = source.chance(0.5)
    comparative, is_ = words.higher if asked_higher else words.lower, "are" if words.plural else "is"
    text = source.word(wordings.COMPARE, face=FACE_TOKEN, part=words.part, verb=is_, comparative=comparative)
    script.ask(text, first, second)
    which = "first" if (float(more[index]) > 0) == asked_higher else "second"
    script.say(f"The {which} one, by {round(abs(float(millimetres[index])))} millimetres.")
    return script


def _difference(source: Source, more: Tensor) -> str:
    """In which ways the first of two faces is most unlike the second."""
    order = more.abs().argsort(descending=True).tolist()
    named = [index for index in order if SHAPE_WORDS[source.shapes.names[index]].part][:2]
    phrases = []
    for index in named:
        words = SHAPE_WORDS[source.shapes.names[index]]
        comparative = words.higher if float(more[index]) > 0 else words.lower
        phrases.append(f"the {words.part} {'are' if words.plural else 'is'} {comparative}")
    return f"In the first, {join_words(phrases)}."


def unknown_dialogue(source: Source) -> Script:
    """A word that means nothing for a face: the answer says so."""
    script = Script("unknown word")
    word = "".join(source.choose(SYLLABLES) for _ in range(source.choose((1, 1, 2)))) + source.choose(ENDINGS)
    words = SHAPE_WORDS[source.choose([name for name in source.shapes.names if SHAPE_WORDS[name].part])]
    _, person, _ = source.choose(PRONOUNS)
    described = f"{word} {words.part}" if words.plural else f"a {word} {words.part}"
    phrase = source.choose((f"a person with {described}", f"a woman with {described}", f"a man with {described}"))
    template = source.template(wordings.UNKNOWN)
    blanks = {"part": words.part, "word": word, "object": person}
    blanks["phrase"] = described if "{object}" in template else phrase
    given = [lively_portrait(source)] if "{object}" in template or "{word}" in template else []
    text = fill(template, blanks)
    script.ask(f"{FACE_TOKEN} {text}" if given else text, *given)
    script.say(f"I do not know what {word} means for {words.part if words.plural else with_article(words.part)}.")
    return script


def declined_dialogue(source: Source) -> Script:
    """Who somebody is, and what a face cannot tell: declined in one sentence."""
    script = Script("declined")
    named = source.chance(0.6)
    template = source.template(wordings.WHO if named else wordings.JUDGE)
    text = fill(template, {"object": source.choose(PRONOUNS)[1]})
    given = [lively_portrait(source)] if not text.startswith(("Draw", "Show")) else []
    script.ask(f"{FACE_TOKEN} {text}" if given else text, *given)
    script.say(NO_NAMES if named else NO_JUDGEMENT)
    return script


def small_talk_dialogue(source: Source) -> Script:
    """Words alone: greetings, opposites, and what words mean."""
    script = Script("small talk")
    if source.chance(0.5):
        asked, answer = source.choose(OPPOSITES)
        script.ask(source.word(wordings.OPPOSITE, word=asked))
        script.say(f"{capital(answer)}.")
    elif source.chance(0.4):
        emotion = source.choose(tuple(EMOTIONS))
        script.ask(source.word(wordings.SYNONYM, word=EMOTION_WORDS[emotion][1]))
        script.say(f"{capital(EMOTION_WORDS[emotion][0])}.")
    else:
        question, answer = source.choose(wordings.SMALL_TALK)
        script.ask(question)
        script.say(answer)
    return script
