"""Names for metrics, calibration methods and file formats: one table each, which a plugin extends as the package does.

A name is found in any case, and with hyphens, underscores and spaces as one likes: ``MR-ECE`` is ``mr_ece``. An unknown
name is refused with the nearest known ones. Plugins are modules that register something when they are imported; an
installed package names them in the entry-point group ``mrcalib.plugins``, and they are imported at the first look-up.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Generic, TypeVar

__all__ = ["PLUGIN_GROUP", "Registry", "load_plugins", "normalized"]

T = TypeVar("T")

PLUGIN_GROUP = "mrcalib.plugins"


def normalized(name: str) -> str:
    """The name without case, hyphens, underscores, spaces and brackets, by which it is looked up.

    Examples
    --------
    >>> normalized("MR-ECE") == normalized("mr_ece")
    True
    """
    return re.sub(r"[\s_\-(),]+", "", name).casefold()


@cache
def load_plugins() -> None:
    """Import the plugins of installed packages, once; a plugin that fails is warned of and left out."""
    from importlib.metadata import entry_points  # slow to import, and needed only here

    for plugin in entry_points(group=PLUGIN_GROUP):
        try:
            loaded = plugin.load()
            if not hasattr(loaded, "__path__") and callable(loaded):
                loaded()
        except Exception as error:
            msg = f"The mrcalib plugin {plugin.name!r} ({plugin.value}) could not be loaded and is left out: {error}"
            warnings.warn(msg, UserWarning, stacklevel=2)


class Registry(Generic[T]):
    """Things of one kind by name, in the order in which they were registered.

    Parameters
    ----------
    kind : str
        What errors call a thing, such as "metric".

    Examples
    --------
    >>> fruit = Registry("fruit")
    >>> fruit.register("red apple", 1, aliases=("pomme",))
    >>> fruit.get("Red-Apple"), fruit.get("pomme"), fruit.names()
    (1, 1, ('red apple',))
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}
        self._names: dict[str, str] = {}  # the registered name by every accepted spelling, normalized

    def register(self, name: str, thing: T, *, aliases: Iterable[str] = ()) -> None:
        """Add a thing; ValueError if another one is known by this name or by an alias."""
        spellings = dict.fromkeys(map(normalized, (name, *aliases)))
        taken = next((self._names[s] for s in spellings if s in self._names and self._names[s] != name), None)
        if taken is not None or "" in spellings:
            msg = f"The {self.kind} {name!r} needs a name of its own; there is already {taken!r}."
            raise ValueError(msg)
        self._things[name] = thing
        self._names |= dict.fromkeys(spellings, name)

    def unregister(self, name: str) -> None:
        """Remove a thing and all its names; KeyError if there is none."""
        del self._things[name]
        self._names = {spelling: known for spelling, known in self._names.items() if known != name}

    def canonical(self, name: str) -> str:
        """The registered name that a spelling stands for.

        Raises
        ------
        ValueError
            If there is none; names the nearest ones, and all.
        """
        load_plugins()
        known = self._names.get(normalized(str(name)))
        if known is None:
            from difflib import get_close_matches

            near = get_close_matches(normalized(str(name)), self._names, n=3, cutoff=0.6)
            meant = list(dict.fromkeys(self._names[spelling] for spelling in near))
            hint = f" Did you mean {' or '.join(map(repr, meant))}?" if meant else ""
            msg = f"There is no {self.kind} {name!r}.{hint} Known: {', '.join(self._things)}."
            raise ValueError(msg)
        return known

    def get(self, name: str) -> T:
        """The thing of this name or alias; ValueError as ``canonical``."""
        return self._things[self.canonical(name)]

    def names(self) -> tuple[str, ...]:
        """All registered names, plugins included."""
        load_plugins()
        return tuple(self._things)

    def items(self) -> tuple[tuple[str, T], ...]:
        """All names and things, plugins included."""
        load_plugins()
        return tuple(self._things.items())

    def __contains__(self, name: object) -> bool:
        load_plugins()
        return isinstance(name, str) and normalized(name) in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
