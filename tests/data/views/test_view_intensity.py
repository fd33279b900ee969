"""The intensity chain: steps against the authors' values, draws against their distributions."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.ndimage import correlate1d, gaussian_filter

from data.views.view_intensity import (
    CONTRAST,
    GAMMA,
    GLOBAL_1,
    GLOBAL_2,
    LOCAL,
    Drawn,
    augmented,
    blurred,
    changed,
    contrasted,
    draw_about_one,
    draw_intensity,
    gamma_changed,
)

KINDS = {"global 1": GLOBAL_1, "global 2": GLOBAL_2, "local": LOCAL}
SLICES, DRAWS = 16, 1500


@pytest.fixture(scope="module")
def units(golden):
    """The authors' values for one slice."""
    return json.loads((golden / "desd.json").read_text())["aug_units"]


@pytest.fixture(scope="module")
def known():
    """KINDS -> draws of many views, made once."""
    rng = np.random.default_rng(7)
    return {name: [draw_intensity(rng, kind, SLICES) for _ in range(DRAWS)]
            for name, kind in KINDS.items()}


def reference_slice():
    i, j = np.indices((12, 12))
    return torch.from_numpy((((7 * i + 3 * j) % 23) / 10 - 1).astype(np.float32))


def beside_others(function, parameter, neutral):
    """What a function makes of the reference slice between two other slices."""
    one = reference_slice()
    slices = torch.stack([one.flip(0) * 2, one, one - 1])
    return function(slices, np.array([neutral, parameter, neutral]))[1]


def noisy(shape=(SLICES, 20, 24), seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_reference_slice(units):
    one = reference_slice()
    assert one[0, :5].tolist() == pytest.approx(units["input_row0[:5]"])
    assert [one.mean().item(), one.std(correction=0).item()] == pytest.approx(
        units["input_mean_std"])


@pytest.mark.parametrize("index", range(4))
def test_gamma_gives_the_authors_values(units, index):
    case = units["gamma"][index]
    result = beside_others(gamma_changed, case["gamma"], 1.0)
    assert result[0, :5].tolist() == pytest.approx(case["bg>=0.23 row0[:5]"], abs=1e-5)
    assert [result.mean().item(), result.std(correction=0).item()] == pytest.approx(
        case["mean,std"], abs=1e-5)
    # The library that the authors used moves the mean by some thousandths.
    assert abs(case["bg<=0.21 mean,std"][0] - case["mean,std"][0]) > 1e-3


@pytest.mark.parametrize("index", range(4))
def test_contrast_gives_the_authors_values(units, index):
    case = units["contrast"][index]
    result = beside_others(contrasted, case["factor"], 1.0)
    assert result[0, :5].tolist() == pytest.approx(case["row0[:5]"], abs=1e-5)
    assert [result.min().item(), result.max().item()] == pytest.approx(case["min,max"], abs=1e-5)
    assert result.mean().item() == pytest.approx(case["mean"], abs=1e-5)


@pytest.mark.parametrize("index", range(4))
def test_blur_gives_the_authors_values(units, index):
    case = units["blur"][index]
    result = beside_others(blurred, case["sigma"], 0.0)
    assert result[0, :5].tolist() == pytest.approx(case["row0[:5]"], abs=1e-5)
    assert result[6, 6].item() == pytest.approx(case["centre"], abs=1e-5)


def test_blur_by_hand():
    # Sigma 0.3 reaches int(4 * 0.3 + 0.5) = 1 pixel; the edge is mirrored, its pixel twice.
    side = np.exp(-0.5 / 0.3**2)
    kernel = np.array([side, 1, side]) / (1 + 2 * side)
    line = torch.tensor([[[1.0, 0.0, 0.0, 2.0]]])
    expected = [kernel[1] + kernel[0], kernel[0], 2 * kernel[0], 2 * (kernel[1] + kernel[0])]
    assert blurred(line, np.array([0.3]))[0, 0].tolist() == pytest.approx(expected)


def test_blur_keeps_slices_apart_and_sigma_0_as_it_is():
    slices = torch.zeros(3, 20, 20)
    slices[1] = 1 + noisy((20, 20))
    result = blurred(slices, np.array([2.0, 0.0, 1.0]))
    assert torch.equal(result, slices)
    before = slices.clone()
    assert not torch.equal(blurred(slices, np.array([0.0, 2.0, 0.0])), slices)
    assert torch.equal(slices, before)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.7, 1.5), min_size=3, max_size=3), st.integers(0, 99))
