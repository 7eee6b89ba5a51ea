"""What the flags ask for, put to the input and to the machines: the scan of the corpus, and the pool of actors."""

from __future__ import annotations

from st_ray.runtime.corpus import ScanRequest
from st_ray.runtime.encode.compute import Compute
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.runtime.resources import ActorPlan, cluster_can_grow, cluster_nodes, plan_actors
from st_ray.store.readers.sources import resolve_inputs
from st_ray.store.readers.spec import ReadSpec


def scan_request(config: EncodeConfig, staging: str | None) -> ScanRequest:
    """The scan of the input; compressed text is re-cut into the folder `staging`, or nowhere.

    Raises:
        InputError: no such file or column.
    """
    wanted = ReadSpec(
        id_column=config.id_column,
        text_columns=config.text_columns,
        columns=config.columns or None,
        quotes=config.quotes,
    )
    files, spec = resolve_inputs(config.input, wanted)
    return ScanRequest(
        files=tuple(files),
        spec=spec,
        shard_rows=config.shard_rows,
        staging=staging,
        on_bad_row=config.on_bad_row,
        check_ids=config.check_ids,
    )


def actors_for(config: EncodeConfig, compute: Compute | None, shards: int, actor_bytes: int) -> ActorPlan:
    """The pool that the flags ask for on the running cluster (see `plan_actors`)."""
    on_cpus = config.gpus_per_actor is None and "openvino" in (config.backend, compute.backend if compute else "")
    return plan_actors(
        cluster_nodes(),
        shards=shards,
        actor_bytes=actor_bytes,
        actors=config.actors,
        gpus_per_actor=0.0 if on_cpus else config.gpus_per_actor,
        cpus_per_actor=config.cpus_per_actor,
        can_grow=cluster_can_grow(),
    )
