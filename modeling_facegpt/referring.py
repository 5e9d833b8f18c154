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
"""The faces of photographs that words name: all of them are found first, and the words then choose among them.

To tell who laughs, every face has to be looked at closely; words that came with the first look would have to choose
before that.
"""

from collections.abc import Sequence
from typing import Any

import torch

from .dialogue import Dialogue, answer_dialogues, give_faces, no_faces
from .face_detection import check_photos, reconstruct
from .prompt_checks import check_words
from .reconstruction import Reconstruction, select_reconstruction
from .refinement import refine


def reconstruct_named(
    model: Any,
    processor: Any,
    images: Any,
    reference: str | Sequence[str | None],
    *,
    focals: Any = None,
    refine_steps: int = 0,
    batch_size: int = 16,
) -> list[Reconstruction]:
    """The faces of each photograph that words name.

    Args:
        model (`FaceGPTForConditionalGeneration`): with the parts for dialogue.
        processor (`FaceGPTProcessor` or `None`): `None` loads the one saved beside the model.
        images: a photograph as `read_photograph` takes it, or many.
        reference (`str`, or a sequence of `str` or `None`): words such as "the woman on the left", for all images or
            for each of them; `None` keeps all faces.
        focals, refine_steps, batch_size: as in `reconstruct`.

    Raises:
        ValueError: if the model has no parts for dialogue, there are not as many references as images, a reference
            has no words or spells a control token; and as `reconstruct`.
    """
    if model.face_encoder is None:
        raise ValueError(
            "got words that name faces for a checkpoint that was not trained on dialogues; take one that was, or "
            "reconstruct all faces"
        )
    if processor is None:
        processor = model.load_processor()
    pictures = check_photos(images, focals)
    given = [reference] * len(pictures) if isinstance(reference, str) else list(reference)
    if len(given) != len(pictures):
        raise ValueError(f"got {len(given)} references for {len(pictures)} images; give one for all, or one per image")
    photographs, lengths = [picture.image for picture in pictures], [picture.focal for picture in pictures]
    references = [None if words is None else check_words(words, processor.tokenizer) for words in given]
    found = reconstruct(model, processor, photographs, focals=lengths, batch_size=batch_size)
    asked = [row for row, words in enumerate(references) if words is not None and len(found[row].probability)]
    for start in range(0, len(asked), batch_size):
        rows = asked[start : start + batch_size]
        dialogues = [
            give_faces(
                Dialogue(
                    tuple(processor.reconstruct_messages(reference=references[row])), no_faces(model), pictures[row]
                ),
                found[row].parameters,
            )
            for row in rows
        ]
        for row, answer in zip(rows, answer_dialogues(model, processor, dialogues), strict=True):
            # A face of the answer that repeats one before it refers to that one, which is chosen already.
            chosen = sorted({face for face in answer.references if 0 <= face < len(found[row].probability)})
            found[row] = select_reconstruction(found[row], torch.tensor(chosen, dtype=torch.long))
    return refine(model, processor, photographs, found, steps=refine_steps, batch_size=batch_size)
