"""A Debian 12 for the tests of this folder, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..support import needs
from .container import TOOLS, debootstrap


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root that each machine is a copy of."""
    needs.root("a booted systemd")
    for tool in TOOLS:
        needs.program(tool)
    root = tmp_path_factory.mktemp("debian") / "root"
    debootstrap(root)
    return root
