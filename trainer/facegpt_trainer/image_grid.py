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
"""What a model makes of a few training pictures while it learns: photograph, render, error and mask, side by side."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor
from transformers import Trainer, TrainerCallback
from transformers.integrations import TensorBoardCallback

from modeling_facegpt.camera import Camera
from modeling_facegpt.face_parameters import vector_to_parameters
from modeling_facegpt.losses import inlier_weight, photometric_loss
from modeling_facegpt.renderer import render_mesh

from .collator import FaceCollator
from .pictures.data_engine import PictureBatch

try:
    import wandb  # pyright: ignore[reportMissingImports]
except ImportError:
    wandb: Any = None
try:
    import trackio  # pyright: ignore[reportMissingImports]
except ImportError:
    trackio: Any = None

ROWS = 4
DRAWN = 24  # pictures among which rows are chosen
SHOWN_SIDE = 168  # pixels of each picture of a grid
CAPTION_HEIGHT = 14
CAPTIONS = ("photograph", "render", "error", "mask")
LARGEST_ERROR = 0.5  # sRGB; shown white
NAME = "image_grid"  # of the image in logs, and of the folder in a run's


class GridPictures(NamedTuple):
    """N pictures with what is shown of them."""

    photographs: Tensor  # (N, 3, S, S) sRGB in [0, 1]
    renders: Tensor  # (N, 3, S, S) over the darkened photograph
    errors: Tensor  # (N, 1, S, S) sRGB difference where the face is
    masks: Tensor  # (N, 1, S, S) how far the photometric loss trusts each pixel


class ImageGrid(TrainerCallback):
    """Every `steps` optimizer steps, a PNG in the run's folder, and the same in TensorBoard, W&B or trackio where the
    run reports to them. The pictures are the same each time.

    Args:
        trainer (`Trainer`): whose model is looked at.
        looks (`FaceCollator`): draws the pictures.
        steps (`int`): at least 1.
    """

    def __init__(self, trainer: Trainer, looks: FaceCollator, steps: int):
        self.trainer, self.looks, self.steps = trainer, looks, steps
        self.batch = choose_pictures(looks.draw(0, DRAWN), ROWS)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.steps or not len(self.batch.pictures):
            return
        # Every process looks: in a sharded model none can do so alone.
        grid = draw_grid(show_faces(self.trainer.model, self.looks, self.batch))
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / NAME
            folder.mkdir(parents=True, exist_ok=True)
            grid.save(folder / f"step_{state.global_step:07d}.png")
            self._report(grid, state.global_step)

    def _report(self, grid: Image.Image, step: int) -> None:
        for callback in self.trainer.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
                callback.tb_writer.add_image(NAME, np.asarray(grid), step, dataformats="HWC")
        reported = self.trainer.args.report_to or ()
        for name, service in (("wandb", wandb), ("trackio", trackio)):
            if name in reported and service is not None:
                service.log({NAME: service.Image(np.asarray(grid)), "train/global_step": step})


def choose_pictures(batch: PictureBatch, rows: int) -> PictureBatch:
    """The last pictures of a batch, photographs if it holds any, that are close-ups of one face; at most `rows`."""
    chosen = (batch.close_up & (batch.counts == 1)).nonzero()[:, 0][-rows:]
    faces = (batch.counts.cumsum(0) - batch.counts)[chosen]
    return PictureBatch(*(column[chosen] for column in batch[:3]), *(column[faces] for column in batch[3:]))


@torch.no_grad()
def show_faces(model: Any, looks: FaceCollator, batch: PictureBatch) -> GridPictures:
    """The faces that a model finds, told that there is one in each picture, against the pictures.

    Args:
        model (`FaceGPTForConditionalGeneration`): in whichever mode; it is left so.
        looks (`FaceCollator`): lays the pictures out for the model.
        batch (`PictureBatch`): close-ups of one face each.
    """
    inputs = {name: value.to(model.device) for name, value in looks.lay_out(batch).items()}
    was_training = model.training
    model.eval()
    wanted = ("input_ids", "attention_mask", "pixel_values", "labels", "picture_cameras")
    vectors = model(**{name: inputs[name] for name in wanted if name in inputs}).face_parameters
    model.train(was_training)
    face_model = model.face_model
    parameters = vector_to_parameters(vectors.float(), face_model.config)
    side = batch.pictures.shape[-1]
    cameras = side * inputs["picture_cameras"]
    render = render_mesh(
        face_model(parameters),
        parameters,
        Camera(cameras[:, 0], cameras[:, 1:]),
        (side, side),
        attributes=face_model.region("face")[None, :, None],
    )
    photographs = batch.pictures.to(render.image)
    region = render.mask * render.attributes  # pyright: ignore[reportOptionalOperand, reportOperatorIssue]
    residual = photometric_loss(render.image, photographs)
    return GridPictures(
        photographs=photographs,
        renders=render.mask * render.image + (1 - render.mask) * photographs / 3,
        errors=region * residual,
        masks=region * inlier_weight(residual, region),
    )


def draw_grid(pictures: GridPictures) -> Image.Image:
    """One row per picture below a line of captions."""
    heat = (pictures.errors / LARGEST_ERROR).clamp(0, 1) * 3
    # Black, red, yellow, white.
    columns = (
        pictures.photographs,
        pictures.renders,
        torch.cat((heat, heat - 1, heat - 2), dim=1),
        pictures.masks.expand(-1, 3, -1, -1),
    )
    tiles = [F.interpolate(column, (SHOWN_SIDE, SHOWN_SIDE), mode="nearest-exact").clamp(0, 1) for column in columns]
    rows = torch.cat(tiles, dim=-1)  # (N, 3, T, 4 T)
    whole = rows.permute(0, 2, 3, 1).flatten(0, 1)
    pixels = (255 * whole).round().to(torch.uint8).cpu().numpy()
    grid = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + CAPTION_HEIGHT), (255, 255, 255))
    grid.paste(Image.fromarray(pixels), (0, CAPTION_HEIGHT))
    draw = ImageDraw.Draw(grid)
    for number, caption in enumerate(CAPTIONS):
        draw.text((number * SHOWN_SIDE + 3, 1), caption, fill=(0, 0, 0))
    return grid
