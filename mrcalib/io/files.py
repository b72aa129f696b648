"""Refusing paths at which there is no file."""

from pathlib import Path

__all__ = ["require_file"]


def require_file(path: Path) -> None:
    """Refuse a path at which there is no file.

    Raises
    ------
    FileNotFoundError
        If there is none; says how much of the path exists.
    """
    if not path.is_file():
        folder = next((parent for parent in path.parents if parent.is_dir()), None)
        where = "is a folder" if path.is_dir() else f"does not exist (the path exists as far as {folder})"
        msg = f"{path} {where}; expected an image file."
        raise FileNotFoundError(msg)
