"""Hooks as this kernel lists them, against tracefs, BTF and libbpf's header read another way."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from bpfnb.errors import UnknownName
from bpfnb.kernel import hooks
from bpfnb.kernel.hooks import Field, Hook, find, helpers, tracepoint_format, tracepoints
from bpfnb.kernel.sections import known_sections

EVENTS = Path("/sys/kernel/tracing/events")


def test_tracepoints_are_those_of_tracefs():
    assert len(tracepoints()) > 500
    assert "sched:sched_switch" in tracepoints()
    folders = {path.parent.name for path in EVENTS.glob("sched/*/id")}
    assert {name.split(":")[1] for name in tracepoints() if name.startswith("sched:")} == folders


def test_a_format_has_types_offsets_and_sizes():
    fields = {field.name: field for field in tracepoint_format("sched", "sched_switch")}
    assert fields["prev_comm"] == Field("prev_comm", "char[16]", 8, 16, fields["prev_comm"].signed)
    assert fields["prev_pid"] == Field("prev_pid", "pid_t", 24, 4, True)
    assert not any(name.startswith("common_") for name in fields)
    assert fields["next_pid"].offset > fields["next_comm"].offset


def test_data_locations_and_pointers_keep_their_type():
    assert tracepoint_format("sched", "sched_process_exec")[0].type == "__data_loc char[]"
    types = {field.name: field.type for field in tracepoint_format("syscalls", "sys_enter_openat")}
    assert types["filename"].replace(" ", "") == "constchar*"


def test_formats_come_from_btf_without_tracefs(monkeypatch: pytest.MonkeyPatch):
    there = tracepoint_format("sched", "sched_switch")
    monkeypatch.setattr(hooks, "_events", lambda: None)
    found_out = inspect.unwrap(tracepoint_format)
    from_btf = {field.name: field for field in found_out("sched", "sched_switch")}
    for field in there:
        assert (from_btf[field.name].offset, from_btf[field.name].size) == (field.offset, field.size)
    with pytest.raises(UnknownName, match="tracefs is not mounted"):
        found_out("sched", "no_such_event")


def test_an_unknown_tracepoint_names_the_nearest():
    with pytest.raises(UnknownName) as caught:
        tracepoint_format("sched", "sched_swich")
    assert "sched:sched_switch" in caught.value.hints[0]


def test_find_by_category_name_and_kind():
    assert Hook("tracepoint", "sched:sched_switch") in find("sched:*")
    assert {hook.kind for hook in find("sched:*")} == {"tracepoint"}
    assert {hook.name for hook in find("tracepoint/sched*")} >= {"sched:sched_switch", "sched:sched_wakeup"}
    found = find("*tcp*retrans*")
    assert Hook("tracepoint", "tcp:tcp_retransmit_skb") in found
    assert Hook("function", "tcp_retransmit_skb") in found
    assert {hook.kind for hook in find("fentry/tcp_sendm*")} == {"function"}
    assert {hook.kind for hook in find("helper:*time*")} == {"helper"}
    assert Hook("raw tracepoint", "sched_switch") in find("tp_btf/sched_sw*")
    assert find("lsm:file_open") == [Hook("lsm", "file_open")]
    assert find("no_such_thing_at_all") == []


def test_a_word_without_wildcards_is_searched_for_inside_names():
    assert Hook("helper", "bpf_get_current_comm") in find("current_comm")
    assert Hook("iterator", "task_file") in find("iter:task_file")


def test_wildcards_match_as_in_a_shell():
    assert {hook.name for hook in find("helper:bpf_map_p[ou]*_elem")} == {
        "bpf_map_pop_elem",
        "bpf_map_push_elem",
    }
    assert [hook.name for hook in find("helper:bpf_map_pee?_elem")] == ["bpf_map_peek_elem"]
    assert Hook("helper", "bpf_map_peek_elem") not in find("helper:bpf_map_p[!e]*_elem")


def test_details_are_signatures_and_fields():
    details = {(hook.kind, hook.name): hook.detail for hook in find("*sched_switch*")}
    assert "pid_t prev_pid" in details["tracepoint", "sched:sched_switch"]
    assert (
        Hook("function", "tcp_sendmsg").detail
        == "int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)"
    )
    assert Hook("helper", "bpf_ktime_get_ns").detail == "__u64 bpf_ktime_get_ns(void)"
    assert "struct task_struct *" in Hook("kfunc", "bpf_task_acquire").detail
    assert Hook("lsm", "file_open").detail == "int file_open(struct file *file)"
    assert "cong_avoid" in Hook("struct_ops", "tcp_congestion_ops").detail
    assert "struct task_struct *" in Hook("iterator", "task").detail
    assert Hook("section", "xdp").detail.startswith("packets")


def test_helpers_have_numbers_prototypes_and_documentation():
    assert "bpf_map_lookup_elem" in helpers()
    helper = hooks.helper("bpf_get_current_pid_tgid")
    assert helper.number == 14
    assert helper.prototype == "__u64 bpf_get_current_pid_tgid(void)"
    assert "tgid" in helper.doc
    assert (
        hooks.helper("bpf_map_lookup_elem").prototype
        == "void *bpf_map_lookup_elem(void *map, const void *key)"
    )
    with pytest.raises(UnknownName, match="no helper"):
        hooks.helper("bpf_get_current_pid")


def test_kfuncs_iterators_lsm_hooks_and_struct_ops():
    assert {"bpf_task_acquire", "bpf_rcu_read_lock"} <= set(hooks.kfuncs())
    assert {"task", "task_file", "tcp", "bpf_map"} <= set(hooks.iterators())
    assert "file_open" in hooks.lsm_hooks()
    assert "tcp_congestion_ops" in hooks.struct_ops()


def test_every_section_that_libbpf_loads_is_described():
    described = {prefix.rstrip("/") for prefix in hooks.SECTIONS}
    unknown = {name for name in known_sections() if name.rstrip("/+") not in described}
    # libbpf spells attach points of one kind in several ways; all kinds have to be there.
    assert {name.split("/")[0].removesuffix(".s") for name in unknown} <= {
        name.split("/")[0].removesuffix(".s") for name in described
    }
    for meaning in hooks.SECTIONS.values():
        assert len(meaning) > 5


def test_similar_tracepoints_prefer_the_same_subsystem():
    assert hooks.similar_tracepoints("ext4_sync_file")[0].startswith("ext4:ext4_sync_file")
    assert hooks.similar_tracepoints("xyzzy") == []


@pytest.mark.parametrize("pattern", ["sched:*", "*tcp*retrans*", "bpf_get", "fentry/tcp_*"])
def test_functions_are_read_from_the_kernel_once(pattern: str, monkeypatch: pytest.MonkeyPatch):
    found = find(pattern)
    assert found

    read = hooks._type_names
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(hooks, "_type_names", lambda *which: asked.append(which) or read(*which))
    assert find(pattern) == found
    assert ("func", "") not in asked
