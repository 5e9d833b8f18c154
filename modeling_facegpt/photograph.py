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
"""Reads a photograph, whatever its format, colours and orientation, or says in one sentence why not.

It is the one reader of the project: of the command, the pipeline, the processor, chat messages and data sets.
"""

import base64
import io
import math
import os
import unicodedata
import urllib.request
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin, UnidentifiedImageError

from .picture_decoding import remove_metadata, to_srgb

SMALLEST_SIDE = 16
LARGEST_AREA = 100_000_000
LARGEST_JPEG_AREA = 250_000_000  # JPEG files are read at a half, a quarter or an eighth of their size
# Only formats that are decoded inside Pillow: others would start programs (EPS) or match files of any kind (TGA).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM")
# The files of a directory that are taken for photographs.
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .avif .jp2 .j2k .ppm .pgm .heic .heif".split()
)

_LARGEST_DOWNLOAD = 200_000_000  # bytes
_SECONDS_TO_ANSWER = 20
_LONGEST_NAME = 255  # bytes; what is longer may be base64
_FULL_FRAME_DIAGONAL = math.hypot(36, 24)  # mm; what "35 mm equivalent" refers to (CIPA DCG-001)
_MILLIMETRES_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_PLAUSIBLE_FOCAL = (0.3, 40.0)  # times the longer side
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What the first bytes of a file of the ISO family say, and what Pillow needs to read it.
_PLUG_INS = {
    "HEIF": ((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "pip install pillow-heif"),
    "AVIF": ((b"avif", b"avis"), "pip install --upgrade pillow"),
}


class PhotographError(ValueError):
    """What cannot be used as a photograph; the message is one sentence that names it."""


class Photograph(NamedTuple):
    """One photograph, upright and in sRGB."""

    image: Image.Image  # RGB, turned as its EXIF orientation says, without metadata
    focal: float | None  # pixels of `image`, from EXIF
    name: str  # the path as it was given, its bytes that are no UTF-8 as \xNN
    note: str | None = None  # one sentence, where it was read in another way than people expect


def read_photograph(source: Any) -> Photograph:
    """Read a photograph: the first frame of an animation, transparency over white, any colour space as sRGB.

    Args:
        source (`str`, `os.PathLike`, `bytes`, `PIL.Image.Image`, `numpy.ndarray` or `Photograph`): a path; an
            `http(s)://` or `data:` URL; the content of an image file, also in base64; an image with the metadata of
            its file, whose orientation and profile are applied; or an array `(H, W)`, `(H, W, 1)`, `(H, W, 3)` or
            `(H, W, 4)` of sRGB in 0 to 255 (uint8) or 0 to 1 (floating point). A `Photograph` is returned as it is.

    Raises:
        PhotographError: if it is missing, no image, damaged, too small or too large.
    """
    if isinstance(source, Photograph):
        return source
    if isinstance(source, Image.Image):
        return _read_image(source)
    if isinstance(source, np.ndarray):
        return _read_image(_image_of_array(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return decode_photograph(io.BytesIO(source), "the image of bytes")
    if isinstance(source, str) and (content := _content_of_text(source)) is not None:
        return decode_photograph(io.BytesIO(content), shown_path(source[:60]))
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(os.fsdecode(source)))
    raise PhotographError(
        f"got a photograph of type {type(source).__name__}, wanted a path, a URL, bytes, a PIL image or an array; "
        "give one of them"
    )


def read_photographs(sources: Any) -> list[Photograph]:
    """Read one photograph or many: whatever `read_photograph` takes, or a list or other iterable of such; an array of
    four axes is many."""
    one = isinstance(sources, str | bytes | bytearray | memoryview | Photograph) or not isinstance(sources, Iterable)
    if one or (isinstance(sources, np.ndarray) and sources.ndim < 4):
        return [read_photograph(sources)]
    return [read_photograph(source) for source in sources]


def decode_photograph(file: BinaryIO, name: str) -> Photograph:
    """As `read_photograph`, of an open file; `name` is what it is called in the result and in errors.

    Raises:
        PhotographError: if it is empty, no image, damaged, too small or too large.
    """
    name = shown_path(name)
    length = file.seek(0, os.SEEK_END)
    if not length:
        raise PhotographError(f"{name} is empty (0 bytes)")
    try:
        return _decode_or_explain(file, name)
    except PhotographError as error:
        # Damaged metadata must not cost the picture.
        file.seek(0)
        bare = remove_metadata(file.read(_LARGEST_DOWNLOAD))
        try:
            return _decode_or_explain(io.BytesIO(bare), name)
        except PhotographError:
            raise error from None


def shown_path(path: str | os.PathLike) -> str:
    """A path as text that can be printed on one line and stored: bytes that are no UTF-8, and characters that are
    none for the eye, as `\\xNN`."""
    text = os.fsdecode(path)
    try:
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a character, which no file name of a file system gives
        text = text.encode("utf-8", "backslashreplace").decode()
    controls = {letter for letter in text if unicodedata.category(letter) in ("Cc", "Zl", "Zp")}
    for letter in controls:
        text = text.replace(letter, letter.encode("unicode_escape").decode())
    return text


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
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return 0.0
    return value if 0 < value < math.inf else 0.0


def _read_file(path: Path) -> Photograph:
    name = shown_path(path)
    try:
        if not path.exists():
            raise PhotographError(f"{name} does not exist")
        if not path.is_file():
            raise PhotographError(f"{name} is not a file")
        with path.open("rb") as file:
            return decode_photograph(file, name)
    except PermissionError as error:
        raise PhotographError(f"{name} may not be read (permission denied)") from error
    except PhotographError:
        raise
    except (OSError, ValueError) as error:  # such as a name that is too long, or has a zero byte
        raise PhotographError(f"{name} cannot be read ({error})") from error


def _content_of_text(text: str) -> bytes | None:
    """What a URL or base64 stands for; `None` of a path."""
    if text.startswith(("http://", "https://")):
        return _download(text)
    is_url = text.startswith("data:")
    if not is_url and (len(text) <= _LONGEST_NAME or os.path.lexists(text)):
        return None
    try:
        return base64.b64decode(text.partition(",")[2] if is_url else text, validate=True)
    except ValueError:
        return b"" if is_url else None


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS_TO_ANSWER) as answer:
            content = answer.read(_LARGEST_DOWNLOAD + 1)
    except (OSError, ValueError) as error:
        raise PhotographError(f"{url} cannot be downloaded ({error})") from error
    if len(content) > _LARGEST_DOWNLOAD:
        raise PhotographError(f"{url} has more than {_LARGEST_DOWNLOAD // 10**6} MB")
    return content


def _image_of_array(values: np.ndarray) -> Image.Image:
    channels = values.shape[2] if values.ndim == 3 else 1
    if values.ndim not in (2, 3) or channels not in (1, 3, 4) or min(values.shape[:2], default=0) < 1:
        raise PhotographError(
            f"got an array of shape {values.shape}, wanted (height, width) or (height, width, 1, 3 or 4); "
            "move the channels last"
        )
    if np.issubdtype(values.dtype, np.floating):
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise PhotographError("got an array of numbers outside 0 to 1; divide by 255, or give them as uint8")
        values = (values * 255).round().astype(np.uint8)
    elif values.dtype == np.uint16:
        values = (values / 257).round().astype(np.uint8)
    elif values.dtype != np.uint8:
        raise PhotographError(f"got an array of type {values.dtype}, wanted uint8 in 0 to 255 or float in 0 to 1")
    return Image.fromarray(values[..., 0] if values.ndim == 3 and channels == 1 else values)


def _read_image(image: Image.Image) -> Photograph:
    """An image that was opened elsewhere; one that is upright RGB without metadata is taken as it is."""
    name = "the image"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_size(image, name, LARGEST_AREA)
            image.load()
            return _finish(image, name, None)
    except PhotographError:
        raise
    except Exception as error:
        raise PhotographError(f"{name} is damaged or cut off ({error})") from error


def _decode_or_explain(file: BinaryIO, name: str) -> Photograph:
    file.seek(0)
    try:
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


def _decode(file: BinaryIO, name: str) -> Photograph:
    beginning = file.read(12)
    file.seek(0)
    Image.init()  # some builds of Pillow lack a format
    if beginning.startswith(b"\xff\xd8\xff"):
        return _decode_jpeg(file, name)
    _load_plug_in(beginning, name)
    image = Image.open(file, formats=[format for format in FORMATS if format in Image.OPEN])
    _check_size(image, name, LARGEST_AREA)
    image.load()
    return _finish(image, name, None)


def _decode_jpeg(file: BinaryIO, name: str) -> Photograph:
    """JPEG of up to `LARGEST_JPEG_AREA`: what is larger than other formats may be is averaged while it is decoded."""
    image = JpegImagePlugin.JpegImageFile(file)  # since `Image.open` refuses large ones, and opens broken MPO worse
    _check_size(image, name, LARGEST_JPEG_AREA)
    width, height = image.size
    note = None
    if width * height > LARGEST_AREA:
        image.draft(None, (width // 2, height // 2))
        read = "x".join(map(str, image.size))
        note = f"{name} is {width}x{height} pixels and was read as {read}: all its pixels are those of that size"
    image.load()
    return _finish(image, name, note)


def _load_plug_in(beginning: bytes, name: str) -> None:
    """Refuse HEIF or AVIF that this Pillow cannot read, in a sentence that says what to install."""
    kind, brand = beginning[4:8], beginning[8:12]
    for format, (brands, advice) in _PLUG_INS.items():
        if kind != b"ftyp" or brand not in brands or format in Image.OPEN:
            continue
        try:
            import pillow_heif

            pillow_heif.register_heif_opener()
        except ImportError:
            pass
        if format not in Image.OPEN:
            raise PhotographError(f"{name} is a {format} picture, which needs `{advice}`; or save it as JPEG")


def _check_size(image: Image.Image, name: str, largest: int) -> None:
    width, height = image.size
    if min(width, height) < SMALLEST_SIDE:
        raise PhotographError(f"{name} is {width}x{height} pixels; at least {SMALLEST_SIDE} on each side are needed")
    if width * height > largest:
        raise PhotographError(f"{name} is {width}x{height} pixels; at most {largest // 10**6} million pixels are read")


def _finish(image: Image.Image, name: str, note: str | None) -> Photograph:
    orientation, focal = _orientation_and_focal(image)
    turned = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
    bare = turned.mode == "RGB" and not {"icc_profile", "transparency"} & set(turned.info)
    plain = turned if bare and "exif" not in turned.info else to_srgb(turned)
    return Photograph(plain, focal, name, note)


def _orientation_and_focal(image: Image.Image) -> tuple[int, float | None]:
    """What EXIF says of the picture; nothing where it is damaged, in whichever way."""
    try:
        exif = image.getexif()
        orientation = int(_number(exif, ExifTags.Base.Orientation))
    except Exception:
        return 1, None
    try:
        return orientation, focal_from_exif(exif.get_ifd(ExifTags.IFD.Exif), image.size)
    except Exception:
        return orientation, None
