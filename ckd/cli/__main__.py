"""`python -m ckd.cli`."""

import sys

from ckd.cli import script

if __name__ == "__main__":
    sys.exit(script())
