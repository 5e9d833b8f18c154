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
"""What Pillow leaves to do with a picture file: colours of any mode as sRGB, and files without what is no picture.

Colours come by their profile, over white where they are transparent, and deep or floating-point grey in eight bits.
"""

import io

import numpy as np
from PIL import Image, ImageCms

# The brightest value of a kind of grey is that of its bits; cameras store 10, 12 or 14 bits in 16.
_WHITES = (255, 1023, 4095, 16383, 65535)
_FLOAT_WHITES = (1, *_WHITES)
_OUTLIERS = 0.1  # per cent of the pixels, at either end, that may be darker or brighter than the range
_COUNTED = 1_000_000  # pixels that are enough to find the range by

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_COLOUR_TRANSFORM = 0xEE  # APP14, Adobe's: without it CMYK and RGB files are misread
_START_OF_SCAN = 0xDA
_ANCILLARY = 0x20  # bit of the first letter of a chunk's name, set where the picture can be decoded without it


def to_srgb(image: Image.Image) -> Image.Image:
    """Any picture as RGB in sRGB over white, without metadata: by its colour profile where that can be used.

    Args:
        image (`PIL.Image.Image`): of any mode; its `info["icc_profile"]` is the profile, of whichever mode.
    """
    if image.has_transparency_data:
        layered = image.convert("LA" if image.mode in ("LA", "La") else "RGBA")
        *channels, opacity = layered.split()
        colours = _by_profile(Image.merge("RGB" if len(channels) == 3 else "L", channels), image)
        shown = Image.composite(colours, Image.new("RGB", image.size, "white"), opacity)
    else:
        shown = _by_profile(_in_eight_bits(image), image)
    shown.info = {}  # a profile that was applied must not be applied again
    return shown


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """One of the modes that colour profiles speak of: L, RGB, CMYK, LAB."""
    if image.mode.startswith(("I", "F")):
        return _deep_grey(image)
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _by_profile(colours: Image.Image, image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if colours.mode == "LAB" or profile:
        try:
            source = (
                ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else ImageCms.createProfile(colours.mode)  # pyright: ignore[reportArgumentType]
            )
            converted = ImageCms.profileToProfile(colours, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return converted or colours.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # damaged, or for another kind of colours
            pass
    return colours.convert("RGB") if colours.mode != "LAB" else colours.getchannel("L").convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or floating point as 8 bits: Pillow's own conversion would clip instead of scale."""
    values = np.asarray(image, dtype=np.float32)
    low, white = _range_of(values, _FLOAT_WHITES if image.mode == "F" else _WHITES)
    values = np.nan_to_num(values, nan=low, posinf=white, neginf=low).clip(low, white)
    return Image.fromarray(((values - low) * (255 / (white - low))).round().astype(np.uint8))


def _range_of(values: np.ndarray, whites: tuple[int, ...]) -> tuple[float, float]:
    """The values of black and of white: few pixels that are far brighter than all others do not darken these."""
    some = values.ravel()[:: max(1, values.size // _COUNTED)]
    some = some[np.isfinite(some)]
    darkest, brightest = np.percentile(some, (_OUTLIERS, 100 - _OUTLIERS)).tolist() if some.size else (0.0, 1.0)
    white = next((float(white) for white in whites if brightest <= white), brightest)
    return min(darkest, 0.0), white


def remove_metadata(content: bytes) -> bytes:
    """The same picture without EXIF, profiles, comments and thumbnails; files of other kinds as they are."""
    if content.startswith(_JPEG):
        return _bare_jpeg(content)
    return _bare_png(content) if content.startswith(_PNG) else content


def _bare_jpeg(content: bytes) -> bytes:
    kept, at = [content[:2]], 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != _START_OF_SCAN:
        marker = content[at + 1]
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        is_metadata = marker == 0xFE or (0xE0 <= marker <= 0xEF and marker != _COLOUR_TRANSFORM)
        kept += [] if is_metadata else [content[at:end]]
        at = end
    return b"".join([*kept, content[at:]])


def _bare_png(content: bytes) -> bytes:
    kept, at = [content[:8]], 8
    while at + 12 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        end = at + 12 + length
        kept += [] if kind[0] & _ANCILLARY and kind != b"tRNS" else [content[at:end]]
        at = end
    return b"".join(kept)
