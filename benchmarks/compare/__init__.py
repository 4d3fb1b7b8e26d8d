"""Compare taskd with other servers of the same six endpoints: `python -m benchmarks.compare`."""
