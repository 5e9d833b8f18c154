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
"""Reads a photograph from a file, whatever its format, colours and orientation, or says in one sentence why not."""

import io
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

SMALLEST_SIDE = 16
LARGEST_AREA = 100_000_000
# Only formats that are decoded inside Pillow: others would start programs (EPS) or match files of any kind (TGA).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM")
# The files of a directory that are taken for photographs; HEIC ones so that they are named, not passed over.
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .avif .jp2 .j2k .ppm .pgm .heic .heif".split()
)

_FULL_FRAME_DIAGONAL = math.hypot(36, 24)  # mm; what "35 mm equivalent" refers to (CIPA DCG-001)
_MILLIMETRES_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_PLAUSIBLE_FOCAL = (0.3, 40.0)  # times the longer side


class PhotographError(ValueError):
    """A file that cannot be used as a photograph; the message is one sentence that names it."""


class Photograph(NamedTuple):
    """One photograph, upright and in sRGB."""

    image: Image.Image  # RGB, turned as its EXIF orientation says
    focal: float | None  # pixels, from EXIF
    name: str  # the path as it was given


def read_photograph(path: str | Path) -> Photograph:
    """Read a photograph: the first frame of an animation, transparency over white, any colour space as sRGB.

    Raises:
        PhotographError: if the file is missing, no image, damaged, too small or too large.
    """
    path = Path(path)
    if not path.exists():
        raise PhotographError(f"{path} does not exist")
    if not path.is_file():
        raise PhotographError(f"{path} is not a file")
    try:
        with path.open("rb") as file:
            return decode_photograph(file, str(path))
    except PermissionError as error:
        raise PhotographError(f"{path} may not be read (permission denied)") from error


def decode_photograph(file: BinaryIO, name: str) -> Photograph:
    """As `read_photograph`, of an open file; `name` is what it is called in the result and in errors.

    Raises:
        PhotographError: if it is empty, no image, damaged, too small or too large.
    """
    try:
        if not file.seek(0, os.SEEK_END):
            raise PhotographError(f"{name} is empty (0 bytes)")
        file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about sizes that are refused below and about odd metadata
            return _decode(file, name)
    except PhotographError:
        raise
    except UnidentifiedImageError as error:
        raise PhotographError(f"{name} is not an image that can be read; save it as JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        raise PhotographError(f"{name} has far more than {LARGEST_AREA // 10**6} million pixels") from error
    except Exception as error:  # Decoders meet damaged files with nearly any exception.
        raise PhotographError(f"{name} is damaged or cut off ({error})") from error


def focal_from_exif(exif: Mapping[int, object], size: tuple[int, int]) -> float | None:
    """Focal length in pixels, or `None` where the tags do not tell a plausible one.

    Args:
        exif (`Mapping[int, object]`): tags of the Exif sub-directory by number.
        size (`tuple[int, int]`): width and height of the stored picture in pixels.
    """
    diagonal = math.hypot(*size)
    taken = [_number(exif, tag) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    if all(taken) and abs(max(taken) / min(taken) / (max(size) / min(size)) - 1) > 0.02:
        return None  # cropped since it was taken
    focal = _number(exif, ExifTags.Base.FocalLengthIn35mmFilm) / _FULL_FRAME_DIAGONAL * diagonal
    if not focal:
        unit = _MILLIMETRES_PER_UNIT.get(int(_number(exif, ExifTags.Base.FocalPlaneResolutionUnit)), 25.4)
        pixels_per_millimetre = _number(exif, ExifTags.Base.FocalPlaneXResolution) / unit
        resized = diagonal / math.hypot(*taken) if all(taken) else 1.0
        focal = _number(exif, ExifTags.Base.FocalLength) * pixels_per_millimetre * resized
    low, high = (bound * max(size) for bound in _PLAUSIBLE_FOCAL)
    return focal if low <= focal <= high else None


def _number(exif: Mapping[int, object], tag: int) -> float:
    """The tag's value, 0 where it is missing or no finite positive number."""
    try:
        value = float(exif.get(tag, 0))  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return value if 0 < value < math.inf else 0.0


def _decode(file: BinaryIO, name: str) -> Photograph:
    Image.init()  # some builds of Pillow lack a format
    image = Image.open(file, formats=[format for format in FORMATS if format in Image.OPEN])
    width, height = image.size
    if min(width, height) < SMALLEST_SIDE:
        raise PhotographError(f"{name} is {width}x{height} pixels; at least {SMALLEST_SIDE} on each side are needed")
    if width * height > LARGEST_AREA:
        raise PhotographError(
            f"{name} is {width}x{height} pixels; at most {LARGEST_AREA // 10**6} million pixels are read"
        )
    image.load()
    exif = image.getexif()
    focal = focal_from_exif(exif.get_ifd(ExifTags.IFD.Exif), image.size)
    upright = ImageOps.exif_transpose(image)
    return Photograph(image=_to_srgb(upright), focal=focal, name=name)


def _to_srgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes as RGB, by the embedded colour profile where it can be used."""
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layered).convert("RGB")
    if image.mode.startswith(("I", "F")):
        return _deep_grey(image).convert("RGB")
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return converted or image.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):  # a profile for another colour space, or a damaged one
            return image.convert("RGB")
    return image.convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or floating point as 8 bits: Pillow's own conversion would clip instead of scale."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    brightest = values.max()
    whites = {"I": (255, 65535), "F": (1, 255, 65535)}.get(image.mode, (65535,))
    white = next((white for white in whites if brightest <= white), brightest)
    return Image.fromarray((values.clip(0, white) * (255 / white)).round().astype(np.uint8))
