"""Explore a running Linux kernel with eBPF from a notebook."""
