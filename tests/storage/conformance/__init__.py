"""What every engine promises, in the words of its protocols: each test runs over each engine in `engines.py`."""
