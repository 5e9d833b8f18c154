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
"""Takes out of a JPEG or PNG file what is no picture, so that damage there costs no pixels."""

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_COLOUR_TRANSFORM = 0xEE  # APP14, Adobe's: without it CMYK and RGB files are misread
_START_OF_SCAN = 0xDA
_ANCILLARY = 0x20  # bit of the first letter of a chunk's name, set where the picture can be decoded without it


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