def test_gamma_keeps_order_mean_and_std(exponents, seed):
    slices = noisy((3, 8, 9), seed) * 0.5
    result = gamma_changed(slices, np.array(exponents))
    assert torch.allclose(result.mean((1, 2)), slices.mean((1, 2)), atol=1e-5)
    assert torch.allclose(result.std((1, 2)), slices.std((1, 2)), rtol=1e-4)
    for old, new in zip(slices, result, strict=True):
        assert (new.flatten()[old.flatten().argsort()].diff() >= -1e-5).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.75, 1.25), min_size=3, max_size=3), st.integers(0, 99))
def test_contrast_never_leaves_the_range(factors, seed):
    slices = noisy((3, 8, 9), seed)
    result = contrasted(slices, np.array(factors))
    assert (result.amin((1, 2)) >= slices.amin((1, 2))).all()
    assert (result.amax((1, 2)) <= slices.amax((1, 2))).all()
    grows = torch.tensor(factors) > 1
    assert ((result.std((1, 2)) > slices.std((1, 2))) == grows)[torch.tensor(factors) != 1].all()


def test_constant_slices_stay_constant():
    slices = torch.tensor([0.0, -1.0, 0.7])[:, None, None].expand(3, 6, 6).contiguous()
    for result in (gamma_changed(slices, np.array([0.7, 1.5, 1.2])),
                   contrasted(slices, np.array([0.75, 1.25, 0.9])),
                   blurred(slices, np.array([0.5, 1.0, 2.0]))):
        assert torch.allclose(result, slices, atol=1e-6)


def plain_chain(image, drawn, noise):
    """The chain slice by slice, in double precision."""
    result = image.astype(float) + drawn.noise * noise.astype(float)
    for index in range(len(result)):
        one = result[index]
        if drawn.sigmas is not None and drawn.sigmas[index]:
            one = gaussian_filter(one, drawn.sigmas[index], truncate=4.0)
        if drawn.factors is not None:
            one = one * drawn.factors[index]
        if drawn.offsets is not None:
            one = one + drawn.offsets[index]
        low, high, mean = one.min(), one.max(), one.mean()
        one = np.clip((one - mean) * drawn.contrasts[index] + mean, low, high)
        if drawn.exponents is not None:
            mean, std, low = one.mean(), one.std(), one.min()
            extent = one.max() - low
            one = ((one - low) / (extent + 1e-7))**drawn.exponents[index] * extent + low
            one = (one - one.mean()) / (one.std() + 1e-8) * std + mean
        result[index] = one
    return result


@pytest.mark.parametrize("name", KINDS)
def test_the_chain_is_its_steps_in_order(known, name):
    slices, noise = noisy(seed=1) * 0.4, noisy(seed=2)
    before = slices.clone()
    for drawn in known[name][:12]:
        result = changed(slices, drawn, noise)
        assert result.dtype == torch.float32
        assert np.allclose(result.numpy(), plain_chain(slices.numpy(), drawn, noise.numpy()),
                           atol=2e-5)
    assert torch.equal(slices, before)


def test_steps_that_are_left_out_change_nothing():
    slices = noisy()
    nothing = Drawn(0.0, None, None, None, np.ones(SLICES), None)
    assert torch.allclose(changed(slices, nothing, noisy(seed=1)), slices, atol=1e-6)


def test_values_are_not_clipped():
    lifted = Drawn(0.0, None, np.full(SLICES, 1.25), np.full(SLICES, 0.9), np.ones(SLICES), None)
    assert changed(torch.ones(SLICES, 4, 4), lifted, torch.zeros(SLICES, 4, 4)).max() > 2


def rate_fits(hits, probability):
    """Whether so many hits are what a probability gives."""
    hits = np.asarray(hits)
    if probability in (0, 1):
        return hits.mean() == probability
    return stats.binomtest(int(hits.sum()), hits.size, probability).pvalue > 1e-3


def uniform_between(values, low, high):
    return stats.kstest(np.ravel(values), "uniform", (low, high - low)).pvalue > 1e-3


def independent(rows):
    """Whether neighbours in (views, slices) are uncorrelated."""
    rows = np.stack(rows)
    return abs(np.corrcoef(rows[:, :-1].ravel(), rows[:, 1:].ravel())[0, 1]) < 0.03


# Of a view, of its slices: blur; of a view: factor; of both: offset; of a view: gamma.
RATES = {"global 1": ((0.8, 0.8), 0.8, (0.8, 0.8), 0.8),
         "global 2": ((0.8, 0.5), 1.0, (0.5, 0.8), 1.0),
         "local": ((0.5, 0.8), 1.0, (0.8, 0.8), 0.8)}


