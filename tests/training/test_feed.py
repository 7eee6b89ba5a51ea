"""What each process is given of a batch."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from st_ray.training.batches import BatchPlan
from st_ray.training.crew import Crew
from st_ray.training.feed import Batch, Feed, MicroBatch
from tests.training.toys import CPU, ToyExamples, toy_examples


def inputs_of(micro: MicroBatch, inputs: int) -> list[list[list[int]]]:
    """The inputs of each example of a micro-batch, read back from the padded rows."""
    tokens = micro.tokens
    texts = [row[:length].tolist() for row, length in zip(tokens.ids, tokens.lengths, strict=True)]
    return [[texts[column * len(micro) + row] for column in range(inputs)] for row in range(len(micro))]


@given(
    count=st.integers(1, 30),
    batch=st.integers(1, 9),
    world=st.integers(1, 4),
    micro=st.none() | st.integers(1, 5),
    start=st.integers(0, 5),
    loss=st.sampled_from(["bce", "margin-mse", "cosine"]),
)
def test_the_processes_share_each_batch(
    count: int, batch: int, world: int, micro: int | None, start: int, loss: str
) -> None:
    examples = toy_examples(loss, count)
    # The labels tell which example it is.
    examples.labels[:, 0] = np.arange(count)
    inputs = len(examples.texts[0])
    plan = BatchPlan(count, batch, 1, seed=3)
    feeds = [list(Feed(examples, plan, Crew(rank, world), micro, 7).ahead(start)) for rank in range(world)]
    steps = list(zip(*feeds, strict=True))
    assert [batches[0].step for batches in steps] == list(range(start, plan.steps))
    for batches in steps:
        assert {own.at_once for own in batches} == {all(len(own.micro) == 1 for own in batches)}
        seen: list[int] = []
        for own in batches:
            counted = [int(label) for part in own.micro for label in part.labels[:, 0]]
            assert all(len(part) <= (micro or count) for part in own.micro)
            assert len(counted) == max(1, own.own)
            texts = [text for part in own.micro for text in inputs_of(part, inputs)]
            assert texts == [examples.texts[number] for number in counted]
            assert all((part.labels == torch.from_numpy(examples.labels[_numbers(part)])).all() for part in own.micro)
            assert own.tokens == (sum(len(text) for example in texts for text in example) if own.own else 0)
            assert own.examples == len(own.labels)
            seen += counted[: own.own]
        order = [int(label) for label in batches[0].labels[:, 0]]
        assert sorted(seen) == sorted(order)
        # What `Crew.gather` makes of the shares: their examples in turn.
        assert [order[rank::world] for rank in range(world)] == [
            [int(label) for part in own.micro for label in part.labels[:, 0]][: own.own] for own in batches
        ]
        assert all(torch.equal(own.labels, batches[0].labels) for own in batches)
    if start == 0:
        assert sorted(int(label) for batches in steps for label in batches[0].labels[:, 0]) == list(range(count))


def test_a_mask_is_there_where_something_is_padded_and_only_there() -> None:
    examples = ToyExamples([[[1, 2]], [[3, 4]], [[5]], [[]]], np.arange(4, dtype=np.float32)[:, None])
    plan = BatchPlan(4, 4, 1, seed=0)
    (batch,) = Feed(examples, plan, Crew(), 2, 9).batches()
    equal, other = (part.tokens for part in batch.micro)
    assert equal.mask is None and sorted(equal.ids.tolist()) == [[1, 2], [3, 4]]
    # A text without tokens takes one place.
    assert other.mask is None and other.ids.tolist() == [[5], [9]] and other.lengths.tolist() == [1, 0]
    assert not batch.at_once
    (batch,) = Feed(examples, plan, Crew(), None, 9).batches()
    (whole,) = (part.tokens for part in batch.micro)
    assert whole.mask is not None
    assert whole.mask.tolist() == [[1, 1], [1, 1], [1, 0], [1, 0]]
    assert whole.ids.tolist() == [*equal.ids.tolist(), [5, 9], [9, 9]] and whole.type_ids is None
    assert batch.at_once
    assert batch.micro[0].to(CPU) is batch.micro[0]


def test_micro_batches_are_of_like_size_and_length() -> None:
    examples = toy_examples(count=33)
    (batch,) = Feed(examples, BatchPlan(33, 33, 1, seed=0), Crew(), 32, 0).batches()
    assert [len(part) for part in batch.micro] == [17, 16]
    long, short = (part.tokens.lengths for part in batch.micro)
    assert long.min() >= short.max()


def test_no_more_is_read_than_is_wanted() -> None:
    class Counted:
        def __len__(self) -> int:
            return 64 * 100

        def take(self, rows: np.ndarray) -> object:
            taken.append(len(rows))
            return toy_examples(count=6400).take(rows)

    taken: list[int] = []
    feed = Feed(Counted(), BatchPlan(6400, 1, 1, seed=0), Crew(), None, 0).ahead()
    first: Batch = next(feed)
    assert first.step == 0
    feed.close()
    assert taken == [64]


def _numbers(part: MicroBatch) -> list[int]:
    return [int(label) for label in part.labels[:, 0]]
