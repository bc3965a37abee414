"""Noise for time series: its ratio, its spectrum by NumPy's FFT, and independence of batches."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.data.signals import (
    SIGNAL_NOISES,
    baseline_wander,
    corrupt_signals,
    dropout,
    electrode_motion,
    powerline_hum,
    white_noise,
)

KEY = jax.random.key(5)
RATE = 200.0
TIME = 4000  # 20 s: frequencies are told apart to 0.05 Hz
SIGNALS = (np.random.default_rng(0).normal(size=(3, TIME, 2)) * [1.0, 1e-3] + [0.0, 5.0]).astype(np.float32)
NOISES: dict[str, Callable] = {
    "white_noise": white_noise,
    "baseline_wander": partial(baseline_wander, sampling_rate=RATE),
    "powerline_hum": partial(powerline_hum, sampling_rate=RATE),
    "electrode_motion": partial(electrode_motion, sampling_rate=RATE),
}


def noise_of(name: str, signals: np.ndarray, snr_db: float) -> np.ndarray:
    return np.asarray(NOISES[name](KEY, jnp.asarray(signals), snr_db)).astype(np.float64) - signals


def spectrum(noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz, and the share of the power there, averaged over signals and channels."""
    window = np.hanning(TIME)[None, :, None]
    power = np.abs(np.fft.rfft((noise - noise.mean(1, keepdims=True)) * window, axis=1)) ** 2
    return np.fft.rfftfreq(TIME, 1 / RATE), (power / power.sum(1, keepdims=True)).mean((0, 2))


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 20.0])
def test_the_ratio_is_exact_in_every_signal_and_channel(name: str, snr_db: float) -> None:
    signals = SIGNALS - [0.0, 5.0] if snr_db > 0 else SIGNALS  # float32 cannot hold little noise on an offset
    signals = signals.astype(np.float32)
    noise = noise_of(name, signals, snr_db)
    found = 10 * np.log10(signals.astype(np.float64).var(1) / noise.var(1))
    np.testing.assert_allclose(found, snr_db, atol=2e-3)
    assert np.abs(noise.mean(1)).max() < 1e-4 * signals.std()
    # Of signals or channels, no two have the same noise.
    unit = (noise / noise.std(1, keepdims=True)).transpose(0, 2, 1).reshape(-1, TIME)
    alike = np.abs(np.corrcoef(unit) - np.eye(len(unit)))
    assert alike.max() < (0.1 if name == "white_noise" else 0.9)


def test_white_noise_is_gaussian_and_flat() -> None:
    noise = noise_of("white_noise", SIGNALS, 0.0)[..., 0]
    assert np.mean(noise**4) / np.mean(noise**2) ** 2 == pytest.approx(3, abs=0.2)
    hertz, share = spectrum(noise[..., None])
    for low, high in ((0, 25), (25, 50), (75, 100)):
        assert share[(hertz >= low) & (hertz < high)].sum() == pytest.approx(0.25, abs=0.03)


def test_wander_lies_below_half_a_hertz() -> None:
    hertz, share = spectrum(noise_of("baseline_wander", SIGNALS[..., :1], 0.0))
    assert share[hertz <= 0.6].sum() > 0.999
    assert share[hertz <= 0.25].sum() < 0.9  # not a single slow drift


@pytest.mark.parametrize("frequency", [50.0, 60.0])
def test_hum_lies_at_the_mains_and_its_harmonics_and_drifts(frequency: float) -> None:
    rate, time = 500.0, 10_000
    signals = jnp.asarray(np.random.default_rng(1).normal(size=(6, time, 1)), jnp.float32)
    noise = np.asarray(powerline_hum(KEY, signals, 0.0, rate, frequency) - signals)[..., 0]
    power = np.abs(np.fft.rfft(noise * np.hanning(time), axis=1)) ** 2
    share = (power / power.sum(1, keepdims=True)).mean(0)
    hertz = np.fft.rfftfreq(time, 1 / rate)
    near = {
        h: share[np.abs(hertz - h * frequency) < 2.5].sum() for h in range(1, 6) if 2 * h * frequency < rate
    }
    assert sum(near.values()) > 0.999
    assert near[1] > 0.6
    assert all(value > 1e-4 for value in near.values())
    # A steady tone would have all of its power in three lines of a Hann window.
    assert share[np.abs(hertz - frequency) < 0.11].sum() < 0.95 * near[1]


