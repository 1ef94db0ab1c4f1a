"""``python -m bpfnb``: the same as the ``bpfnb`` command."""

from __future__ import annotations

import sys

from bpfnb.cli import main

if __name__ == "__main__":
    sys.exit(main())
