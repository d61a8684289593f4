"""Ground truth: told apart by fingerprint, kept as JSON lines."""

from __future__ import annotations

import json

import numpy as np
import pytest

from simulation.truth import PartTruth, SimulationError, TruthBook, fingerprint


def test_a_truth_survives_its_json(rendered):
    truth = rendered(21, 690, "pits", "clear").framed_truth("a.tiff")
    assert PartTruth.from_json(json.loads(json.dumps(truth.to_json()))) == truth


def test_a_book_knows_its_frames_and_no_others(rendered):
    known, other = rendered(3), rendered(4)
    book = TruthBook([known.framed_truth()])
    assert book.lookup(known.frame()) == known.framed_truth()
    assert book.lookup(np.repeat(known.frame()[:, :, None], 3, axis=2)) == known.framed_truth()
    assert book.lookup(other.frame()) is None


def test_the_fingerprint_notices_a_frame_of_other_size():
    flat = np.zeros((3648, 5472), np.uint8)
    assert fingerprint(flat) != fingerprint(flat[:3647])


def test_a_malformed_truth_file_is_named_with_its_line(tmp_path, rendered):
    file = tmp_path / "truth.jsonl"
    good = json.dumps(rendered().framed_truth().to_json())
    file.write_text(good + "\n{}\n")
    with pytest.raises(SimulationError, match=r"truth\.jsonl:2"):
        TruthBook.load(tmp_path)
    with pytest.raises(SimulationError, match="make the pool first"):
        TruthBook.load(tmp_path / "nowhere")
