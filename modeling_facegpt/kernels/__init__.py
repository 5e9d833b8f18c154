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
"""The renderer's steps in Numba for CPUs and in Triton for CUDA devices, as `backends` chooses them.

These modules stay home: code that travels with a checkpoint draws by the PyTorch reference, and by these kernels only
where this package is installed beside it in the same release.
"""

# What `backends` of the same release asks for; the two are changed together.
RELEASE = "0.1.0"
