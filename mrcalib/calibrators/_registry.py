"""The table of calibration methods by name, which ``compare``, the command line and ``mrcalib.load`` look them up in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mrcalib.calibrators._base import Calibrator
from mrcalib.registry import Registry

__all__ = ["CALIBRATORS", "Method", "class_named", "get_method", "register_calibrator"]

C = TypeVar("C", bound="type[Calibrator]")


@dataclass(frozen=True, slots=True)
class Method:
    """A calibrator's class with the parameters that a method's name stands for.

    Attributes
    ----------
    kind : type
        A subclass of ``Calibrator``.
    parameters : mapping of str to Any
        Those that differ from the defaults of the class.
    compared : bool
        Whether ``compare`` takes the method without being asked for it.
    paper : bool
        Whether it is one of the rows of TwinTrack's tables.
    """

    kind: type[Calibrator]
    parameters: Mapping[str, Any]
    compared: bool = False
    paper: bool = False

    def make(self, **changes: Any) -> Calibrator:
        """A new, unfitted calibrator; ``changes`` are parameters that differ from the method's own."""
        return self.kind(**{**self.parameters, **changes})


CALIBRATORS: Registry[Method] = Registry("method")
"""All methods by name, those of plugins included."""


def register_calibrator(
    name: str,
    *,
    aliases: Iterable[str] = (),
    compared: bool = False,
    paper: bool = False,
    **parameters: Any,
) -> Callable[[C], C]:
    """A decorator that makes a subclass of ``Calibrator`` known as a method of this name.

    From then on the method is found by its name in ``compare``, on the command line and in ``get_method``, and files of its
    class can be loaded. Decorators can be stacked, to give names to several choices of the parameters of one class.

    Parameters
    ----------
    name : str
        Short and without spaces; it is found in any case, and with hyphens or underscores.
    aliases : iterable of str, optional
        Other names that are accepted.
    compared : bool, default=False
        Whether ``compare`` takes the method without being asked for it.
    paper : bool, default=False
        Whether ``mrcalib.study.paper_methods`` takes it.
    **parameters : Any
        Parameters of the class that this name stands for.

    Raises
    ------
    TypeError
        If the class is no ``Calibrator``.
    ValueError
        If the name is taken.

    Examples
    --------
    >>> from mrcalib.calibrators import CALIBRATORS, MHRIsotonicCalibrator, get_method, register_calibrator
    >>> @register_calibrator("MHR-in-20-bins", binning="equal-mass", n_bins=20)
    ... class InTwentyBins(MHRIsotonicCalibrator):
    ...     pass
    >>> get_method("mhr-in-20-bins")
    InTwentyBins(binning='equal-mass', n_bins=20)
    >>> CALIBRATORS.unregister("MHR-in-20-bins")
    """

    def register(kind: C) -> C:
        given: Any = kind
        if not (isinstance(given, type) and issubclass(given, Calibrator)):
            msg = f"register_calibrator decorates a subclass of mrcalib.calibrators.Calibrator; got {kind!r}."
            raise TypeError(msg)
        CALIBRATORS.register(name, Method(kind, parameters, compared, paper), aliases=aliases)
        return kind

    return register


def get_method(name: str, **changes: Any) -> Calibrator:
    """A new, unfitted calibrator of the method of this name.

    Parameters
    ----------
    name : str
        Such as "MHR" or "TwinTrack"; case, hyphens and spaces do not matter.
    **changes : Any
        Parameters that differ from those that the name stands for.

    Raises
    ------
    ValueError
        If there is no such method; names the nearest ones.
    TypeError
        If the class has no such parameter.

    Examples
    --------
    >>> get_method("twintrack", n_bins=100)
    MHRIsotonicCalibrator(binning='equal-mass', n_bins=100)
    """
    return CALIBRATORS.get(name).make(**changes)


def class_named(name: str) -> type[Calibrator] | None:
    """The class of this name that some method was registered with; None if there is none."""
    return next((method.kind for _, method in CALIBRATORS.items() if method.kind.__name__ == name), None)
