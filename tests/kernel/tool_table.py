"""Every tool of the package bpfcc-tools 0.26: what it needs, a command line that runs it briefly, and what comes out."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["OWN_TEST", "TABLE", "Row"]


class Row(NamedTuple):
    tool: str
    needs: str
    """"" for nothing beyond this kernel, "kprobes", or what else."""
    line: str
    out: str
    """A pattern in the output; the tool is interrupted when it comes."""


_OWN_TEST = """
    argdist bashreadline bpflist cobjnew exitsnoop funccount funclatency funcslower gethostlatency
    memleak netqtop profile pythonflow pythongc softirqs sslsniff stackcount syscount tcplife tcpstates threadsnoop
    tplist trace
"""
OWN_TEST = frozenset(_OWN_TEST.split())
"""Run with values that are checked, in tests of their own."""

_NO_KPROBES = "needs probes on kernel functions, and this kernel has no kprobes"
_NO_RUNTIME = "Failed to enable USDT probe|USDT failed to instrument"

_RUN = r"""
biolatpcts -i 1 vda                     | ^vda
bitesize                                | Tracing block I/O
biopattern 1 1                          | TIME +DISK +%RND
cobjnew {python} 1                      | NAME/TYPE
cpuunclaimed 1 1                        | Sampling run queues
funcinterval -d 1 c:getppid             | Detaching
hardirqs 1 1                            | HARDIRQ +TOTAL_usecs
pythoncalls {python} 1                  | METHOD +# CALLS
pythonstat -l tcl 1 1                   | PID +CMDLINE +METHOD/s
javastat 1 1                            | PID +CMDLINE +METHOD/s
nodestat 1 1                            | PID +CMDLINE +METHOD/s
perlstat 1 1                            | PID +CMDLINE +METHOD/s
phpstat 1 1                             | PID +CMDLINE +METHOD/s
rubystat 1 1                            | PID +CMDLINE +METHOD/s
tclstat 1 1                             | PID +CMDLINE +METHOD/s
ustat -l tcl 1 1                        | PID +CMDLINE +METHOD/s
reset-trace -v                          | Checking /sys/kernel/debug/tracing/uprobe_events
runqlat 1 1                             | usecs +: count +distribution
runqlen 1 1                             | runqlen +: count +distribution
runqslower 1                            | TIME +COMM +TID +LAT
hardirqs -C 1 1                         | HARDIRQ +TOTAL_count
tcpcong 1 1                             | Tracing tcp congestion control
tcpretrans                              | TIME +PID +IP LADDR:LPORT
ucalls -l none -S {python} 1            | METHOD +# CALLS
uflow -l python {python}                | CPU PID +TID +TIME
ugc -l python {python}                  | START +TIME \(us\) DESCRIPTION
uobjnew -l c {python} 1                 | NAME/TYPE
wakeuptime 1                            | Tracing blocked time
"""

_KPROBES = """
bindsnoop
biolatency 1 1
biosnoop
biotop -C 1 1
cachestat 1 1
capable
cpudist 1 1
dcsnoop
dcstat 1 1
deadlock {python}
dirtop -C -d / 1 1
execsnoop
ext4dist 1 1
filegone
filelife
fileslower
filetop -C 1 1
inject kmalloc (true)
killsnoop
klockstat -d 1
mdflush
mountsnoop
nfsdist 1 1
offcputime 1
offwaketime 1
oomkill
opensnoop -d 1
pidpersec
readahead -d 1
shmsnoop
slabratetop -C 1 1
sofdsnoop -d 1
solisten
statsnoop
syncsnoop
tcpaccept
tcpconnect
tcpconnlat
tcpdrop
tcprtt -d 1
tcpsubnet
tcpsynbl
tcptop -C 1 1
tcptracer
ttysnoop {tty}
vfscount 1
vfsstat 1 1
virtiostat 1 1
xfsdist 1 1
xfsslower
zfsdist 1 1
zfsslower
"""

# Tool, what it lacks here, and in which words that is said.
_OTHER = r"""
btrfsdist 1 1     | CONFIG_KALLSYMS_ALL      | no btrfs_file_operations in /proc/kallsyms
btrfsslower       | CONFIG_KALLSYMS_ALL      | no btrfs_file_operations in /proc/kallsyms
cachetop 1        | a terminal               | draws on a terminal, and its output does not go to one
compactsnoop      | an older kernel          | reads more arguments than raw tracepoint mm_compaction_begin has
criticalstat      | CONFIG_PREEMPT_TRACER    | required tracing events are not available
dbslower mysql    | a MySQL server           | \['pidof', 'mysqld'\]' returned non-zero exit status
dbstat mysql      | a MySQL server           | \['pidof', 'mysqld'\]' returned non-zero exit status
drsnoop -d 1      | CONFIG_KALLSYMS_ALL      | no vm_stat or vm_zone_stat in /proc/kallsyms
ext4slower        | CONFIG_KALLSYMS_ALL      | no ext4_file_operations in /proc/kallsyms
kvmexit 1         | an Intel host with KVM   | Failed to do precondition check|^Display kvm exit
llcstat 1         | hardware counters        | Failed to attach to a hardware event|Running for 1 seconds
mysqld_qslower {cat} | a MySQL server     | USDT failed to instrument|failed to enable probe|Failed to enable
nfsslower         | module nfs               | no member|incomplete definition of type 'struct nfs_commit_data'
ppchcalls -d 1    | POWER                    | no raw tracepoint hcall_exit|no tracepoint powerpc:hcall
uthreads {cat} | probes of that runtime   | Failed to enable USDT probe
javathreads {cat} | probes of that runtime | Failed to enable USDT probe
"""

_RUNTIMES = """
javacalls javaflow javagc javaobjnew nodegc perlcalls perlflow phpcalls phpflow rubycalls rubyflow rubygc rubyobjnew
tclcalls tclflow tclobjnew
"""


def _table() -> list[Row]:
    rows = []
    for text in _RUN.strip().splitlines():
        line, out = (part.strip() for part in text.split("|", 1))
        rows.append(Row(line.split()[0], "", line, out))
    rows += [Row(line.split()[0], "kprobes", line, _NO_KPROBES) for line in _KPROBES.strip().splitlines()]
    for text in _OTHER.strip().splitlines():
        line, needs, out = (part.strip() for part in text.split("|", 2))
        rows.append(Row(line.split()[0], needs, line, out))
    rows += [
        Row(tool, "probes of that runtime", f"{tool} {{cat}}", _NO_RUNTIME) for tool in _RUNTIMES.split()
    ]
    return rows


TABLE = _table()
