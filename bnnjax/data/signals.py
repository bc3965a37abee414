"""Noise for time series, as on sensors and radio links, generated on the device.

Signals are float32 [batch, time, channel].  Noise is scaled to its signal-to-noise ratio exactly, each signal
and channel on its own: SNR = 10 log10(P(x) / P(noise)) dB with P the mean square about the mean, so that an
offset of the sensor counts neither as signal nor as noise.  A constant signal has P = 0 and stays as it is.
A number that is not finite is refused, or under a transformation makes its whole channel NaN.
(The MIT-BIH Noise Stress Test Database takes the size of the QRS complexes for P(x): not the same scale.)

The noise of a signal depends only on the key, the kind of noise and the signal's place.  Settings are Python
numbers, static under `jax.jit`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.data.compiled_noise import compiled
from bnnjax.runtime.keys import named_key

WANDER_HZ = np.arange(0.05, 0.505, 0.01)
MOTION_HZ = np.arange(1.0, 10.05, 0.1)
STEPS_PER_SECOND = 0.5
RECOVERY_SECONDS = (0.1, 0.5)
HARMONICS = 5

Make = Callable[[Array, tuple[int, int]], Array]  # (key, (time, channel)) -> [time, channel]


def _check(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # true for NaN too
        raise ValueError(f"{what} must be between {low:g} and {high:g}; got {value}")


def _keys(key: Array, name: str, signals: Array, first: int | Array) -> Array:
    """Returns a key for each signal, independent of the others and of other noises."""
    places = jnp.arange(len(signals), dtype=jnp.int32) + jnp.asarray(first, jnp.int32)
    return jax.vmap(jax.random.fold_in, (None, 0))(named_key(key, name), places)


def _power(x: Array) -> Array:
    """Returns the mean square about the mean, [1, channel]; 0 if x is constant up to rounding."""
    wide = x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)  # squares of float16 overflow
    power = jnp.var(wide, axis=0, keepdims=True)
    rounding = 8 * float(jnp.finfo(x.dtype).eps) * jnp.max(jnp.abs(wide), axis=0, keepdims=True)
    return jnp.where(power <= rounding**2, 0, power)  # NaN stays NaN


def _unit(noise: Array) -> Array:
    """Returns the noise without its mean and with power 1, [time, channel]; zeros if it is constant."""
    power = _power(noise)
    centred = noise - jnp.mean(noise, axis=0, keepdims=True)
    return jnp.where(power == 0, 0, centred * jax.lax.rsqrt(jnp.where(power == 0, 1, power)))


def _added(key: Array, name: str, signals: Array, snr_db: float, first: int | Array, make: Make) -> Array:
    """Returns signals + noise at the ratio; `make` gives the noise of each from its key and its shape."""
    _check("the signal-to-noise ratio in dB", snr_db, -100, 100)
    ratio = 10 ** (-snr_db / 20)

    def one(key: Array, x: Array) -> Array:
        noise = _unit(make(key, (x.shape[0], x.shape[1])))
        return x + (ratio * jnp.sqrt(_power(x)) * noise).astype(x.dtype)

    return jax.vmap(one)(_keys(key, name, signals, first), signals)


def _turns(frequencies: np.ndarray, time: int, sampling_rate: float) -> np.ndarray:
    """Returns 2 pi f t modulo 2 pi, computed in double precision, as float32 [time, frequencies]."""
    turns = np.outer(np.arange(time), frequencies / sampling_rate) % 1
    return (2 * np.pi * turns).astype(np.float32)


def _sinusoids(
    key: Array, frequencies: np.ndarray, amplitudes: Array, shape: tuple[int, int], sampling_rate: float
) -> Array:
    """Returns sum_k a_k cos(2 pi f_k t + p_k), [time, channel], with random phases p_k for each channel.

    Args:
      key: random.
      frequencies: f, [k], in Hz.
      amplitudes: a, [k, channel].
      shape: (time, channel).
      sampling_rate: in Hz.
    """
    angles = _turns(frequencies, shape[0], sampling_rate)
    phases = jax.random.uniform(key, (len(frequencies), shape[1]), maxval=2 * np.pi)
    # cos(a + p) = cos a cos p - sin a sin p makes it two matrix products.
    return jnp.matmul(np.cos(angles), amplitudes * jnp.cos(phases), precision="highest") - jnp.matmul(
        np.sin(angles), amplitudes * jnp.sin(phases), precision="highest"
    )


@compiled("snr_db")
def white_noise(key: Array, signals: Array, snr_db: float, *, first: int | Array = 0) -> Array:
    """Returns x + Gaussian noise, independent in every sample and channel.

    Args:
      key: random.
      signals: x, [batch, time, channel], as for all noises.
      snr_db: the signal-to-noise ratio in dB, -100 to 100.
      first: the place of signals[0] among all.

    Raises:
      ValueError: a setting is out of range, or signals have another shape or dtype.
    """
    return _added(key, "white_noise", signals, snr_db, first, jax.random.normal)


@compiled("snr_db", "sampling_rate")
def baseline_wander(
    key: Array, signals: Array, snr_db: float, sampling_rate: float, *, first: int | Array = 0
) -> Array:
    """Returns x + sum_k a_k cos(2 pi f_k t + p_k) with f_k = 0.05, 0.06, ..., 0.5 Hz.

    In an electrocardiogram it comes from breathing and from the skin under an electrode.  a_k uniform in
    (0, 1) and p_k uniform in (0, 2 pi), drawn for each channel, are our choice.

    Args:
      sampling_rate: in Hz, above 1.

    Raises:
      ValueError: as for `white_noise`.
    """
    _check("the sampling rate in Hz", sampling_rate, math.nextafter(1, 2), 1e9)

    def make(key: Array, shape: tuple[int, int]) -> Array:
        amplitude_key, phase_key = jax.random.split(key)
        amplitudes = jax.random.uniform(amplitude_key, (len(WANDER_HZ), shape[1]))
        return _sinusoids(phase_key, WANDER_HZ, amplitudes, shape, sampling_rate)

    return _added(key, "baseline_wander", signals, snr_db, first, make)


@compiled("snr_db", "sampling_rate", "frequency")
def powerline_hum(
    key: Array,
    signals: Array,
    snr_db: float,
    sampling_rate: float,
    frequency: float = 50.0,
    *,
    first: int | Array = 0,
) -> Array:
    """Returns x + A(t) sum_h a_h cos(h (2 pi f t + p(t)) + q_h), h = 1 to 5, h f below half the rate.

    a_1 = 1, a_h is uniform in (0, 1 / h).  The amplitude drifts by 30 % and the phase p by half a radian, as
    sines of 0.05 to 0.2 Hz, drawn for each channel.  All of these figures are our choice.

    Args:
      sampling_rate: in Hz, above twice the frequency.
      frequency: of the mains, 50 or 60 Hz.

    Raises:
      ValueError: as for `white_noise`.
    """
    _check("the mains frequency in Hz", frequency, 1, 1000)
    _check("the sampling rate in Hz", sampling_rate, math.nextafter(2 * frequency, math.inf), 1e9)
    harmonics = [h for h in range(1, HARMONICS + 1) if 2 * h * frequency < sampling_rate]

    def make(key: Array, shape: tuple[int, int]) -> Array:
        size_key, phase_key, rate_key, start_key = jax.random.split(key, 4)
        seconds = jnp.arange(shape[0], dtype=jnp.float32)[:, None] / sampling_rate
        rates = jax.random.uniform(rate_key, (2, 1, shape[1]), minval=0.05, maxval=0.2)
        starts = jax.random.uniform(start_key, (2, 1, shape[1]))
        louder, later = (jnp.sin(2 * np.pi * (rates[i] * seconds + starts[i])) for i in range(2))
        angle = _turns(np.array([frequency]), shape[0], sampling_rate) + 0.5 * later
        sizes = jax.random.uniform(size_key, (len(harmonics), 1, shape[1]))
        phases = jax.random.uniform(phase_key, (len(harmonics), 1, shape[1]), maxval=2 * np.pi)
        hum = jnp.zeros(shape)
        for place, h in enumerate(harmonics):
            amplitude = sizes[place] / h if h > 1 else jnp.ones_like(sizes[place])
            hum += amplitude * jnp.cos(h * angle + phases[place])
        return (1 + 0.3 * louder) * hum

    return _added(key, "powerline_hum", signals, snr_db, first, make)


@compiled("snr_db", "sampling_rate")
def electrode_motion(
    key: Array, signals: Array, snr_db: float, sampling_rate: float, *, first: int | Array = 0
) -> Array:
    """Returns x + steps that recover exponentially + half as much (in amplitude) of a drift of 1 to 10 Hz.

    Modelled on record "em" of the MIT-BIH Noise Stress Test Database (Moody, Muldrow and Mark, Computers in
    Cardiology 1984): an electrode that moves makes the signal jump, and its drift has the frequencies of
    heart beats, so that no simple filter removes it.  A step comes with probability 0.5 per second, at the
    same time in all channels, of Gaussian size in each; it decays with a time constant of 0.1 to 0.5 s.  The
    drift's amplitudes fall as 1 / f.  All of these figures are our choice.

    Args:
      sampling_rate: in Hz, above 2.

    Raises:
      ValueError: as for `white_noise`.
    """
    _check("the sampling rate in Hz", sampling_rate, math.nextafter(2, 3), 1e9)
    drifting = MOTION_HZ[sampling_rate > 2 * MOTION_HZ]

    def make(key: Array, shape: tuple[int, int]) -> Array:
        when_key, size_key, recovery_key, drift_key = jax.random.split(key, 4)
        chance = min(STEPS_PER_SECOND / sampling_rate, 1.0)
        moved = jax.random.bernoulli(when_key, chance, (shape[0], 1))
        steps = jnp.where(moved, jax.random.normal(size_key, shape), 0)
        low, high = RECOVERY_SECONDS
        recovery = jax.random.uniform(recovery_key, (1, 1), minval=low, maxval=high)
        fading = jnp.exp(-jnp.arange(shape[0], dtype=jnp.float32)[:, None] / (sampling_rate * recovery))
        both = jnp.fft.rfft(steps, 2 * shape[0], axis=0) * jnp.fft.rfft(fading, 2 * shape[0], axis=0)
        jumps = jnp.fft.irfft(both, 2 * shape[0], axis=0)[: shape[0]]  # their convolution
        falling = jnp.broadcast_to(jnp.asarray(1 / drifting, jnp.float32)[:, None], (len(drifting), shape[1]))
        drift = _sinusoids(drift_key, drifting, falling, shape, sampling_rate)
        return _unit(jumps) + 0.5 * _unit(drift)

    return _added(key, "electrode_motion", signals, snr_db, first, make)


@compiled("share", "longest")
def dropout(key: Array, signals: Array, share: float, longest: int, *, first: int | Array = 0) -> Array:
    """Returns x with round(share time) samples lost, that is 0, in all channels at once.

    They are lost in runs of 1 to `longest` samples, all lengths equally likely; the last run drawn may be cut
    short.  At least one sample between two runs is kept, and all such arrangements are equally likely.

    Args:
      share: of the samples, 0 to 0.5.
      longest: samples in a run, at least 1.

    Raises:
      ValueError: as for `white_noise`.
    """
    _check("the share of lost samples", share, 0, 0.5)
    _check("the longest run", longest, 1, 2**30)
    keys = _keys(key, "dropout", signals, first)
    time = signals.shape[1]
    lost = round(share * time)

    def one(key: Array, x: Array) -> Array:
        length_key, place_key = jax.random.split(key)
        lengths = jax.random.randint(length_key, (lost,), 1, min(int(longest), time) + 1)
        lengths = jnp.diff(jnp.minimum(jnp.cumsum(lengths), lost), prepend=0)
        # A run goes before one of the samples that are left, or behind the last.
        before = jax.random.permutation(place_key, time - lost + 1)[:lost]
        ahead = jnp.cumsum(jnp.zeros(time - lost + 1, lengths.dtype).at[before].set(lengths))
        left = jnp.arange(time - lost, dtype=ahead.dtype) + ahead[: time - lost]
        return jnp.where(jnp.zeros(time, bool).at[left].set(True)[:, None], x, 0)

    return jax.vmap(one)(keys, signals)


STRESS_DB = (
    24.0,
    18.0,
    12.0,
    6.0,
    0.0,
)  # of the records of the MIT-BIH Noise Stress Test Database, all but -6

# By name: the function of key, signals, value and sampling rate, and its values at severities 1 to 5, which
# are our choice; a lost run is at most a fifth of a second.
SIGNAL_NOISES: dict[str, tuple[Callable[..., Array], tuple[float, ...]]] = {
    "white_noise": (lambda key, x, snr_db, rate, first: white_noise(key, x, snr_db, first=first), STRESS_DB),
    "baseline_wander": (baseline_wander, STRESS_DB),
    "powerline_hum": (powerline_hum, STRESS_DB),
    "electrode_motion": (electrode_motion, STRESS_DB),
    "dropout": (
        lambda key, x, share, rate, first: dropout(key, x, share, max(round(rate / 5), 1), first=first),
        (0.01, 0.02, 0.05, 0.1, 0.2),
    ),
}


def corrupt_signals(
    key: Array, signals: Array, noise: str, severity: int, sampling_rate: float, *, first: int | Array = 0
) -> Array:
    """Returns signals with a noise of SIGNAL_NOISES, [batch, time, channel].

    Args:
      key: random.
      signals: [batch, time, channel].
      noise: a name in SIGNAL_NOISES.
      severity: 1 to 5.
      sampling_rate: in Hz.
      first: the place of signals[0] among all.

    Raises:
      ValueError: for another name or severity, and as the noise itself.
    """
    if noise not in SIGNAL_NOISES:
        raise ValueError(f"unknown noise {noise!r}; allowed are {', '.join(SIGNAL_NOISES)}")
    function, values = SIGNAL_NOISES[noise]
    if severity not in range(1, len(values) + 1):
        raise ValueError(f"severity must be one of 1 to {len(values)}; got {severity}")
    return function(key, signals, values[severity - 1], sampling_rate, first=first)
