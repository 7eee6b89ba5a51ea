"""The folder of --work: where its steps lie, what was done in it, and what its refusals tell a user to do.

    WORK/texts                 distinct documents and anchors, and which belong together
    WORK/corpus, WORK/queries  their embeddings
    WORK/index                 with --factory
    WORK/depth-00034           what a --range-max of 34 or less looks at: hits, candidates, and with a cross-encoder
                               scores of those that no smaller depth has scored

Nothing of them depends on thresholds, so that another mining finds its work done. Each has a lineage of its own, goes
on where it stopped, and refuses, by its name, what it was not begun with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from st_ray.core.errors import OutputError
from st_ray.runtime.clock import Laps
from st_ray.runtime.joining import job_session
from st_ray.runtime.mining.negatives.config import MineHardNegativesConfig
from st_ray.runtime.session import data_context
from st_ray.store import fs
from st_ray.store.manifest import MANIFEST

TEXTS, CORPUS, QUERIES, INDEX = "texts", "corpus", "queries", "index"
HITS, CANDIDATES, UNSCORED, SCORES = "hits", "candidates", "unscored", "scores"
EARLIER = "earlier.json"
"""File of a depth that says which smaller ones have scores that need not be made again."""
_DEPTH = re.compile(r"depth-(\d+)")


class Work:
    """What the steps share.

    Args:
        session: takes over the Ray session.
        laps: gets the seconds of each step.

    Attributes:
        done_here: names of the steps that this run has done.
    """

    def __init__(self, config: MineHardNegativesConfig, session: ExitStack, laps: Laps) -> None:
        self._config = config
        self._laps = laps
        self.session = session
        self.done_here: list[str] = []

    def place(self, *names: str) -> str:
        """A folder or file in it."""
        return fs.join(self._config.work_folder, *names)

    def at_depth(self, depth: int, name: str) -> str:
        """A folder or file of a depth."""
        return self.place(f"depth-{depth:05d}", name)

    def is_done(self, depth: int, name: str) -> bool:
        """Whether that folder is finished."""
        return fs.is_file(fs.join(self.at_depth(depth, name), MANIFEST))

    def depths(self) -> list[int]:
        """Those that were begun, rising."""
        names = fs.list_names(self._config.work_folder)
        return sorted(int(found[1]) for found in map(_DEPTH.fullmatch, names) if found)

    def start_ray(self) -> None:
        """Start or join Ray, unless that is done."""
        self.session.enter_context(job_session(self._config))
        data_context(self._config.debug)

    @contextmanager
    def step(self, name: str, folder: str) -> Iterator[None]:
        """Count the step's seconds; a refusal tells what to do about a folder of --work."""
        complete = fs.is_file(fs.join(folder, MANIFEST))
        try:
            yield
        except OutputError as error:
            error.remedy = error.remedy.replace("name another --output", "name another --work")
            error.remedy = error.remedy.replace("start again with --overwrite", f"remove {folder}")
            raise
        finally:
            self._laps.end(name)
        if not complete:
            self.done_here.append(name)
