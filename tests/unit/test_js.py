"""The views' JavaScript: its types and its own tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("script", ["check", "test"])
def test_the_javascript_is_typed_and_its_tests_pass(script):
    command = [sys.executable, ROOT / "js" / "bundle.py", "npm", "run", "--silent", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
