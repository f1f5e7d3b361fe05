"""Tests of `sending`."""
