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
"""`pipeline("face-chat")`: photographs and words in, words and faces out. It comes along with a checkpoint's code.

```python
from transformers import pipeline

chat = pipeline("face-chat", model="facegpt/facegpt-nano", trust_remote_code=True)
result = chat("group.jpg", "Reconstruct the face on the left.")
result["text"], result["faces"].parameters
```
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch.utils.data import Dataset
from transformers import Pipeline

from .dialogue import Answer, Dialogue, answer_dialogues, keep_what_is_known, look_first, no_faces, user_message
from .face_detection import check_photos
from .flow_head import FaceSampling, seeded_generator
from .photograph import Photograph, read_photograph
from .processing_facegpt import RECONSTRUCT_ALL, FaceGPTProcessor
from .reconstruction import to_device

TASK = "face-chat"
# What `config.json` says of it, so that it is found where this package is not installed.
CUSTOM_PIPELINES = {
    TASK: {
        "impl": "pipeline_facegpt.FaceChatPipeline",
        "pt": ["AutoModelForImageTextToText"],
        "type": "multimodal",
    }
}


class FaceChatPipeline(Pipeline):
    """Answers words about a photograph, or words alone; every face of an answer comes with its parameters."""

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __call__(self, images: Any = None, text: Any = None, **kwargs: Any) -> Any:
        """Ask about photographs.

        Args:
            images (*optional*): a photograph as `read_photograph` takes it (path, URL, bytes, image, array); a list
                of them; or, in place of both arguments, records `{"image": ..., "text": ...}`, either of which may be
                missing: one of them, a list, an iterator or a `Dataset`.
            text (`str` or `list[str]`, *optional*): what to say of each image, one text for all, or without images.
                Default: to reconstruct every face.
            kwargs: of `generate`, such as `max_new_tokens`, `do_sample` or `min_faces`; `batch_size`; and `seed`
                (`int`) of the faces that are made from words. Default: another one for each call of the model.

        Returns:
            `dict` with `text` (`str`, `<FACE>` where a face is shown), `faces` (`Reconstruction`, one face for each
            `<FACE>`) and `seed` (`int`); a list of them for lists.

        Raises:
            ValueError: if there is neither image nor text, or texts are not as many as images.
        """
        return super().__call__(_pair_up(images, text), **kwargs)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        return {}, kwargs, {}

    def preprocess(self, input_: dict[str, Any], **preprocess_parameters: Any) -> dict[str, Any]:
        """One question: the photograph upright and in RGB, and the words."""
        image, text = input_.get("image"), input_.get("text")
        if image is None and text is None:
            raise ValueError("got neither an image nor a text; give one of them, or both")
        words = RECONSTRUCT_ALL if text is None else text
        message = user_message(words, cast(FaceGPTProcessor, self.processor), image=image is not None)
        if image is None:
            return {"question": Dialogue((message,), no_faces(self.model), None)}
        photograph = read_photograph(image)
        [seen] = check_photos([photograph.image], [photograph.focal])
        return {"question": Dialogue((message,), no_faces(self.model), seen)}

    def _forward(self, input_tensors: dict[str, Any], **forward_parameters: Any) -> dict[str, Any]:
        questions = input_tensors["question"]
        alone = isinstance(questions, Dialogue)
        processor = cast(FaceGPTProcessor, self.processor)
        asked, found = look_first(self.model, processor, [questions] if alone else questions)
        generator = seeded_generator(forward_parameters.pop("seed", None))
        settings = {"face_sampling": FaceSampling(generator), **forward_parameters}
        answers = answer_dialogues(self.model, processor, asked, **settings)
        answers = [keep_what_is_known(answer, [seen]) for answer, seen in zip(answers, found, strict=True)]
        seeds = [generator.initial_seed()] * len(answers)
        return {"answer": answers[0], "seed": seeds[0]} if alone else {"answer": answers, "seed": seeds}

    def postprocess(self, model_outputs: dict[str, Any], **postprocess_parameters: Any) -> dict[str, Any]:
        """Words and faces, and the seed of those that were made from words."""
        answer: Answer = model_outputs["answer"]
        faces = to_device(answer.faces, torch.device("cpu"))
        return {"text": answer.text, "faces": faces, "seed": model_outputs["seed"]}

    def _ensure_tensor_on_device(self, inputs: Any, device: torch.device) -> Any:
        # The base class would turn records into plain tuples; the model takes to its device what it reads.
        return inputs


def _pair_up(images: Any, text: Any) -> Any:
    """Records of image and text: one, or a list where either is a list."""
    if text is None and isinstance(images, Iterator):
        return (record for record in images)  # the base class knows generators alone
    if text is None and (isinstance(images, dict | Dataset) or (_is_list(images) and _all_records(images))):
        return images
    listed: list[Any] = [column for column in (images, text) if _is_list(column)]
    if not listed:
        return {"image": images, "text": text}
    columns = [list(cast(Any, column)) if _is_list(column) else [column] * len(listed[0]) for column in (images, text)]
    if len(columns[0]) != len(columns[1]):
        raise ValueError(
            f"got {len(columns[0])} images and {len(columns[1])} texts; give one text per image, or one for all"
        )
    return [{"image": image, "text": words} for image, words in zip(*columns, strict=True)]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | Photograph)


def _all_records(values: Sequence[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)
