"""Mangled names to what people wrote."""

from __future__ import annotations

import pytest

from bpfnb.symbols.demangle import demangle


@pytest.mark.parametrize(
    ("mangled", "plain"),
    [
        ("_ZN3foo3barEi", "foo::bar(int)"),
        (
            "_ZNSt6vectorIiSaIiEE9push_backERKi",
            "std::vector<int, std::allocator<int>>::push_back(int const&)",
        ),
        ("_ZN3fooC1Ev", "foo::foo()"),
        ("_Z3foov.isra.0", "foo() (.isra.0)"),
        # Rust's old form: the hash goes, escapes are undone
        ("_ZN4core3fmt9Formatter3pad17h9b2b3a0e5b4d1b31E", "core::fmt::Formatter::pad"),
        ("_ZN4core3fmt9Formatter3pad17h9b2b3a0e5b4d1b31E.llvm.123", "core::fmt::Formatter::pad"),
        (
            "_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$3bar17h930b740aa94f1d3aE",
            "<Test + 'static as foo::Bar<Test>>::bar",
        ),
        ("_ZN4main4deep16_$RF$dyn$u20$Any17h930b740aa94f1d3aE", "main::deep::&dyn Any"),
        # Rust's v0, examples of RFC 2603 and of rustc-demangle
        ("_RNvCskwGfYPst2Cb_3foo16example_function", "foo::example_function"),
        ("_RINvNtC3std3mem8align_ofdE", "std::mem::align_of::<f64>"),
        ("_RNvMsr_NtCs3ssYzQotkvD_3std4pathNtB5_7PathBuf3new", "<std::path::PathBuf>::new"),
        ("_RNCNvCs21hi0yVfW1J_3foo4main0", "foo::main::{closure#0}"),
    ],
)
def test_known_names(mangled, plain):
    assert demangle(mangled) == plain


@pytest.mark.parametrize(
    "name", ["main", "", "_", "_Z", "_R", "_Zbroken", "_ZN", "__libc_start_main", "_Z" + "N" * 99999, "größe"]
)
def test_what_is_not_mangled_stays(name):
    assert demangle(name) == name
