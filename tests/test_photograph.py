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

import base64
import io
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from modeling_facegpt.photograph import PhotographError, focal_from_exif, read_photograph, shown_path

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


@pytest.mark.parametrize(("bits", "white"), [(16, 65535), (12, 4095), (10, 1023)])
def test_few_bits_in_sixteen_are_no_darkness(tmp_path, bits, white):
    ramp = np.tile(np.linspace(0, white, 64), (32, 1)).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "photo.png")
    grey = np.asarray(read_photograph(tmp_path / "photo.png").image)[..., 1]
    assert np.abs(grey.astype(float) - ramp * (255 / white)).max() <= 1, bits


@pytest.mark.parametrize("outlier", [1e30, np.inf, np.nan])
def test_one_outlier_darkens_no_picture(tmp_path, outlier):
    ramp = np.tile(np.linspace(0, 1, 64), (32, 1)).astype(np.float32)
    ramp[3, 5] = outlier
    Image.fromarray(ramp).save(tmp_path / "photo.tif")
    grey = np.asarray(read_photograph(tmp_path / "photo.tif").image)[..., 1]
    others = np.arange(64) != 5
    assert np.abs(grey[:, others].astype(float) - ramp[:, others] * 255).max() <= 1


def profile_that_changes_colours() -> bytes:
    """A display of gamma 1, so that middle grey, 128, is 188 in sRGB: sRGB's profile with other tone curves."""
    stored = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", stored, 128)[0]
    for entry in range(132, 132 + 12 * count, 12):
        tag, offset, length = struct.unpack_from(">4sII", stored, entry)
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            stored[offset : offset + 12] = b"curv" + bytes(4) + struct.pack(">I", 0)  # no points: a straight line
    return bytes(stored)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "palette with transparency"])
def test_the_profile_is_applied_in_every_mode(tmp_path, mode):
    image = Image.new("RGB", SIZE, (128, 128, 128))
    image = image.quantize() if mode.startswith(("P", "p")) else image.convert(mode)
    settings: dict[str, Any] = {"transparency": 200} if mode == "palette with transparency" else {}
    image.save(tmp_path / "photo.png", icc_profile=profile_that_changes_colours(), **settings)
    assert mode == "RGB" or Image.open(tmp_path / "photo.png").mode in ("RGBA", "P")
    seen = read_photograph(tmp_path / "photo.png")
    assert np.abs(np.asarray(seen.image, dtype=float) - 188).max() <= 2
    again = read_photograph(seen.image)  # the profile is applied once
    assert np.array_equal(np.asarray(again.image), np.asarray(seen.image))


def test_damaged_metadata_costs_no_pixel(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "camera"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 50
    picture = io.BytesIO()
    gradient((96, 64)).save(picture, "JPEG", exif=exif, quality=90)
    content, path = picture.getvalue(), tmp_path / "photo.jpg"
    path.write_bytes(content)
    expected = np.asarray(read_photograph(path).image)
    start, length = content.index(b"Exif\0\0"), len(exif.tobytes())
    chance = np.random.default_rng(0)
    for _ in range(128):
        damaged = bytearray(content)
        for place in chance.integers(start, start + length, 4):
            damaged[place] = chance.integers(256)
        path.write_bytes(damaged)
        seen = np.asarray(read_photograph(path).image)
        assert sorted(seen.shape) == sorted(expected.shape)  # an orientation may have come to be


@pytest.mark.parametrize("kind", [b"tEXt", b"eXIf", b"iCCP"])
def test_a_damaged_chunk_that_is_no_picture_costs_no_pixel(tmp_path, kind):
    picture = io.BytesIO()
    gradient().save(picture, "PNG")
    content = picture.getvalue()
    chunk = struct.pack(">I", 9) + kind + b"Comment\0x" + b"bad!"
    (tmp_path / "photo.png").write_bytes(content[:33] + chunk + content[33:])
    assert mean_difference(read_photograph(tmp_path / "photo.png").image, gradient()) == 0


def test_a_jpeg_of_108_megapixels_is_read_at_half_its_size(tmp_path):
    path = tmp_path / "large.jpg"
    Image.new("L", (12_000, 9_000), 99).save(path, quality=20)
    photograph = read_photograph(path)
    assert photograph.image.size == (6_000, 4_500)
    assert np.abs(np.asarray(photograph.image.resize((6, 4)), dtype=float) - 99).max() <= 2
    assert photograph.note is not None and "12000x9000" in photograph.note and "6000x4500" in photograph.note


def test_heif_is_read_where_its_plug_in_is_there_and_named_where_not(tmp_path, monkeypatch):
    path = tmp_path / "photo.heic"
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(gradient((96, 64))).save(path, quality=95)
    assert mean_difference(read_photograph(path).image, gradient((96, 64))) < 8
    monkeypatch.delitem(Image.OPEN, "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotographError, match="photo.heic is a HEIF picture, which needs `pip install pillow-heif`"):
        read_photograph(path)


def test_every_door_gives_the_same_picture(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 50
    path = tmp_path / "photo.png"
    gradient((360, 240)).save(path, exif=exif)
    content = path.read_bytes()
    encoded = base64.b64encode(content).decode()
    expected = read_photograph(path)
    assert expected.image.size == (240, 360) and expected.focal == pytest.approx(500)
    opened = Image.open(path)
    for source in (str(path), content, encoded, f"data:image/png;base64,{encoded}", opened, opened.convert("RGB")):
        seen = read_photograph(source)
        assert seen.focal == expected.focal and mean_difference(seen.image, expected.image) == 0
    assert read_photograph(expected) is expected
    upright = np.asarray(expected.image)
    for array in (upright, upright.astype(np.float32) / 255, upright.astype(np.uint16) * 257):
        assert mean_difference(read_photograph(array).image, expected.image) == 0


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (7, "type int"),
        (np.zeros((3, 40, 40), np.uint8), r"shape \(3, 40, 40\)"),
        (np.full((40, 40), 2.0), "outside 0 to 1"),
        (np.full((40, 40), np.nan), "outside 0 to 1"),
        (np.zeros((40, 40), np.int64), "type int64"),
        (b"", "0 bytes"),
        ("data:image/png;base64,?", "0 bytes"),
        ("name\0zero.png", "cannot be read|does not exist"),
        ("n" * 300, "cannot be read|does not exist|not an image"),
        ("file:///etc/passwd", "does not exist"),
    ],
)
def test_what_is_no_photograph_is_refused_in_one_sentence(source, words):
    with pytest.raises(PhotographError, match=words) as caught:
        read_photograph(source)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_no_utf8_can_be_printed(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    gradient().save(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(path)
    assert read_photograph(path).name.encode().endswith(rb"caf\xe9.png")
    path.write_bytes(b"")
    with pytest.raises(PhotographError, match=r"caf\\xe9.png is empty"):
        read_photograph(path)
    assert shown_path("\ud800.png") == r"\ud800.png"
