"""Disposable kernels: a Linux of any version under qemu, without root, as one more backend.

vm = bpfnb.vm.start("6.12")
io = bpfnb.load(source, on=vm)
vm.run("cat /etc/hosts")
vm.stop()
"""

from bpfnb.vm.channel import GuestGone
from bpfnb.vm.command import CommandError
from bpfnb.vm.machine import Command, Vm, get, machines, meant, start

__all__ = ["Command", "CommandError", "GuestGone", "Vm", "get", "machines", "meant", "start"]
