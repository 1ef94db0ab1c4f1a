"""The style of an exported page, around its views."""

from __future__ import annotations

from typing import Final

__all__ = ["CSS"]

CSS: Final = """
main{max-width:1200px;margin:0 auto;color:light-dark(#1f2328,#e6edf3);font:14px/1.5 system-ui,sans-serif}
header{border-bottom:1px solid light-dark(#d0d7de,#3d444d);margin-bottom:24px;padding-bottom:12px}
h1{font-size:22px;margin:0;display:flex;gap:12px;align-items:center;flex-wrap:wrap}
h2{font-size:17px;margin:32px 0 4px}h2 small{font-weight:400;color:light-dark(#57606a,#9da7b3)}
h3{font-size:14px;margin:16px 0 4px}
header p,section>p{margin:2px 0 8px;color:light-dark(#57606a,#9da7b3);font-variant-numeric:tabular-nums}
nav{display:flex;flex-wrap:wrap;gap:4px 16px}
a{color:light-dark(#0969da,#4493f8)}
.x-badge{font-size:12px;font-weight:600;border:1px solid;border-radius:10px;padding:1px 10px}
.x-ok{color:light-dark(#1a7f37,#3fb950)}.x-bad,section>p.x-lost{color:light-dark(#cf222e,#f85149)}
.x-view{margin:8px 0 20px}
main table{border-collapse:collapse}
#about th{text-align:left;font-weight:600}
#about th,#about td{padding:2px 20px 2px 0;vertical-align:top;overflow-wrap:anywhere}
#about details{margin:10px 0}#about summary{cursor:pointer}
#about details table{display:block;max-height:30em;overflow:auto;font-size:12px}
pre{font:12px/1.5 ui-monospace,monospace;overflow:auto;max-height:36em;padding:10px;border-radius:6px;
background:light-dark(#f6f8fa,#161b22);tab-size:4}
"""
