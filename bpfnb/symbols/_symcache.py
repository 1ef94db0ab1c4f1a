"""A process of its own that reads the DWARF of argv[1] and writes what :mod:`bpfnb.symbols.lines` looks up to argv[2].

It takes gigabytes of files that anyone may have made, in a compiled library: here that can hurt nobody, and be ended.
Run by path: it must not import the package, which takes longer than the work.
"""

import os
import resource
import sys

if __name__ == "__main__":
    from symbolic.debuginfo import Archive

    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    with open(sys.argv[2], "wb") as out:  # noqa: PTH123
        next(Archive.open(sys.argv[1]).iter_objects()).make_symcache().dump_into(out)
