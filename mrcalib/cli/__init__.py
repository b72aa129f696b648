"""The command line: ``mrcalib demo | compare | fit | apply | evaluate``. One file a command.

Commands know files, options and words; what they compute is the library's. Nothing heavy is imported before a command
runs, so that ``--help`` answers at once.
"""

from mrcalib.cli._main import main

__all__ = ["main"]
