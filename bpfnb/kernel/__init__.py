"""The only part of bpfnb that talks to the kernel: load, attach, maps, buffers, statistics, features."""
