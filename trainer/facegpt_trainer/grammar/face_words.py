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
"""Words for what `face_measurements` measures: adjectives of parts of the face, expressions, pose, gaze and light."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from modeling_facegpt.face_measurements import PRESENT


class ShapeWords(NamedTuple):
    """How people say that a measure is high or low."""

    part: str
    plural: bool
    high: tuple[str, ...]
    higher: str
    low: tuple[str, ...]
    lower: str


# Keys are those of `face_measurements.SHAPE_MEASURES`.
SHAPE_WORDS: dict[str, ShapeWords] = {
    "nose width": ShapeWords("nose", False, ("broad", "wide"), "broader", ("narrow", "thin"), "narrower"),
    "nose length": ShapeWords("nose", False, ("long",), "longer", ("short",), "shorter"),
    "nose depth": ShapeWords("nose", False, ("prominent",), "more prominent", ("flat",), "flatter"),
    "nose tip height": ShapeWords("nose", False, ("upturned",), "more upturned", ("drooping",), "more drooping"),
    "nose convexity": ShapeWords("nose", False, ("hooked",), "more hooked", ("scooped",), "more scooped"),
    "nose bridge width": ShapeWords("nose bridge", False, ("broad", "wide"), "broader", ("narrow",), "narrower"),
    "mouth width": ShapeWords("mouth", False, ("wide", "broad"), "wider", ("narrow", "small"), "narrower"),
    "lip thickness": ShapeWords("lips", True, ("full", "thick"), "fuller", ("thin",), "thinner"),
    "upper lip thickness": ShapeWords("upper lip", False, ("full", "thick"), "fuller", ("thin",), "thinner"),
    "lower lip thickness": ShapeWords("lower lip", False, ("full", "thick"), "fuller", ("thin",), "thinner"),
    "eye size": ShapeWords("eyes", True, ("large", "big"), "larger", ("small",), "smaller"),
    "eye distance": ShapeWords("eyes", True, ("wide-set",), "wider apart", ("close-set",), "closer together"),
    "eye depth": ShapeWords("eyes", True, ("deep-set",), "deeper set", ("shallow",), "shallower"),
    "brow height": ShapeWords("eyebrows", True, ("high",), "higher", ("low",), "lower"),
    "brow arch": ShapeWords("eyebrows", True, ("arched",), "more arched", ("straight",), "straighter"),
    "face length": ShapeWords("face", False, ("long", "narrow"), "longer", ("round", "broad"), "rounder"),
    "jaw width": ShapeWords("jaw", False, ("broad", "wide"), "broader", ("narrow", "slender"), "narrower"),
    "chin length": ShapeWords("chin", False, ("long",), "longer", ("short",), "shorter"),
    "chin depth": ShapeWords("chin", False, ("prominent", "protruding"), "more prominent", ("receding",), "weaker"),
    "chin width": ShapeWords("chin", False, ("broad", "square"), "broader", ("pointed",), "more pointed"),
    "forehead height": ShapeWords("forehead", False, ("high",), "higher", ("low",), "lower"),
    "forehead width": ShapeWords("forehead", False, ("broad", "wide"), "broader", ("narrow",), "narrower"),
    "cheek width": ShapeWords("cheeks", True, ("full", "chubby"), "fuller", ("hollow", "sunken"), "hollower"),
    "cheekbone height": ShapeWords("cheekbones", True, ("high",), "higher", ("low",), "lower"),
    "ear length": ShapeWords("ears", True, ("large", "big"), "larger", ("small",), "smaller"),
    "ear span": ShapeWords("ears", True, ("protruding",), "more protruding", ("flat",), "flatter"),
    "age": ShapeWords("", False, ("old", "elderly"), "older", ("young",), "younger"),
    "masculinity": ShapeWords("", False, ("masculine",), "more masculine", ("feminine",), "more feminine"),
}

EMOTION_WORDS: dict[str, tuple[str, ...]] = {
    "happy": ("happy", "smiling"),
    "amused": ("laughing", "amused"),
    "surprised": ("surprised", "astonished"),
    "angry": ("angry", "furious"),
    "sad": ("sad", "unhappy"),
    "afraid": ("afraid", "scared"),
    "disgusted": ("disgusted", "revolted"),
    "in pain": ("in pain", "suffering"),
    "tired": ("tired", "sleepy"),
    "doubtful": ("doubtful", "suspicious"),
    "loving": ("blowing a kiss", "kissing"),
    "calm": ("calm", "relaxed"),
}

ACTION_WORDS: dict[str, tuple[str, ...]] = {
    "open mouth": ("with an open mouth", "with the mouth open"),
    "closed eyes": ("with closed eyes", "with both eyes closed"),
    "left wink": ("winking with the left eye", "with the left eye closed"),
    "right wink": ("winking with the right eye", "with the right eye closed"),
    "raised brows": ("with raised eyebrows", "with lifted eyebrows"),
    "lowered brows": ("with lowered eyebrows", "frowning"),
    "pursed lips": ("with pursed lips", "with puckered lips"),
    "puffed cheeks": ("with puffed cheeks", "puffing the cheeks"),
}

# Degrees within which a head or a gaze counts as straight, and from which one counts as clearly turned.
STRAIGHT, TURNED = 8.0, 15.0
GAZE_STRAIGHT, GAZE_TURNED = 5.0, 10.0
# Share of the light from everywhere that comes from one side: below, it comes from no side; above, clearly from one.
LIGHT_EVEN, LIGHT_SIDED = 0.2, 0.4


def with_article(phrase: str) -> str:
    """`a` or `an` before a phrase."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def shape_phrase(measure: str, sign: int, synonym: int = 0) -> str:
    """Such as `a broad nose`, `full lips`.

    Args:
        measure (`str`): a key of `SHAPE_WORDS` that names a part of the face.
        sign (`int`): 1 for high, -1 for low.
        synonym (`int`): which of the adjectives; counted round.
    """
    words = SHAPE_WORDS[measure]
    adjectives = words.high if sign > 0 else words.low
    phrase = f"{adjectives[synonym % len(adjectives)]} {words.part}"
    return phrase if words.plural else with_article(phrase)


def shape_phrases(names: Sequence[str], scores: Tensor, most: int = 3) -> list[str]:
    """What is unlike average people in a face, the most unusual first.

    Args:
        names (`Sequence[str]`): the measures, as `FaceMeasurer.names`.
        scores (`torch.Tensor` of shape `(A,)`): their standard scores.
        most (`int`): how many at most.
    """
    ranked = sorted(zip(scores.tolist(), names, strict=True), key=lambda pair: -abs(pair[0]))
    chosen = [(score, name) for score, name in ranked if abs(score) > PRESENT and SHAPE_WORDS[name].part]
    return [shape_phrase(name, 1 if score > 0 else -1) for score, name in chosen[:most]]


def side_word(angle: float, straight: float, turned: float, positive: str, negative: str) -> str | None:
    """`positive`, `negative`, `""` when straight, `None` between straight and clearly turned."""
    if abs(angle) <= straight:
        return ""
    if abs(angle) < turned:
        return None
    return positive if angle > 0 else negative
