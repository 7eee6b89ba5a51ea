"""The status command's flags."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from st_ray.core.errors import ConfigError
from st_ray.runtime.config import LogConfig


@dataclass(frozen=True, kw_only=True)
class StatusConfig(LogConfig):
    """Tell where outputs stand: who works on them, what is committed, how fast, how long it will take, what failed."""

    outputs: tyro.conf.Positional[tuple[str, ...]]
    """Outputs of jobs: local folders or any fsspec URLs such as s3://bucket/folder. One is shown in full; of several,
    each gets a line."""

    json: bool = False
    """Print JSON: an object an output, each on a line of its own; --log-format json does so too."""

    watch: float | None = None
    """Look again after so many seconds, until none of the outputs is being made."""

    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Raise ConfigError for flags that make no sense."""
        if not self.outputs:
            raise ConfigError("no output is named", "give the --output of a job")
        if self.watch is not None and not self.watch > 0:
            raise ConfigError(f"--watch {self.watch:g} is no time to wait", "give seconds, or leave it out")