def test_electrode_motion_jumps_recovers_and_drifts_among_heart_beats() -> None:
    signals = np.random.default_rng(2).normal(size=(16, TIME, 1)).astype(np.float32)
    noise = noise_of("electrode_motion", signals, 0.0)
    hertz, share = spectrum(noise)
    assert share[hertz < 10.5].sum() > 0.9
    assert share[(hertz > 0.95) & (hertz < 10.05)].sum() > 0.2
    # Steps: 10 are expected in 20 s; the small ones are lost in the drift, which is smooth.
    changes = np.abs(np.diff(noise[..., 0], axis=1))
    jumps = np.zeros(changes.shape, bool)
    jumps[:, 1:-1] = changes[:, 1:-1] > 5 * np.maximum(changes[:, :-2], changes[:, 2:])
    jumps &= changes > 3 * np.median(changes)
    assert 4 < jumps.sum(1).mean() < 11
    # After a jump the signal returns: later changes, the drift averaged out, have the opposite sign.
    size = np.diff(noise[..., 0], axis=1)
    returns = [
        -np.sign(size[i, t]) * (noise[i, t + 1 + int(RATE), 0] - noise[i, t + 1, 0]) / changes[i, t]
        for i, t in zip(*np.nonzero(jumps), strict=True)
        if t + 1 + RATE < TIME
    ]
    assert np.median(returns) == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("name", [*NOISES, "dropout"])
def test_a_signal_keeps_its_noise_wherever_it_is_batched(name: str) -> None:
    noise = NOISES.get(name, lambda key, x, value, first=0: dropout(key, x, value / 100, 20, first=first))
    signals = jnp.asarray(SIGNALS[:, :400])
    whole = noise(KEY, signals, 10.0)
    np.testing.assert_array_equal(whole, noise(KEY, signals, 10.0))
    np.testing.assert_allclose(whole[1:], noise(KEY, signals[1:], 10.0, first=1), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(
        whole[1], noise(KEY, signals.at[0].set(0).at[2].multiply(7), 10.0)[1], rtol=2e-6, atol=1e-6
    )
    assert np.any(np.asarray(whole) != noise(jax.random.key(6), signals, 10.0))
    keys = jax.random.split(KEY, 2)
    mapped = jax.jit(jax.vmap(lambda key: noise(key, signals, 10.0)))(keys)
    np.testing.assert_allclose(mapped[1], noise(keys[1], signals, 10.0), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("name", SIGNAL_NOISES)
def test_constant_signals_stay(name: str) -> None:
    flat = jnp.zeros((1, 400, 2)) + jnp.asarray([[[0.0, 0.1]]])
    found = corrupt_signals(KEY, flat, name, 5, RATE)
    if name == "dropout":
        assert np.mean(np.asarray(found)[0, :, 1] == 0) == pytest.approx(0.2)
        found = found.at[..., 1].set(jnp.float32(0.1))
    np.testing.assert_array_equal(found, flat)
    one = jnp.ones((1, 1, 1))
    np.testing.assert_array_equal(corrupt_signals(KEY, one, name, 1, RATE), one)


def runs(lost: np.ndarray) -> np.ndarray:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lost.astype(int), [0]])))
    return edges[1::2] - edges[::2]


@pytest.mark.parametrize(("share", "longest"), [(0.1, 12), (0.5, 1), (0.5, 9000), (0.25, 3), (0.0, 5)])
def test_exactly_the_share_is_lost_in_runs(share: float, longest: int) -> None:
    signals = jnp.ones((40, 501, 2)) * jnp.asarray([[[1.0, 2.0]]])
    found = np.asarray(dropout(KEY, signals, share, longest))
    lost = found[..., 0] == 0
    np.testing.assert_array_equal(lost, found[..., 1] == 0)
    np.testing.assert_array_equal(found[..., 1], np.where(lost, 0, 2))
    assert {*lost.sum(1)} == {round(share * 501)}
    lengths = np.concatenate([runs(each) for each in lost])
    assert lengths.max(initial=0) <= longest
    if longest in (3, 12):
        shares = np.bincount(lengths, minlength=longest + 1)[1:] / len(lengths)
        np.testing.assert_allclose(shares, 1 / longest, atol=0.05)
        # No place is lost more often than others.
        assert abs(lost[:, :250].mean() - lost[:, 251:].mean()) < 0.04


