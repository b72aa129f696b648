"""The command line: ``mrcalib demo | compare | fit | apply | evaluate | fuse | detect``. One file a command.

Commands know files, options and words; what they compute is the library's. ``mrcalib --help`` and the parsing of a command
import nothing heavy; only the help of a command does, since it lists the library's names, plugins included.
"""

from mrcalib.cli._main import main

__all__ = ["main"]
