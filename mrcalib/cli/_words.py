"""The library's errors speak of Python arguments; here they are put into the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["in_options"]

_Option: TypeAlias = str | Callable[[re.Match[str]], str]
_PYTHON: tuple[tuple[str, _Option], ...] = (
    (r"pass check_agreement=False \(LoadOptions\)", "pass --no-agreement-check"),
    (r"invalid=['\"](\w+)['\"]", r"--invalid \1"),
    (r"pass scipy\.special\.expit\(logits\) \(of files: LoadOptions\(values='logits'\)\)", "give --logits"),
    (r"[Rr]ead it with values='probabilities'", "Leave out --logits"),
    (r"read them with values='logits' \(LoadOptions\)", "give --logits"),
    (r"\bmerge='(\w+)'", r"--merge \1"),
    (r"\boutside='(\w+)'", r"--outside \1"),
    (r"\bcoarse_threshold=(\S+?)(?=[),.;]*(?:\s|$))", r"--coarse-threshold \1"),
    (r"\bmargin_mm=(\S+?)(?=[),.;]*(?:\s|$))", r"--margin \1"),
    (r"\bweights=\(([^()]*?),?\)", lambda m: f"--weights {m[1].replace(', ', ',')}"),
    (r"\bforeground=None\b", "none"),
    (r"\b(foreground|positive)=\(?(\d+(?:, \d+)*),?\)?", lambda m: f"--{m[1]} {m[2].replace(', ', ',')}"),
    (
        r"mask them with roi=",
        "in an ensemble also what is outside [0, 1] in a member: are they logits? Then give --logits. If not, leave them "
        "out with --roi",
    ),
    (r"\b(group|probs|layout|split|task)=(['\"])", r"--\1 \2"),
    (r"\bcv=(\d+)", r"--cv \1"),
    (
        r"\(a column of the manifest, or Case\(spacing=\.\.\.\)\)",
        "(--spacing, or a column 'spacing' of the manifest)",
    ),
    (r"use fit or fit_cases, or binning='grid' on tallies", "use --binning grid"),
    (r"\babsent='(\w+)'", r"--absent \1"),
    (r"\bcrowds='drop'", "--drop-crowds"),
    (r"\benclose=True", "--enclose"),
    (r"Use clip\(\) if that is meant", "Give --clip if that is meant"),
)
_WORDS = tuple((re.compile(python), option) for python, option in _PYTHON)


def in_options(error: BaseException | str) -> str:
    """What an error says, with the options of the command line instead of arguments.

    Examples
    --------
    >>> in_options("probs must lie in [0, 1]; or leave them out with invalid='drop'.")
    'probs must lie in [0, 1]; or leave them out with --invalid drop.'
    """
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    for pattern, option in _WORDS:
        text = pattern.sub(option, text)
    return text
