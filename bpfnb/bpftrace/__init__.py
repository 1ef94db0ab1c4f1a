"""The installed bpftrace, with what it prints as frames: ``%%bpftrace`` and :func:`run`."""

from __future__ import annotations

from bpfnb.bpftrace.process import GRACE, Bpftrace, run, running, start
from bpfnb.bpftrace.results import MapResult

__all__ = ["GRACE", "Bpftrace", "MapResult", "run", "running", "start"]
