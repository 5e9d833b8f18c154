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
"""Faces from words: phrases of persons, shapes and expressions, and situations from which an expression follows."""

import math
from typing import NamedTuple

import torch

from facegpt_trainer.grammar.face_words import ACTION_WORDS, EMOTION_WORDS, SHAPE_WORDS, shape_phrase, with_article
from modeling_facegpt.face_parameters import FaceParameters
from modeling_facegpt.facial_expressions import ACTIONS, CALM, EMOTIONS

from . import wordings
from .attributes import CLEARLY, SPREAD, express, face_camera, light_from, turn
from .dialogues import Script, Source, Wanted, fill
from .person_words import PERSON_WORDS, wanted_of, words_that_fit
from .situations import (
    DESCRIBED_PEOPLE,
    HELD_OUT_SITUATIONS,
    MORE_DESCRIBED_PEOPLE,
    MORE_PEOPLE,
    PEOPLE,
    TRAINING_SITUATIONS,
    Person,
)

MOST_ALIKE = 0.5  # cosine between the slopes of measures that are asked for together
TURNS = {"left": (28.0, 0.0), "right": (-28.0, 0.0), "up": (0.0, 20.0), "down": (0.0, -20.0)}
TURN_PHRASES = {
    "left": "turned to the left",
    "right": "turned to the right",
    "up": "with the head raised",
    "down": "with the head lowered",
}
LIGHT_PHRASES = {
    "left": "lit from the left",
    "right": "lit from the right",
    "above": "lit from above",
    "below": "lit from below",
}
# Between which amounts people, expressions and turns are drawn, over the usual one; and the means of all amounts.
PERSON_AMOUNTS, EXPRESSION_AMOUNTS, TURN_AMOUNTS = (0.8, 1.3), (0.75, 1.15), (0.8, 1.3)
MEAN_OF_PERSON, MEAN_OF_EXPRESSION, MEAN_OF_TURN = (
    sum(amounts) / 2 for amounts in (PERSON_AMOUNTS, EXPRESSION_AMOUNTS, TURN_AMOUNTS)
)
MEAN_DEVIATION = math.sqrt(2 / math.pi)  # of |x| for x ~ N(0, 1)
FEELINGS = {emotion: emotion for emotion in (*EMOTIONS, CALM)} | {"loving": "full of love"}


class Request(NamedTuple):
    """A request in words, one of the faces that it asks for, and what it asks for."""

    text: str
    face: FaceParameters  # (1, ...)
    wanted: Wanted
    typical: FaceParameters  # (1, ...) mean of all faces that it asks for


class _Plan(NamedTuple):
    person: Person
    shape: dict[str, int]
    expression: str | None
    words: tuple[str, ...] = ()  # of PERSON_WORDS, beside those of the person


def explicit_request(source: Source) -> Request:
    """Such as `An old man with a broad nose, laughing.`"""
    plan = _plan(source)
    turned = source.choose(tuple(TURNS)) if source.chance(0.15) else None
    light = source.choose(tuple(LIGHT_PHRASES)) if source.chance(0.13) else None
    phrase = _phrase(source, plan)
    phrase += f", {TURN_PHRASES[turned]}" if turned else ""
    phrase += f", {LIGHT_PHRASES[light]}" if light else ""
    words = (*plan.person.words, *plan.words) if source.shapes.knows_people else ()
    wanted = Wanted(plan.shape, plan.expression, turned, light, words)
    return _request(source, source.word(wordings.EXPLICIT, phrase=phrase), plan.person, wanted)


def speculative_request(source: Source) -> tuple[Request, Person]:
    """Such as `He has just won a prize. Show his face.`"""
    situations = HELD_OUT_SITUATIONS if source.split == "held_out_situations" else TRAINING_SITUATIONS
    emotion = source.choose(tuple({situation.emotion: None for situation in situations}))
    situation = source.choose([situation for situation in situations if situation.emotion == emotion])
    template = source.template(wordings.SPECULATIVE)
    # `he who` is no everyday English.
    everybody = MORE_PEOPLE if source.shapes.knows_people else PEOPLE
    person = source.choose(
        [person for person in everybody if " who " not in template or person.subject != person.pronoun]
    )
    blanks = {"subject": person.subject, "possessive": person.possessive, "clause": situation.clause}
    text = fill(template, blanks)
    wanted = Wanted({}, situation.emotion, words=person.words if source.shapes.knows_people else ())
    return _request(source, text, person, wanted), person


