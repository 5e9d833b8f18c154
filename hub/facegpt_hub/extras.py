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
"""The extras of this package: which packages each brings, and which one a missing module belongs to."""

import re
from importlib.metadata import PackageNotFoundError, requires

# What pip writes of an extra: trl>=1.16; extra == "train"
_REQUIREMENT = re.compile(r"(?P<package>[\w.-]+).*\bextra\s*==\s*['\"](?P<extra>[\w-]+)['\"]")
_COLLECTIONS = ("all", "test")  # of other extras, and of what only developers need
_MODULES = {"pyyaml": "yaml", "pillow-heif": "pillow_heif"}  # that are not named as their packages are


def packages_of_extras() -> dict[str, list[str]]:
    """The packages of each extra for users, by the extra's name; none where pip installed nothing."""
    try:
        lines = requires("facegpt") or []
    except PackageNotFoundError:
        return {}
    extras: dict[str, list[str]] = {}
    for found in filter(None, map(_REQUIREMENT.match, lines)):
        if found["extra"] not in _COLLECTIONS:
            extras.setdefault(found["extra"], []).append(found["package"])
    return extras


def explain_missing(error: BaseException | None) -> str | None:
    """The sentence for an import that failed, or whose cause did, for want of a package of an extra; else `None`."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            module = error.name.partition(".")[0]
            for extra, packages in packages_of_extras().items():
                if module in (_MODULES.get(package.lower(), package.replace("-", "_")) for package in packages):
                    return f"this needs {module}, which is not installed: pip install 'facegpt[{extra}]'"
        error = error.__cause__ or error.__context__
    return None
