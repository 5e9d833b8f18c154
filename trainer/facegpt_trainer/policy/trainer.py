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
"""Group relative policy optimisation (GRPO; Shao et al. 2024, "DeepSeekMath") on TRL's `GRPOTrainer`, with faces as
actions beside tokens.

TRL trains the log-probabilities of tokens. Here each step in which a face was drawn counts as one more action behind
the tokens of its answer, with a log-probability, a ratio and a clip of its own: everything else is TRL's. Overridden
are the one place where answers are scored, which adds those actions, and the one where log-probabilities are taken,
which TRL computes from the language model alone; answers are made by TRL's `rollout_func`.
"""

import copy
from collections.abc import Sequence
from types import MethodType
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor, nn
from trl import GRPOTrainer

from modeling_facegpt.face_encoder import find_faces
from modeling_facegpt.face_parameters import vector_to_parameters
from modeling_facegpt.flow_head import FaceSampling
from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.processing_facegpt import FaceGPTProcessor

from ..careful_trainer import CarefulTrainer
from ..training import FaceGPTTrainer
from .config import FacePolicyConfig
from .face_policy import (
    ExplorationSettings,
    FaceRecorder,
    gaussian_log_probability,
    path_log_probabilities,
)
from .tasks import Task, task_columns, task_inputs


class Rollout(NamedTuple):
    """One answer: its question and its A faces."""

    task: Task
    faces: Tensor  # (A, P) parameters
    paths: tuple[Tensor | None, ...]  # of each face: see `FaceDraw.path`; None for a face that was not drawn


class FaceActions(NamedTuple):
    """The faces of B answers, A in all, in reading order."""

    seen: Tensor  # (A,) bool: drawn from the face head's Gaussian
    imagined: Tensor  # (A,) bool: drawn by the flow head
    codes: Tensor  # (A, P) that were drawn; NaN where none was
    paths: Tensor  # (A, S + 1, P) of the imagined ones; NaN elsewhere


class ActionProbabilities(NamedTuple):
    """Of B answers of C tokens, with as many faces at most, drawn in D steps each."""

    tokens: Tensor  # (B, C) log-probability
    entropy: Tensor  # (B, C) of the tokens' distributions
    steps: Tensor  # (B, C * D) log-probability; 0 where nothing was drawn