def _request(source: Source, text: str, person: Person, wanted: Wanted) -> Request:
    return Request(text, draw_face(source, person, wanted), wanted, typical_face(source, person, wanted))


def draw_face(source: Source, person: Person, wanted: Wanted) -> FaceParameters:
    """A random person who is as the words say, and otherwise anybody."""
    face = source.portrait()
    scores = {name: sign * (CLEARLY + SPREAD * abs(source.random.gauss(0, 1))) for name, sign in wanted.shape.items()}
    if source.shapes.knows_people:
        face = face._replace(**source.shapes.person(source.generator, wanted.words)._asdict())
    else:
        scores |= {name: value * source.random.uniform(*PERSON_AMOUNTS) for name, value in person.shape.items()}
    scores = {name: value for name, value in scores.items() if name in source.shapes.names}
    if scores:
        face = face._replace(identity=source.shapes.impose(face.identity, scores))
    if wanted.expression not in (None, CALM):
        face = show_expression(source, face, wanted.expression, source.random.uniform(*EXPRESSION_AMOUNTS))
    if wanted.turned:
        yaw, pitch = (angle * source.random.uniform(*TURN_AMOUNTS) for angle in TURNS[wanted.turned])
        face = turn(face_camera(face), yaw, pitch)
    return light_from(face, wanted.light) if wanted.light else face


def typical_face(source: Source, person: Person, wanted: Wanted) -> FaceParameters:
    """The mean of what `draw_face` draws: the average person, and everything that is asked for at its mean amount."""
    face = source.shapes.average
    scores = {name: sign * (CLEARLY + SPREAD * MEAN_DEVIATION) for name, sign in wanted.shape.items()}
    if source.shapes.knows_people:
        face = face._replace(**source.shapes.typical_person(wanted_of(wanted.words))._asdict())
    else:
        scores |= {n: value * MEAN_OF_PERSON for n, value in person.shape.items() if n in source.shapes.names}
    if scores:
        face = face._replace(identity=source.shapes.impose(face.identity, scores))
    if wanted.expression not in (None, CALM):
        shown = express(face, source.measurer, wanted.expression, MEAN_OF_EXPRESSION).expression
        face = face._replace(expression=torch.maximum(face.expression, shown))
    if wanted.turned:
        yaw, pitch = (angle * MEAN_OF_TURN for angle in TURNS[wanted.turned])
        face = turn(face_camera(face), yaw, pitch)
    return light_from(face, wanted.light) if wanted.light else face


def show_expression(source: Source, face: FaceParameters, expression: str, strength: float) -> FaceParameters:
    """As people show it: no two alike. What the face did before stays where it is stronger."""
    if expression in EMOTIONS:
        row = source.measurer.emotion_activations[list(EMOTIONS).index(expression)]
    else:
        row = source.measurer.action_activations[list(ACTIONS).index(expression)]
    varied = row * strength * (1 + 0.12 * torch.randn(len(row), generator=source.generator))
    return face._replace(expression=torch.maximum(face.expression, varied.clamp(0.0, 1.0)))


def _plan(source: Source) -> _Plan:
    """Properties that the split may ask for together."""
    while True:
        knows_people = source.shapes.knows_people
        person = source.choose(MORE_DESCRIBED_PEOPLE if knows_people else DESCRIBED_PEOPLE)
        words = _sample_words(source, person) if knows_people else ()
        count = source.choose((0, 1, 1, 1, 2, 2, 2, 3))
        shape = _sample_shape(source, count)
        expression = _sample_expression(source, certain=not shape and not words)
        properties = [f"{name} {sign}" for name, sign in shape.items()] + ([expression] if expression else [])
        possible = not (set(shape) & set(person.shape))
        if possible and (
            len(properties) < 2 and source.split != "held_out_combinations" or source.may_join(properties)
        ):
            return _Plan(person, shape, expression, words)


