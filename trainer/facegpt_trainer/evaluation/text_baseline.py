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
"""The reviewers' question, why a vision-language model: the same flow head on a plain text encoder of equal size.

It is trained on the same requests for faces, and judged by the same figures, see `request_evaluation`. Run as
`python -m facegpt_trainer.evaluation.text_baseline --config recipe.yaml`.
"""

import copy
import itertools
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BertConfig,
    BertModel,
    PreTrainedConfig,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)

from modeling_facegpt.camera import default_picture_cameras
from modeling_facegpt.configuration_facegpt import FaceGPTConfig
from modeling_facegpt.face_head import decode, encode
from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.face_parameters import FaceParameters, vector_to_parameters
from modeling_facegpt.flow_head import (
    FLOW_STEPS,
    GUIDANCE_SCALE,
    FlowHead,
    draw_flow_examples,
    draw_noise,
    sample_codes,
)
from modeling_facegpt.losses import code_loss, flow_loss
from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.morphable_model import MorphableModel, locate_checkpoint

from ..careful_trainer import CarefulTrainer
from ..endings import run_command
from ..grammar.text_dialogues import REQUESTS, TextGrammar
from ..loss_weights import LOSS_WEIGHTS
from ..recipe_ranges import check_ranges
from .requests import BETWEEN_NOISES, MakeFaces

MEAN_WEIGHT = LOSS_WEIGHTS["flow_mean"] / LOSS_WEIGHTS["flow"]


class TextBaselineConfig(PreTrainedConfig):
    """Sizes: the encoder's, the 3DMM's, and the width of the flow head."""

    model_type = "facegpt_text_baseline"
    encoder: dict[str, Any] | None = None
    facegpt: dict[str, Any] | None = None


