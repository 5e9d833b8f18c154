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
"""Calibration: what Gaussian and other errors ask for, what chance does to it, and what is read off a checkpoint."""

import json
import sys
from pathlib import Path

import pytest
import torch
from facegpt_hub import command_line
from facegpt_trainer.evaluation import calibration
from facegpt_trainer.evaluation.calibration import (
    HeldOutFaces,
    evaluate_uncertainty,
    find_held_out_faces,
    fit_log_variance_offset,
    rank_correlation,
)

from modeling_facegpt.face_parameters import parameter_sizes


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_errors_twice_as_large_as_said_ask_for_twice_the_deviation():
    said = torch.linspace(-3, 3, 40).expand(2000, 40)
    errors = 2 * (0.5 * said).exp() * normal(2000, 40)
    offset = fit_log_variance_offset(errors, said, (30, 10))
    torch.testing.assert_close(offset, torch.full((40,), 4.0).log(), rtol=0, atol=0.1)


def test_intervals_of_errors_that_are_not_gaussian_cover_what_they_should():
    errors = normal(4000, 6) ** 3  # heavy tails
    offset = fit_log_variance_offset(errors[:2000], torch.zeros(2000, 6), (6,))
    covered = (errors[2000:].abs() <= 1.645 * (0.5 * offset).exp()).float().mean(0)
    assert covered.min() > 0.86 and covered.max() < 0.93


def test_differences_that_chance_explains_are_drawn_to_the_group():
    errors = normal(60, 200)
    alone = torch.cat([fit_log_variance_offset(errors[:, [k]], torch.zeros(60, 1), (1,)) for k in range(200)])
    together = fit_log_variance_offset(errors, torch.zeros(60, 200), (200,))
    assert together.std() < 0.4 * alone.std()
    torch.testing.assert_close(together.mean(), alone.mean(), rtol=0, atol=1e-4)


def test_differences_that_chance_does_not_explain_stay():
    scale = torch.cat((torch.ones(20), torch.full((20,), 3.0)))
    offset = fit_log_variance_offset(scale * normal(1000, 40), torch.zeros(1000, 40), (40,))
    torch.testing.assert_close(offset, 2 * scale.log(), rtol=0, atol=0.35)


def test_too_few_faces_are_refused():
    with pytest.raises(ValueError, match="at least 10"):
        fit_log_variance_offset(torch.zeros(3, 4), torch.zeros(3, 4), (4,))


def test_rank_correlation_is_that_of_ranks():
    values = normal(50)
    assert rank_correlation(values, values.exp()) == pytest.approx(1)
    assert rank_correlation(values, -(values**3)) == pytest.approx(-1)
    assert abs(rank_correlation(normal(2000), normal(4000)[2000:])) < 0.06


def test_what_is_said_of_uncertainty_is_what_the_faces_show(facegpt, processor, monkeypatch):
    sizes = parameter_sizes(facegpt.face_model.config)
    deviation = torch.linspace(0.1, 1, 300)[:, None].expand(300, sum(sizes))
    true = torch.zeros(300, sum(sizes))
    faces = HeldOutFaces(true, true, true, deviation * normal(300, sum(sizes)), deviation, true)
    monkeypatch.setattr(calibration, "find_held_out_faces", lambda *others, **settings: faces)
    figures = evaluate_uncertainty(facegpt, processor)
    assert figures["faces"] == 300
    assert figures["identity: within the 90 % interval, %"] == pytest.approx(90, abs=2)
    assert figures["identity: rank correlation of deviation and error"] > 0.8
    assert figures["identity: error of the least sure third over the surest"] > 2


def test_held_out_faces_are_told_in_the_code_of_their_own_crop(eager_facegpt, processor):
    eager_facegpt.config.max_faces = 1
    faces = find_held_out_faces(eager_facegpt, processor, pictures=3, seed=5)
    again = find_held_out_faces(eager_facegpt, processor, pictures=3, seed=5)
    other = find_held_out_faces(eager_facegpt, processor, pictures=3, seed=6)
    assert faces.code.shape == faces.true_code.shape == faces.standard_deviation.shape
    assert len(faces.code) == 3 and faces.true_code.isfinite().all()
    assert torch.equal(faces.true_parameters, again.true_parameters)
    assert not torch.equal(faces.true_parameters, other.true_parameters)
    identity = parameter_sizes(eager_facegpt.face_model.config).identity
    torch.testing.assert_close(faces.true_code[:, :identity], faces.true_parameters[:, :identity])


def test_a_checkpoint_keeps_its_calibration(eager_facegpt, processor, monkeypatch, tmp_path: Path, capsys):
    eager_facegpt.save_pretrained(tmp_path / "tiny")
    processor.save_pretrained(tmp_path / "tiny")
    before = json.loads((tmp_path / "tiny/config.json").read_text())
    count = eager_facegpt.face_head.code_size
    faces = HeldOutFaces(*[torch.zeros(50, count)] * 6)._replace(code=2 * normal(50, count))
    monkeypatch.setattr(calibration, "find_held_out_faces", lambda *others, **settings: faces)
    monkeypatch.setattr(sys, "argv", ["facegpt", "calibrate", str(tmp_path / "tiny")])
    with pytest.raises(SystemExit) as stopped:
        command_line.main()
    assert not stopped.value.code, capsys.readouterr().err
    after = json.loads((tmp_path / "tiny/config.json").read_text())
    offset = torch.tensor(after.pop("log_variance_offset"))
    before.pop("log_variance_offset")
    assert after == before
    model = type(eager_facegpt).from_pretrained(tmp_path / "tiny").eval()
    states = normal(2, model.face_head.hidden.in_features)
    torch.testing.assert_close(model.face_head(states)[1], eager_facegpt.face_head(states)[1] + offset)
    assert offset.mean() == pytest.approx(2 * 0.69, abs=0.2)