def _sample_words(source: Source, person: Person) -> tuple[str, ...]:
    """None to two properties that such a person may have together."""
    words: tuple[str, ...] = ()
    for _ in range(source.choose((0, 0, 1, 1, 1, 2))):
        words += (source.choose(words_that_fit((*person.words, *words))),)
    return words


def _sample_shape(source: Source, count: int) -> dict[str, int]:
    """Measures that hardly depend on each other, and whether they are high or low."""
    chosen: dict[str, int] = {}
    named = [name for name in source.shapes.names if SHAPE_WORDS[name].part]
    while len(chosen) < count:
        name = source.choose(named)
        if all(source.shapes.likeness(name, other) < MOST_ALIKE for other in chosen):
            chosen[name] = 1 if source.chance(0.5) else -1
    return chosen


def _sample_expression(source: Source, certain: bool) -> str | None:
    if not certain and source.chance(0.45):
        return None
    return source.choose((*EMOTIONS, CALM)) if source.chance(0.75) else source.choose(tuple(ACTIONS))


def _phrase(source: Source, plan: _Plan) -> str:
    """Such as `an old man with a broad nose, laughing`."""
    synonym = source.random.randrange(2)
    subject, phrases = _spoken_words(source, plan)
    shape = join_words([*phrases, *(shape_phrase(name, sign, synonym) for name, sign in plan.shape.items())])
    blanks = {"person": subject, "shape": shape}
    if plan.expression is None:
        return _fill_in(source, wordings.SHAPE_ONLY, blanks) if shape else subject
    words = EMOTION_WORDS | ACTION_WORDS
    blanks["expression"] = words[plan.expression][synonym]
    # `who is with closed eyes` is no English: what begins with a preposition stands behind a comma.
    if blanks["expression"].startswith("with "):
        before = _fill_in(source, wordings.SHAPE_ONLY, blanks) if shape else subject
        return f"{before}, {blanks['expression']}"
    return _fill_in(source, wordings.PHRASES if shape else wordings.EXPRESSION_ONLY, blanks)


def _spoken_words(source: Source, plan: _Plan) -> tuple[str, list[str]]:
    """The person with what is said before the noun, such as `an old bearded man`, and what is said behind `with`."""
    article, *described = plan.person.subject.split()
    phrases = []
    for name in plan.words:
        word = PERSON_WORDS[name]
        if word.adjectives and (not word.phrases or source.chance(0.5)):
            described.insert(-1, source.choose(word.adjectives))
        else:
            phrases.append(source.choose(word.phrases))
    return (with_article(" ".join(described)) if article in ("a", "an") else plan.person.subject), phrases


def _fill_in(source: Source, kind: wordings.Wordings, blanks: dict[str, str]) -> str:
    phrase = source.word(kind, **blanks)
    return phrase[:1].lower() + phrase[1:]


def join_words(phrases: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(phrases[:-1]), *phrases[-1:]) if part)


def explicit_dialogue(source: Source) -> Script:
    """A face from an explicit description."""
    script = Script("explicit")
    request = explicit_request(source)
    script.wanted = request.wanted
    script.ask(request.text)
    script.show(request.face, typical=request.typical)
    return script


def speculative_dialogue(source: Source) -> Script:
    """A face from a situation; sometimes the feeling is asked for."""
    script = Script("speculative")
    request, person = speculative_request(source)
    script.wanted = request.wanted
    script.ask(request.text)
    script.show(request.face, typical=request.typical)
    if source.chance(0.25):
        several = person.pronoun == "they"
        does, verb = ("do", "are") if several else ("does", "is")
        script.ask(source.word(wordings.WHY_FEELING, does=does, pronoun=person.pronoun))
        script.say(f"{person.pronoun.capitalize()} {verb} {FEELINGS[request.wanted.expression or CALM]}.")
    return script
