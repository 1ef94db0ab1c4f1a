"""Wakeups by interrupts: those are nobody's, whatever thread the interrupt found on the CPU."""

from __future__ import annotations

import re

import pandas as pd

__all__ = ["INTERRUPT", "by_interrupts"]

INTERRUPT = "[interrupt]"
"""What stands for the waker's command."""

# Where the kernel is entered by one: x86, arm64.
_ENTRY = re.compile(r"^(asm_sysvec_\w+|asm_common_interrupt|el[01][ht]_64_irq)_\[k\]$")
_SUMS = {"blocked": "sum", "count": "sum", "longest": "max"}


def by_interrupts(frame: pd.DataFrame, kernel: str, user: str, comm: str, pid: str) -> pd.DataFrame:
    """*frame* with what an interrupt woke told as such, added up where nothing else differs; greatest wait first.

    The other arguments are the columns of the waker: its kernel stack, which then begins with the interrupt, its user
    stack, which then is missing, its command, :data:`INTERRUPT`, and its process, 0.
    """
    begun = {text: _from_entry(text) for text in frame[kernel].cat.categories}
    found = frame[kernel].astype(object).map(begun)
    if found.isna().all():
        return frame
    hit = found.notna()
    changed = frame.assign(
        **{
            kernel: found.where(hit, frame[kernel].astype(object)),
            user: frame[user].astype(object).mask(hit),
            comm: frame[comm].astype(object).mask(hit, INTERRUPT),
            pid: frame[pid].mask(hit, 0),
        }
    )
    columns = [name for name in frame.columns if name not in _SUMS]
    added = changed.groupby(columns, dropna=False, observed=True, sort=False, as_index=False).agg(_SUMS)
    kinds = {name: "category" for name, kind in frame.dtypes.items() if isinstance(kind, pd.CategoricalDtype)}
    out = added[list(frame.columns)].astype(kinds).sort_values("blocked", ascending=False, kind="stable")
    out.attrs = dict(frame.attrs)
    return out


def _from_entry(stack: str) -> str | None:
    """The part of a stack from its innermost interrupt on; None without one."""
    names = stack.split(";")
    entries = [at for at, name in enumerate(names) if _ENTRY.match(name)]
    return ";".join(names[entries[-1] :]) if entries else None
