"""Files, devices, threads and processes."""
