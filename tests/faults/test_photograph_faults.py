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
"""Thousands of damaged photographs: each is read, or refused in one sentence; none crashes, hangs or is replaced."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from facegpt_hub.checkpoints import Checkpoint
from facegpt_hub.photograph_tasks import plan_tasks, run_tasks
from harness import LostError, mutate, try_each
from PIL import ExifTags, Image, ImageCms

from modeling_facegpt.files.result_files import is_result
from modeling_facegpt.photograph import LARGEST_JPEG_AREA, SMALLEST_SIDE, read_photograph

READ, RECONSTRUCTED = 2600, 260
SECONDS = 30


def originals() -> dict[str, bytes]:
    """Content of a photograph in every format and kind of colours, by the ending of its name."""
    noise = Image.effect_noise((97, 64), 60)
    colours = Image.merge("RGB", [noise, noise.rotate(90).resize(noise.size), noise.rotate(180)])
    deep = np.asarray(noise, dtype=np.uint16) * 16
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "a camera"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 50
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rich = {"exif": exif, "icc_profile": profile}
    kinds = {
        "exif.jpg": (colours, rich),
        "progressive.jpg": (colours, {"progressive": True, **rich}),
        "cmyk.jpg": (colours.convert("CMYK"), {}),
        "rich.png": (colours.convert("RGBA"), rich),
        "palette.png": (colours.quantize(32), {"transparency": b"\x10\x80"}),
        "deep.png": (Image.fromarray(deep), {}),
        "photo.webp": (colours, rich),
        "photo.gif": (colours.quantize(16), {}),
        "photo.bmp": (colours, {}),
        "rich.tif": (colours, {"compression": "tiff_lzw", **rich}),
        "float.tif": (Image.fromarray(np.asarray(noise, dtype=np.float32)), {}),
        "photo.avif": (colours, rich),
        "photo.jp2": (colours, {}),
        "photo.ppm": (colours, {}),
    }
    return {name: encode(image, name, settings) for name, (image, settings) in kinds.items()}


def encode(image: Image.Image, name: str, settings: dict) -> bytes:
    content = io.BytesIO()
    content.name = name
    image.save(content, **settings)
    return content.getvalue()


@pytest.fixture(scope="module")
def photographs() -> list[tuple[str, bytes]]:
    return list(originals().items())


def damaged(photographs: list[tuple[str, bytes]], number: int) -> tuple[str, bytes]:
    """Photograph number `number` of an endless row, always the same."""
    chance = random.Random(number)
    name, content = photographs[number % len(photographs)]
    for _ in range(chance.choice((1, 1, 1, 3))):
        content = mutate(content, chance) or b"\0"
    return f"{number}-{name}", content


def test_damaged_photographs_are_read_or_refused(photographs, tmp_path: Path):
    def attempt(number: int) -> None:
        name, content = damaged(photographs, number)
        path = tmp_path / name
        path.write_bytes(content)
        try:
            image, focal, shown, _ = read_photograph(path)
        finally:
            path.unlink()
        if image.mode != "RGB" or min(image.size) < SMALLEST_SIDE or image.width * image.height > LARGEST_JPEG_AREA:
            raise LostError(f"{shown} gave {image.mode} of {image.size}")
        if focal is not None and not 0 < focal < 1e9:
            raise LostError(f"{shown} gave a focal length of {focal}")

    try_each(range(READ), attempt, seconds=SECONDS).settle("damaged photographs, read")


def test_damaged_metadata_refuses_no_photograph(photographs):
    """Only what stands before the pixels of a JPEG is damaged: EXIF and profile."""
    content = dict(photographs)["exif.jpg"]
    start, end = content.index(b"Exif"), content.index(b"\xff\xdb")

    def attempt(number: int) -> None:
        chance = random.Random(number)
        changed = bytearray(content)
        for _ in range(chance.choice((1, 4, 32))):
            changed[chance.randrange(start, end)] = chance.randrange(256)
        try:
            read_photograph(bytes(changed))
        except ValueError as error:
            # A marker whose length is damaged hides where the picture begins.
            if any(content[at : at + 4] != changed[at : at + 4] for at in markers(content, end)):
                raise
            raise LostError(str(error)) from error

    counts = try_each(range(500), attempt, seconds=SECONDS)
    counts.settle("photographs with damaged metadata")
    assert counts.refused < 0.1 * counts.tried


def markers(content: bytes, end: int) -> list[int]:
    """Where the segments before `end` begin."""
    found, at = [], 2
    while at < end:
        found.append(at)
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return found


def test_damaged_photographs_go_through_the_whole_command(photographs, tmp_path: Path, eager_facegpt, processor):
    checkpoint = Checkpoint("tiny", eager_facegpt, processor)

    def attempt(number: int) -> None:
        name, content = damaged(photographs, 1_000_000 + number)
        path = tmp_path / str(number) / name
        path.parent.mkdir()
        path.write_bytes(content)
        [outcome] = run_tasks(plan_tasks([path], str(path.parent), None), lambda: checkpoint)
        if path.read_bytes() != content:
            raise LostError("the photograph was changed")
        written = {found for found in path.parent.iterdir() if found != path}
        task = outcome.task
        wanted = {task.document, task.mesh, task.sheet} if outcome.faces else {task.document}
        if written != (set() if outcome.problem else wanted) or not all(map(is_result, written)):
            raise LostError(f"{outcome}: there are {sorted(written)}")
        if outcome.problem:
            raise ValueError(outcome.problem)

    try_each(range(RECONSTRUCTED), attempt, seconds=SECONDS).settle("damaged photographs, reconstructed")
