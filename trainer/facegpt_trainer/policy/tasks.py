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
"""What a policy is asked for, and what its answers are judged by."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modeling_facegpt.camera import default_picture_cameras
from modeling_facegpt.face_measurements import FaceMeasurer

from ..collator import FaceCollator
from ..grammar.dialogues import Wanted
from ..grammar.text_dialogues import TextGrammar


class Task(NamedTuple):
    """One question; `None` where there is nothing to judge by."""

    messages: list[dict[str, Any]]  # as chat templates read them
    faces_wanted: int  # that a right answer has
    camera: Tensor  # (3,) in which its faces are seen
    picture: Tensor | None = None  # (3, S, S) that is shown
    wanted: Wanted | None = None  # properties that a request in words names
    landmarks: Tensor | None = None  # (468, 2) of the photograph's face, in picture sides
    photograph: Tensor | None = None  # (3, S, S) to compare the render with


COLUMNS = ("faces_wanted", "camera", "wanted", "landmarks", "photograph")  # of a task, that rewards read


def request_tasks(measurer: FaceMeasurer, seed: int, split: str, count: int) -> list[Task]:
    """Explicit requests for faces, such as `An old man with a broad nose, laughing.`"""
    dialogues = TextGrammar(measurer, seed, split).batch(0, count, ("explicit",)) if count else []
    camera = default_picture_cameras()[0]
    return [Task(dialogue.messages[:1], 1, camera, wanted=dialogue.wanted) for dialogue in dialogues]


def photograph_tasks(looks: FaceCollator, count: int) -> list[Task]:
    """Photographs, close by or from afar, some cut where there is no face.

    Args:
        looks (`FaceCollator`): with photographs.
        count (`int`): of tasks.
    """
    if not count:
        return []
    batch, tasks, face = looks.cut(0, count), [], 0
    for row in range(count):
        task = Task(
            messages=looks.processor.reconstruct_messages(bool(batch.close_up[row])),
            faces_wanted=int(batch.counts[row]),
            camera=default_picture_cameras()[0],
            picture=batch.pictures[row],
        )
        if task.faces_wanted:
            task = task._replace(
                camera=batch.picture_cameras[face],
                landmarks=_known(batch.face_landmarks[face]),
                photograph=_known(batch.face_images[face]),
            )
            face += 1
        tasks.append(task)
    return tasks


def task_inputs(processor: Any, tasks: Sequence[Task]) -> Any:
    """Inputs of a model for the questions of some tasks, padded on the left."""
    pictures = [task.picture for task in tasks if task.picture is not None]
    return processor(pictures=torch.stack(pictures) if pictures else None, messages=[task.messages for task in tasks])


def task_columns(tasks: Sequence[Task]) -> dict[str, list[Any]]:
    """What rewards read of the tasks, one value each."""
    return {name: [getattr(task, name) for task in tasks] for name in COLUMNS}


def _known(values: Tensor) -> Tensor | None:
    return values if bool(values.isfinite().all()) else None
