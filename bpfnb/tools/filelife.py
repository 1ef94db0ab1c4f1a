"""Files that do not live long: from their creation to their removal.

A row for each file that was created since the tool began and has been removed: by unlink, or because another file was
renamed to its name. ``age`` is what lies between; ``pid`` and ``comm`` removed it, ``cpid`` and ``ccomm`` created it. A
file is followed through renames. Remembered are the 65,536 that were created or renamed last; one that was removed
before the call that created or renamed it had returned counts as lost. Filters are of the process that creates. A file
whose directory entry the kernel forgets meanwhile for want of memory is not seen, nor one that only a hard link keeps
alive or that is created through io_uring. Where files of one name go at the same time, and by paths instead of names
alone, one may be told with another's age. Linux 5.17.
"""

from bpfnb.tools.tool import Tool


class FileLife(Tool):
    family = "files"
    columns = ("time", "comm", "pid", "uid", "age", "cpid", "ccomm", "path")
