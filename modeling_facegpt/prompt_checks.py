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
"""What may be said to the model in words: refuses, in one sentence, what it could only misread, and writes the rest as
it was trained to read."""

import re
from typing import Any

from torch import Tensor

# What questions begin with, in English.
_QUESTIONS = frozenset(
    "am are can could did do does had has have how is may shall should was were "
    "what when where which who whom whose why will would".split()
)


def check_words(words: Any, tokenizer: Any) -> str:
    """The words of a person, without blanks around them. Half characters, as bytes of a command line that are no
    UTF-8 become, which no tokenizer takes, are question marks.

    Args:
        words (`str`): what a person wrote.
        tokenizer (`PreTrainedTokenizerBase`): whose control tokens, such as `<FACE>`, may not be spelt in them: they
            would be read as the tokens themselves.

    Raises:
        ValueError: if it is no text, there are no words, or they spell a control token.
    """
    if not isinstance(words, str):
        raise ValueError(f"got words of type {type(words).__name__}, wanted a text; write them as one string")
    words = words.encode(errors="replace").decode().strip()
    if not words:
        raise ValueError("got an empty prompt, wanted at least one word; say what to do")
    spelt = [token for token in tokenizer.get_added_vocab() if token in words]
    if spelt:
        raise ValueError(
            f"got {max(spelt, key=len)} in a prompt, which is a control token of this model; "
            "write it without its brackets, or leave it out"
        )
    return words


def as_sentence(words: str) -> str:
    """Words as they are written and not as they are typed: a capital first, a question mark or full stop last.

    Dialogues to train on are written so. A small model takes "who is this" for something else than "Who is this?".

    Args:
        words (`str`): at least one. What ends in anything but a Latin letter or a digit gets nothing at its end.
    """
    if words[-1].isascii() and words[-1].isalnum():
        begins = re.match(r"\w*", re.split(r"[.?!]\s+", words)[-1])
        words += "?" if begins and begins[0].lower() in _QUESTIONS else "."
    return words[0].upper() + words[1:]


def check_length(input_ids: Tensor, text_config: Any, new_tokens: int = 0) -> None:
    """Refuse dialogues that are longer than the language model reads.

    Args:
        input_ids (`torch.Tensor` of shape `(B, T)`): the dialogues.
        text_config (`PreTrainedConfig`): of the language model.
        new_tokens (`int`): what is still to be written.

    Raises:
        ValueError: if there is not room for all tokens.
    """
    longest = text_config.to_dict().get("max_position_embeddings")
    wanted = input_ids.shape[1] + new_tokens
    if longest is not None and wanted > longest:
        raise ValueError(
            f"got a dialogue of {input_ids.shape[1]} tokens and an answer of up to {new_tokens}, but this model reads "
            f"{longest} in all; say it in fewer words, or begin a new dialogue"
        )
