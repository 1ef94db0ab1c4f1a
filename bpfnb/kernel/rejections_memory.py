"""The catalogue's entries on memory: pointers, bounds, the stack, registers, the context."""

from __future__ import annotations

from bpfnb.kernel.rejection import Rejection, entry

__all__ = ["ENTRIES"]

ENTRIES: tuple[Rejection, ...] = (
    # Pointers that may be NULL, or are none.
    entry(
        "null-map-value",
        r"(?P<reg>R\d+) (?:invalid mem access '(?:map_value_or_null|map_value_or_null_)'"
        r"|type=map_value_or_null expected=)",
        "a map look-up's result is used without a check for NULL",
        "bpf_map_lookup_elem returns NULL when the map has no such key.",
        "Check the pointer on every path that leads here:\n    if (!value)\n        return 0;",
    ),
    entry(
        "null-ringbuf",
        r"(?P<reg>R\d+) (?:invalid mem access '|type=)(?:(?:ringbuf_mem|alloc_mem|mem)_or_null|scalar|inv)",
        "the pointer from bpf_ringbuf_reserve is used without a check for NULL",
        "bpf_ringbuf_reserve returns NULL when the buffer is full; that is when events are lost.",
        "Check it before the first use, also before submitting:\n    if (!event)\n        return 0;",
        origin=r"bpf_ringbuf_reserve.* now=(?:0$|\w+_or_null)",
    ),
    entry(
        "null-known",
        r"(?P<reg>R\d+) invalid mem access '(?:scalar|inv)'",
        "a pointer is used that is NULL on this path",
        "The path that leads here is the one where the check found NULL.",
        "Return on that path before the pointer is used:\n    if (!pointer)\n        return 0;",
        origin=r" now=0$",
    ),
    entry(
        "null-pointer",
        r"(?P<reg>R\d+) (?:invalid mem access '|type=)[a-z_]*or_null|Possibly NULL pointer passed to",
        "a pointer that may be NULL is used without a check",
        "An iterator's object is NULL in its last call, arguments of a global function may be NULL, and so may many "
        "pointers that helpers and kernel functions return.",
        "Check it first:\n    if (!pointer)\n        return 0;",
    ),
    entry(
        "null-arithmetic",
        r"(?P<reg>R\d+) pointer arithmetic on [a-z_]*or_null\S* prohibited, null-check it first",
        "a pointer that may be NULL is moved before the check for NULL",
        "After the addition NULL is no longer NULL, so the check has to come first.",
        "Move the check before the arithmetic:\n    if (!pointer)\n        return 0;",
    ),
    entry(
        "use-after-release",
        r"(?P<reg>R\d+) (?:invalid mem access '(?:scalar|inv)'|type=(?:scalar|inv) expected=(?:ringbuf|alloc)_mem)",
        "a ring buffer record is used after it was submitted or discarded",
        "bpf_ringbuf_submit and bpf_ringbuf_discard give the record away; the pointer is dead afterwards.",
        "Move bpf_ringbuf_submit (or _discard) behind the last use, and call it once on every path.",
        origin=r"bpf_ringbuf_reserve",
    ),
    entry(
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
    entry(
        "untrusted-task",
        r"(?P<reg>R\d+) invalid mem access '(?:scalar|inv)'",
        "the task is read through a pointer that is only a number to the verifier",
        "bpf_get_current_task returns the address as a number, not as a pointer with a type.",
        "Take the typed pointer instead (Linux 5.11):\n    struct task_struct *task = bpf_get_current_task_btf();",
        "Or keep the number and read through it:\n    pid_t pid = BPF_CORE_READ(task, pid);",
        origin=r"bpf_get_current_task#",
    ),
    entry(
        "untrusted-pointer",
        r"(?P<reg>R\d+) invalid mem access '(?:scalar|inv)'",
        "memory is read through a value that the verifier does not know to be a pointer",
        "Addresses that come from the context of a tracepoint, kprobe or uprobe, or out of other memory, are plain "
        "numbers to the verifier and may point anywhere.",
        "Kernel memory: BPF_CORE_READ follows any number of pointers:\n    u32 x = BPF_CORE_READ(pointer, field);\n"
        "or bpf_probe_read_kernel(&copy, sizeof(copy), pointer).",
        "User memory (arguments of system calls, uprobes): bpf_probe_read_user or bpf_probe_read_user_str.",
    ),
    entry(
        "untrusted-trusted-arg",
        r"(?P<reg>R\d+) must be (?:referenced or trusted|a rcu pointer|referenced)",
        "a kernel function wants a pointer whose object is known to live",
        "Pointers found by walking from structure to structure may be freed meanwhile.",
        "Pass the argument of the tp_btf or fentry program itself, or what bpf_get_current_task_btf or an acquiring "
        "kernel function returned; fields of RCU objects only between bpf_rcu_read_lock() and bpf_rcu_read_unlock().",
    ),
    # Sizes and bounds.
    entry(
        "packet-bounds",
        r"invalid access to packet, off=(?P<off>-?\d+) size=(?P<size>\d+), (?P<reg>R\d+)\(.*?r=(?P<range>\d+)\)",
        "the packet is accessed without a check that it is long enough ($range bytes are checked so far)",
        "A packet may end anywhere; every access has to be behind a comparison with data_end.",
        "Compare before reading, with the number of bytes that are read:\n"
        "    struct ethhdr *eth = data;\n    if ((void *)(eth + 1) > data_end)\n        return XDP_PASS;",
        "With an offset that varies, bound it first (`n &= 0x3f`), then compare the very pointer that is read.",
    ),
    entry(
        "map-value-bounds",
        r"invalid access to map value, value_size=(?P<value>\d+) off=(?P<off>-?\d+) size=(?P<size>\d+)",
        "the access may reach byte $end of a map value (or of global variables) of $value bytes",
        "An index has to stay inside the value (or the global array) whatever the data are.",
        "Bound the index before it is used. For a power of two a mask suffices:\n"
        "    index &= SIZE - 1;\nelse compare an unsigned index:\n    if (index >= SIZE)\n        return 0;",
    ),
    entry(
        "memory-bounds",
        r"invalid access to (?:memory|mem|buffer|key).*?(?:mem_size|key_size)=(?P<value>\d+).*?off=(?P<off>-?\d+)"
        r" size=(?P<size>\d+)",
        "the access may reach byte $end of memory of $value bytes",
        "The record is only as long as it was reserved.",
        "Reserve the size of the struct that is written:\n"
        "    struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);",
    ),
    entry(
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
    entry(
        "negative-size",
        r"(?P<reg>R\d+) min value is (?:negative|outside of the allowed memory range)"
        r"(?:, either use unsigned or 'var &= const')?",
        "the size passed to a helper may be negative",
        "Return values and lengths are signed, and a negative one would be a huge size.",
        "Check both ends and keep the size unsigned:\n"
        "    if (n <= 0 || n > sizeof(buffer))\n        return 0;\n    u32 size = n;",
        "or mask it, for a buffer whose size is a power of two:\n    size &= sizeof(buffer) - 1;",
    ),
    entry(
        "unbounded-memory",
        r"(?P<reg>R\d+) unbounded memory access",
        "the size passed to a helper has no upper bound",
        "The helper would write behind the end of the buffer.",
        "Bound it by the buffer's size:\n    if (size > sizeof(buffer))\n        size = sizeof(buffer);",
        "or mask it:\n    size &= sizeof(buffer) - 1;",
    ),
    entry(
        "zero-size",
        r"(?P<reg>R\d+) invalid zero-sized (?:read|access|write)",
        "the size passed to a helper may be 0",
        "This helper wants at least one byte.",
        "Skip the call for 0:\n    if (!size)\n        return 0;",
    ),
    entry(
        "constant-size",
        r"(?P<reg>R\d+) is not a known constant|R\d+ must be a (?:known )?constant",
        "an argument has to be a constant and varies",
        "bpf_ringbuf_reserve, among others, needs a size that is known when the program is loaded.",
        "Reserve the largest size, or build the record elsewhere (in a per-CPU array) and send its first bytes:\n"
        "    bpf_ringbuf_output(&events, record, size, 0);",
    ),
    # The stack.
    entry(
        "stack-variable",
        r"invalid (?:unbounded )?variable-offset (?:indirect )?(?:read|write|access) (?:from|to) stack (?P<reg>R\d+)"
        r"|variable (?:offset )?stack access prohibited|variable-offset stack read R\d+",
        "an array on the stack is indexed by a number that may leave it",
        "The verifier must know which bytes of the stack are touched.",
        "Bound the index by the array's length:\n    if (index >= ARRAY_SIZE)\n        return 0;\n"
        "or `index &= ARRAY_SIZE - 1` for a power of two; larger arrays belong in a map.",
    ),
    entry(
        "stack-uninitialised",
        r"invalid (?:indirect )?read from stack (?:(?P<reg>R\d+) )?off ?=?(?P<off>-?\d+)",
        "bytes of the stack are read, or given to a helper, that were never written",
        "Padding between struct members counts too, and so does a pointer where a number is wanted.",
        "Clear the variable where it is declared; memset clears the padding too:\n"
        "    struct key key;\n    __builtin_memset(&key, 0, sizeof(key));",
    ),
    entry(
        "stack-bounds",
        r"invalid write to stack (?P<reg>R\d+) off=(?P<off>-?\d+) size=(?P<size>\d+)"
        r"|invalid stack type (?P<reg2>R\d+) off=(?P<off2>-?\d+) access_size=(?P<size2>\d+)",
        "$size bytes at stack offset $off are more than there is room for",
        "The size given is larger than the variable, or the stack's 512 bytes are used up.",
        "Give the size of the variable that is written:\n    bpf_get_current_comm(&comm, sizeof(comm));\n"
        "With a variable size, bound it by sizeof(buffer) first.",
    ),
    entry(
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
    entry(
        "call-depth",
        r"the call stack of (?P<frames>\d+) frames is too deep|recursive call from|recursion is not allowed",
        "functions call each other more than 8 deep",
        "A function that calls itself counts as endlessly deep.",
        "Write the recursion as a loop with a bound, e.g. bpf_loop() (Linux 5.17), or inline the small functions: "
        "static __always_inline.",
    ),
    entry(
        "spill-size",
        r"invalid size of register (?:fill|spill)|corrupted spill memory|attempt to corrupt spilled pointer",
        "a pointer kept on the stack is read or overwritten in part",
        "The verifier follows a pointer through the stack only as 8 whole bytes.",
        "Do not mix a pointer and smaller fields in one union or by a cast; give the pointer a variable of its own.",
    ),
    # Registers.
    entry(
        "no-return-value",
        r"^(?P<reg>R0) !read_ok",
        "the program returns without a return value, or uses a variable that was never set",
        "Every path has to set what it returns.",
        "End each path with a return:\n    return 0;",
    ),
    entry(
        "uninitialised",
        r"^(?P<reg>R\d+) !read_ok",
        "a variable is used before it was set",
        "After a call only the return value is left in the argument registers R1 to R5; a variable declared without a "
        "value holds nothing.",
        "Initialise it where it is declared:\n    u64 value = 0;",
    ),
    entry(
        "frame-pointer",
        r"frame pointer is read only",
        "the frame pointer R10 is written",
        "R10 is the verifier's own.",
        "Remove the inline assembly that writes r10.",
    ),
    # Pointers as numbers.
    entry(
        "leak",
        r"^(?P<reg>R\d+) leaks addr (?:as|into) (?P<target>[\w ]+)",
        "a kernel address would leave the program ($target)",
        "Without CAP_PERFMON a program must not show kernel addresses.",
        "Store the value that is pointed to, not the pointer.",
        "If an address is wanted, grant CAP_PERFMON (or run as root).",
    ),
    entry(
        "pointer-comparison",
        r"(?P<reg>R\d+) pointer comparison prohibited",
        "a pointer is compared with a number",
        "Without CAP_PERFMON pointers may only be compared with NULL and packet pointers with data_end.",
        "Compare the value pointed to, or grant CAP_PERFMON (or run as root).",
    ),
    entry(
        "pointer-arithmetic",
        r"(?P<reg>R\d+) (?:32-bit )?pointer (?:arithmetic|[-+*/&|^]+= pointer)"
        r"|bitwise operator \S+ on pointer|pointer arithmetic on \S+ prohibited",
        "a pointer is used in arithmetic that would make it unknown",
        "Only adding and subtracting numbers keeps a pointer a pointer.",
        "Work on a copy in a u64 where a number is wanted (as root), or index the memory: array[i].",
    ),
    entry(
        "misaligned",
        r"misaligned (?P<what>\w+(?: \w+)?) access off (?P<off>.+?) size (?P<size>\d+)",
        "$size bytes are accessed at an address that is not a multiple of $size",
        "The stack, the context and (on some machines) packets need aligned access.",
        "Access packed fields by bytes, or copy them:\n    __builtin_memcpy(&value, pointer, sizeof(value));",
    ),
    # Context.
    entry(
        "argument-count",
        r"func '(?P<function>\w+)' doesn't have (?P<number>\d+)-th argument",
        "$function has fewer arguments than the program takes",
        "BPF_PROG lists the arguments of the traced function or tracepoint, in their order; fexit has the return value "
        "behind them.",
        "Remove the surplus argument; `%bpf find $function` shows what it has.",
    ),
    entry(
        "context-variable",
        r"variable ctx access|dereference of modified ctx ptr",
        "the context is read at an offset that varies",
        "Each field of the context has a fixed offset.",
        "Read the field by name, or copy ctx->args with constant indexes.",
    ),
    entry(
        "context-access",
        r"invalid bpf_context access off=(?P<off>-?\d+) size=(?P<size>\d+)",
        "offset $off ($size bytes) of the context must not be accessed this way",
        "Each program type may read some fields of its context, in their own size, and write very few.",
        'Use the context type of the section (SEC("xdp"): struct xdp_md, SEC("tc"): struct __sk_buff, tracepoints: '
        "struct trace_event_raw_<name>) and its named fields; `%bpf struct NAME` shows them.",
    ),
    entry(
        "beyond-struct",
        r"access beyond (?:the end of )?(?:struct|member|array)? ?(?P<struct>\w+).*off (?P<off>\d+)",
        "the read goes beyond the end of struct $struct",
        "A pointer of a known type may be followed inside its struct only.",
        "Use the field's name; for memory behind it use bpf_probe_read_kernel.",
    ),
    entry(
        "read-only",
        r"only read is supported|write into (?:map|memory) forbidden|cannot write into (?P<what>\w+)"
        r"|(?P<reg>R\d+) cannot write into (?P<what2>\w+)",
        "memory is written that may only be read",
        "Kernel structures, .rodata (const volatile variables), read-only maps and the packets of some program types "
        "cannot be written.",
        "Keep results in a map, a ring buffer or a global variable without const.",
    ),
    # Whatever else.
    entry(
        "wrong-memory",
        r"(?P<reg>R\d+) invalid mem access '(?P<kind>[^']+)'",
        "memory is accessed through $reg, which does not allow it ($kind)",
        "Maps, functions and data_end are not memory that can be read.",
        "Use the helper that belongs to it, or read the address with bpf_probe_read_kernel.",
    ),
)
