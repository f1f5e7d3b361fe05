"""A daemon with a seeded bug in what it shares with others, run as a script: its first word names the bug in `sharing_bugs`."""

from __future__ import annotations

import importlib
import sys

import pytest

from almirant_webhooks import cli

if __name__ == "__main__":
    getattr(importlib.import_module("sharing_bugs"), sys.argv.pop(1))(pytest.MonkeyPatch())
    cli.main()
