"""What works on which kernel: cases of loading and tracing, each in a guest of each kernel."""
