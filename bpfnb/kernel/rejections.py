"""What the verifier and libbpf say when they refuse a program, and what to do about each: a catalogue, as data.

An entry's ``pattern`` is searched for in the verifier's own closing lines, or in libbpf's where there are none; the
first entry that matches is used, so the particular stand before the general. ``title`` ends the sentence "The verifier
refused program 'p': ...". ``remedy`` holds hints, the most useful first; lines of C in them are indented.

In title, explanation and remedy ``$name`` is a named group of the pattern, or one of: ``$program``, ``$section``;
``$made`` (the source line that acquired what was not released); ``$origin`` (where the offending register got its
value); ``$offered`` (program types that have the helper, found by trying); ``$loop`` (the source line of the loop).

Wording of the reasons: kernel/bpf/verifier.c from Linux 5.8 to 6.18, where it changed both are in the pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["CATALOGUE", "Rejection", "match"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """One way to be refused. ``origin``, if given, must be found in the log line that set the offending register."""

    id: str
    pattern: re.Pattern[str]
    title: str
    explanation: str
    remedy: tuple[str, ...]
    origin: re.Pattern[str] | None = field(default=None)


def match(reason: str, origin: str = "") -> tuple[Rejection, re.Match[str]] | None:
    """The catalogue's first entry for *reason* (several lines) and how it matched."""
    for entry in CATALOGUE:
        found = entry.pattern.search(reason)
        if found and (entry.origin is None or entry.origin.search(origin)):
            return entry, found
    return None


def _entry(id: str, pattern: str, title: str, explanation: str, *remedy: str, origin: str = "") -> Rejection:  # noqa: A002
    compiled = re.compile(origin) if origin else None
    return Rejection(id, re.compile(pattern, re.MULTILINE), title, explanation, remedy, compiled)


