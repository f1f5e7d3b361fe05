"""The command line as people use it, run inside the test's process from its entry point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from almirant_webhooks.cli import main


class Shell:
    """A directory with a configuration, where commands are run."""

    def __init__(self, folder: Path, database: Path | None = None) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        path = database or folder / "log.db"
        self.config.write_text(f'[database]\npath = "{path}"\n[egress]\nallow_localhost = true\n[admin]\nlisten = ""\n')

    def run(self, *words: str, code: int = 0, given: str | bytes = "") -> str:
        """Run a command; hold its exit code, and that no traceback was printed; return what it printed.

        Inside this process, from the entry point on: a hundred new processes would take minutes. But `serve` has one of its
        own: it takes its standard error over for good.
        """
        if words[0] == "serve":
            return self._serve(words, code)
        with CliRunner().isolation(input=given) as (out, err, _), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["almirant-webhooks", *words])
            patch.chdir(self.folder)
            with pytest.raises(SystemExit) as end:
                main()
            sys.stdout.flush()
            sys.stderr.flush()
            printed, said = out.getvalue().decode(), err.getvalue().decode()
        assert (end.value.code or 0) == code, (words, printed, said)
        assert "Traceback" not in said
        return printed if code == 0 else printed + said

    def _serve(self, words: tuple[str, ...], code: int) -> str:
        program = Path(sys.executable).with_name("almirant-webhooks")
        done = subprocess.run([program, *words], cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def ours(self, *words: str, code: int = 0, given: str | bytes = "") -> str:
        """Run a command with the configuration."""
        return self.run(*words, "--config", str(self.config), code=code, given=given)
