"""Parts of ``scripts/bench_methods.py``."""
