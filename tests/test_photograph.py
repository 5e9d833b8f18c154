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
"""Reading photographs: every kind of file that people have, and every way in which one can be broken."""

import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from modeling_facegpt.files.photograph import PhotographError, focal_from_exif, read_photograph

SIZE = (40, 24)


def gradient(size: tuple[int, int] = SIZE) -> Image.Image:
    """Red grows to the right, green downwards, and the top left corner has a blue mark."""
    width, height = size
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    pixels = np.stack((red, green, np.zeros_like(red)), axis=-1).astype(np.uint8)
    pixels[:8, :8] = (0, 0, 255)
    return Image.fromarray(pixels)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header promises that many pixels, and whose data holds one row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def mean_difference(first: Image.Image, second: Image.Image) -> float:
    return float(np.abs(np.asarray(first, dtype=float) - np.asarray(second, dtype=float)).mean())


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif", ".ppm"])
def test_common_formats(tmp_path, suffix):
    path = tmp_path / f"photo{suffix}"
    gradient().save(path)
    photograph = read_photograph(path)
    assert photograph.image.mode == "RGB" and photograph.image.size == SIZE
    assert photograph.name == str(path) and photograph.focal is None
    assert mean_difference(photograph.image, gradient()) < 12


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_colour_modes(tmp_path, mode):
    path = tmp_path / "photo.tif"
    stored = gradient().convert(mode)
    stored.save(path)
    image = read_photograph(path).image
    assert image.mode == "RGB"
    assert mean_difference(image, stored.convert("RGB")) < 3


def test_cmyk_jpeg_is_not_inverted(tmp_path):
    path = tmp_path / "photo.jpg"
    gradient().convert("CMYK").save(path, quality=95)
    assert mean_difference(read_photograph(path).image, gradient()) < 12


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_keeps_its_tones(tmp_path, suffix):
    path = tmp_path / f"photo{suffix}"
    ramp = np.tile(np.linspace(0, 65535, 64), (32, 1)).astype(np.uint16)
    Image.fromarray(ramp).save(path)
    grey = np.asarray(read_photograph(path).image)[..., 1]
    assert np.abs(grey.astype(float) - ramp / 257).max() <= 1


@pytest.mark.parametrize("white", [1.0, 255.0, 3e6])
def test_floating_point_grey(tmp_path, white):
    path = tmp_path / "photo.tif"
    ramp = np.tile(np.linspace(0, white, 64), (32, 1)).astype(np.float32)
    Image.fromarray(ramp).save(path)
    grey = np.asarray(read_photograph(path).image)[..., 1]
    assert np.abs(grey.astype(float) - ramp / white * 255).max() <= 1


def test_transparency_is_laid_over_white(tmp_path):
    path = tmp_path / "photo.png"
    image = gradient().convert("RGBA")
    image.putalpha(0)
    image.save(path)
    assert np.asarray(read_photograph(path).image).min() == 255


def test_animation_gives_its_first_frame(tmp_path):
    path = tmp_path / "photo.gif"
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "green", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert read_photograph(path).image.getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(tmp_path, orientation):
    stored_by = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = gradient().transpose(stored_by[orientation]) if orientation > 1 else gradient()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / "photo.png"
    stored.save(path, exif=exif)
    assert mean_difference(read_photograph(path).image, gradient()) == 0


def test_embedded_profile_of_another_colour_space_is_survived(tmp_path):
    path = tmp_path / "photo.jpg"
    gradient().save(path, icc_profile=b"not a profile")
    assert mean_difference(read_photograph(path).image, gradient()) < 12


def test_focal_length_from_a_file(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 50
    path = tmp_path / "photo.jpg"
    gradient((360, 240)).save(path, exif=exif)
    assert read_photograph(path).focal == pytest.approx(500)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"FocalLengthIn35mmFilm": 36}, 3600),
        ({"FocalLengthIn35mmFilm": 0, "FocalLength": 50}, None),
        ({"FocalLength": 36, "FocalPlaneXResolution": 100, "FocalPlaneResolutionUnit": 4}, 3600),
        ({"FocalLength": 36, "FocalPlaneXResolution": 2540, "ExifImageWidth": 7200, "ExifImageHeight": 4800}, 1800),
        ({"FocalLengthIn35mmFilm": 36, "ExifImageWidth": 2400, "ExifImageHeight": 3600}, 3600),
        ({"FocalLengthIn35mmFilm": 36, "ExifImageWidth": 3600, "ExifImageHeight": 3600}, None),
        ({"FocalLengthIn35mmFilm": 1}, None),
        ({"FocalLengthIn35mmFilm": "wide"}, None),
        ({"FocalLength": float("nan"), "FocalPlaneXResolution": 100}, None),
        ({}, None),
    ],
)
def test_focal_length_from_tags(tags, expected):
    numbered = {int(ExifTags.Base[name]): value for name, value in tags.items()}
    assert focal_from_exif(numbered, (3600, 2400)) == (expected if expected is None else pytest.approx(expected))


def broken_files() -> dict[str, tuple[bytes | None, str]]:
    """File name: content, and what the message has to say."""
    return {
        "missing.jpg": (None, "does not exist"),
        "empty.jpg": (b"", "empty"),
        "notes.jpg": (b"this is no picture\n" * 50, "not an image"),
        "dot.png": (png_of_size(1, 1), "1x1"),
        "bomb.png": (png_of_size(20_000, 20_000), "pixels"),
        "large.png": (png_of_size(11_000, 11_000), "11000x11000"),
        "short.png": (png_of_size(200, 200), "damaged"),
        "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "not an image"),
    }


@pytest.mark.parametrize("name", broken_files())
def test_a_broken_file_is_refused_in_one_sentence(tmp_path, name):
    content, words = broken_files()[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(PhotographError, match=words) as caught:
        read_photograph(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_jpeg_is_refused(tmp_path):
    path = tmp_path / "photo.jpg"
    gradient((400, 300)).save(path, quality=95)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(PhotographError, match="damaged or cut off"):
        read_photograph(path)


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(PhotographError, match="not a file"):
        read_photograph(tmp_path)
