"""The comparison job: in this process, for a sample is small. It needs no Ray."""

from __future__ import annotations

import dataclasses
import json

from st_ray.runtime.clock import Laps
from st_ray.runtime.compare_stores.config import CompareStoresConfig
from st_ray.runtime.compare_stores.page import drift_page
from st_ray.runtime.report.page import PAGE, run_sections
from st_ray.runtime.result import JobResult
from st_ray.scoring.vectors import StoredVectors
from st_ray.search.drift import DriftSettings, drift
from st_ray.store import fs
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder

KIND = "drift"
REPORT = "report.json"


def compare_stores(config: CompareStoresConfig) -> JobResult:
    """Run the job to its end.

    Raises:
        StRayError: a store is not finished or damaged, or the output cannot be used.
    """
    laps = Laps()
    output = OutputFolder(config.output, KIND, beside=(REPORT, PAGE))
    output.check_usable()
    settings = DriftSettings(config.sample, config.top_k, config.corpus_rows, config.seed, config.price_per_hour)
    stores = {"old": StoredVectors.open(config.old).digest, "new": StoredVectors.open(config.new).digest}
    lineage = {**stores, **dataclasses.asdict(settings)}
    finished = None if config.overwrite else output.manifest()
    if finished is not None:
        output.check_lineage(lineage)
        return JobResult(finished, output.folder, already_complete=True)
    laps.end("stores")
    with output.lock() as lock:
        if config.overwrite:
            output.clear()
        output.check_lineage(lineage)
        found = drift(config.old, config.new, settings)
        laps.end("comparison")
        about = {"old": config.old, "new": config.new, **json.loads(json.dumps(found.to_json()))}
        lock.require_held(output.folder)
        output.begin(lineage)  # as late as that: what fails leaves nothing behind
        report = json.dumps(about, indent=1, ensure_ascii=False).encode()
        page = drift_page(about, run_sections(config, lineage, laps.seconds))
        for name, data in ((REPORT, report), (PAGE, page)):
            fs.write_atomic(fs.join(output.folder, name), data)
        run = {"seconds": round(sum(laps.seconds.values()), 3)}
        output.finish(manifest := Manifest(KIND, lineage, (), about, run))
    return JobResult(manifest, output.folder)
