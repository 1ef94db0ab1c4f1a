"""What the archive of lab 7 does with its files, which lie in a folder of a disk.

Nothing is imported that would have to be read from a file: that would be seen.
"""

import os

PIECE = 65536
LINE = b"one more picture came in\n"


def journal(place: str, lines: int, pages: int) -> None:
    """Write lines of the journal byte by byte, and a report in pieces of 4096 bytes."""
    fd = os.open(f"{place}/journal", os.O_CREAT | os.O_WRONLY)
    for _ in range(lines):
        for letter in LINE:
            os.write(fd, bytes([letter]))
    os.close(fd)
    fd = os.open(f"{place}/report", os.O_CREAT | os.O_WRONLY)
    for _ in range(pages):
        os.write(fd, bytes(4096))
    os.close(fd)


def pictures(place: str, times: int) -> None:
    """Read all pictures, so often."""
    fd = os.open(f"{place}/pictures", os.O_RDONLY)
    for _ in range(times):
        offset = 0
        while data := os.pread(fd, PIECE, offset):
            offset += len(data)
    os.close(fd)


def save(place: str, saves: int, every: int) -> None:
    """Write documents, and wait for the disk after every *every*-th."""
    fd = os.open(f"{place}/documents", os.O_CREAT | os.O_WRONLY)
    for number in range(saves):
        os.write(fd, bytes(2000))
        if number % every == every - 1:
            os.fsync(fd)
    os.close(fd)


def direct(place: str, sizes: list[int]) -> None:
    """Read pieces of these sizes past the page cache."""
    import mmap  # a whole page of memory, as direct reads need it

    fd = os.open(f"{place}/pictures", os.O_RDONLY | os.O_DIRECT)
    buffer = memoryview(mmap.mmap(-1, PIECE))
    for number, size in enumerate(sizes):
        os.preadv(fd, [buffer[:size]], number % 8 * PIECE)
    os.close(fd)
