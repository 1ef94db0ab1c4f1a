"""The pictures that a live frame offers as methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpfnb.views import Histogram

__all__ = ["Drawn"]


class Drawn:
    """Mixed into streams and maps. The views are imported when one is asked for: frames stand below them."""

    def hist(self, column: str | None = None, **options: Any) -> Histogram:
        """A histogram of a stream's column, or of a map's counts by slot: see :func:`bpfnb.views.hist`."""
        from bpfnb.views import hist

        return hist(self, column, **options)
