"""The phantom and the generator that draws one case after the other."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, cast

import numpy as np

from mrcalib.simulate._anatomy import draw_lesion, draw_organ, draw_scan, smooth_field
from mrcalib.simulate._readers import CORRELATION, STYLE, boundary_spread, marginal, read_masks, segment_members
from mrcalib.simulate._vessels import draw_vessels, enhance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

# Streams below one seed. A case's stream depends on its index alone, never on how many cases are asked for.
_RATERS, _GROUPS, _CASES, _VESSELS = range(4)


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """One simulated case; its arrays are read-only and lie on one grid of shape ``(X, Y, Z)``.

    Attributes
    ----------
    id, group : str
        The case and the patient it belongs to.
    image : ndarray of shape (X, Y, Z), float32
        A CT-like image in whole Hounsfield units.
    raters : ndarray of shape (R, X, Y, Z), uint8
        The raters' masks in {0, 1}. A rater who overlooked the lesion gave an empty mask; none is missing.
    rater_names : tuple of str
        ``("1", ..., "R")``: the same name is the same rater, with the same habits, in every case.
    members : ndarray of shape (K, X, Y, Z), float32
        The probability maps of K miscalibrated segmenters.
    truth : ndarray of shape (X, Y, Z), float32
        The probability that a rater marks the voxel: the mean human response in expectation, in closed form.
    spacing : tuple of 3 floats
        The voxel size in mm.
    roi : ndarray of shape (X, Y, Z), bool
        The organ around the lesion.
    vessels : ndarray of shape (X, Y, Z), uint8, or None
        Labels of vessels where they were asked for: 1 PORTA, which the lesion touches, 2 SMV, half of which lies in it,
        3 AORTA, far away, 4 CELIAC TRUNK, near it, and 5 SMA, which it encases; each as far as it lies in the volume.
    """

    id: str
    group: str
    image: NDArray[np.float32]
    raters: NDArray[np.uint8]
    rater_names: tuple[str, ...]
    members: NDArray[np.float32]
    truth: NDArray[np.float32]
    spacing: tuple[float, float, float]
    roi: NDArray[np.bool_]
    vessels: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                view = value.view()
                view.flags.writeable = False
                object.__setattr__(self, field.name, view)


def phantoms(
    n_cases: int = 12,
    shape: tuple[int, int, int] = (64, 64, 24),
    *,
    n_raters: int = 5,
    n_members: int = 3,
    spacing: tuple[float, float, float] = (1.0, 1.0, 2.5),
    lesion_fraction: float = 0.01,
    disagreement: float = 1.0,
    miss_rate: float = 0.05,
    overconfidence: float = 2.5,
    bias: float = 0.5,
    noise: float = 0.5,
    empty_fraction: float = 0.0,
    cases_per_group: int = 1,
    vessels: bool = False,
    rng: int | np.random.Generator | None = None,
) -> Iterator[Phantom]:
    r"""Yield simulated cases, one after the other.

    A latent field :math:`u(x)` is positive inside the lesion and measured in lesion radii. Rater :math:`r` marks the
    voxels where :math:`u(x) + \sigma(x)\,\varepsilon_r(x) > t_r`: the habit :math:`t_r` stays with the rater across
    cases (the panel's mean is 0), :math:`\varepsilon_r` is a smooth standard Gaussian field drawn for each case and
    rater, and :math:`\sigma(x)` is large where the boundary is blurred. With the chance :math:`m` of overlooking the
    lesion, the expected mean human response is therefore exactly

    .. math:: \pi(x) = (1 - m)\,\frac{1}{R} \sum_r \Phi\Bigl(\frac{u(x) - t_r}{\sigma(x)}\Bigr).

    A segmenter never overlooks, so it errs about :math:`\pi` at :math:`m = 0`. It answers
    :math:`\operatorname{expit}(a\,[\operatorname{logit} \pi(x) + \eta(x)] + b)`, with the overconfidence :math:`a`,
    the bias :math:`b` and a smooth error :math:`\eta` of which half the variance is common to all members, as it is
    for networks trained on the same data. Far from the lesion this is 0 to the last bit of float32, deep inside it 1.

    Parameters
    ----------
    n_cases : int
        Number of cases. The first cases are the same however many are asked for.
    shape : tuple of 3 ints
        Voxels along x, y and z; any of them may be 1.
    n_raters, n_members : int
        Number of raters and of segmenters.
    spacing : tuple of 3 floats
        Voxel size in mm.
    lesion_fraction : float
        Mean fraction of the volume that the lesion fills, in (0, 0.2]. Sizes vary about twofold between cases.
    disagreement : float
        Scale of all differences between raters, positive; 1 gives a pairwise Dice near 0.75.
    miss_rate : float
        Probability, in [0, 1), that a rater overlooks a lesion smaller than the mean. Larger ones are always seen.
    overconfidence : float
        Factor on the segmenters' logits, positive; 1 is an honest segmenter.
    bias : float
        Shift of the segmenters' logits; positive values segment too much.
    noise : float
        Standard deviation of the segmenters' errors, on the true logit before `overconfidence` multiplies it.
    empty_fraction : float
        Fraction of cases without a lesion, in [0, 1], spread evenly. There the truth is 0 and all masks are empty, but
        a faint structure makes the segmenters hesitate.
    cases_per_group : int
        Consecutive cases that share a patient, hence a tendency in the size and the ambiguity of lesions.
    vessels : bool
        Whether to draw five vessels of adult size, bright in the image. Nothing else of a case changes with them: raters
        and segmenters do not look at vessels.
    rng : int, numpy.random.Generator or None
        Seed. The same integer gives the same phantoms, to the bit, on one machine.

    Yields
    ------
    Phantom
        The next case.

    Raises
    ------
    ValueError
        If an argument is out of range; at the call, not at the first case.
    TypeError
        If a count is not an integer or `rng` is neither a seed nor a generator.

    Examples
    --------
    >>> from mrcalib.simulate import phantoms
    >>> case = next(phantoms(1, rng=0))
    >>> case.id, case.raters.shape, case.members.shape
    ('case001', (5, 64, 64, 24), (3, 64, 64, 24))
    >>> bool(abs(case.raters.mean() - case.truth.mean()) < 0.01)
    True
    >>> float(case.members.min()), float(case.members.max())
    (0.0, 1.0)
    """
    _check_counts(n_cases=n_cases, n_raters=n_raters, n_members=n_members, cases_per_group=cases_per_group)
    _check_triple("shape", shape)
    _check_counts(**{f"shape[{axis}]": n for axis, n in enumerate(shape)})
    _check_triple("spacing", spacing)
    positive = {f"spacing[{axis}]": length for axis, length in enumerate(spacing)}
    positive |= {"disagreement": disagreement, "overconfidence": overconfidence}
    for name, value in positive.items():
        _check(name, value, "a positive, finite number", ok=0 < value < math.inf)
    _check("lesion_fraction", lesion_fraction, "in (0, 0.2]", ok=0 < lesion_fraction <= 0.2)
    _check("miss_rate", miss_rate, "in [0, 1)", ok=0 <= miss_rate < 1)
    _check("empty_fraction", empty_fraction, "in [0, 1]", ok=0 <= empty_fraction <= 1)
    _check("noise", noise, "a finite number, not negative", ok=0 <= noise < math.inf)
    _check("bias", bias, "a finite number", ok=math.isfinite(bias))
    spacing = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    entropy = _entropy(rng)

    habits = _stream(entropy, _RATERS).standard_normal(n_raters)
    thresholds = STYLE * disagreement * (habits - habits.mean())

    def case(index: int) -> Phantom:
        anatomy, reading, network, scanner = _stream(entropy, _CASES, index).spawn(4)
        tendency = _stream(entropy, _GROUPS, index // cases_per_group).standard_normal(2)
        # log-normal with mean 1, half of its variance between patients
        size = math.exp(0.4 * (tendency[0] + anatomy.standard_normal()) - 0.16)
        empty = math.floor((index + 1) * empty_fraction) > math.floor(index * empty_fraction)
        miss = 1.0 if empty else miss_rate if size < 1 else 0.0

        fraction = min(size * lesion_fraction, 0.3)
        latent, centre, radius = draw_lesion(anatomy, shape, spacing, fraction)
        blur = smooth_field(anatomy, shape, spacing, radius)
        ambiguity = boundary_spread(blur, disagreement * math.exp(0.2 * tendency[1]))
        p, logit = marginal(latent, ambiguity, thresholds)
        if empty:  # a structure that segmenters nearly believe in
            logit = np.minimum(logit, np.float32(-0.5))

        organ = draw_organ(anatomy, centre, shape, spacing, radius)
        image = draw_scan(scanner, organ, latent / ambiguity, spacing, contrast=0.4 if empty else 1.0)
        labels = None
        if vessels:
            labels = draw_vessels(_stream(entropy, _VESSELS, index), latent, centre, radius, spacing)
            image = enhance(image, labels)
        return Phantom(
            id=f"case{index + 1:03d}",
            group=f"patient{index // cases_per_group + 1:03d}",
            image=image,
            raters=read_masks(
                reading, latent, ambiguity, thresholds, miss=miss, length=CORRELATION * radius, spacing=spacing
            ),
            rater_names=tuple(str(r + 1) for r in range(n_raters)),
            members=segment_members(
                network, logit, n_members, radius, spacing, overconfidence=overconfidence, bias=bias, noise=noise
            ),
            truth=np.float32(1 - miss) * p,
            spacing=spacing,
            roi=(organ > 0) | (p > 1e-6),
            vessels=labels,
        )

    return map(case, range(n_cases))


def _stream(entropy: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=key))


def _entropy(rng: int | np.random.Generator | None) -> int:
    if rng is None:
        return cast("int", np.random.SeedSequence().entropy)
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63))
    try:
        seed = operator.index(rng)
    except TypeError:
        msg = f"rng must be a seed (an integer), a numpy.random.Generator or None; got {type(rng).__name__}."
        raise TypeError(msg) from None
    _check("rng", seed, "a seed of at least 0", ok=seed >= 0)
    return seed


def _check(name: str, value: object, expected: str, *, ok: bool) -> None:
    if not ok:
        msg = f"{name} must be {expected}; got {value!r}."
        raise ValueError(msg)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        try:
            number = operator.index(count)
        except TypeError:
            msg = f"{name} must be an integer; got {count!r}."
            raise TypeError(msg) from None
        _check(name, number, "at least 1", ok=number >= 1)


def _check_triple(name: str, value: Sequence[float]) -> None:
    if np.shape(value) != (3,):
        msg = f"{name} must have three numbers (x, y, z); got {value!r}."
        raise ValueError(msg)
