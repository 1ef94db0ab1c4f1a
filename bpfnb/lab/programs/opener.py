"""The busy process of lab 10: it opens files of a folder of its own, in an order that its seed decides.

opener.py SETTINGS      JSON: the folder, the seed, how many opens of which part (counts), how many of etc/ to write

Paths are relative to the folder, so that they are the same wherever that is. All is made before it says that it is
ready: then it opens nothing but what is counted.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import sys
import time

NAMES = ("passwd", "shadow", "hosts", "motd", "fstab", "crontab", "group", "profile")

ctypes.CDLL(None).prctl(1, 9)  # killed when its parent ends
settings = json.loads(sys.argv[1])
os.makedirs(settings["folder"])  # noqa: PTH103
os.chdir(settings["folder"])
for name in ("etc", "cache/etc", "build", "log", "home"):
    os.makedirs(name)  # noqa: PTH103
    for file in NAMES:
        os.close(os.open(f"{name}/{file}", os.O_CREAT | os.O_WRONLY))
chance = random.Random(settings["seed"])  # noqa: S311
paths = [folder + chance.choice(NAMES) for folder, count in settings["counts"].items() for _ in range(count)]
chance.shuffle(paths)
watched = [number for number, path in enumerate(paths) if path.startswith("etc/")]
writes = {*chance.sample(watched, settings["written"])}
plan = [(path, os.O_WRONLY if number in writes else os.O_RDONLY) for number, path in enumerate(paths)]
print("ready", flush=True)
if sys.stdin.readline():
    times = []
    for first in range(0, len(plan), 250):
        part = plan[first : first + 250]
        begin = time.thread_time_ns()
        for path, flags in part:
            os.close(os.open(path, flags))
        times.append((time.thread_time_ns() - begin) / len(part))
    each = round(min(times))  # of the part in which the machine disturbed least
    print(json.dumps({"tell": {"opens": len(plan), "ns_per_open": each}}), flush=True)
