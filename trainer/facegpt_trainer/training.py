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
"""Training on TRL's `SFTTrainer`, with the loss that the model itself computes from words and faces."""

import copy
import json
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import set_seed
from datasets import Dataset
from peft import PeftModel
from torch import Tensor, nn
from transformers import TrainingArguments
from trl import SFTTrainer

from modeling_facegpt.face_measurements import FaceMeasurer
from modeling_facegpt.modeling_facegpt import FaceGPTForConditionalGeneration
from modeling_facegpt.output_facegpt import weighted_sum
from modeling_facegpt.processing_facegpt import FaceGPTProcessor
from modeling_facegpt.reconstruction import Reconstruction, landmarks_in_photo
from modeling_facegpt.vision_tower import vision_tower

from .adapters import add_adapters
from .careful_trainer import CarefulTrainer
from .checkpoint import WARM_UP, how_to_go_on, last_whole_checkpoint
from .checkpoint_checks import check_goes_on
from .collator import FaceCollator
from .dialogue_collator import DialogueCollator
from .distributed import GradientsForAll, as_unsharded_class, keep_face_model_apart, prepare_sharding, share_terms
from .endings import Stopped
from .image_grid import ImageGrid
from .loss_schedules import LossWeightScheduling
from .pictures.data_engine import DataEngine
from .pictures.photograph_shards import ShardedPhotographs
from .pictures.photographs import PhotographSource, load_photographs
from .pictures.shard_files import has_shards
from .run_facts import describe_run, write_whole
from .start import Start, load_start
from .training_config import FaceGPTTrainingConfig
from .vision_warm_up import warm_up_vision

UNNAMED = "[None](https://huggingface.co/None)"  # how TRL's card calls a model without a name


class FaceGPTTrainer(CarefulTrainer, SFTTrainer):
    """`SFTTrainer` whose loss is FaceGPT's own.

    `SFTTrainer` replaces the model's forward by one that computes token log-probabilities and never calls the face
    head; here the model's own forward runs, so that the head learns and every loss term is logged by name.
    """

    def __init__(self, model: FaceGPTForConditionalGeneration | PeftModel, args: FaceGPTTrainingConfig, **kwargs: Any):
        super().__init__(model=model, args=args, **kwargs)
        # Undo the patch: the bound method of the class comes back.
        vars(model.get_base_model() if isinstance(model, PeftModel) else model).pop("forward", None)
        self.model_accepts_loss_kwargs = False
        if self.accelerator.num_processes > 1:
            keep_face_model_apart(cast(nn.Module, self.model))
            prepare_sharding(self.accelerator, cast(nn.Module, self.model))
            if self.is_fsdp_enabled:
                self.add_callback(GradientsForAll())
            # Each process draws noise of its own.
            set_seed(args.seed, device_specific=True)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        self.last_inputs = inputs
        outputs = model(**inputs)
        mode = "train" if model.training else "eval"
        shared = share_terms(outputs.loss_terms, outputs.loss_counts, self.accelerator)
        for name, term in shared.means.items():
            self._metrics[mode][name].append(term.item())
        loss = weighted_sum(shared.parts, cast(Any, self.model).config.loss_weights)
        return (loss, outputs) if return_outputs else loss

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """All that decay by default, but for the 3DMM's: zero is no skin."""
        return [name for name in super().get_decay_parameter_names(model) if "face_model." not in name]

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if state_dict is not None:  # put together from pieces, which no longer know that they are tied
            state_dict = {
                name: value for name, value in state_dict.items() if name not in self.model.all_tied_weights_keys
            }
        with as_unsharded_class(cast(nn.Module, self.model)):
            super()._save(output_dir, state_dict)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """As TRL's, which knows no name of a model that was put together here and would call it None."""
        super().create_model_card(*args, **kwargs)
        card = Path(str(self.args.output_dir)) / "README.md"
        if self.is_world_process_zero() and card.is_file():
            config = cast(FaceGPTTrainingConfig, self.args)
            start = config.vlm or config.model
            told = "an untrained model" if start == "nano" else f"`{start}`"
            card.write_text(card.read_text().replace(UNNAMED, told))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Through `from_pretrained`: the plain way would skip every key of the backbone that was renamed on saving.
        Adapters are named as they are."""
        if self.is_fsdp_enabled:  # saved by the names of modules, and in pieces here
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        target = self.model if model is None else model
        if isinstance(target, PeftModel):
            return super()._load_from_checkpoint(resume_from_checkpoint, target)
        loaded = FaceGPTForConditionalGeneration.from_pretrained(
            resume_from_checkpoint, dtype=torch.float32, trust_remote_code=False
        )
        target.load_state_dict(loaded.state_dict())


def train(config: FaceGPTTrainingConfig) -> Path:
    """Run a recipe, going on from the last checkpoint of its output directory if there is one.

    Returns:
        `Path`: the output directory: checkpoint, processor, and `training.json` with the run's facts.

    Raises:
        NotFiniteError: at the first loss that is not finite; checkpoints from before stay.
        Stopped: on Ctrl-C and SIGTERM; the message names the checkpoint that the run goes on from.
    """
    output = Path(str(config.output_dir))
    try:
        return _train(config, output)
    except KeyboardInterrupt as stop:
        raise Stopped(f"training was stopped; {how_to_go_on(output)}") from stop


def _train(config: FaceGPTTrainingConfig, output: Path) -> Path:
    start = Start.of(config)
    model, processor = load_start(start)
    prepare_losses(config, model, processor)
    photographs = load_training_photographs(config, model, processor)
    # A copy: drawing must not wait for, or follow, the model that is being trained.
    engine = DataEngine(copy.deepcopy(model.face_model), model.config.render_size, config.data_seed)
    looks = FaceCollator(
        processor,
        engine,
        photographs,
        photograph_share=config.photograph_share,
        use_landmarks=config.use_landmarks,
        use_images=config.use_images,
        draw_size=config.draw_size or config.per_device_train_batch_size,
    )
    shares = config.dialogue_shares
    collator = DialogueCollator(looks, FaceMeasurer(engine.face_model), shares) if shares else looks
    if config.lora:
        start.write(output)
    last = last_whole_checkpoint(output)
    if last is not None:
        check_goes_on(last, model.config)
    if config.warm_up_pictures and last is None:
        warm_up_vision(model.vlm, looks, model.config.loss_weights, warm_up_arguments(config), config.warm_up_pictures)
    if not config.train_vision:
        model.vlm.get_encoder(modality="image").requires_grad_(False)
    if config.train_albedo:
        model.face_model.learn_albedo()
    trainer = FaceGPTTrainer(
        model=add_adapters(model, config.lora) if config.lora else model,
        args=config,
        train_dataset=Dataset.from_dict({"picture": range(config.pictures)}),
        data_collator=collator,
        processing_class=processor,
    )
    add_callbacks(trainer, looks, config)
    result = trainer.train(resume_from_checkpoint=last)
    trainer.save_model(config.output_dir)
    if trainer.is_world_process_zero():
        facts = describe_run(config, result.metrics, trainer.state.log_history, config.world_size)
        write_whole(output / "training.json", json.dumps(facts, indent=1, default=str))
    return output


def add_callbacks(trainer: FaceGPTTrainer, looks: FaceCollator, config: FaceGPTTrainingConfig) -> None:
    """What a recipe wants done between steps."""
    if config.loss_weight_schedules:
        trainer.add_callback(LossWeightScheduling(config.all_loss_weights(), config.loss_weight_schedules))
    if config.image_grid_steps:
        trainer.add_callback(ImageGrid(trainer, looks, config.image_grid_steps))


def warm_up_arguments(config: FaceGPTTrainingConfig) -> TrainingArguments:
    """The recipe's own settings, in a directory of its own."""
    return TrainingArguments(
        output_dir=str(Path(str(config.output_dir)) / WARM_UP),
        per_device_train_batch_size=config.per_device_train_batch_size,
        num_train_epochs=1,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=50,
        weight_decay=config.weight_decay,
        optim=config.optim,
        logging_steps=config.logging_steps,
        save_steps=config.save_steps,
        save_total_limit=1,
        dataloader_num_workers=config.dataloader_num_workers,
        remove_unused_columns=False,
        train_sampling_strategy="sequential",
        report_to="none",
        use_cpu=config.use_cpu,
    )


