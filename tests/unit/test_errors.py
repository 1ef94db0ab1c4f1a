from bpfnb.errors import CompileError, Diagnostic, Location, nearest


def test_excerpt_shows_the_cells_own_line_with_a_caret():
    error = CompileError(
        "1 error",
        source="int a;\nint b = c;\nint d;",
        diagnostics=[Diagnostic("error", "use of undeclared identifier 'c'", Location("io", 2, 9))],
        hints=["declare c"],
    )
    assert error.render() == (
        "CompileError: 1 error\n"
        "  --> io, line 2, column 9\n"
        "    1 | int a;\n"
        "    2 | int b = c;\n"
        "      |         ^ use of undeclared identifier 'c'\n"
        "    3 | int d;\n"
        "  hint: declare c"
    )


def test_nearest_orders_by_likeness():
    assert nearest("lenght", ["length", "width", "depth"])[0] == "length"


def test_a_place_in_a_header_is_named_but_not_shown_from_the_cell():
    error = CompileError(
        "1 error",
        source="int a;",
        where=Location("io", 1, 1),
        diagnostics=[Diagnostic("error", "unknown type", Location("local.h", 1, 5))],
    )
    assert (
        error.render() == "CompileError: 1 error\n  --> local.h, line 1, column 5\n      error: unknown type"
    )
