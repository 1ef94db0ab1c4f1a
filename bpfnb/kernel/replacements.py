"""Hooks that serve instead of functions people usually probe, where a kernel has no kprobes, fentry or LSM programs.

Each entry: a pattern of function names, the sections that serve, best first, and what to know. A section is offered
only where this kernel has its tracepoint. Tracepoints are a kernel's stable names: they survive inlining and renaming.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["REPLACEMENTS", "Replacement", "replacement"]


@dataclass(frozen=True, slots=True)
class Replacement:
    functions: re.Pattern[str]
    sections: tuple[str, ...]
    note: str = ""


def replacement(function: str) -> Replacement | None:
    """The first entry for *function*; ``\\1`` in its sections is what the pattern captured."""
    for entry in REPLACEMENTS:
        found = entry.functions.fullmatch(function)
        if found:
            return Replacement(
                entry.functions, tuple(found.expand(text) for text in entry.sections), entry.note
            )
    return None


def _entry(functions: str, sections: str, note: str = "") -> Replacement:
    return Replacement(re.compile(functions), tuple(sections.split()), note)


REPLACEMENTS: tuple[Replacement, ...] = (
    # System calls.
    _entry(
        r"__(?:x64|ia32|arm64|riscv|s390x)_(?:compat_)?sys_(\w+)|__se_sys_\w+",
        r"tracepoint/syscalls/sys_enter_\1 tracepoint/syscalls/sys_exit_\1",
        "arguments at entry, the return value at exit",
    ),
    _entry(
        r"k?sys_(\w+)|__do_sys_(\w+)", r"tracepoint/syscalls/sys_enter_\1 tracepoint/syscalls/sys_exit_\1"
    ),
    _entry(
        r"(?:do_sys_open\w*|do_sys_openat2|do_filp_open|path_openat|vfs_open|security_file_open|file_open)",
        "tracepoint/syscalls/sys_enter_openat tracepoint/syscalls/sys_exit_openat iter/task_file",
        "keep the file name's pointer at entry and read it at exit, when its page is in memory; to deny opening a file "
        "there is only LSM",
    ),
    _entry(
        r"vfs_(?:read|readv|iter_read)|ksys_read|rw_verify_area",
        "tracepoint/syscalls/sys_exit_read tracepoint/syscalls/sys_enter_read",
        "sys_exit has the number of bytes; pread64, readv and others have tracepoints of their own",
    ),
    _entry(
        r"vfs_(?:write|writev|iter_write)|ksys_write",
        "tracepoint/syscalls/sys_exit_write tracepoint/syscalls/sys_enter_write",
    ),
    _entry(
        r"vfs_fsync\w*|do_fsync", "tracepoint/syscalls/sys_enter_fsync tracepoint/ext4/ext4_sync_file_enter"
    ),
    _entry(
        r"vfs_(?:unlink|rmdir)|do_unlinkat|do_rmdir|inode_unlink|security_inode_unlink|path_unlink",
        "tracepoint/syscalls/sys_enter_unlinkat tracepoint/syscalls/sys_enter_unlink",
    ),
    _entry(r"vfs_rename|do_renameat2|security_inode_rename", "tracepoint/syscalls/sys_enter_renameat2"),
    _entry(r"vfs_(?:mkdir|create|mknod)|do_mkdirat", "tracepoint/syscalls/sys_enter_mkdirat"),
    _entry(
        r"do_(?:mmap|mprotect_pkey)|vm_mmap_pgoff|security_mmap_file|mmap_file",
        "tracepoint/syscalls/sys_enter_mmap tracepoint/syscalls/sys_enter_mprotect",
    ),
    # Processes and the scheduler.
    _entry(
        r"finish_task_switch\w*|__schedule|context_switch|schedule",
        "tp_btf/sched_switch tracepoint/sched/sched_switch",
        "prev and next are arguments of tp_btf",
    ),
    _entry(
        r"try_to_wake_up|wake_up_process|ttwu_\w+|wake_up_new_task",
        "tp_btf/sched_wakeup tp_btf/sched_waking tp_btf/sched_wakeup_new",
    ),
    _entry(
        r"(?:do_execve\w*|bprm_\w+|security_bprm_\w+|exec_binprm|begin_new_exec|search_binary_handler)",
        "tracepoint/sched/sched_process_exec tracepoint/syscalls/sys_enter_execve",
    ),
    _entry(r"do_exit|do_group_exit|release_task|exit_notify", "tracepoint/sched/sched_process_exit"),
    _entry(
        r"kernel_clone|_do_fork|copy_process|security_task_alloc|task_alloc|wake_up_new_task",
        "tracepoint/sched/sched_process_fork",
    ),
    _entry(
        r"(?:do_send_sig\w*|send_signal\w*|__send_signal\w*|security_task_kill|task_kill|get_signal)",
        "tracepoint/signal/signal_generate tracepoint/signal/signal_deliver",
    ),
    _entry(
        r"do_nanosleep|hrtimer_nanosleep",
        "tracepoint/syscalls/sys_enter_clock_nanosleep tracepoint/timer/hrtimer_start",
    ),
    _entry(r"oom_kill_process|out_of_memory", "tracepoint/oom/mark_victim"),
    # Memory.
    _entry(
        r"handle_mm_fault|do_user_addr_fault|exc_page_fault|do_page_fault",
        "tracepoint/exceptions/page_fault_user",
    ),
    _entry(r"__kmalloc\w*|kmalloc\w*|__do_kmalloc_node", "tracepoint/kmem/kmalloc"),
    _entry(r"kfree", "tracepoint/kmem/kfree"),
    _entry(r"kmem_cache_alloc\w*", "tracepoint/kmem/kmem_cache_alloc"),
    _entry(r"__alloc_pages\w*|alloc_pages\w*|get_page_from_freelist", "tracepoint/kmem/mm_page_alloc"),
    _entry(
        r"(?:filemap_add_folio|add_to_page_cache_lru|folio_account_dirtied|mark_page_accessed|mark_buffer_dirty)",
        "tracepoint/filemap/mm_filemap_add_to_page_cache",
    ),
    _entry(r"try_to_free_pages|shrink_node|kswapd", "tracepoint/vmscan/mm_vmscan_direct_reclaim_begin"),
    # Block devices.
    _entry(
        r"(?:__)?blk_account_io_(?:start|done)|blk_start_request|blk_mq_start_request|blk_mq_end_request|__blk_mq_end_request",
        "tracepoint/block/block_io_start tracepoint/block/block_io_done tp_btf/block_rq_issue tp_btf/block_rq_complete",
    ),
    _entry(r"submit_bio\w*|generic_make_request", "tracepoint/block/block_bio_queue"),
    _entry(
        r"blk_mq_submit_bio|bio_endio", "tracepoint/block/block_bio_queue tracepoint/block/block_bio_complete"
    ),
    # The network.
    _entry(
        r"tcp_v[46]_connect|tcp_connect|inet_stream_connect|security_socket_connect|socket_connect|inet_csk_accept"
        r"|tcp_set_state|tcp_finish_connect|tcp_close|inet_csk_listen_start|tcp_rcv_state_process",
        "tracepoint/sock/inet_sock_set_state sockops cgroup/connect4",
        "the state changes say who connects, accepts and closes; cgroup/connect4 can also deny",
    ),
    _entry(
        r"tcp_sendmsg\w*|udp_sendmsg|sock_sendmsg\w*|security_socket_sendmsg|unix_stream_sendmsg",
        "tracepoint/sock/sock_send_length tracepoint/syscalls/sys_enter_sendto",
    ),
    _entry(
        r"tcp_recvmsg\w*|tcp_cleanup_rbuf|udp_recvmsg|sock_recvmsg\w*|security_socket_recvmsg",
        "tracepoint/sock/sock_recv_length tracepoint/syscalls/sys_exit_recvfrom",
    ),
    _entry(
        r"tcp_retransmit_skb|__tcp_retransmit_skb",
        "tp_btf/tcp_retransmit_skb tracepoint/tcp/tcp_retransmit_skb",
    ),
    _entry(
        r"tcp_drop\w*|kfree_skb\w*|sk_skb_reason_drop|__kfree_skb",
        "tp_btf/kfree_skb tracepoint/skb/kfree_skb",
        "with the reason of the drop (enum skb_drop_reason, Linux 5.17)",
    ),
    _entry(r"tcp_rcv_established|tcp_v[46]_do_rcv", "tp_btf/tcp_probe tracepoint/tcp/tcp_probe"),
    _entry(
        r"tcp_send_reset|tcp_v[46]_send_reset|tcp_reset",
        "tracepoint/tcp/tcp_send_reset tracepoint/tcp/tcp_receive_reset",
    ),
    _entry(
        r"netif_receive_skb\w*|__netif_receive_skb\w*|ip6?_rcv|eth_type_trans",
        "tp_btf/netif_receive_skb xdp tcx/ingress",
    ),
    _entry(
        r"dev_queue_xmit|__dev_queue_xmit|dev_hard_start_xmit|ip6?_output|ip_queue_xmit|__ip_queue_xmit",
        "tp_btf/net_dev_queue tp_btf/net_dev_start_xmit tcx/egress",
    ),
    _entry(r"(?:security_)?socket_bind|inet6?_bind", "cgroup/bind4 tracepoint/syscalls/sys_enter_bind"),
    _entry(
        r"(?:security_)?socket_create|__sock_create|sock_alloc",
        "cgroup/sock_create tracepoint/syscalls/sys_enter_socket",
    ),
    _entry(r"nf_hook_slow|ipt_do_table|nft_do_chain", "netfilter"),
    _entry(r"napi_poll|net_rx_action|__napi_poll", "tp_btf/napi_poll tracepoint/napi/napi_poll"),
    # Locks, interrupts, timers.
    _entry(
        r"(?:mutex|rwsem|rt_mutex|down|_raw_(?:spin|read|write))_(?:lock|read|write)?\w*|__mutex_lock\w*|down_(?:read|write)\w*"
        r"|native_queued_spin_lock_slowpath|queued_spin_lock_slowpath|rwsem_down_\w+",
        "tracepoint/lock/contention_begin tracepoint/lock/contention_end",
        "they fire only where a lock is waited for (Linux 5.19)",
    ),
    _entry(
        r"handle_irq_event\w*|__handle_irq_event_percpu|do_IRQ|common_interrupt",
        "tp_btf/irq_handler_entry tp_btf/irq_handler_exit",
    ),
    _entry(r"__do_softirq|handle_softirqs|raise_softirq\w*", "tp_btf/softirq_entry tp_btf/softirq_exit"),
    _entry(r"call_timer_fn|run_timer_softirq", "tp_btf/timer_expire_entry tp_btf/timer_expire_exit"),
    _entry(
        r"hrtimer_run_queues|__hrtimer_run_queues", "tp_btf/hrtimer_expire_entry tp_btf/hrtimer_expire_exit"
    ),
    _entry(
        r"process_one_work|queue_work_on|__queue_work",
        "tp_btf/workqueue_execute_start tp_btf/workqueue_execute_end",
    ),
    _entry(r"account_(?:system|user)_time|tick_sched_\w+|scheduler_tick|sched_tick", "perf_event"),
    # Security.
    _entry(
        r"cap_capable|ns_capable|capable|security_capable",
        "tp_btf/cap_capable tracepoint/capability/cap_capable",
    ),
    _entry(r"commit_creds|override_creds|prepare_creds", "tracepoint/syscalls/sys_exit_setuid"),
    _entry(r"security_bpf\w*|bpf_prog_load|bpf", "tracepoint/syscalls/sys_enter_bpf"),
    _entry(r"load_module|do_init_module|security_kernel_module_request", "tracepoint/module/module_load"),
    _entry(r"security_inode_\w+|inode_\w+|security_path_\w+|path_\w+", "tracepoint/raw_syscalls/sys_enter"),
)
