"""The machine: files, devices, threads, processes."""
