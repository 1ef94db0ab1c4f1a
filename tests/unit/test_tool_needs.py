"""Tools say which kernel they need: in their documentation, and where an older one refuses them."""

from __future__ import annotations

import os

import pytest

from bpfnb import tools
from bpfnb.errors import AttachError, BadValue, KernelFeatureMissing
from bpfnb.tools.needs import since, told


class Guest:
    def __init__(self, release: str) -> None:
        self.kernel = os.uname_result(("Linux", "guest", release, "", ""))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("What it shows. Linux 6.3.", (6, 3)),
        ("one\nLinux 5.17; exact from 6.5 on (a thing).", (5, 17)),
        ("by tracepoints of Linux 6.15 (x), before that by functions\n(Linux 5.16)", None),
        ("ends the way.\nLinux 6.14, which has the tracepoint", (6, 14)),
    ],
)
def test_the_sentence_that_begins_with_a_version_names_it(text, version):
    assert since(text) == version


def test_an_older_kernels_refusal_names_the_version_and_a_newer_ones_stays():
    refusal = AttachError("this kernel has no tracepoint 'x'", errno=2)
    with (
        pytest.raises(
            KernelFeatureMissing, match=r"'dns' needs Linux 6\.3; this kernel is 6\.1\.0-56"
        ) as caught,
        told("dns", "Linux 6.3.", Guest("6.1.0-56")),
    ):
        raise refusal
    assert caught.value.feature == "Linux 6.3"
    assert caught.value.hints == ("this kernel has no tracepoint 'x'",)
    assert caught.value.__cause__ is refusal
    with pytest.raises(AttachError) as caught, told("dns", "Linux 6.3.", Guest("6.12.1")):
        raise refusal
    assert caught.value is refusal


def test_what_is_no_refusal_of_the_kernels_stays():
    with pytest.raises(BadValue), told("dns", "Linux 6.3.", Guest("5.10.0")):
        raise BadValue("of which process?")


def test_every_tool_says_what_it_needs():
    assert [name for name in tools.names() if since(getattr(tools, name).more) is None] == []