CATALOGUE: tuple[Rejection, ...] = (
    # Pointers that may be NULL, or are none.
    _entry(
        "null-map-value",
        r"(?P<reg>R\d+) (?:invalid mem access '(?:map_value_or_null|map_value_or_null_)'"
        r"|type=map_value_or_null expected=)",
        "a map look-up's result is used without a check for NULL",
        "bpf_map_lookup_elem returns NULL when the map has no such key.",
        "Check the pointer on every path that leads here:\n    if (!value)\n        return 0;",
    ),
    _entry(
        "null-ringbuf",
        r"(?P<reg>R\d+) (?:invalid mem access '|type=)(?:ringbuf_mem|alloc_mem|mem)_or_null",
        "the pointer is used without a check for NULL",
        "bpf_ringbuf_reserve returns NULL when the buffer is full; that is when events are lost.",
        "Check it before the first use, also before submitting:\n    if (!event)\n        return 0;",
        origin=r"bpf_ringbuf_reserve",
    ),
    _entry(
        "null-pointer",
        r"(?P<reg>R\d+) (?:invalid mem access '|type=)[a-z_]*or_null|Possibly NULL pointer passed to (?:trusted|helper)",
        "a pointer that may be NULL is used without a check",
        "An iterator's object is NULL in its last call, arguments of a global function may be NULL, and so may many "
        "pointers that helpers and kernel functions return.",
        "Check it first:\n    if (!pointer)\n        return 0;",
    ),
    _entry(
        "null-arithmetic",
        r"(?P<reg>R\d+) pointer arithmetic on [a-z_]*or_null\S* prohibited, null-check it first",
        "a pointer that may be NULL is moved before the check for NULL",
        "After the addition NULL is no longer NULL, so the check has to come first.",
        "Move the check before the arithmetic:\n    if (!pointer)\n        return 0;",
    ),
    _entry(
        "use-after-release",
        r"(?P<reg>R\d+) (?:invalid mem access '(?:scalar|inv)'|type=(?:scalar|inv) expected=(?:ringbuf|alloc)_mem)",
        "a ring buffer record is used after it was submitted or discarded",
        "bpf_ringbuf_submit and bpf_ringbuf_discard give the record away; the pointer is dead afterwards.",
        "Move bpf_ringbuf_submit (or _discard) behind the last use, and call it once on every path.",
        origin=r"bpf_ringbuf_reserve",
    ),
    _entry(
        "stale-packet",
        r"(?P<reg>R\d+) invalid mem access '(?:scalar|inv)'",
        "a packet pointer is used after the packet was changed",
        "Helpers that move or resize the packet (bpf_xdp_adjust_head, bpf_skb_pull_data, bpf_skb_store_bytes ...) "
        "make all earlier packet pointers invalid.",
        "Read the pointers again after the helper, and check them again:\n"
        "    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;\n"
        "    if (data + sizeof(struct ethhdr) > data_end)\n        return XDP_PASS;",
        origin=r"=pkt|pkt_end",
    ),
    _entry(
        "untrusted-task",
        r"(?P<reg>R\d+) invalid mem access '(?:scalar|inv)'",
        "the task is read through a pointer that is only a number to the verifier",
        "bpf_get_current_task returns the address as a number, not as a pointer with a type.",
        "Take the typed pointer instead (Linux 5.11):\n    struct task_struct *task = bpf_get_current_task_btf();",
        "Or keep the number and read through it:\n    pid_t pid = BPF_CORE_READ(task, pid);",
        origin=r"bpf_get_current_task#",
    ),
    _entry(
        "untrusted-pointer",
        r"(?P<reg>R\d+) invalid mem access '(?:scalar|inv)'",
        "memory is read through a value that the verifier does not know to be a pointer",
        "Addresses that come from the context of a tracepoint, kprobe or uprobe, or out of other memory, are plain "
        "numbers to the verifier and may point anywhere.",
        "Kernel memory: BPF_CORE_READ follows any number of pointers:\n    u32 x = BPF_CORE_READ(pointer, field);\n"
        "or bpf_probe_read_kernel(&copy, sizeof(copy), pointer).",
        "User memory (arguments of system calls, uprobes): bpf_probe_read_user or bpf_probe_read_user_str.",
    ),
    _entry(
        "untrusted-trusted-arg",
        r"(?P<reg>R\d+) must be (?:referenced or trusted|a rcu pointer|referenced)",
        "a kernel function wants a pointer whose object is known to live",
        "Pointers found by walking from structure to structure may be freed meanwhile.",
        "Pass the argument of the tp_btf or fentry program itself, or what bpf_get_current_task_btf or an acquiring "
        "kernel function returned; fields of RCU objects only between bpf_rcu_read_lock() and bpf_rcu_read_unlock().",
    ),
    # Sizes and bounds.
    _entry(
        "packet-bounds",
        r"invalid access to packet, off=(?P<off>-?\d+) size=(?P<size>\d+), (?P<reg>R\d+)\(.*?r=(?P<range>\d+)\)",
        "the packet is accessed without a check that it is long enough ($range bytes are checked so far)",
        "A packet may end anywhere; every access has to be behind a comparison with data_end.",
        "Compare before reading, with the number of bytes that are read:\n"
        "    struct ethhdr *eth = data;\n    if ((void *)(eth + 1) > data_end)\n        return XDP_PASS;",
        "With an offset that varies, bound it first (`n &= 0x3f`), then compare the very pointer that is read.",
    ),
    _entry(
        "map-value-bounds",
        r"invalid access to map value, value_size=(?P<value>\d+) off=(?P<off>-?\d+) size=(?P<size>\d+)",
        "the access may reach byte $end of a map value (or of global variables) of $value bytes",
        "An index has to stay inside the value (or the global array) whatever the data are.",
        "Bound the index before it is used. For a power of two a mask suffices:\n"
        "    index &= SIZE - 1;\nelse compare an unsigned index:\n    if (index >= SIZE)\n        return 0;",
    ),
    _entry(
        "memory-bounds",
        r"invalid access to (?:memory|mem|buffer|key).*?(?:mem_size|key_size)=(?P<value>\d+).*?off=(?P<off>-?\d+)"
        r" size=(?P<size>\d+)",
        "the access may reach byte $end of memory of $value bytes",
        "The record is only as long as it was reserved.",
        "Reserve the size of the struct that is written:\n"
        "    struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);",
    ),
    _entry(
        "unbounded-index",
        r"math between (?P<kind>\w+) pointer and register with unbounded (?:min|max) value|"
        r"value (?P<number>-?\d+) makes (?P<what>\w+) pointer be out of bounds",
        "a pointer is moved by a number that has no bound",
        "The verifier must know that the result is inside the memory. A signed number also needs a lower bound.",
        "Use an unsigned index and bound it:\n    u32 index = ...;\n    if (index >= SIZE)\n        return 0;\n"
        "or `index &= SIZE - 1` for a power of two.",
        'If the check is there already, clang may have moved it to another register: put `asm volatile("" : '
        '"+r"(index));` behind the check, or use a mask.',
    ),
    _entry(
        "negative-size",
        r"(?P<reg>R\d+) min value is (?:negative|outside of the allowed memory range)"
        r"(?:, either use unsigned or 'var &= const')?",
        "the size passed to a helper may be negative",
        "Return values and lengths are signed, and a negative one would be a huge size.",
        "Check both ends and keep the size unsigned:\n"
        "    if (n <= 0 || n > sizeof(buffer))\n        return 0;\n    u32 size = n;",
        "or mask it, for a buffer whose size is a power of two:\n    size &= sizeof(buffer) - 1;",
    ),
    _entry(
        "unbounded-memory",
        r"(?P<reg>R\d+) unbounded memory access",
        "the size passed to a helper has no upper bound",
        "The helper would write behind the end of the buffer.",
        "Bound it by the buffer's size:\n    if (size > sizeof(buffer))\n        size = sizeof(buffer);",
        "or mask it:\n    size &= sizeof(buffer) - 1;",
    ),
    _entry(
        "zero-size",
        r"(?P<reg>R\d+) invalid zero-sized (?:read|access|write)",
        "the size passed to a helper may be 0",
        "This helper wants at least one byte.",
        "Skip the call for 0:\n    if (!size)\n        return 0;",
    ),
    _entry(
        "constant-size",
        r"(?P<reg>R\d+) is not a known constant|R\d+ must be a (?:known )?constant",
        "an argument has to be a constant and varies",
        "bpf_ringbuf_reserve, among others, needs a size that is known when the program is loaded.",
        "Reserve the largest size, or build the record elsewhere (in a per-CPU array) and send its first bytes:\n"
        "    bpf_ringbuf_output(&events, record, size, 0);",
    ),
    # The stack.
    _entry(
        "stack-variable",
        r"invalid (?:unbounded )?variable-offset (?:(?:indirect )?(?:read|write|access)) (?:from|to) stack (?P<reg>R\d+)"
        r"|variable (?:offset )?stack access prohibited|variable-offset stack read R\d+",
        "an array on the stack is indexed by a number that may leave it",
        "The verifier must know which bytes of the stack are touched.",
        "Bound the index by the array's length:\n    if (index >= ARRAY_SIZE)\n        return 0;\n"
        "or `index &= ARRAY_SIZE - 1` for a power of two; larger arrays belong in a map.",
    ),
    _entry(
        "stack-uninitialised",
        r"invalid (?:indirect )?read from stack (?:(?P<reg>R\d+) )?off ?=?(?P<off>-?\d+)",
        "bytes of the stack are read, or given to a helper, that were never written",
        "Padding between struct members counts too, and so does a pointer where a number is wanted.",
        "Clear the variable where it is declared; memset clears the padding too:\n"
        "    struct key key;\n    __builtin_memset(&key, 0, sizeof(key));",
    ),
    _entry(
        "stack-bounds",
        r"invalid write to stack (?P<reg>R\d+) off=(?P<off>-?\d+) size=(?P<size>\d+)"
        r"|invalid stack type (?P<reg2>R\d+) off=(?P<off2>-?\d+) access_size=(?P<size2>\d+)",
        "$size bytes at stack offset $off are more than there is room for",
        "The size given is larger than the variable, or the stack's 512 bytes are used up.",
        "Give the size of the variable that is written:\n    bpf_get_current_comm(&comm, sizeof(comm));\n"
        "With a variable size, bound it by sizeof(buffer) first.",
    ),
    _entry(
        "stack-depth",
        r"combined stack size of (?P<calls>\d+) calls is (?P<depth>\d+)\. Too large"
        r"|(?P<mix>tail_calls are not allowed when call stack of previous frames is (?P<depth2>\d+) bytes)",
        "the functions called from one another need more stack than there is",
        "All frames of one chain of calls share 512 bytes (256 where there is a tail call below).",
        "Put large variables in a per-CPU array of one entry:\n"
        "    struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);\n"
        '             __type(key, u32); __type(value, struct scratch); } scratch SEC(".maps");',
        "Or let small functions be inlined: static __always_inline.",
    ),
    _entry(
        "call-depth",
        r"the call stack of (?P<frames>\d+) frames is too deep|recursive call from|recursion is not allowed",
        "functions call each other more than 8 deep",
        "A function that calls itself counts as endlessly deep.",
        "Write the recursion as a loop with a bound, e.g. bpf_loop() (Linux 5.17), or inline the small functions: "
        "static __always_inline.",
    ),
    _entry(
        "spill-size",
        r"invalid size of register (?:fill|spill)|corrupted spill memory|attempt to corrupt spilled pointer",
        "a pointer kept on the stack is read or overwritten in part",
        "The verifier follows a pointer through the stack only as 8 whole bytes.",
        "Do not mix a pointer and smaller fields in one union or through a cast; give the pointer a variable of its own.",
    ),
    # Registers.
    _entry(
        "no-return-value",
        r"^(?P<reg>R0) !read_ok",
        "the program returns without a return value, or uses a variable that was never set",
        "Every path has to set what it returns.",
        "End each path with a return:\n    return 0;",
    ),
    _entry(
        "uninitialised",
        r"^(?P<reg>R\d+) !read_ok",
        "a variable is used before it was set",
        "After a call only the return value is left in the argument registers R1 to R5; a variable declared without a "
        "value holds nothing.",
        "Initialise it where it is declared:\n    u64 value = 0;",
    ),
    _entry(
        "frame-pointer",
        r"frame pointer is read only",
        "the frame pointer R10 is written",
        "R10 is the verifier's own.",
        "Remove the inline assembly that writes r10.",
    ),
    # Return values.
    _entry(
        "callback-return",
        r"At callback return the register R0 (?:has|is)",
        "a callback returns something else than 0 or 1",
        "0 asks for the next iteration, 1 stops.",
        "Return 0 or 1 from the callback on every path.",
    ),
    _entry(
        "return-range",
        r"At (?:program|subprogram) exit the register R0 (?:has|is).*?should have been in (?P<range>[\[(][^\])]*[\])])",
        "the return value is not in the range $range that this kind of program may return",
        "For cgroup programs 1 allows and 0 denies; an error code is set with bpf_set_retval().",
        "Return a constant of the range on every path:\n    return 1;",
    ),
    _entry(
        "return-unknown",
        r"At (?:program|subprogram) exit the register R0 is not a known value",
        "the return value is not a number",
        "This kind of program has to return a number that the verifier can bound.",
        "Return a constant:\n    return 1;",
    ),
    # Pointers as numbers.
    _entry(
        "leak",
        r"^(?P<reg>R\d+) leaks addr (?:as|into) (?P<target>[\w ]+)",
        "a kernel address would leave the program ($target)",
        "Without CAP_PERFMON a program must not show kernel addresses.",
        "Store the value that is pointed to, not the pointer.",
        "If an address is wanted, grant CAP_PERFMON (or run as root).",
    ),
    _entry(
        "pointer-comparison",
        r"(?P<reg>R\d+) pointer comparison prohibited",
        "a pointer is compared with a number",
        "Without CAP_PERFMON pointers may only be compared with NULL and packet pointers with data_end.",
        "Compare the value pointed to, or grant CAP_PERFMON (or run as root).",
    ),
    _entry(
        "pointer-arithmetic",
        r"(?P<reg>R\d+) (?:32-bit )?pointer (?:arithmetic|[-+*/&|^]+= pointer)"
        r"|bitwise operator \S+ on pointer|pointer arithmetic on \S+ prohibited",
        "a pointer is used in arithmetic that would make it unknown",
        "Only adding and subtracting numbers keeps a pointer a pointer.",
        "Work on a copy in a u64 where a number is wanted (as root), or index the memory: array[i].",
    ),
    _entry(
        "misaligned",
        r"misaligned (?P<what>\w+(?: \w+)?) access off (?P<off>.+?) size (?P<size>\d+)",
        "$size bytes are accessed at an address that is not a multiple of $size",
        "The stack, the context and (on some machines) packets need aligned access.",
        "Access packed fields by bytes, or copy them:\n    __builtin_memcpy(&value, pointer, sizeof(value));",
    ),
    # Context.
    _entry(
        "argument-count",
        r"func '(?P<function>\w+)' doesn't have (?P<number>\d+)-th argument",
        "$function has fewer arguments than the program takes",
        "BPF_PROG lists the arguments of the traced function or tracepoint, in their order; fexit has the return value "
        "behind them.",
        "Remove the surplus argument; `%bpf find $function` shows what it has.",
    ),
    _entry(
        "context-variable",
        r"variable ctx access|dereference of modified ctx ptr",
        "the context is read at an offset that varies",
        "Each field of the context has a fixed offset.",
        "Read the field by name, or copy ctx->args with constant indexes.",
    ),
    _entry(
        "context-access",
        r"invalid bpf_context access off=(?P<off>-?\d+) size=(?P<size>\d+)",
        "offset $off ($size bytes) of the context must not be accessed this way",
        "Each program type may read some fields of its context, in their own size, and write very few.",
        'Use the context type of the section (SEC("xdp"): struct xdp_md, SEC("tc"): struct __sk_buff, tracepoints: '
        "struct trace_event_raw_<name>) and its named fields; `%bpf struct NAME` shows them.",
    ),
    _entry(
        "beyond-struct",
        r"access beyond (?:the end of )?(?:struct|member|array)? ?(?P<struct>\w+).*off (?P<off>\d+)",
        "the read goes beyond the end of struct $struct",
        "A pointer of a known type may be followed inside its struct only.",
        "Use the field's name; for memory behind it use bpf_probe_read_kernel.",
    ),
    _entry(
        "read-only",
        r"only read is supported|write into (?:map|memory) forbidden|cannot write into (?P<what>\w+)"
        r"|(?P<reg>R\d+) cannot write into (?P<what2>\w+)",
        "memory is written that may only be read",
        "Kernel structures, .rodata (const volatile variables), read-only maps and the packets of some program types "
        "cannot be written.",
        "Keep results in a map, a ring buffer or a global variable without const.",
    ),
    # Loops and size.
    _entry(
        "endless-loop",
        r"infinite loop detected at insn (?P<insn>\d+)|back-edge from insn (?P<insn2>\d+) to \d+",
        "the loop may never end",
        "The verifier follows a loop until it sees it end; one whose end depends on data it does not know never does.",
        "Give it a constant bound:\n    for (int i = 0; i < 64; i++) {\n        if (done)\n            break;\n    }",
        "More turns: bpf_loop(n, callback, &context, 0) (Linux 5.17), or bpf_for(i, 0, n) (6.4).",
    ),
    _entry(
        "too-large",
        r"BPF program is too large\. Processed \d+ insn|processed 1000001 insns|sequence of \d+ jumps is too complex",
        "the verifier gave up after a million instructions$loop",
        "It walks through every turn of a loop and through every combination of branches.",
        "Fewer turns, or let the kernel run the loop: bpf_loop(n, callback, &context, 0) (Linux 5.17) checks the "
        "callback once.",
        "Split branches off into functions that are checked on their own: a non-static __noinline function.",
    ),
    _entry(
        "too-many-instructions",
        r"BPF program too large|Argument list too long|too many (?:subprograms|different)",
        "the program has too many instructions$loop",
        "A program may have a million instructions.",
        "Do not unroll loops; split the program with tail calls.",
    ),
    _entry(
        "unreachable",
        r"unreachable insn (?P<insn>\d+)",
        "an instruction can never be reached",
        "clang removes such code; it comes from inline assembly, or from undefined behaviour that clang cut short.",
        "Look for a division by zero, a missing return, or an array index out of bounds in constant code.",
    ),
    _entry(
        "no-exit",
        r"last insn is not an exit or jmp|jump out of range from insn (?P<insn>\d+)|no return in subprog",
        "a function does not end with a return",
        "The function falls off its end: clang saw undefined behaviour (for example an endless loop without effect) and "
        "left the rest out, or inline assembly jumps away.",
        "Make every path of the function return:\n    return 0;",
    ),
    _entry(
        "division",
        r"div(?:ision)? by zero|invalid shift (?P<shift>-?\d+)|BPF_DIV uses reserved fields",
        "a constant division by zero or a shift wider than the number",
        "A division by a variable that is 0 gives 0; by the constant 0 it is refused.",
        "Correct the constant.",
    ),
    # Helpers and kernel functions.
    _entry(
        "gpl",
        r"cannot call GPL[- ](?:restricted|only) function|needs GPL|GPL-compatible|kernel function from non-GPL",
        "a helper is for programs under the GPL only, and this program's licence is another",
        'The object\'s section "license" does not name a licence compatible with the GPL.',
        'Declare it, if that is the licence of your code:\n    char LICENSE[] SEC("license") = "GPL";',
    ),
    _entry(
        "helper-unavailable",
        r"program of this type cannot use helper (?P<helper>\w+)|unknown func (?P<helper2>\w+)#(?P<number>\d+)",
        "helper $helper cannot be called from a program of section $section",
        "Each program type has its own set of helpers.$offered",
        "Move the call to a program of another type and hand the value over in a map.",
    ),
    _entry(
        "core-relocation",
        r"failed to resolve CO-RE relocation <(?P<kind>\w+)> \[\d+\] (?P<what>(?:struct|union|enum|typedef)? ?[\w.:]+)"
        r"|invalid func unknown#195896080|<invalid CO-RE relocation>",
        "this kernel does not have $what",
        "The program was compiled for a field, type or value that the running kernel's types (BTF) lack.",
        "Look at the type as this kernel has it: `%bpf struct NAME`.",
        "Code for several kernels asks first:\n    if (bpf_core_field_exists(task->field)) ...",
    ),
    _entry(
        "helper-unknown",
        r"invalid func unknown#(?P<number>\d+)|call unknown#(?P<number2>\d+)",
        "helper number $number does not exist on this kernel",
        "The helper is newer than this kernel, or what is called is not a helper.",
        "`%bpf find bpf_*` lists the helpers that exist.",
    ),
    _entry(
        "sleepable",
        r"helper call might sleep in a non-sleepable prog|program must be sleepable to call sleepable kfunc"
        r"|(?:sleepable|might_sleep).*non-sleepable",
        "a helper that may sleep is called from a program that must not",
        "bpf_copy_from_user and others wait for memory to be brought in.",
        "Use the variant that does not wait: bpf_probe_read_user or bpf_probe_read_user_str.",
        'Or make the program sleepable, where its kind can be: SEC("uprobe.s/..."), SEC("fentry.s/..."), '
        'SEC("lsm.s/..."), SEC("iter.s/...").',
    ),
    _entry(
        "d-path",
        r"helper call is not allowed in probe",
        "the helper may not be called at this hook",
        "bpf_d_path takes locks, so the kernel allows it in a list of functions and in iterators only.",
        'Walk the dentries with BPF_CORE_READ (d_name.name, d_parent), or list open files with SEC("iter/task_file").',
    ),
    _entry(
        "map-helper",
        r"cannot pass map_type (?P<type>\d+) into func (?P<helper>\w+)",
        "$helper cannot be used with a map of type $maptype",
        "Each map type has its own helpers.",
        "Ring buffers: bpf_ringbuf_reserve/_submit/_output; perf event arrays: bpf_perf_event_output; queues and "
        "stacks: bpf_map_push_elem/_pop_elem; hashes and arrays: bpf_map_lookup_elem/_update_elem.",
    ),
    _entry(
        "argument-type",
        r"(?P<reg>R\d+) type=(?P<got>\w+) expected=(?P<want>[\w, ]+)",
        "argument $argument of $callee has to be $wanted",
        "Keys and values are passed by address; maps by their own name.",
        "Put the value in a variable and pass its address:\n    u32 key = 0;\n    bpf_map_lookup_elem(&map, &key);",
    ),
    _entry(
        "kfunc-missing",
        r"extern \(func ksym\) '(?P<function>[^']+)': not found in kernel",
        "kernel function $function does not exist on this kernel",
        "Kernel functions for BPF (kfuncs) come and go with kernel versions.",
        '`%bpf find "bpf_*"` lists those of this kernel.',
        "Declare it `__ksym __weak` and test it with bpf_ksym_exists() to run without it.",
    ),
    _entry(
        "kfunc-forbidden",
        r"calling kernel function (?P<function>\w+) is not allowed|metadata kfuncs require device-bound program",
        "this kernel function cannot be called from a program of section $section",
        "Each kernel function (kfunc) is registered for some program types.",
        'Call it from a program type that has it (most task and cgroup functions: SEC("tp_btf/..."), '
        'SEC("fentry/..."), SEC("syscall"), struct_ops).',
    ),
    _entry(
        "dynptr",
        r"Expected (?:an? )?(?:un)?initialized (?:\w+ )?dynptr|dynptr has to be|cannot pass in dynptr|[Dd]ynptr",
        "a dynptr is not in the state that the helper wants",
        "A dynptr is made once by bpf_ringbuf_reserve_dynptr, bpf_dynptr_from_mem ..., lives on the stack, and is not "
        "copied or overwritten.",
        "Make it before use, and release a reserved one on every path, also when reserving failed:\n"
        "    bpf_ringbuf_discard_dynptr(&ptr, 0);",
    ),
    # References and locks.
    _entry(
        "dynptr-leak",
        r"Unreleased reference id=\d+ alloc_insn=(?P<alloc>\d+)",
        "a ring buffer dynptr is reserved and not submitted on this path ($made)",
        "It has to be given back on every path, even when the reservation failed.",
        "Before each return that follows the reservation:\n    bpf_ringbuf_submit_dynptr(&ptr, 0);\n"
        "or, to drop it:\n    bpf_ringbuf_discard_dynptr(&ptr, 0);",
        origin=r"bpf_ringbuf_reserve_dynptr",
    ),
    _entry(
        "ringbuf-leak",
        r"Unreleased reference id=\d+ alloc_insn=(?P<alloc>\d+)",
        "a ring buffer record is reserved and not submitted on this path ($made)",
        "A record that is neither submitted nor discarded would block the buffer for good.",
        "Before each return that follows the reservation:\n    bpf_ringbuf_submit(event, 0);\n"
        "or, to drop it:\n    bpf_ringbuf_discard(event, 0);",
        origin=r"bpf_ringbuf_reserve",
    ),
    _entry(
        "reference-leak",
        r"Unreleased reference id=\d+ alloc_insn=(?P<alloc>\d+)",
        "something acquired is not released on this path ($made)",
        "Sockets, tasks, iterators and other references must be given back before the program ends.",
        "Call the releasing counterpart on every path: bpf_sk_release, bpf_task_release, bpf_cgroup_release, "
        "bpf_iter_*_destroy, bpf_kptr_xchg into a map ...",
    ),
    _entry(
        "rcu-lock",
        r"inside bpf_rcu_read_lock-ed region|rcu_read_lock is missing|unmatched rcu read unlock",
        "bpf_rcu_read_lock and bpf_rcu_read_unlock do not pair on this path",
        "Every path that locks has to unlock before it returns.",
        "Before each return behind the lock:\n    bpf_rcu_read_unlock();",
    ),
    _entry(
        "spin-lock-missing-unlock",
        r"inside bpf_spin_lock-ed region|bpf_spin_unlock is missing|cannot be used inside .*lock",
        "the program ends while it holds a bpf_spin_lock",
        "Every path that locks has to unlock before it returns.",
        "Before each return behind the lock:\n    bpf_spin_unlock(&value->lock);",
    ),
    _entry(
        "spin-lock-call",
        r"function calls are not allowed while holding a lock",
        "a function is called between bpf_spin_lock and bpf_spin_unlock",
        "While the lock is held only loads, stores and arithmetic are allowed.",
        "Call it before taking the lock and keep the result in a variable:\n"
        "    u64 now = bpf_ktime_get_ns();\n    bpf_spin_lock(&value->lock);",
    ),
    _entry(
        "spin-lock-tracing",
        r"tracing progs cannot use bpf_(?P<what>spin_lock|timer|list_head|rb_root)",
        "tracing programs cannot use maps with a bpf_$what",
        "A probe may hit while the lock is held.",
        "Use an atomic addition, or a per-CPU map:\n    __sync_fetch_and_add(&value->count, 1);",
    ),
    _entry(
        "spin-lock-misuse",
        r"bpf_spin_lock|bpf_res_spin_lock",
        "a bpf_spin_lock is used in a way that is not allowed",
        "The lock is a member of a map value, is taken one at a time, and is only touched by bpf_spin_lock and "
        "bpf_spin_unlock.",
        "Copy or write the value's other members one by one, not the whole struct.",
    ),
    _entry(
        "kptr",
        r"store to referenced kptr disallowed|kptr access|invalid kptr",
        "a kernel pointer in a map is accessed directly",
        "A __kptr member owns a reference.",
        "Exchange it, and release what came out:\n    old = bpf_kptr_xchg(&value->ptr, new);",
    ),
    _entry(
        "atomic-target",
        r"BPF_(?:ATOMIC|XADD) stores into (?P<reg>R\d+) (?P<what>\w+) is not allowed",
        "an atomic operation on $what memory",
        "Atomic operations work on map values, global variables and the stack.",
        "Count in a map value or a global variable.",
    ),
    _entry(
        "tail-call",
        r"tail_calls? (?:are|is|not) ?(?:not )?allowed|bpf_tail_call|mixing of tail_calls and bpf-to-bpf calls",
        "a tail call is not possible here",
        "Tail calls need a program array, the same program type on both sides, and do not mix with functions of the "
        "object on some machines and kernels (before 5.10).",
        "Call the function directly, or inline the functions: static __always_inline.",
    ),
    # Objects and hooks.
    _entry(
        "no-target",
        r"failed to find kernel BTF type ID of '(?P<function>[^']+)'|attach_btf_id .* not found",
        "this kernel has nothing called $function to attach $section to",
        "The function or tracepoint is not in the running kernel's types (BTF); it may be inlined, renamed or absent.",
        '`%bpf find "*$function*"` lists what is there.',
    ),
    _entry(
        "btf",
        r"BEGIN BTF LOAD LOG|Error loading \.BTF into kernel",
        "the kernel refused the object's type information (BTF)",
        "A compiler newer than the kernel may write kinds of types that the kernel does not know; `naked` functions "
        "with arguments are refused too.",
        "The closing lines of the log name the type.",
    ),
    _entry(
        "global-argument",
        r"arg#\d+ (?:reference type|pointer type|type|to)|Caller passes invalid args into func#\d+",
        "an argument of a global function has a type that cannot be checked",
        "A non-static function is checked on its own, from the types of its arguments.",
        "Make it static, or give its arguments simple types (numbers, pointers to structs of known size).",
    ),
    _entry(
        "wrong-memory",
        r"(?P<reg>R\d+) invalid mem access '(?P<kind>[^']+)'",
        "memory is accessed through $reg, which does not allow it ($kind)",
        "Maps, functions and data_end are not memory that can be read.",
        "Use the helper that belongs to it, or read the address with bpf_probe_read_kernel.",
    ),
)