class TextBaseline(PreTrainedModel):
    """A bidirectional text encoder whose mean state is the condition of a flow head."""

    config_class = TextBaselineConfig
    config: TextBaselineConfig
    base_model_prefix = "encoder"
    main_input_name = "input_ids"

    def __init__(self, config: TextBaselineConfig):
        super().__init__(config)
        self.facegpt_config = FaceGPTConfig.from_dict(copy.deepcopy(config.facegpt or {}))
        self.encoder = BertModel(BertConfig(**(config.encoder or {})), add_pooling_layer=False)
        width = self.facegpt_config.dialogue_hidden_size
        if not width:
            raise ValueError("got a FaceGPT config without dialogue_hidden_size; give one that makes faces from words")
        self.flow_head = FlowHead(self.facegpt_config, self.encoder.config.hidden_size, width)
        self.post_init()

    def states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Mean state `(B, D)` of each request `(B, T)`."""
        states = self.encoder(input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask[..., None].to(states)
        return (states * weight).sum(1) / weight.sum(1).clamp(min=1)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, face_targets: Tensor, typical_faces: Tensor
    ) -> dict[str, Tensor]:
        """The loss of faces `(B, P)`, of which the requests ask for, and of the means of all such faces."""
        config = self.facegpt_config.face_model_config
        cameras = default_picture_cameras(len(face_targets))
        codes, typical = (
            encode(vector_to_parameters(faces, config), cameras, config) for faces in (face_targets, typical_faces)
        )
        states = self.states(input_ids, attention_mask)
        example, velocity = draw_flow_examples(codes, states)
        unconditional = torch.arange(2).repeat_interleave(len(states)) > 0
        means = self.flow_head.means(states.repeat(2, 1), unconditional)
        loss = flow_loss(self.flow_head(*example), velocity).mean()
        return {"loss": loss + MEAN_WEIGHT * code_loss(means, typical.repeat(2, 1)).sum(-1).mean()}


class RequestCollator:
    """Draws requests for faces, the same as dialogues of the same seed hold.

    Args:
        tokenizer: of the checkpoint that the baseline is compared with.
        grammar (`TextGrammar`): draws requests and faces.
    """

    def __init__(self, tokenizer: Any, grammar: TextGrammar):
        self.tokenizer, self.grammar = tokenizer, grammar

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        torch.set_num_threads(1)
        dialogues = self.grammar.batch(int(examples[0]["request"]), len(examples), REQUESTS)
        faces = torch.cat([dialogue.faces[:1] for dialogue in dialogues])
        typical = torch.cat([dialogue.typical_faces()[:1] for dialogue in dialogues])
        tokens = read_requests(self.tokenizer, [dialogue.messages for dialogue in dialogues])
        return {**tokens, "face_targets": faces, "typical_faces": typical}


def read_requests(tokenizer: Any, dialogues: list[list[dict[str, Any]]]) -> dict[str, Tensor]:
    """Token ids of the first turns of dialogues, without any template."""
    texts = ["".join(part["text"] for part in messages[0]["content"]) for messages in dialogues]
    tokens = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    return {name: tokens[name] for name in ("input_ids", "attention_mask")}


@dataclass
class TextBaselineTrainingConfig(TrainingArguments):
    """`transformers.TrainingArguments`, and what the baseline is compared with."""

    model: str = field(default="facegpt-nano", metadata={"help": "Checkpoint whose sizes and tokenizer are taken."})
    requests: int = field(default=80_000, metadata={"help": "Requests to train on, drawn afresh each."})
    data_seed: int | None = field(default=0, metadata={"help": "Seed of the stream of requests."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "The collator reads them."})

    def __post_init__(self):
        check_ranges(self)
        super().__post_init__()


def build_baseline(config: FaceGPTConfig) -> TextBaseline:
    """An untrained baseline with as many layers, and as wide ones, as the language model of a FaceGPT."""
    text = config.get_text_config()
    encoder = BertConfig(
        vocab_size=text.vocab_size,
        hidden_size=text.hidden_size,
        num_hidden_layers=text.num_hidden_layers,
        num_attention_heads=text.num_attention_heads,
        # Llama's perceptrons have three matrices, BERT's two.
        intermediate_size=text.intermediate_size * 3 // 2,
        max_position_embeddings=512,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return TextBaseline(TextBaselineConfig(encoder=encoder.to_dict(), facegpt=config.to_dict()))


class BaselineTrainer(CarefulTrainer, Trainer):
    """`Trainer` that stops where a loss is not finite."""


def train_baseline(config: TextBaselineTrainingConfig) -> Path:
    """Train by a recipe; the output directory holds weights and tokenizer."""
    from datasets import Dataset

    facegpt = FaceGPTConfig.from_pretrained(locate_checkpoint(config.model), trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(locate_checkpoint(config.model), trust_remote_code=False)
    torch.manual_seed(config.seed)
    grammar = TextGrammar(FaceMeasurer(_face_model(config.model)), config.data_seed or 0)
    trainer = BaselineTrainer(
        model=build_baseline(facegpt),
        args=config,
        train_dataset=Dataset.from_dict({"request": range(config.requests)}),
        data_collator=RequestCollator(tokenizer, grammar),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(config.output_dir)
    return Path(str(config.output_dir))


def _face_model(checkpoint: str) -> MorphableModel:
    return FaceGPTForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, trust_remote_code=False
    ).face_model.eval()


# A tokenizer beside the weights is loaded by the type that config.json names.
AutoConfig.register(TextBaselineConfig.model_type, TextBaselineConfig)


def load_baseline(directory: str | Path, seed: int = 0) -> MakeFaces:
    """A trained baseline as a function from requests to faces."""
    model = TextBaseline.from_pretrained(directory, trust_remote_code=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    calls = itertools.count(BETWEEN_NOISES * seed)

    @torch.no_grad()
    def make_faces(dialogues: list[list[dict]], count: int) -> FaceParameters:
        states = model.states(**read_requests(tokenizer, dialogues))
        noise = draw_noise(count, model.flow_head.code_size, torch.Generator().manual_seed(next(calls)))
        codes = sample_codes(
            model.flow_head,
            states.repeat_interleave(count, 0),
            noise.repeat(len(states), 1),
            steps=FLOW_STEPS,
            guidance_scale=GUIDANCE_SCALE,
        )
        return decode(codes, default_picture_cameras(len(codes)), model.facegpt_config.face_model_config)

    return make_faces


def main(arguments: list[str] | None = None) -> int:
    """Parse, train, say where the result is."""
    return run_command(lambda: _train(arguments))


def _train(arguments: list[str] | None) -> int:
    from ..recipe_help import recipe_parser
    from ..recipe_reader import read_recipe

    name, what = "facegpt_trainer.evaluation.text_baseline", "Train the text-only baseline."
    given, changes = recipe_parser(name, what, TextBaselineTrainingConfig).parse_known_args(arguments)
    print(f"Trained baseline: {train_baseline(read_recipe(given.config, TextBaselineTrainingConfig, changes))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
