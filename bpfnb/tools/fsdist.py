"""How long reads, writes, opens and syncs of files take, by type of file system.

Of regular files, as histograms: the whole call as the process waits for it, with page cache, locks, file system and
disk. The frame has a row for each slot (``low`` to ``high``, ns) with the number of calls and their sum; ``totals`` a
row for each file system and operation. ``heatmap()`` shows them over time. Opens that fail have no file and are not
counted, nor is what goes through mmap, sendfile or io_uring. Linux 5.17.
"""

from bpfnb.tools.distribution import Distribution
from bpfnb.tools.tool import Option


class FsDist(Distribution):
    family = "files"
    options = (Option("fs", str, "only this type of file system, such as ext4", "TYPE"),)
    groups = ("fs", "op")
