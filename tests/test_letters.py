"""What a head hears, held against PyTorch's CTC."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from workbench import letters
from workbench.letters import CHARACTERS

ANSWERS = ["play lizzo", "", "a", "hello there, Mississippi!", "x" * 30]


def noise(n_clips: int, n_frames: int, *, sure: float = 3.0) -> np.ndarray:
    values = np.random.default_rng(n_frames).normal(0, sure, (n_clips, n_frames, 1 + len(CHARACTERS)))
    return letters.log_softmax(values.astype(np.float32))


def fit_by_torch(heard: np.ndarray, target: list[int]) -> float:
    lengths = torch.tensor([len(heard)]), torch.tensor([len(target)])
    given = torch.from_numpy(heard.astype(np.float64))[:, None], torch.tensor([target], dtype=torch.long)
    return -float(F.ctc_loss(*given, *lengths, reduction="sum"))


@pytest.mark.parametrize(("n_frames", "sure"), [(1, 1.0), (60, 3.0), (175, 40.0), (1500, 3.0)])
def test_fits_are_those_of_pytorch_however_badly_an_answer_fits(n_frames: int, sure: float) -> None:
    heard = noise(len(ANSWERS), n_frames, sure=sure)
    targets = [[1 + CHARACTERS.index(c) for c in answer.lower() if c in CHARACTERS] for answer in ANSWERS]
    wanted = [fit_by_torch(*pair) for pair in zip(heard, targets, strict=True)]
    found = letters.fits(heard, targets)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    one_by_one = [letters.fits(heard[i : i + 1], targets[i : i + 1])[0] for i in range(len(targets))]
    np.testing.assert_array_equal(found, one_by_one)
    assert np.isneginf(found).tolist() == [n_frames == 1 and len(target) > 1 for target in targets]


def test_letters_are_the_best_of_each_frame_without_repeats_and_blanks() -> None:
    classes = [CHARACTERS.index(c) + 1 if c != "_" else 0 for c in "__ll_l  a____"]
    heard = letters.log_softmax(np.where(np.eye(1 + len(CHARACTERS))[classes], 9.0, 0.0).astype(np.float32))[None]
    (spelled, gap), (_, other_gap) = letters.heard(heard, ["ll a"])[0], letters.heard(heard, ["oslo"])[0]
    assert spelled == "ll a" and -0.2 < gap < 0.5 < other_gap


def test_an_empty_answer_is_a_path_of_blanks_alone() -> None:
    heard = noise(1, 20)
    spelled, gap = letters.heard(heard, [""])[0]
    assert spelled and gap == pytest.approx(float(heard[0].max(-1).sum() - heard[0, :, 0].sum()), rel=1e-5)
