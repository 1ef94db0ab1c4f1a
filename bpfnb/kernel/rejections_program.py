"""The catalogue's entries on programs: return values, loops, calls, references, types and hooks."""

from __future__ import annotations

from bpfnb.kernel.rejection import Rejection, entry

__all__ = ["ENTRIES"]

ENTRIES: tuple[Rejection, ...] = (
    # Return values.
    entry(
        "callback-return",
        r"At callback return the register R0 (?:has|is)",
        "a callback returns something else than 0 or 1",
        "0 asks for the next iteration, 1 stops.",
        "Return 0 or 1 from the callback on every path.",
    ),
    entry(
        "lsm-return-range",
        r"At (?:program|subprogram) exit the register R0 (?:has|is).*?should have been in (?P<range>\[-4095, 0\])",
        "the return value is not in the range $range that an LSM program may return",
        "0 allows, a negative error number denies with that error.",
        "Return 0 or an error number on every path:\n    return denied ? -13 : 0; /* EACCES */",
        "clang makes a negation of `denied ? -1 : 0`, whose range not every verifier sees: take another number.",
    ),
    entry(
        "return-range",
        r"At (?:program|subprogram) exit the register R0 (?:has|is).*?should have been in (?P<range>[\[(][^\])]*[\])])",
        "the return value is not in the range $range that this kind of program may return",
        "For cgroup programs 1 allows and 0 denies; an error code is set with bpf_set_retval().",
        "Return a constant of the range on every path:\n    return 1;",
    ),
    entry(
        "return-unknown",
        r"At (?:program|subprogram) exit the register R0 is not a known value",
        "the return value is not a number",
        "This kind of program has to return a number that the verifier can bound.",
        "Return a constant:\n    return 1;",
    ),
    # Loops and size.
    entry(
        "endless-loop",
        r"infinite loop detected at insn (?P<insn>\d+)|back-edge from insn (?P<insn2>\d+) to \d+",
        "the loop may never end",
        "The verifier follows a loop until it sees it end; one whose end depends on data it does not know never does.",
        "Give it a constant bound:\n    for (int i = 0; i < 64; i++) {\n        if (done)\n            break;\n    }",
        "More turns: bpf_loop(n, callback, &context, 0) (Linux 5.17), or bpf_for(i, 0, n) (6.4).",
    ),
    entry(
        "too-large",
        r"BPF program is too large\. Processed \d+ insn|processed 1000001 insns|sequence of \d+ jumps is too complex",
        "the verifier gave up after a million instructions$loop",
        "It walks through every turn of a loop and through every combination of branches.",
        "Fewer turns, or let the kernel run the loop: bpf_loop(n, callback, &context, 0) (Linux 5.17) checks the "
        "callback once.",
        "Split branches off into functions that are checked on their own: a non-static __noinline function.",
    ),
    entry(
        "too-many-instructions",
        r"BPF program too large|Argument list too long|too many (?:subprograms|different)",
        "the program has too many instructions$loop",
        "A program may have a million instructions.",
        "Do not unroll loops; split the program with tail calls.",
    ),
    entry(
        "unreachable",
        r"unreachable insn (?P<insn>\d+)",
        "an instruction can never be reached",
        "clang removes such code; it comes from inline assembly, or from undefined behaviour that clang cut short.",
        "Look for a division by zero, a missing return, or an array index out of bounds in constant code.",
    ),
    entry(
        "no-exit",
        r"last insn is not an exit or jmp|jump out of range from insn (?P<insn>\d+)|no return in subprog",
        "a function does not end with a return",
        "The function falls off its end: clang saw undefined behaviour (such as an endless loop without effect) and "
        "left the rest out, or inline assembly jumps away.",
        "Make every path of the function return:\n    return 0;",
    ),
    entry(
        "division",
        r"div(?:ision)? by zero|invalid shift (?P<shift>-?\d+)|BPF_DIV uses reserved fields",
        "a constant division by zero or a shift wider than the number",
        "A division by a variable that is 0 gives 0; by the constant 0 it is refused.",
        "Correct the constant.",
    ),
    # Helpers and kernel functions.
    entry(
        "gpl",
        r"cannot call GPL[- ](?:restricted|only) function|needs GPL|GPL-compatible|kernel function from non-GPL",
        "a helper is for programs under the GPL only, and this program's licence is another",
        'The object\'s section "license" does not name a licence compatible with the GPL.',
        'Declare it, if that is the licence of your code:\n    char LICENSE[] SEC("license") = "GPL";',
    ),
    entry(
        "helper-unavailable",
        r"program of this type cannot use helper (?P<helper>\w+)|unknown func (?P<helper2>\w+)#(?P<number>\d+)",
        "helper $helper cannot be called from a program of section $section",
        "Each program type has its own set of helpers.$offered",
        "Move the call to a program of another type and hand the value over in a map.",
    ),
    entry(
        "core-relocation",
        r"failed to resolve CO-RE relocation <(?P<kind>\w+)> \[\d+\] (?P<what>(?:struct|union|enum|typedef)? ?[\w.:]+)"
        r"|invalid func unknown#195896080|<invalid CO-RE relocation>",
        "this kernel does not have $what",
        "The program was compiled for a field, type or value that the running kernel's types (BTF) lack.",
        "Look at the type as this kernel has it: `%bpf struct NAME`.",
        "Code for several kernels asks first:\n    if (bpf_core_field_exists(task->field)) ...",
    ),
    entry(
        "helper-unknown",
        r"invalid func unknown#(?P<number>\d+)|call unknown#(?P<number2>\d+)",
        "helper number $number does not exist on this kernel",
        "The helper is newer than this kernel, or what is called is not a helper.",
        "`%bpf find bpf_*` lists the helpers that exist.",
    ),
    entry(
        "sleepable",
        r"helper call might sleep in a non-sleepable prog|program must be sleepable to call sleepable kfunc"
        r"|(?:sleepable|might_sleep).*non-sleepable",
        "a helper that may sleep is called from a program that must not",
        "bpf_copy_from_user and others wait for memory to be brought in.",
        "Use the variant that does not wait: bpf_probe_read_user or bpf_probe_read_user_str.",
        'Or make the program sleepable, where its kind can be: SEC("uprobe.s/..."), SEC("fentry.s/..."), '
        'SEC("lsm.s/..."), SEC("iter.s/...").',
    ),
    entry(
        "d-path",
        r"helper call is not allowed in probe",
        "the helper may not be called at this hook",
        "bpf_d_path takes locks, so the kernel allows it in a list of functions and in iterators only.",
        'Walk the dentries with BPF_CORE_READ (d_name.name, d_parent), or list open files with SEC("iter/task_file").',
    ),
    entry(
        "map-helper",
        r"cannot pass map_type (?P<type>\d+) into func (?P<helper>\w+)",
        "$helper cannot be used with a map of type $maptype",
        "Each map type has its own helpers.",
        "Ring buffers: bpf_ringbuf_reserve/_submit/_output; perf event arrays: bpf_perf_event_output; queues and "
        "stacks: bpf_map_push_elem/_pop_elem; hashes and arrays: bpf_map_lookup_elem/_update_elem.",
    ),
    entry(
        "argument-type",
        r"(?P<reg>R\d+) type=(?P<got>\w+) expected=(?P<want>[\w, ]+)",
        "argument $argument of $callee has to be $wanted",
        "Keys and values are passed by address; maps by their own name.",
        "Put the value in a variable and pass its address:\n    u32 key = 0;\n    bpf_map_lookup_elem(&map, &key);",
    ),
    entry(
        "kfunc-missing",
        r"extern \(func ksym\) '(?P<function>[^']+)': not found in kernel",
        "kernel function $function does not exist on this kernel",
        "Kernel functions for BPF (kfuncs) come and go with kernel versions.",
        '`%bpf find "bpf_*"` lists those of this kernel.',
        "Declare it `__ksym __weak` and test it with bpf_ksym_exists() to run without it.",
    ),
    entry(
        "kfunc-forbidden",
        r"calling kernel function (?P<function>\w+) is not allowed|metadata kfuncs require device-bound program",
        "this kernel function cannot be called from a program of section $section",
        "Each kernel function (kfunc) is registered for some program types.",
        'Call it from a program type that has it (most task and cgroup functions: SEC("tp_btf/..."), '
        'SEC("fentry/..."), SEC("syscall"), struct_ops).',
    ),
    entry(
        "dynptr",
        r"Expected (?:an? )?(?:un)?initialized (?:\w+ )?dynptr|dynptr has to be|cannot pass in dynptr|[Dd]ynptr",
        "a dynptr is not in the state that the helper wants",
        "A dynptr is made once by bpf_ringbuf_reserve_dynptr, bpf_dynptr_from_mem ..., lives on the stack, and is not "
        "copied or overwritten.",
        "Make it before use, and release a reserved one on every path, also when reserving failed:\n"
        "    bpf_ringbuf_discard_dynptr(&ptr, 0);",
    ),
    # References and locks.
    entry(
        "dynptr-leak",
        r"Unreleased reference id=\d+ alloc_insn=(?P<alloc>\d+)",
        "a ring buffer dynptr is reserved and not submitted on this path ($made)",
        "It has to be given back on every path, even when the reservation failed.",
        "Before each return that follows the reservation:\n    bpf_ringbuf_submit_dynptr(&ptr, 0);\n"
        "or, to drop it:\n    bpf_ringbuf_discard_dynptr(&ptr, 0);",
        origin=r"bpf_ringbuf_reserve_dynptr",
    ),
    entry(
        "ringbuf-leak",
        r"Unreleased reference id=\d+ alloc_insn=(?P<alloc>\d+)",
        "a ring buffer record is reserved and not submitted on this path ($made)",
        "A record that is neither submitted nor discarded would block the buffer for good.",
        "Before each return that follows the reservation:\n    bpf_ringbuf_submit(event, 0);\n"
        "or, to drop it:\n    bpf_ringbuf_discard(event, 0);",
        origin=r"bpf_ringbuf_reserve",
    ),
    entry(
        "reference-leak",
        r"Unreleased reference id=\d+ alloc_insn=(?P<alloc>\d+)",
        "something acquired is not released on this path ($made)",
        "Sockets, tasks, iterators and other references must be given back before the program ends.",
        "Call the releasing counterpart on every path: bpf_sk_release, bpf_task_release, bpf_cgroup_release, "
        "bpf_iter_*_destroy, bpf_kptr_xchg into a map ...",
    ),
    entry(
        "rcu-lock",
        r"inside bpf_rcu_read_lock-ed region|rcu_read_lock is missing|unmatched rcu read unlock",
        "bpf_rcu_read_lock and bpf_rcu_read_unlock do not pair on this path",
        "Every path that locks has to unlock before it returns.",
        "Before each return behind the lock:\n    bpf_rcu_read_unlock();",
    ),
    entry(
        "spin-lock-missing-unlock",
        r"inside bpf_spin_lock-ed region|bpf_spin_unlock is missing|cannot be used inside .*lock",
        "the program ends while it holds a bpf_spin_lock",
        "Every path that locks has to unlock before it returns.",
        "Before each return behind the lock:\n    bpf_spin_unlock(&value->lock);",
    ),
    entry(
        "spin-lock-call",
        r"function calls are not allowed while holding a lock",
        "a function is called between bpf_spin_lock and bpf_spin_unlock",
        "While the lock is held only loads, stores and arithmetic are allowed.",
        "Call it before taking the lock and keep the result in a variable:\n"
        "    u64 now = bpf_ktime_get_ns();\n    bpf_spin_lock(&value->lock);",
    ),
    entry(
        "spin-lock-tracing",
        r"tracing progs cannot use bpf_(?P<what>spin_lock|timer|list_head|rb_root)",
        "tracing programs cannot use maps with a bpf_$what",
        "A probe may hit while the lock is held.",
        "Use an atomic addition, or a per-CPU map:\n    __sync_fetch_and_add(&value->count, 1);",
    ),
    entry(
        "spin-lock-misuse",
        r"bpf_spin_lock|bpf_res_spin_lock",
        "a bpf_spin_lock is used in a way that is not allowed",
        "The lock is a member of a map value, is taken one at a time, and is only touched by bpf_spin_lock and "
        "bpf_spin_unlock.",
        "Copy or write the value's other members one by one, not the whole struct.",
    ),
    entry(
        "kptr",
        r"store to referenced kptr disallowed|kptr access|invalid kptr",
        "a kernel pointer in a map is accessed directly",
        "A __kptr member owns a reference.",
        "Exchange it, and release what came out:\n    old = bpf_kptr_xchg(&value->ptr, new);",
    ),
    entry(
        "atomic-target",
        r"BPF_(?:ATOMIC|XADD) stores into (?P<reg>R\d+) (?P<what>\w+) is not allowed",
        "an atomic operation on $what memory",
        "Atomic operations work on map values, global variables and the stack.",
        "Count in a map value or a global variable.",
    ),
    entry(
        "tail-call",
        r"tail_calls? (?:are|is|not) ?(?:not )?allowed|bpf_tail_call|mixing of tail_calls and bpf-to-bpf calls",
        "a tail call is not possible here",
        "Tail calls need a program array, the same program type on both sides, and do not mix with functions of the "
        "object on some machines and kernels (before 5.10).",
        "Call the function directly, or inline the functions: static __always_inline.",
    ),
    # Objects and hooks.
    entry(
        "no-target",
        r"failed to find kernel BTF type ID of '(?P<function>[^']+)'|attach_btf_id .* not found",
        "this kernel has nothing called $function to attach $section to",
        "The function or tracepoint is not in the running kernel's types (BTF); it may be inlined, renamed or absent.",
        '`%bpf find "*$function*"` lists what is there.',
    ),
    entry(
        "btf",
        r"BEGIN BTF LOAD LOG|Error loading \.BTF into kernel",
        "the kernel refused the object's type information (BTF)",
        "A compiler newer than the kernel may write kinds of types that the kernel does not know; `naked` functions "
        "with arguments are refused too.",
        "The closing lines of the log name the type.",
    ),
    entry(
        "global-argument",
        r"arg#\d+ (?:reference type|pointer type|type|to)|Caller passes invalid args into func#\d+",
        "an argument of a global function has a type that cannot be checked",
        "A non-static function is checked on its own, from the types of its arguments.",
        "Make it static, or give its arguments simple types (numbers, pointers to structs of known size).",
    ),
)
