"""What the flags ask for, put to the input and to the machines: the scan of the corpus, and the pool of actors."""

from __future__ import annotations

from st_ray.runtime.corpus import ScanRequest
from st_ray.runtime.encode.config import EncodeConfig
from st_ray.store.readers.sources import resolve_inputs


def scan_request(config: EncodeConfig, staging: str | None) -> ScanRequest:
    """The scan of the input; compressed text is re-cut into the folder `staging`, or nowhere.

    Raises:
        InputError: no such file or column.
    """
    files, spec = resolve_inputs(config.input, config.read_spec())
    return ScanRequest(
        files=tuple(files),
        spec=spec,
        shard_rows=config.shard_rows,
        staging=staging,
        on_bad_row=config.on_bad_row,
        check_ids=config.check_ids,
    )