def prepare_losses(
    config: FaceGPTTrainingConfig, model: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
) -> None:
    """Tell the model which loss terms count how much, and how its vision tower wants its pictures.

    Raises:
        ValueError: if the perceptual loss is asked for of a vision tower that reads no pictures.
    """
    model.config.loss_weights = config.all_loss_weights()
    settings = processor.picture_settings()
    model.config.image_mean, model.config.image_std = settings["image_mean"], settings["image_std"]
    if model.config.loss_weights["perceptual"]:
        vision_tower(model.vlm)


def load_training_photographs(
    config: FaceGPTTrainingConfig, model: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor
) -> PhotographSource | None:
    """The photographs of a recipe. Without landmarks, the checkpoint's own first look says where the faces are."""
    if config.photographs is None:
        return None
    folder = Path(config.photographs)
    settings: dict[str, Any] = {
        "exclude": config.photograph_exclude,
        "most_problems": config.most_photograph_problems,
    }
    if folder.is_dir() and has_shards(folder):
        if not config.use_landmarks:  # looked at one by one, and always by the model as it was at the start
            start = copy.deepcopy(model).eval().requires_grad_(False)
            settings["box_of"] = lambda images: first_look_boxes(start, processor, images)
        return ShardedPhotographs(folder, column=config.photograph_column, seed=config.data_seed, **settings)
    if config.use_landmarks and config.photograph_landmarks is None:
        raise ValueError("got use_landmarks without photograph_landmarks; name the file or switch use_landmarks off")
    landmarks = Path(config.photograph_landmarks) if config.use_landmarks and config.photograph_landmarks else None
    box_of = None if config.use_landmarks else lambda images: first_look_boxes(model, processor, images)
    return load_photographs(folder, landmarks, box_of=box_of, **settings)


def first_look_boxes(model: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, images: list) -> Tensor:
    """Boxes `(M, 4)` of the likeliest face of each picture as the model itself finds them; NaN where it finds none."""
    boxes = torch.full((len(images), 4), float("nan"))
    was_training = model.training
    model.eval()
    for number, reconstruction in enumerate(model.reconstruct(images, processor, batch_size=32)):
        if len(reconstruction.probability):
            best = int(reconstruction.probability.argmax())
            landmarks = reconstruction_landmarks(model, reconstruction)[best]
            boxes[number] = torch.cat((landmarks.amin(0), landmarks.amax(0)))
    model.train(was_training)
    return boxes


def reconstruction_landmarks(model: FaceGPTForConditionalGeneration, reconstruction: Reconstruction) -> Tensor:
    """The 468 landmarks `(N, 468, 2)` of a reconstruction, in pixels of its photograph."""
    return landmarks_in_photo(model.face_model, reconstruction.parameters, reconstruction.camera, "468")
