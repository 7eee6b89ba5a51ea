"""The export job: a graph is made and compared with torch on this machine, and written with all else of its model."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from st_ray.export.check import require
from st_ray.export.graphs import Recipe, make_graph, require_cpu
from st_ray.models.graph_files import graph_digest, graph_files
from st_ray.runtime.clock import Laps
from st_ray.runtime.export.config import STATIC, ExportModelConfig
from st_ray.runtime.export.model import ExportedModel
from st_ray.runtime.export.output import KIND, mirror, publish, write_card, write_report
from st_ray.runtime.export.plots import agreement_plot
from st_ray.runtime.export.texts import own_pairs, own_sentences, sampled_pairs, sampled_texts
from st_ray.runtime.model_output import ModelOutput
from st_ray.runtime.report.page import run_sections
from st_ray.runtime.result import JobResult
from st_ray.store.lineage import Lineage
from st_ray.store.manifest import Manifest


def export_model(config: ExportModelConfig) -> JobResult:
    """Run the job to its end. The output is a model folder that st-ray and Sentence Transformers load.

    Raises:
        StRayError: bad flags, texts, model or output; ModelError where the graph does not compute what torch does.
            Nothing is written then.
    """
    laps = Laps()
    output = ModelOutput(config.output, KIND)
    output.check_usable()
    model = ExportedModel.of(config)
    recipe = _recipe(config)
    if recipe.flavour is not None and not config.for_other_cpu:
        require_cpu(recipe.flavour)
    lineage = _lineage(config, model)
    finished = None if config.overwrite else output.manifest()
    if finished is not None:
        output.check_lineage(lineage)
        return JobResult(finished, output.folder, already_complete=True)
    calibration, check = _texts(config, model.pairs)
    laps.end("model and texts")
    with tempfile.TemporaryDirectory(prefix="st-ray-export-") as place:
        folder = mirror(model.folder.path, Path(place))
        graph = folder / recipe.name
        for link in graph_files(graph):  # to an earlier graph of this name, which stays as it is
            link.unlink(missing_ok=True)
        make_graph(recipe, model.folder, model.options, graph, model.batches(calibration))
        laps.end("graph")
        exact = model.results(folder, check)
        found = model.results(folder, check, backend=config.backend, file_name=recipe.name)
        agreement = model.agreement(found, exact)
        require(agreement, config.thresholds, recipe.name)
        laps.end("comparison")
        about = {
            "model": config.model,
            "graph": recipe.name,
            "digest": graph_digest(graph),
            "bytes": sum(file.stat().st_size for file in graph_files(graph)),
            "pairs": model.pairs,
            "calibration": len(calibration),
            "agreement": dataclasses.asdict(agreement),
            "thresholds": dataclasses.asdict(config.thresholds),
        }
        write_card(folder, PurePosixPath(output.folder).name, about)
        picture = agreement_plot(found, exact, pairs=model.pairs)
        write_report(folder, about, picture, run_sections(config, lineage, laps.seconds))
        with output.lock() as lock:
            if config.overwrite:
                output.clear()
            output.begin(lineage)
            publish(folder, output.folder)
            lock.require_held(output.folder)
            laps.end("files")
            run = {"seconds_of": laps.seconds, "seconds": round(sum(laps.seconds.values()), 3)}
            output.finish(manifest := Manifest(KIND, lineage, (), about, run))
    return JobResult(manifest, output.folder)


def _recipe(config: ExportModelConfig) -> Recipe:
    static = config.quantize == STATIC
    flavour = None if static else config.quantize
    return Recipe(config.backend, config.optimize, flavour, static, config.file_suffix)


def _texts(config: ExportModelConfig, pairs: bool) -> tuple[list[Any], list[Any]]:
    """Those to calibrate with, and those to compare on."""
    sampled = sampled_pairs if pairs else sampled_texts
    both: list[Any] = []
    if config.calibration:
        more = 0 if config.check_data else config.check_rows
        both = sampled(config, config.calibration, config.calibration_rows + more)
    calibration, others = both[: config.calibration_rows], both[config.calibration_rows :]
    if config.check_data:
        return calibration, sampled(config, config.check_data, config.check_rows)
    own = own_pairs if pairs else own_sentences
    return calibration, others or own(config.check_rows)


def _lineage(config: ExportModelConfig, model: ExportedModel) -> Lineage:
    settings = ("backend", "optimize", "quantize", "file_suffix", "calibration_rows", "max_seq_length", "seed")
    own = {name: getattr(config, name) for name in settings}
    return {"model": model.digest, "calibration": list(config.calibration), **own}