class FacePolicyTrainer(CarefulTrainer, GRPOTrainer):
    """`GRPOTrainer` for which faces are actions too.

    Args:
        model (`FaceGPTForConditionalGeneration`): with the parts for dialogue.
        args (`FacePolicyConfig`): settings.
        tasks (sequence of `Task`): what is asked.
        processing_class (`FaceGPTProcessor`): the model's.
        kwargs: of `GRPOTrainer`, such as `reward_funcs`.

    Raises:
        ValueError: if the model has no parts for dialogue.
    """

    def __init__(
        self,
        model: FaceGPTForConditionalGeneration,
        args: FacePolicyConfig,
        tasks: Sequence[Task],
        processing_class: FaceGPTProcessor,
        **kwargs: Any,
    ):
        if not model.config.dialogue_hidden_size:
            raise ValueError(
                "got a checkpoint without the parts for dialogue about faces; start from one that was trained on "
                "dialogue (nano_chat.yaml)"
            )
        self.tasks, self.exploration = list(tasks), args.exploration()
        self.asked: list[Task] = []  # the tasks of the batch that is being answered
        self.answers: list[Rollout] = []  # whose log-probabilities are being taken
        rows = [{"prompt": task.messages, "task": number} for number, task in enumerate(self.tasks)]
        super().__init__(
            model=model,  # pyright: ignore[reportArgumentType]
            args=args,
            train_dataset=Dataset.from_list(rows),
            processing_class=processing_class,
            rollout_func=answer_tasks,  # pyright: ignore[reportArgumentType]
            **kwargs,
        )
        # In place of TRL's own patch. Heads must run within forward: distributed training looks there for gradients.
        model.forward = MethodType(policy_forward, model)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.asked = [self.tasks[row["task"]] for row in inputs]
        output = super()._generate_and_score_completions(inputs)
        mask = output["completion_mask"]
        # A truncated answer whose tokens do not count has no faces that do.
        drawn = self._drawn_steps(self.answers, mask.shape[1]).to(mask) * mask.any(-1, keepdim=True)
        output["completion_mask"] = torch.cat((mask, drawn), dim=1)
        output["num_items_in_batch"] = (
            output["num_items_in_batch"] + cast(Tensor, self.accelerator.gather(drawn.sum())).sum()
        )
        output["rollouts"] = self.answers
        return output

    def _drawn_steps(self, answers: Sequence[Rollout], most: int) -> Tensor:
        """1 for each step in which a face of B answers of at most `most` was drawn, `(B, most * D)`."""
        steps = torch.zeros(len(answers), most, self.exploration.draws)
        for row, answer in enumerate(answers):
            for number, path in enumerate(answer.paths):
                steps[row, number, : 0 if path is None else max(len(path) - 2, 1)] = 1
        return steps.flatten(1)

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        self.answers = inputs["rollouts"]
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, None]:
        """Log-probabilities and entropies `(B, C + C * D)`: of tokens, then of steps, which count zero entropy."""
        # The mask of a loss covers steps too.
        attention_mask = attention_mask[:, : input_ids.shape[1]]
        parts = []
        for start in range(0, len(input_ids), batch_size or len(input_ids)):
            rows = slice(start, start + (batch_size or len(input_ids)))
            with self.accelerator.autocast():
                parts.append(
                    model(
                        input_ids=input_ids[rows],
                        attention_mask=attention_mask[rows],
                        logits_to_keep=logits_to_keep + 1,
                        temperature=self.temperature,
                        exploration=self.exploration,
                        **self._answer_inputs(self.answers[rows], input_ids[rows], logits_to_keep),
                    )
                )
        found = ActionProbabilities(*(torch.cat(values) for values in zip(*parts, strict=True)))
        entropy = torch.cat((found.entropy, torch.zeros_like(found.steps)), dim=1).detach()
        return torch.cat((found.tokens, found.steps), dim=1), entropy, None

    def _answer_inputs(self, answers: Sequence[Rollout], input_ids: Tensor, answer_length: int) -> dict[str, Any]:
        """What a model reads beside the ids of questions and answers, and the faces that were drawn."""
        inputs = task_inputs(self.processing_class, [answer.task for answer in answers])
        questions = inputs["input_ids"].shape[1]
        beside = {}
        for name, value in inputs.items():
            if name not in ("input_ids", "attention_mask"):
                per_token = value.ndim == 2 and value.shape == (len(answers), questions)
                width = input_ids.shape[1] - questions - answer_length
                beside[name] = F.pad(value, (width, answer_length)) if per_token else value
        actions = join_answers(answers, self.exploration.steps)
        faces = torch.cat([answer.faces for answer in answers])
        given = {
            "given_faces": faces,
            "picture_cameras": torch.cat([a.task.camera.expand(len(a.faces), 3) for a in answers]),
        }
        device = input_ids.device
        return {
            **{name: value.to(device) for name, value in (beside | given).items()},
            "face_actions": FaceActions(*(value.to(device) for value in actions)),
        }

    _load_from_checkpoint = FaceGPTTrainer._load_from_checkpoint


def answer_tasks(prompts: list[Any], trainer: FacePolicyTrainer) -> dict[str, Any]:
    """Answer the batch's tasks by the policy: TRL's `rollout_func`."""
    # Of the generator that Trainer seeds for each process and keeps in checkpoints.
    seed = int(torch.randint(2**62, ()))
    recorder = FaceRecorder(trainer.exploration, torch.Generator().manual_seed(seed))
    model = trainer.accelerator.unwrap_model(trainer.model)
    was_training = model.training
    model.eval()
    answers, prompt_ids, completion_ids = answer(
        model,
        trainer.processing_class,
        trainer.asked,
        FaceSampling(drawer=recorder),
        recorder,
        copy.deepcopy(trainer.generation_config),
    )
    model.train(was_training)
    trainer.answers = answers
    return {
        "prompt_ids": prompt_ids,
        "completion_ids": completion_ids,
        "logprobs": None,
        "faces": [vector_to_parameters(a.faces, model.config.face_model_config) for a in answers],
        **task_columns(trainer.asked),
    }


