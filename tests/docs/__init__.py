"""Tests of the documents: the README, the guides, and the examples."""
