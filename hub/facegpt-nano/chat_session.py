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
"""A chat about faces that remembers: what was said, which faces there are, and how they were before."""

from collections.abc import Callable
from typing import Any, NamedTuple

from .dialogue import (
    NEW_TOKENS,
    Answer,
    Dialogue,
    answer_dialogues,
    assistant_message,
    count_faces,
    encode_dialogues,
    give_faces,
    keep_what_is_known,
    no_faces,
    user_message,
)
from .face_detection import check_photos
from .face_parameters import concatenate_faces, select_faces
from .flow_head import FaceSampling, seeded_generator
from .processing_facegpt import FaceGPTProcessor
from .reconstruction import Reconstruction, to_device


class ChatState(NamedTuple):
    """Where a chat stands."""

    dialogue: Dialogue
    faces: Reconstruction | None  # those made or changed last, or given; None before any
    given: int = 0  # of the faces, how many wait to be shown to the model with the next words


class ChatSession:
    """Talks to a FaceGPT, turn after turn.

    Args:
        model (`FaceGPTForConditionalGeneration`): answers, as in evaluation mode.
        processor (`FaceGPTProcessor`, *optional*): default: the one saved beside the model.
        photograph (*optional*): what the chat is about (path, URL, bytes, `PIL.Image.Image` of any mode, array; see
            `read_photograph`). Unless `faces` are given, a model that reads faces finds them at once.
        focal (`float`, *optional*): its focal length in pixels; default EXIF's, else 1.2 times the longer side.
        faces (`Reconstruction`, *optional*): faces to talk about, such as `read_result` reads.
        seed (`int`, *optional*): of the faces that are made from words; each new one differs from those before.
            Default: another one for each session. The attribute `seed` tells it.
        settings: of `generate`, such as `max_new_tokens` or `do_sample`.

    Raises:
        ValueError: if faces are given to a model that reads no faces.
    """

    def __init__(
        self,
        model: Any,
        processor: FaceGPTProcessor | None = None,
        *,
        photograph: Any = None,
        focal: float | None = None,
        faces: Reconstruction | None = None,
        seed: int | None = None,
        **settings: Any,
    ):
        self.model = model
        self.processor = processor or model.load_processor()
        generator = seeded_generator(seed)
        self.seed = generator.initial_seed()
        self.settings = {"max_new_tokens": NEW_TOKENS, "face_sampling": FaceSampling(generator), **settings}
        if faces is not None and model.face_encoder is None:
            raise ValueError(
                "got faces to talk about for a checkpoint that reads no faces; take one that was trained on dialogues"
            )
        if faces is not None or photograph is None:
            seen = None if photograph is None else check_photos([photograph], [focal])[0]
            if faces is not None and faces.probability.device != model.device:
                faces = to_device(faces, model.device)
            count = 0 if faces is None else len(faces.probability)
            self.states = [ChatState(Dialogue((), no_faces(model), seen), faces, count)]
        else:
            self.states = [self._see(photograph, focal)]

    @property
    def state(self) -> ChatState:
        """Where the chat stands now."""
        return self.states[-1]

    @property
    def faces(self) -> Reconstruction | None:
        """The faces that were made or changed last, or given; `None` before any."""
        return self.state.faces

    def say(self, words: str, *, on_words: Callable[[str], None] | None = None) -> Answer:
        """Say something and have it answered; the chat goes on from there.

        Args:
            words (`str`): in a language that the model knows.
            on_words (`Callable`, *optional*): told of the answer's words as they are said.

        Raises:
            ValueError: if there are no words, they spell a control token, or they are too long for the model. The
                chat is then where it was.
        """
        before = self.state
        asked = self._shorten(self._ask(before, words))
        [answer] = answer_dialogues(self.model, self.processor, [asked], on_words=on_words, **self.settings)
        answer = keep_what_is_known(answer, [state.faces for state in reversed(self.states)])
        dialogue = asked._replace(
            messages=(*asked.messages, assistant_message(answer.text)),
            faces=concatenate_faces([asked.faces, answer.faces.parameters]),
        )
        self.states.append(ChatState(dialogue, answer.faces if answer.references else before.faces))
        return answer

    def look(self, photograph: Any, focal: float | None = None) -> None:
        """Talk about another photograph from now on; what was said of the one before is forgotten, until undone.

        Raises:
            ValueError: if it cannot be read, or the focal length is no finite number above 0.
        """
        self.states.append(self._see(photograph, focal))

    def _see(self, photograph: Any, focal: float | None) -> ChatState:
        """A chat about a photograph, before its first words."""
        [seen] = check_photos([photograph], [focal])
        dialogue = Dialogue((), no_faces(self.model), seen)
        if self.model.face_encoder is None:
            return ChatState(dialogue, None)
        [found] = self.model.reconstruct([seen.image], self.processor, focals=[seen.focal])
        count = len(found.probability)
        return ChatState(dialogue, found if count else None, count)

    def undo(self) -> None:
        """Go back to before the last words or photograph; the faces are exactly those of then.

        Raises:
            ValueError: if there is nothing to undo.
        """
        if len(self.states) == 1:
            raise ValueError("there is nothing to undo: the chat is at its beginning")
        self.states.pop()

    def _ask(self, state: ChatState, words: str) -> Dialogue:
        """The dialogue with a person's words, an image or given faces before the first of them."""
        dialogue = state.dialogue
        first = not dialogue.messages
        message = user_message(
            words, self.processor, image=first and dialogue.photograph is not None, faces=state.given
        )
        faces = dialogue.faces
        if state.given and state.faces is not None:
            faces = concatenate_faces([faces, state.faces.parameters])
        return dialogue._replace(messages=(*dialogue.messages, message), faces=faces)

    def _shorten(self, dialogue: Dialogue) -> Dialogue:
        """Without its oldest turns, where the model could not read it whole."""
        longest = self.model.config.get_text_config().to_dict().get("max_position_embeddings")
        if longest is None:
            return dialogue
        while len(dialogue.messages) > 1:
            length = encode_dialogues(self.model, self.processor, [dialogue])[0]["input_ids"].shape[1]
            if length + self.settings["max_new_tokens"] <= longest:
                break
            dialogue = _forget_first_turn(dialogue)
        return dialogue


def _forget_first_turn(dialogue: Dialogue) -> Dialogue:
    """Without the first question and its answer; the image and the faces given with it come with the one after."""
    forgotten, kept = dialogue.messages[:2], dialogue.messages[2:]
    if dialogue.photograph is not None:
        head = {**kept[0], "content": [{"type": "image"}, *kept[0]["content"]]}
        kept = (head, *kept[1:])
    faces = select_faces(dialogue.faces, slice(count_faces(forgotten), None))
    given = select_faces(dialogue.faces, slice(count_faces(forgotten[:1])))
    return give_faces(dialogue._replace(messages=kept, faces=faces), given)
