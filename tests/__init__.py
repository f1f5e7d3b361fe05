"""The tests. `tests/conftest.py` has what all of them share."""

import sys

# pytest rewrites the assertions of each module, which takes it 7 s for all of them, in each process and each run, unless it may
# keep what it has made of them. Some machines forbid it for every program (PYTHONDONTWRITEBYTECODE).
sys.dont_write_bytecode = False
