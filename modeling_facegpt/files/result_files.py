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
"""Puts result files in place: all of a set or none, never over a file that FaceGPT did not write.

Every result carries a mark inside, by which it is known again whatever its name: a text chunk of a PNG, the generator
of a GLB and of a JSON, a comment of an OBJ or PLY.
"""

import errno
import itertools
import os
import re
import secrets
import shutil
import socket
import struct
import sys
import time
import zlib
from collections.abc import Container
from pathlib import Path

from ..gltf import GENERATOR

PNG_MARK = ("Software", GENERATOR)  # keyword and text of the chunk

_GLB_HEADER = struct.Struct("<4sIII4s")  # magic, version, length of the file; length and kind of the first chunk
_GLB_MARK = re.compile(rb'"generator"\s*:\s*"FaceGPT"')
_OTHER_MARKS = {
    ".png": re.compile(rb"\x89PNG\r\n.*tEXtSoftware\0FaceGPT", re.DOTALL),
    ".json": re.compile(rb'\s*\{\s*"generator"\s*:\s*"FaceGPT"'),
    ".obj": re.compile(rb"# FaceGPT;"),
    ".ply": re.compile(rb"ply\r?\n[^\n]*\n(comment [^\n]*\n)*?comment FaceGPT;"),
}
_HEAD = 4096  # bytes in which the mark stands

_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
_RUN = secrets.token_hex(4)
_TEMPORARY = re.compile(r"\.facegpt-([0-9a-f]{8})-(\d+)-([0-9a-f]{8})-\d+\.part")
_NUMBERS = itertools.count()  # threads of one process write side by side
_STALE_SECONDS = 24 * 3600.0  # of a temporary file of another machine; writing one takes seconds


def is_result(path: Path) -> bool:
    """Whether FaceGPT wrote the file, by what is inside it; not of what is no file or cannot be read."""
    suffix = path.suffix.lower()
    if suffix != ".glb" and suffix not in _OTHER_MARKS:
        return False
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if suffix != ".glb":
                return _OTHER_MARKS[suffix].match(head) is not None
            if len(head) < _GLB_HEADER.size or not head.startswith(b"glTF"):
                return False
            file.seek(_GLB_HEADER.size)
            return _GLB_MARK.search(file.read(_GLB_HEADER.unpack_from(head)[3])) is not None
    except (OSError, OverflowError, MemoryError):
        return False


def free_path(path: Path, kind: str, taken: Container[str] = ()) -> Path:
    """The path if nothing is there or a result is, else the first of `NAME-kind`, `NAME-kind-2`, ... that is free so.

    Args:
        path (`Path`): that is wanted.
        kind (`str`): a word for what is written, such as `"sheet"`.
        taken (container of `str`): `path_key`s of the files that other results of this run have.
    """
    wanted, number = path, 1
    while path_key(path) in taken or (os.path.lexists(path) and not is_result(path)):
        end = f"-{kind}" if number == 1 else f"-{kind}-{number}"
        path = wanted.with_name(wanted.stem + end + wanted.suffix)
        number += 1
    return path


def path_key(path: Path) -> str:
    """The same for all names of one file on file systems that do not tell capitals."""
    return os.path.abspath(path).casefold()


def prepare_directory(directory: Path) -> None:
    """Make it, try that it can be written to before hours of work end in it, and remove what killed runs left there.

    Raises:
        OSError: if it cannot be made or written to.
    """
    directory.mkdir(parents=True, exist_ok=True)
    trial = _temporary(directory)
    try:
        trial.write_bytes(b"")
    finally:
        trial.unlink(missing_ok=True)
    for path in directory.glob(".facegpt-*.part"):
        if _is_stale(path):
            path.unlink(missing_ok=True)


def check_directory(directory: Path) -> None:
    """As `prepare_directory`, but one that is missing is not made: that it could be is all that is tried.

    Raises:
        OSError: if it cannot be made or written to.
    """
    if os.path.lexists(directory):
        prepare_directory(directory)
        return
    parent = next(parent for parent in directory.absolute().parents if os.path.lexists(parent))
    if not parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(parent))
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(parent))


def write_files(contents: dict[Path, bytes]) -> None:
    """Write several files so that each appears whole, and all of them or none: if one cannot be put in place, those
    that were are put back.

    Raises:
        OSError: if that is so.
    """
    new, old = ({path: _temporary(path.parent) for path in contents} for _ in range(2))
    placed: list[Path] = []
    try:
        for path, temporary in new.items():
            temporary.write_bytes(contents[path])
        for path, temporary in new.items():
            _keep(path, old[path])
            placed.append(path)
            os.replace(temporary, path)
    except BaseException:
        for path in placed:
            _put_back(path, old[path], new[path])
        raise
    finally:
        for temporary in (*new.values(), *old.values()):
            temporary.unlink(missing_ok=True)


def _temporary(directory: Path) -> Path:
    """A hidden file whose name is short, however long those of the results are, and tells whose it is."""
    return directory / f".facegpt-{_HOST}-{os.getpid()}-{_RUN}-{next(_NUMBERS)}.part"


def _keep(path: Path, kept: Path) -> None:
    """A second name for what is there, if anything is."""
    if not path.is_file():
        return
    try:
        os.link(path, kept)
    except OSError:  # file systems without hard links
        shutil.copy2(path, kept)


def _put_back(path: Path, kept: Path, new: Path) -> None:
    if new.exists():  # it was never put in place
        return
    if kept.exists():
        os.replace(kept, path)
    else:
        path.unlink(missing_ok=True)


def _is_stale(path: Path) -> bool:
    """Whether the process that wrote it is gone."""
    named = _TEMPORARY.fullmatch(path.name)
    if named is None:
        return False
    host, process, run = named.groups()
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return False
    if age > _STALE_SECONDS:
        return True
    if host != _HOST or sys.platform == "win32":  # where asking whether a process lives would end it
        return False
    if int(process) == os.getpid():
        return run != _RUN
    return not _is_alive(int(process))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
