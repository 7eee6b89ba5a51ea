"""Outputs that are model folders."""

from __future__ import annotations

from st_ray.store.output import OutputFolder

TRAINING = "training"
"""Folder of the output for everything that is no part of the model."""


class ModelOutput(OutputFolder):
    """The output's folder: once it is begun by a job of this kind, all in it is the job's."""

    def clear(self) -> None:
        """Remove what an earlier run left; see `OutputFolder.clear`."""
        if self.begun_lineage() is not None:
            self._own |= {name for name in self._names() if not name.startswith(".")}
        super().clear()
