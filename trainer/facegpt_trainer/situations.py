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
"""What can happen to people, and how their faces then look: the table behind speculative requests.

Every situation is what somebody has just done. The last object of each verb is held out from training: its words are
known from other situations, it itself never comes with a face.
"""

from typing import NamedTuple

SITUATIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "happy": {
        "won": ("a race", "a prize", "the match", "a medal", "a bet", "the lottery"),
        "passed": ("the exam", "the driving test", "the last test", "the interview"),
        "got": ("a birthday present", "good news", "a kind letter", "a puppy", "a promotion"),
        "found": ("a treasure", "the lost key", "some money", "an old friend"),
        "married": ("a dear friend", "the right person", "the neighbour"),
    },
    "amused": {
        "heard": ("a funny joke", "a silly story", "a funny song", "a good joke"),
        "watched": ("a comedy", "a clown", "a playful kitten", "a funny film"),
        "told": ("a joke", "a funny story", "a silly joke"),
        "been tickled by": ("a child", "a feather", "a friend"),
    },
    "surprised": {
        "opened": ("a mysterious box", "an unexpected letter", "a surprise present"),
        "walked into": ("a surprise party", "a room full of balloons", "an unexpected party"),
        "seen": ("a magic trick", "a shooting star", "a flying pig", "an unexpected star"),
        "noticed": ("an elephant in the garden", "snow in summer", "a pig in the garden"),
    },
    "angry": {
        "been insulted by": ("a stranger", "the boss", "a driver", "a waiter"),
        "been cheated by": ("a seller", "a waiter", "the bank", "a stranger"),
        "argued with": ("the boss", "a rude driver", "the bank", "a rude neighbour"),
        "caught": ("a thief", "a liar", "a burglar"),
        "found a scratch on": ("the new car", "the new phone", "the new table"),
    },
    "sad": {
        "lost": ("a dear friend", "the family dog", "a wedding ring", "a favourite toy", "the match"),
        "failed": ("the exam", "the interview", "the last test", "the driving test"),
        "said goodbye to": ("a dear friend", "the old house", "the family dog"),
        "buried": ("the old cat", "a pet bird", "the old dog"),
        "been left by": ("a dear friend", "a lover", "the family"),
    },
    "afraid": {
        "seen": ("a ghost", "a snake", "a huge shark", "a monster", "a spider"),
        "been chased by": ("an angry dog", "a bear", "a ghost", "a wolf"),
        "heard": ("a scream in the dark", "steps in the empty house", "a wolf at night", "steps in the dark"),
        "met": ("a spider in the bed", "a snake in the cellar", "a bear in the forest", "a spider in the cellar"),
        "dreamed of": ("a monster", "a huge spider", "a ghost"),
    },
    "disgusted": {
        "smelled": ("rotten fish", "old socks", "a dirty toilet", "sour milk"),
        "tasted": ("sour milk", "mouldy bread", "a rotten egg", "rotten fish"),
        "stepped into": ("dog dirt", "a pile of rubbish", "dirt and slime"),
        "eaten": ("a worm", "mouldy cheese", "a fly", "mouldy bread"),
        "found": ("a hair in the soup", "a worm in the apple", "a fly in the soup"),
    },
    "in pain": {
        "burned": ("a finger", "a hand on the stove", "a hand"),
        "broken": ("an arm", "a leg", "a tooth", "a finger"),
        "hit": ("a thumb with a hammer", "a knee on the table", "a toe on the door", "a knee on the door"),
        "been stung by": ("a bee", "a jellyfish", "a wasp"),
        "cut": ("a finger", "a thumb with a knife", "a hand with a knife"),
    },
    "tired": {
        "worked": ("all night", "for two days without sleep", "for three days without a rest"),
        "not slept": ("for two nights", "for three days", "all night"),
        "driven": ("through the night", "for twenty hours", "all night without a rest"),
        "watched": ("a crying baby all night", "a boring film for four hours", "a boring film all night"),
    },
    "doubtful": {
        "been told": ("an unlikely story", "a strange excuse", "that the moon is made of cheese", "an odd excuse"),
        "been offered": ("a diamond for a penny", "a miracle cure", "a house for a penny"),
        "read": ("an odd promise", "a strange offer", "an unlikely promise"),
        "heard": ("a strange promise", "an odd excuse", "an unlikely excuse"),
    },
    "loving": {
        "kissed": ("the baby", "the bride", "the children"),
        "fallen in love with": ("a dancer", "a friend", "the neighbour"),
        "said good night to": ("the children", "the little ones", "the baby"),
    },
    "calm": {
        "sat down": ("in the garden", "by the lake", "in the library", "by the river"),
        "read": ("a long book", "the newspaper", "a book in the library"),
        "drunk": ("a cup of tea", "a glass of water", "a cup of water"),
        "taken": ("a slow walk", "a deep breath", "a slow walk by the lake"),
    },
}


class Situation(NamedTuple):
    """What somebody has just done, and the expression that follows."""

    emotion: str
    clause: str  # after `has just`


TRAINING_SITUATIONS: tuple[Situation, ...] = tuple(
    Situation(emotion, f"{verb} {thing}")
    for emotion, verbs in SITUATIONS.items()
    for verb, things in verbs.items()
    for thing in things[:-1]
)
HELD_OUT_SITUATIONS: tuple[Situation, ...] = tuple(
    Situation(emotion, f"{verb} {things[-1]}")
    for emotion, verbs in SITUATIONS.items()
    for verb, things in verbs.items()
)


class Person(NamedTuple):
    """How somebody is spoken of, and what shape that implies: scores of measures, at least as far from the average."""

    subject: str
    pronoun: str
    possessive: str
    object: str
    shape: dict[str, float]


_MAN, _WOMAN, _OLD, _YOUNG = {"masculinity": 1.2}, {"masculinity": -1.2}, {"age": 1.5}, {"age": -1.5}
PEOPLE: tuple[Person, ...] = (
    Person("he", "he", "his", "him", _MAN),
    Person("she", "she", "her", "her", _WOMAN),
    Person("somebody", "they", "their", "them", {}),
    Person("a person", "they", "their", "them", {}),
    Person("my neighbour", "they", "their", "them", {}),
    Person("the teacher", "they", "their", "them", {}),
    Person("a farmer", "they", "their", "them", {}),
    Person("a man", "he", "his", "him", _MAN),
    Person("a woman", "she", "her", "her", _WOMAN),
    Person("my uncle", "he", "his", "him", _MAN),
    Person("my aunt", "she", "her", "her", _WOMAN),
    Person("an old man", "he", "his", "him", _MAN | _OLD),
    Person("an old woman", "she", "her", "her", _WOMAN | _OLD),
    Person("a young man", "he", "his", "him", _MAN | _YOUNG),
    Person("a young woman", "she", "her", "her", _WOMAN | _YOUNG),
    Person("my grandmother", "she", "her", "her", _WOMAN | _OLD),
    Person("my grandfather", "he", "his", "him", _MAN | _OLD),
)
# Who can be described with an article: `a young woman with a broad nose`.
DESCRIBED_PEOPLE = tuple(person for person in PEOPLE if person.subject[:2] in ("a ", "an"))
