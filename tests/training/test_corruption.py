"""Every corruption follows its definition, on present cells only, at the rate of its level."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

from tests.tables import normal_rows
from tests.training.conftest import cells_of
from training.corruption import NO_CODE, corruption_named
from training.features import Cells, Features, select_columns
from training.variants import plan

LEVEL = 0.3
ROWS = 4000
NAMES = ["swap", "gaussian", "masking", "salt-and-pepper", "dropout"]


@functools.cache
def rows() -> tuple[Features, Cells]:
    """Numbers, one with heavy tails, dates and categories, with missing cells."""
    return cells_of(normal_rows(ROWS, holes=0.1))


def corrupted(name: str, level: float = LEVEL, seed: int = 0) -> Cells:
    features, cells = rows()
    return corruption_named(name, level)(cells, features, torch.Generator().manual_seed(seed))


def present() -> tuple[Tensor, Tensor]:
    """Return which features and which categories are present."""
    features, cells = rows()
    return features.presence(cells) > 0, cells.codes >= 0


def hit(after: Cells) -> tuple[Tensor, Tensor]:
    """Return which features and which categories changed."""
    _, before = rows()
    return after.values != before.values, after.codes != before.codes


def assert_rate(changed: Tensor, of: Tensor, rate: float = LEVEL) -> None:
    """Check a share against its binomial distribution, within four deviations."""
    count = int(of.sum())
    assert abs(float(changed[of].float().mean()) - rate) < 4 * (rate * (1 - rate) / count) ** 0.5


@pytest.mark.parametrize("name", NAMES)
def test_missing_cells_and_presence_flags_do_not_change(name: str) -> None:
    _, before = rows()
    after = corrupted(name)
    numbers, categories = present()
    assert torch.equal(after.present, before.present)
    assert torch.equal(after.values[~numbers], before.values[~numbers])
    assert torch.equal(after.codes[~categories], before.codes[~categories])


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_corrupts_the_same_cells(name: str) -> None:
    first, again, other = corrupted(name), corrupted(name), corrupted(name, seed=1)
    assert all(torch.equal(*parts) for parts in zip(first, again, strict=True))
    assert not torch.equal(first.values, other.values)


@pytest.mark.parametrize("name", NAMES)
def test_the_denoising_variant_applies_it_at_its_level(name: str) -> None:
    features, before = rows()
    corrupt = plan("denoising", {"corruption": name, "level": str(LEVEL)}).corruption()
    after = corrupt(before, features, torch.Generator().manual_seed(0))
    assert all(torch.equal(*parts) for parts in zip(after, corrupted(name), strict=True))


@pytest.mark.parametrize("level", [0.1, 0.5])
def test_gaussian_adds_normal_noise(level: float) -> None:
    _, before = rows()
    after = corrupted("gaussian", level)
    noise = ((after.values - before.values)[present()[0]] / level).double()
    count = len(noise)
    assert abs(float(noise.mean())) < 4 / count**0.5
    assert abs(float(noise.square().mean()) - 1) < 4 * (2 / count) ** 0.5
    assert abs(float(noise.pow(4).mean()) - 3) < 4 * (96 / count) ** 0.5
    assert torch.equal(after.codes, before.codes)


def test_masking_sets_cells_to_zero() -> None:
    after = corrupted("masking")
    (values, codes), (numbers, categories) = hit(after), present()
    assert torch.all(after.values[values] == 0)
    assert torch.all(after.codes[codes] == NO_CODE)
    assert torch.all(rows()[0].one_hot(after.codes).sum(dim=1)[codes.all(dim=1)] == 0)
    assert_rate(codes, categories)
    for index in range(len(rows()[0].layout.numbers)):
        assert_rate(values[:, index], numbers[:, index])


def test_salt_and_pepper_sets_numbers_to_their_minimum_or_maximum() -> None:
    features, before = rows()
    after = corrupted("salt-and-pepper")
    (values, _), (numbers, _) = hit(after), present()
    for index in range(features.layout.feature_count):
        seen = before.values[numbers[:, index], index]
        low, high = (seen.min(), seen.max()) if index < len(features.layout.numbers) else (-1.0, 1.0)
        found = after.values[values[:, index], index].float()
        is_low, is_high = (torch.isclose(found, torch.as_tensor(bound), atol=1e-5) for bound in (low, high))
        assert torch.all(is_low | is_high)
        assert_rate(is_low, torch.ones_like(is_low), 0.5)
        if index < len(features.layout.numbers) and len(seen.unique()) > ROWS / 2:
            assert_rate(values[:, index], numbers[:, index])


def test_salt_and_pepper_sets_categories_to_a_random_code() -> None:
    features, before = rows()
    after = corrupted("salt-and-pepper", level=0.9)
    for index, codes in enumerate(features.layout.code_counts):
        is_present = before.codes[:, index] >= 0
        found = after.codes[is_present, index]
        assert set(found.tolist()) == set(range(codes))
        was_first = before.codes[is_present, index] == 0
        for code in range(codes):
            expected = 0.9 / codes + (0.1 if code == 0 else 0.0)
            assert_rate(found == code, was_first, expected)


def test_dropout_zeroes_cells_and_scales_the_others() -> None:
    _, before = rows()
    after, masked = corrupted("dropout"), corrupted("masking")
    zeroed = (after.values == 0) & present()[0]
    kept = present()[0] & ~zeroed
    torch.testing.assert_close(after.values[kept], before.values[kept] / (1 - LEVEL))
    assert torch.equal(zeroed, (masked.values == 0) & present()[0])
    assert_rate(zeroed[:, 0], present()[0][:, 0])
    assert torch.equal(after.codes, masked.codes)


def test_swap_takes_a_value_of_the_same_column() -> None:
    features, before = rows()
    after = corrupted("swap")
    (values, codes), (numbers, categories) = hit(after), present()
    for index in range(features.layout.feature_count):
        pool = before.values[numbers[:, index], index]
        assert torch.isin(after.values[values[:, index], index], pool).all()
    for index in range(len(features.layout.code_counts)):
        pool = before.codes[categories[:, index], index]
        assert codes[:, index].any()
        assert torch.isin(after.codes[codes[:, index], index], pool).all()
    serial = [features.layout.columns[index].name for index in features.layout.numbers].index("serial")
    both = numbers[:, serial]  # nine in ten of the other rows have one too
    assert_rate(values[:, serial], both, LEVEL * float(both.float().mean()))


@pytest.mark.parametrize("name", ["swap", "masking", "salt-and-pepper", "dropout"])
def test_the_four_features_of_a_date_are_corrupted_together(name: str) -> None:
    features, before = rows()
    after = corrupted(name)
    date = select_columns(before.present, [len(features.layout.numbers)])[:, 0] > 0
    changed = (after.values != before.values / (1 - LEVEL * (name == "dropout")))[date][:, len(features.layout.numbers) :]
    sine, cosine = changed[:, 0], changed[:, 1]
    assert float((sine != cosine).float().mean()) < 0.002  # except for hours whose sine or cosine is 1 already
    assert_rate(cosine, torch.ones_like(cosine), LEVEL * (0.9 if name == "swap" else 1.0))
