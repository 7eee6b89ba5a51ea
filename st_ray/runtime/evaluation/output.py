"""The output of an evaluation: its scores in a folder of their own, and the files of the report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from st_ray.core.errors import StRayError
from st_ray.runtime.report.page import PAGE
from st_ray.runtime.result import JobResult
from st_ray.store import fs
from st_ray.store.lineage import Lineage
from st_ray.store.lock import OutputLock
from st_ray.store.manifest import Manifest
from st_ray.store.output import RUN, OutputFolder

KIND = "evaluation"
SCORES, REPORT = "scores", "report.json"


@dataclass(frozen=True)
class EvaluationOutput:
    """An output that is being made.

    Attributes:
        csv: name of the CSV file.
    """

    output: OutputFolder
    lock: OutputLock
    lineage: Lineage
    csv: str

    @classmethod
    @contextmanager
    def opened(cls, folder: str, csv: str, lineage: Lineage, *, overwrite: bool) -> Iterator[EvaluationOutput]:
        """Lock the folder, and check that it can be begun or gone on with; nothing else is written."""
        output = OutputFolder(folder, KIND, beside=(SCORES, REPORT, PAGE, csv))
        output.check_usable()
        with output.lock() as lock:
            if overwrite:
                output.clear()
            output.check_lineage(lineage)
            yield cls(output, lock, lineage, csv)

    @property
    def scores(self) -> str:
        """The folder of the scores that are made here."""
        return fs.join(self.output.folder, SCORES)

    def scored(self, score: Callable[[ExitStack], JobResult], session: ExitStack) -> JobResult:
        """Begin, and make the scores; where nothing could be scored, nothing is left behind."""
        fresh = self.output.begun_lineage() is None
        self.output.begin(self.lineage)
        try:
            return score(session)
        except StRayError:
            if fresh and not fs.is_file(fs.join(self.scores, RUN)):
                self.output.clear()  # so that mended flags do not meet the old ones
            raise

    def finished(self) -> JobResult | None:
        """What an earlier run has finished."""
        manifest = self.output.manifest()
        return None if manifest is None else JobResult(manifest, self.output.folder, already_complete=True)

    def finish(self, about: Mapping[str, Any], csv: bytes, page: bytes, run: Mapping[str, Any]) -> JobResult:
        """Write the report's files and the manifest."""
        report = json.dumps(about, indent=1, ensure_ascii=False).encode()
        self.lock.require_held(self.output.folder)
        for name, data in ((self.csv, csv), (REPORT, report), (PAGE, page)):
            fs.write_atomic(fs.join(self.output.folder, name), data)
        manifest = Manifest(KIND, self.lineage, (), {**about, "csv": self.csv}, run)
        self.output.finish(manifest)
        return JobResult(manifest, self.output.folder)
