"""File formats of images: one module each, registered by suffix, as a plugin registers its own.

Every module of this folder is imported here; a new format is one more module with a class under ``register_format``.
"""

import importlib
import pkgutil

from mrcalib.io.formats._registry import (
    FORMATS,
    ImageFormat,
    companions,
    format_of,
    has_header,
    open_image,
    readable,
    register_format,
    require_file,
    stem_of,
    suffix_of,
    writable,
)

__all__ = [
    "FORMATS",
    "ImageFormat",
    "companions",
    "format_of",
    "has_header",
    "open_image",
    "readable",
    "register_format",
    "require_file",
    "stem_of",
    "suffix_of",
    "writable",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
