"""What is known of a training as it goes: records by step, and TensorBoard's event files made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from st_ray.core.errors import ResourceError

_EVENTS = "events.out.tfevents.*"


@dataclass(frozen=True)
class Record:
    """The training after some steps.

    Attributes:
        step: steps taken since the start of the training.
        epoch: how often the examples have been seen.
        loss: mean over the steps since the record before.
        learning_rate: that the last step was taken with.
        gradient_norm: of the last step, before it was scaled down.
        examples_per_second: since the record before, evaluations and checkpoints left out.
        time: seconds since 1970.
        metrics: what an evaluation at this step found; empty where there was none.
    """

    step: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float
    examples_per_second: float
    time: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Record:
        """The record that `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        numbers = {name: float(value) for name, value in found.items() if name not in ("step", "metrics")}
        metrics = {str(name): float(value) for name, value in dict(found["metrics"]).items()}
        return cls(step=int(found["step"]), metrics=metrics, **numbers)

    def scalars(self) -> Iterator[tuple[str, float]]:
        """Names, as TensorBoard groups them, and values."""
        yield "train/loss", self.loss
        yield "train/learning_rate", self.learning_rate
        yield "train/gradient_norm", self.gradient_norm
        yield "train/examples_per_second", self.examples_per_second
        yield "train/epoch", self.epoch
        for name, value in self.metrics.items():
            yield f"eval/{name}", value


class EventLog:
    """A folder of TensorBoard's that shows each step once, also after a run was resumed from an earlier step.

    Args:
        folder: on this machine; event files in it are replaced.
        records: what happened before.

    Raises:
        ResourceError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path, records: Iterable[Record] = ()) -> None:
        try:
            # Its SummaryWriter hands events to a thread: where that cannot write, the eleventh event waits for ever.
            from tensorboardX.event_file_writer import EventsWriter
        except ImportError as error:
            raise ResourceError(
                f"TensorBoard's files need tensorboardX: {error}", "pip install tensorboardX"
            ) from error
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob(_EVENTS):
            file.unlink()
        self._writer = EventsWriter(str(folder / "events"))
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Write `record`, for TensorBoard to see once it is flushed."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in record.scalars():
            self._writer.write_event(Event(step=record.step, wall_time=record.time, summary=scalar(name, value)))

    def flush(self) -> None:
        """Write what has been added to the files."""
        self._writer.flush()

    def close(self) -> None:
        """No more records."""
        self._writer.close()
