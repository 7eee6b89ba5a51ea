"""Jobs run one after another, each as a command of its own."""

from __future__ import annotations

import shlex
import subprocess
import sys


def run_job(line: str) -> None:
    """`python -m jobs.LINE`; the command is printed first. Exits where it fails."""
    name, *flags = shlex.split(line)
    command = ["-m", f"jobs.{name}", *flags]
    print(f"\n$ python {shlex.join(command)}", flush=True)
    if status := subprocess.run([sys.executable, *command]).returncode:
        raise SystemExit(status)
