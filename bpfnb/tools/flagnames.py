"""Numbers whose bits have names, as columns of text: ``O_RDWR|O_CREAT``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

__all__ = ["named", "of_bits"]


def named(numbers: pd.Series, name: Callable[[int], str]) -> pd.Series:
    """A categorical column with the *name* of each number. Each different number is looked at once."""
    codes, different = pd.factorize(numbers)
    texts = [name(int(number)) for number in different]
    categories = pd.Index(dict.fromkeys(texts), dtype="str")
    column = pd.Categorical.from_codes(
        categories.get_indexer(pd.Index(texts, dtype="str"))[codes], categories=categories
    )
    return pd.Series(column, index=numbers.index, name=numbers.name)


def of_bits(flags: int, names: Mapping[str, int], none: str = "") -> str:
    """The names in *flags*, joined by ``|``; bits without a name in hexadecimal, *none* where no bit is set.

    Of names that share bits the first counts.
    """
    found = []
    for name, bits in names.items():
        if flags & bits == bits:
            found.append(name)
            flags &= ~bits
    if flags:
        found.append(f"0x{flags:x}")
    return "|".join(found) or none
