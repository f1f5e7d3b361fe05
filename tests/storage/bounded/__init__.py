"""Each kind of transaction that `test_bounded` measures, by what it is for: a line a kind."""