@torch.no_grad()
def answer(
    model: Any,
    processor: Any,
    tasks: Sequence[Task],
    sampling: FaceSampling,
    recorder: FaceRecorder | None,
    generation_config: Any,
) -> tuple[list[Rollout], list[list[int]], list[list[int]]]:
    """Answers to B tasks, the ids of their questions and their own.

    Args:
        model (`FaceGPTForConditionalGeneration`): in evaluation mode.
        processor (`FaceGPTProcessor`): its own.
        tasks (sequence of `Task`): B questions.
        sampling (`FaceSampling`): how faces are drawn; its drawer is `recorder`.
        recorder (`FaceRecorder`, *optional*): keeps how.
        generation_config (`GenerationConfig`): how words are chosen.
    """
    inputs = task_inputs(processor, tasks).to(model.device)
    output = model.generate(
        **inputs,
        generation_config=generation_config,
        picture_cameras=torch.stack([task.camera for task in tasks]).to(model.device),
        face_sampling=sampling,
        return_dict_in_generate=True,
    )
    ids, read = inputs["input_ids"], inputs["attention_mask"].bool()
    prompt_ids = [row[mask].tolist() for row, mask in zip(ids, read, strict=True)]
    ends = [*_as_list(model.generation_config.eos_token_id), model.config.end_token_id]
    completion_ids = [_until_end(row.tolist(), ends) for row in output.sequences[:, ids.shape[1] :]]
    draws = iter(recorder.in_reading_order() if recorder else ())
    fresh = [reference < 0 and recorder is not None for reference in output.face_references.tolist()]
    paths = [next(draws).path if drawn else None for drawn in fresh]
    rows, faces = output.face_rows.cpu(), output.face_parameters.cpu()
    answers = []
    for row, task in enumerate(tasks):
        index = (rows == row).nonzero()[:, 0]
        answers.append(Rollout(task, faces[index], tuple(paths[number] for number in index.tolist())))
    return answers, prompt_ids, completion_ids


def _as_list(ids: int | list[int] | None) -> list[int]:
    return [] if ids is None else ids if isinstance(ids, list) else [ids]


def _until_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    """An answer up to the first token that ends it, that one included."""
    return next((ids[: place + 1] for place, token in enumerate(ids) if token in ends), ids)


def join_answers(answers: Sequence[Rollout], steps: int) -> FaceActions:
    """The faces of several answers, one after another, and how they were drawn in `steps` steps."""
    faces = torch.cat([answer.faces for answer in answers])
    drawn = [path for answer in answers for path in answer.paths]
    paths = faces.new_full((len(faces), steps + 1, faces.shape[-1]), torch.nan)
    codes = torch.full_like(faces, torch.nan)
    for number, path in enumerate(drawn):
        if path is not None:
            codes[number] = path[-1]
            if len(path) > 1:
                paths[number] = path
    length = torch.tensor([0 if path is None else len(path) for path in drawn], dtype=torch.long)
    return FaceActions(length == 1, length > 1, codes, paths)


def policy_forward(
    self: FaceGPTForConditionalGeneration,
    *args: Any,
    face_actions: FaceActions | None = None,
    temperature: float = 1.0,
    exploration: ExplorationSettings | None = None,
    **kwargs: Any,
) -> Any:
    """The model's own forward or, with `face_actions`, the log-probabilities of answers and of the faces in them."""
    if face_actions is None or exploration is None:
        return type(self).forward(self, *args, **kwargs)
    outputs = type(self).forward(self, *args, **kwargs, output_hidden_states=[-1])
    answer_ids = kwargs["input_ids"][:, 1 - kwargs["logits_to_keep"] :]
    scores = (outputs.logits[:, :-1].float() / temperature).log_softmax(-1)
    places = find_faces(kwargs["input_ids"], self.config.face_token_id)
    states = outputs.hidden_states[-1][places.rows, places.columns - 1].float()
    with torch.autocast(states.device.type, enabled=False):
        drawn = _step_log_probabilities(self, states, face_actions, exploration)  # (A, D)
    rows, most = len(answer_ids), answer_ids.shape[1]
    steps = drawn.new_zeros(rows, most, exploration.draws).index_put((places.rows, places.orders), drawn)
    return ActionProbabilities(
        tokens=scores.gather(-1, answer_ids[..., None])[..., 0],
        entropy=-(scores.exp() * scores).sum(-1),
        steps=steps.flatten(1),
    )


def _step_log_probabilities(
    model: FaceGPTForConditionalGeneration, states: Tensor, actions: FaceActions, exploration: ExplorationSettings
) -> Tensor:
    """Log-probabilities `(A, D)` of the steps in which A faces were drawn; of one seen in a picture, the first."""
    found = states.new_zeros(len(states), exploration.draws)
    imagined, seen = actions.imagined.nonzero()[:, 0], actions.seen.nonzero()[:, 0]
    flow_head: Any = model.flow_head
    paths = path_log_probabilities(flow_head, states[imagined], actions.paths[imagined], exploration)
    code, log_variance = model.face_head(states[seen])
    looks = gaussian_log_probability(actions.codes[seen], code, log_variance)
    first = torch.zeros_like(seen)
    return found.index_put((imagined,), paths).index_put((seen, first), looks)
