"""`--plan`: what the next version would take over, what it would encode, and how long that would take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from st_ray.runtime.encode.plan import EncodePlan, plan_encode
from st_ray.runtime.encode.steps import EncoderLoader
from st_ray.runtime.reembed.config import ReembedConfig
from st_ray.runtime.reembed.standing import Asked, Standing, look, store_to_reuse
from st_ray.store.versions import EMBEDDINGS, Versions


@dataclass(frozen=True)
class ReembedPlan:
    """What a run would do.

    Attributes:
        standing: the versions that it would find.
        encoding: of the embeddings.
        index: the recipe that was asked for.
    """

    standing: Standing
    encoding: EncodePlan
    index: str

    @property
    def figures(self) -> dict[str, Any]:
        """What of it programs ask for."""
        names = ("latest", "unchanged", "resumed", "reuse", "differs")
        return {**self.encoding.figures, **{name: getattr(self.standing, name) for name in names}}


def plan_reembed(config: ReembedConfig, loader: EncoderLoader | None = None) -> ReembedPlan:
    """Look at the versions, the input, the model and the machines. Writes nothing.

    Raises:
        StRayError: whatever would stop the job before its first shard.
    """
    versions = Versions(config.output)
    versions.check_usable()
    standing = look(Asked.of(config, loader), versions)
    folder = versions.folder(standing.resumed or "v-next", EMBEDDINGS)
    encoding = plan_encode(config.encode_config(folder, store_to_reuse(standing, versions)), loader)
    return ReembedPlan(standing, encoding, config.index)
