"""The instrument: one command for each figure (`python -m tests.bench throughput`), and one for all of them."""
