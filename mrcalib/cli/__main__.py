"""``python -m mrcalib.cli``."""

import sys

from mrcalib.cli import main

if __name__ == "__main__":
    sys.exit(main())