@pytest.mark.parametrize("name", KINDS)
def test_how_often_each_step_happens(known, name):
    blur, factor, offset, gamma = RATES[name]
    views = known[name]
    for field, probability in (("sigmas", blur[0]), ("factors", factor), ("offsets", offset[0]),
                               ("exponents", gamma)):
        assert rate_fits([getattr(view, field) is not None for view in views], probability), field
    for field, probability in (("sigmas", blur[1]), ("offsets", offset[1])):
        rows = [getattr(view, field) != 0 for view in views if getattr(view, field) is not None]
        assert rate_fits(rows, probability), field
        counts = np.bincount(np.sum(rows, axis=1), minlength=SLICES + 1)
        chances = stats.binom.pmf(np.arange(SLICES + 1), SLICES, probability)
        often = chances * len(rows) >= 5
        expected = np.append(chances[often], chances[~often].sum())
        observed = np.append(counts[often], counts[~often].sum())
        assert stats.chisquare(observed, expected * len(rows)).pvalue > 1e-3, field
    assert all(view.contrasts.shape == (SLICES,) for view in views)


@pytest.mark.parametrize("name", KINDS)
def test_what_each_step_draws(known, name):
    views = known[name]
    assert uniform_between([view.noise for view in views], 0, 0.1)
    sigmas = [view.sigmas for view in views if view.sigmas is not None]
    assert uniform_between(np.ravel(sigmas)[np.ravel(sigmas) > 0], 0.1, 2.0)
    factors = [view.factors for view in views if view.factors is not None]
    assert uniform_between(factors, 0.75, 1.25)
    offsets = np.ravel([view.offsets for view in views if view.offsets is not None])
    assert stats.kstest(offsets[offsets != 0], "norm", (0, 0.4)).pvalue > 1e-3
    for rows in (sigmas, factors, [view.contrasts for view in views]):
        assert independent(rows)


@pytest.mark.parametrize("limits", [CONTRAST, GAMMA])
def test_factors_are_below_one_as_often_as_above(limits):
    values = draw_about_one(np.random.default_rng(5), limits, 20000)
    below = values < 1
    assert rate_fits(below, 0.5)
    assert uniform_between(values[below], limits[0], 1)
    assert uniform_between(values[~below], 1, limits[1])
    assert independent([values.reshape(-1, SLICES)])


def test_the_noise_level_is_a_standard_deviation():
    rng = np.random.default_rng(3)
    only_noise = Drawn(0.08, None, None, None, np.ones(SLICES), None)
    noise = torch.randn((SLICES, 96, 96), generator=torch.Generator().manual_seed(1))
    result = changed(torch.zeros(SLICES, 96, 96), only_noise, noise)
    assert result.std().item() == pytest.approx(0.08, rel=0.01)
    assert stats.kstest(rng.choice(result.numpy().ravel(), 5000), "norm",
                        (0, 0.08)).pvalue > 1e-3


def test_brightness_is_drawn_for_each_slice(golden):
    fact = json.loads((golden / "desd.json").read_text())["per_slice_check"]
    rng, spreads = np.random.default_rng(0), []
    for _ in range(60):
        result = augmented(rng, torch.zeros(fact["shape"][1:]), GLOBAL_1)
        assert list(result.shape) == fact["shape"][1:]
        assert str(result.numpy().dtype) == fact["dtype"]
        spreads.append(result.mean((1, 2)).std(correction=0).item())
    spreads = np.array(spreads)
    assert rate_fits(spreads > 0.05, 0.8)     # where the offset is left out means stay near 0
    assert spreads.max() > fact["slice_means_std"] > spreads.min()


def test_a_view_depends_on_its_generator_alone():
    slices = noisy()
    torch.manual_seed(1)
    np.random.seed(1)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = augmented(np.random.default_rng(4), slices, LOCAL)
    torch.set_rng_state(torch.Generator().manual_seed(2).get_state())
    assert torch.equal(first, augmented(np.random.default_rng(4), slices, LOCAL))
    assert not torch.equal(first, augmented(np.random.default_rng(5), slices, LOCAL))
    torch.manual_seed(1)
    assert torch.equal(state[0], torch.get_rng_state())
    assert np.array_equal(state[1], np.random.get_state()[1])


def test_the_number_of_threads_changes_no_voxel():
    slices = noisy((SLICES, 96, 96))
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(augmented(np.random.default_rng(0), slices, GLOBAL_2))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_blur_is_that_of_a_kernel_in_the_plane():
    slices = noisy((2, 9, 11))
    reach = np.arange(-4, 5)
    kernel = np.exp(-0.5 * reach**2)
    kernel /= kernel.sum()
    expected = correlate1d(correlate1d(slices.double().numpy(), kernel, 1), kernel, 2)
    assert np.allclose(blurred(slices, np.array([1.0, 1.0])), expected, atol=1e-6)
