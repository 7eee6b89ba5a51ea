"""Flags that every job has."""

from __future__ import annotations

from dataclasses import dataclass


class Names(tuple[str, ...]):
    """Several names; written `a,b` on the command line."""


NO_NAMES = Names()


@dataclass(frozen=True, kw_only=True)
class JobConfig:
    """Where a job writes and on what it runs."""

    output: str
    """Folder for the result: a local path or any fsspec URL such as s3://bucket/folder. A run that was cut short
    goes on where it stopped; a finished one is left as it is."""

    overwrite: bool = False
    """Remove what an earlier run of this job left in --output and start again."""

    actors: str = "auto"
    """Model actors: N, or MIN:MAX for a pool that grows with the cluster. auto: one a GPU; where there are none, as
    many as CPUs and memory hold."""

    gpus_per_actor: float | None = None
    """GPUs of one actor; a fraction lets actors share a GPU. Unset: 1 where the cluster has GPUs, else 0."""

    cpus_per_actor: float | None = None
    """CPUs of one actor, and so its compute threads. Unset: 1 beside a GPU; else about one, or more where
    memory holds fewer actors; half a CPU is left for reading and writing."""

    address: str | None = None
    """Ray cluster to join: `auto`, HOST:PORT or ray://HOST:PORT. Unset: RAY_ADDRESS (`ray job submit` sets it), else
    a Ray on this machine alone."""

    debug: bool = False
    """Show tracebacks and Ray's own log lines."""