def test_the_table_names_its_values() -> None:
    signals = jnp.asarray(SIGNALS[:, :, :1])
    for name, (_, values) in SIGNAL_NOISES.items():
        assert len(values) == 5
        assert list(values) == sorted(values, reverse=name != "dropout")
    for severity, snr_db in ((1, 24), (4, 6)):
        found = np.asarray(corrupt_signals(KEY, signals, "white_noise", severity, RATE))
        ratio = SIGNALS[..., 0].var(1) / (found - SIGNALS[..., :1])[..., 0].var(1)
        np.testing.assert_allclose(10 * np.log10(ratio), snr_db, atol=1e-3)
        np.testing.assert_array_equal(found, white_noise(KEY, signals, snr_db))
    np.testing.assert_array_equal(
        corrupt_signals(KEY, signals, "dropout", 3, RATE), dropout(KEY, signals, 0.05, 40)
    )


@pytest.mark.parametrize("name", SIGNAL_NOISES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused_with_its_place(name: str, value: float) -> None:
    signals = SIGNALS[:, :400].copy()
    signals[1, 7, 1] = value
    with pytest.raises(ValueError, match=rf"signals must be finite; signals\[1, 7, 1\] is {value}"):
        corrupt_signals(KEY, signals, name, 1, RATE)


def test_what_is_no_number_is_no_quiet_channel_under_a_transformation() -> None:
    signals = jnp.asarray(SIGNALS[:, :400]).at[1, 7, 1].set(jnp.nan)
    found = jax.jit(lambda x: white_noise(KEY, x, 0.0))(signals)
    np.testing.assert_array_equal(np.isnan(found).all(1), [[False, False], [False, True], [False, False]])


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_have_the_same_ratio(dtype: type) -> None:
    signals = (300 * SIGNALS[..., :1]).astype(dtype)  # whose squares float16 does not hold
    noise = np.asarray(white_noise(KEY, signals, 0.0), np.float64) - signals
    np.testing.assert_allclose(signals.astype(np.float64).var(1) / noise.var(1), 1, rtol=2e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: white_noise(KEY, x, float("nan")), "ratio in dB must be between -100 and 100; got nan"),
        (lambda x: white_noise(KEY, x, float("inf")), "got inf"),
        (lambda x: white_noise(KEY, x[0], 0.0), r"\[batch, time, channel\] .* got float32 \(8, 1\)"),
        (lambda x: white_noise(KEY, x.astype(int), 0.0), "of a float type; got int32"),
        (lambda x: baseline_wander(KEY, x, 0.0, 1.0), "sampling rate in Hz must be between 1 .*; got 1.0"),
        (lambda x: baseline_wander(KEY, x, -200.0, RATE), "got -200"),
        (lambda x: powerline_hum(KEY, x, 0.0, 100.0), "between 100 and 1e.09; got 100.0"),
        (lambda x: powerline_hum(KEY, x, 0.0, float("inf")), "got inf"),
        (lambda x: powerline_hum(KEY, x, 0.0, RATE, 0.0), "mains frequency in Hz must be .*; got 0"),
        (lambda x: electrode_motion(KEY, x, 0.0, 2.0), "sampling rate in Hz .*; got 2.0"),
        (lambda x: dropout(KEY, x, 0.6, 1), "share of lost samples must be between 0 and 0.5; got 0.6"),
        (lambda x: dropout(KEY, x, float("nan"), 1), "got nan"),
        (lambda x: dropout(KEY, x, 0.1, 0), "longest run must be between 1 .*; got 0"),
        (lambda x: corrupt_signals(KEY, x, "fog", 1, RATE), "unknown noise 'fog'; allowed are white_noise"),
        (lambda x: corrupt_signals(KEY, x, "dropout", 6, RATE), "severity must be one of 1 to 5; got 6"),
    ],
)
def test_settings_out_of_range_are_refused(call: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((2, 8, 1)))
