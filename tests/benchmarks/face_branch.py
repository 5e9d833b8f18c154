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
"""How much of a training step faces cost: `python -m tests.benchmarks.face_branch`.

The face branch is all that comes after the language model: head, 3DMM, render at 224 x 224, every loss term, forward
and backward. Of a step of facegpt-nano, which sees 112 x 112 pixels, its share is measured, on one thread, at 224 and
at the 112 that its recipes draw. Of a LoRA step of LLaVA-1.5-7B it is counted: multiplications and additions of
matrices as PyTorch counts them, on tensors without values, and those of drawing as `tests.benchmarks.limits` counts
them; and bytes that must move at least once.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from facegpt_trainer.collator import FaceCollator
from facegpt_trainer.loss_weights import LOSS_WEIGHTS
from facegpt_trainer.pictures.data_engine import DataEngine
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForImageTextToText, LlavaConfig

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor
from modeling_facegpt.dialogue_supervision import find_decoded_faces
from modeling_facegpt.face_head import FaceHead
from modeling_facegpt.face_supervision import FaceTargets
from modeling_facegpt.output_facegpt import weighted_sum
from tests.benchmarks.limits import count
from tests.benchmarks.render import mesh_named

NANO = Path(__file__).parents[2] / "hub" / "facegpt-nano"
SIDE = 224
LLAVA_TOKENS = 576 + 64  # of a picture, and of the words around it
LLAVA_LORA = LoraConfig(r=128, target_modules=r".*language_model.*_proj")  # as LLaVA-1.5's own LoRA recipe


class FaceBranch:
    """The face branch of a model over a batch of render targets, on states that need a gradient."""

    def __init__(
        self, model: FaceGPTForConditionalGeneration, inputs: dict[str, Tensor], head: FaceHead | None = None
    ):
        self.model, self.inputs = model, inputs
        with torch.no_grad():
            states = model(**inputs, output_hidden_states=True).hidden_states[-1]
        if head is not None:
            model.face_head = head
            states = torch.randn(*states.shape[:-1], head.hidden.in_features)
        self.states = states.detach().requires_grad_()
        self.targets = FaceTargets(*(inputs[name] for name in TARGETS))

    def __call__(self) -> None:
        token = self.model.config.face_token_id
        ids, labels = self.inputs["input_ids"], self.inputs["labels"]
        faces = find_decoded_faces(self.states, ids, labels, token, self.states.device)
        outcome = self.model._decode_faces(faces, ids, None, self.targets, None)
        means = {name: term.mean for name, term in outcome.terms.items()}
        weighted_sum(means, self.model.config.loss_weights).backward()
        self.model.zero_grad()  # as a step does: else gradients would be added to those of the call before


TARGETS = ("picture_cameras", "face_targets", "face_landmarks", "face_images")


def nano_batch(model: FaceGPTForConditionalGeneration, pictures: int, side: int = SIDE) -> dict[str, Tensor]:
    """One face in every picture, all of them compared by labels, by landmarks and by rendering at `side`."""
    processor = FaceGPTProcessor.from_pretrained(NANO)
    engine = DataEngine(model.face_model, processor.render_size)
    ones = torch.ones(pictures, dtype=torch.long)
    batch = engine.compose(torch.Generator().manual_seed(0), ones.bool(), ones)
    images = torch.nn.functional.interpolate(batch.pictures, (side, side), mode="bilinear")
    landmarks = torch.rand(batch.face_landmarks.shape, generator=torch.Generator().manual_seed(1))
    inputs = FaceCollator(processor, engine).lay_out(batch._replace(face_images=images, face_landmarks=landmarks))
    model.config.render_size = side
    model.config.loss_weights = dict(LOSS_WEIGHTS)
    return inputs


def measured_share(pictures: int, runs: int, side: int) -> tuple[float, float]:
    """Milliseconds of a step of facegpt-nano, and of its face branch, at a side of renders."""
    model = FaceGPTForConditionalGeneration.from_pretrained(NANO, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    inputs = nano_batch(model, pictures, side)
    branch = FaceBranch(model, inputs)

    def step() -> None:
        model(**inputs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return median_milliseconds(step, runs), median_milliseconds(branch, runs)


def median_milliseconds(task: Callable[[], None], runs: int) -> float:
    """After one run that is not counted, as it compiles."""
    task()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def branch_operations() -> tuple[float, float]:
    """Operations and bytes of the face branch for one face, whose head reads LLaVA's states."""
    model = FaceGPTForConditionalGeneration.from_pretrained(NANO, dtype=torch.float32)
    model.config.dialogue_hidden_size = None  # its heads read states of nano's width, and are not counted here
    inputs = nano_batch(model, 1)
    branch = FaceBranch(model, inputs, FaceHead(model.config, LlavaConfig().get_text_config().hidden_size))
    with FlopCounterMode(display=False) as counter:
        branch()
    drawing = count(mesh_named("head", 1), SIDE)
    bases = sum(buffer.nbytes for name, buffer in model.face_model.named_buffers() if name.endswith("_basis"))
    return counter.get_total_flops() + drawing.operations, 2 * bases + drawing.bytes


def llava_operations() -> tuple[float, float]:
    """Operations and bytes of a LoRA step of LLaVA-1.5-7B on one picture: weights are read forward and backward."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(LlavaConfig(), dtype=torch.bfloat16)
        width = model.config.text_config.hidden_size
        adapted = get_peft_model(model, LLAVA_LORA)
        side = model.config.vision_config.image_size
        pixels = torch.zeros(1, 3, side, side, dtype=torch.bfloat16)
        embeddings = torch.zeros(1, LLAVA_TOKENS, width, dtype=torch.bfloat16)
        with FlopCounterMode(display=False) as counter:
            with torch.no_grad():
                model.get_image_features(pixels)
            adapted(inputs_embeds=embeddings).logits.sum().backward()
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return float(counter.get_total_flops()), 2.0 * weights


def main() -> None:
    parser = argparse.ArgumentParser(description="the face branch's share of a training step")
    parser.add_argument("--pictures", type=int, default=16, help="of a batch, one face each")
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pictures = given.pictures
    for side in (SIDE, SIDE // 2):
        step, branch = measured_share(pictures, given.runs, side)
        print(f"facegpt-nano, {pictures} pictures, renders of {side}: step {step:.0f} ms, face branch {branch:.0f} ms")
        print(f"share measured: {branch / step:.1%}")
    (face, face_bytes), (llava, llava_bytes) = branch_operations(), llava_operations()
    print(f"LLaVA-1.5-7B with LoRA, one picture of {LLAVA_TOKENS} tokens: {llava / 1e12:.2f} TFlop")
    print(f"face branch, one face: {face / 1e6:.1f} MFlop")
    print(f"share counted, operations: {face / (face + llava):.4%}")
    print(f"bytes moved at least: {llava_bytes / 1e9:.1f} GB and {face_bytes / 1e6:.1f} MB")
    print(f"share counted, bytes: {face_bytes / (face_bytes + llava_bytes):.4%}")


if __name__ == "__main__":
    main()
