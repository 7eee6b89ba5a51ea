"""The loop in one process: what it computes, what it calls when, how it goes on and how it stops."""

from __future__ import annotations

import math
import pickle
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from st_ray.core.errors import ConfigError, InputError, OutputError
from st_ray.training.checkpoint import read_state
from st_ray.training.crew import Crew
from st_ray.training.feed import Feed
from st_ray.training.loop import StoppedError
from st_ray.training.losses import LOSSES
from st_ray.training.settings import Settings
from st_ray.training.step import Stepper, adamw
from tests.training.toys import CPU, Remember, ToyNetwork, distance, equal_weights, run, toy_examples


def plain_loop(network: nn.Module, loss: str, settings: Settings, micro: int | None = None) -> list[float]:
    """The same training as it is written by hand, with a scheduler of the transformers library; the losses."""
    from transformers import get_linear_schedule_with_warmup

    examples = toy_examples(loss)
    plan = settings.plan(len(examples))
    decaying = [p for name, p in network.named_parameters() if "bias" not in name and "Norm" not in name]
    others = [p for name, p in network.named_parameters() if "bias" in name or "Norm" in name]
    optimizer = torch.optim.AdamW(
        [{"params": decaying, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.lr,
        fused=False,
    )
    warmup = math.ceil(plan.steps * settings.warmup_ratio)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, plan.steps)
    losses = []
    network.train()
    for batch in Feed(examples, plan, Crew(), micro, network.padding_id).batches():
        total = 0.0
        for part in batch.micro:
            half = settings.dtype == "bfloat16"
            with torch.autocast("cpu", torch.bfloat16, enabled=half, cache_enabled=False):
                output = network(part.tokens)
            scores = LOSSES[loss].scores(output.unflatten(0, (-1, len(part))))
            value = LOSSES[loss].value(scores, part.labels).sum() / batch.examples
            value.backward()
            total += float(value.detach())
        losses.append(total)
        nn.utils.clip_grad_norm_(network.parameters(), settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return losses


@pytest.mark.parametrize("loss", ["bce", "ce", "mse", "margin-mse"])
def test_a_training_is_that_of_a_plain_loop(loss: str) -> None:
    settings = Settings(epochs=2.5, batch_size=4, lr=0.01, weight_decay=0.1, max_grad_norm=0.05, log_steps=1)
    theirs = ToyNetwork(3 if loss == "ce" else 1)
    losses = plain_loop(theirs, loss, settings)
    hooks = Remember()
    ours, outcome = run(loss, hooks=hooks, epochs=2.5, weight_decay=0.1, max_grad_norm=0.05, log_steps=1, network=None)
    assert distance(ours.state_dict(), theirs.state_dict()) < 1e-6
    assert [record.loss for record in hooks.records] == pytest.approx(losses, abs=1e-6)
    assert [record.step for record in hooks.records] == list(range(1, 11))
    assert max(record.gradient_norm for record in hooks.records) > 0.05  # the limit was felt
    assert outcome.steps == 10 and outcome.history == tuple(hooks.records)


def test_casts_of_weights_are_kept_for_a_step_and_not_longer() -> None:
    settings = Settings(epochs=2, batch_size=4, lr=0.01, dtype="bfloat16")
    theirs = ToyNetwork()
    plain_loop(theirs, "bce", settings, micro=2)
    ours, _ = run("bce", dtype="bfloat16", micro_batch_size=2)
    assert distance(ours.state_dict(), theirs.state_dict()) < 1e-6
    exact, _ = run("bce", micro_batch_size=2)
    assert distance(ours.state_dict(), exact.state_dict()) > 1e-5  # it was another dtype


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("micro", [1, 3])
def test_micro_batches_change_nothing(loss: str, micro: int) -> None:
    whole, one = run(loss)
    parts, other = run(loss, micro_batch_size=micro)
    assert distance(whole.state_dict(), parts.state_dict()) < 1e-6
    assert [record.loss for record in other.history] == pytest.approx([record.loss for record in one.history], rel=1e-5)


def test_micro_batches_of_a_batchwise_loss_in_bfloat16() -> None:
    """Scores without gradients come first; the weights that are cast for them must not be used again."""
    whole, _ = run("cosent", dtype="bfloat16")
    parts, _ = run("cosent", dtype="bfloat16", micro_batch_size=2)
    untrained = ToyNetwork(5)
    moved = distance(whole.state_dict(), untrained.state_dict())
    assert distance(whole.state_dict(), parts.state_dict()) < 0.1 * moved
    for name, weight in parts.named_parameters():
        assert not torch.equal(weight, untrained.get_parameter(name)), name


def test_both_passes_of_a_batchwise_loss_drop_out_the_same() -> None:
    class Spy(ToyNetwork):
        def forward(self, batch: object) -> torch.Tensor:
            outputs.append(super().forward(batch))
            return outputs[-1]

    outputs: list[torch.Tensor] = []
    run("cosent", network=Spy(5, dropout=0.5), micro_batch_size=2, epochs=1, examples=toy_examples("cosent", 4))
    first, second = outputs[:2], outputs[2:]
    assert [output.requires_grad for output in outputs] == [False, False, True, True]
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("ended_at", [3, 6])
@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "bce", "dtype": "bfloat16"},
        {"loss": "cosent", "micro_batch_size": 2, "grouped": False},
        {"loss": "margin-mse", "weight_decay": 0.1, "max_grad_norm": 0.0},
    ],
)
def test_a_resumed_training_ends_as_one_that_was_not_interrupted(
    tmp_path: Path, settings: dict[str, object], ended_at: int
) -> None:
    common = {"dropout": 0.2, "checkpoint_steps": 3, "log_steps": 2, "best_by": "good", **settings}
    metrics = [{"good": 0.3}, {"good": 0.2}]
    whole, outcome = run(**common, hooks=Remember(metrics=list(metrics)))
    with pytest.raises(InterruptedError):
        run(**common, hooks=Remember(tmp_path, metrics=list(metrics), interrupt_at=7))
    start = read_state(tmp_path / str(ended_at))
    left = metrics[1:] if ended_at > 4 else metrics
    network = ToyNetwork(5 if settings["loss"] == "cosent" else 1, 0.2, seed=9)
    resumed, again = run(**common, network=network, hooks=Remember(metrics=list(left)), start=start)
    assert equal_weights(whole, resumed)
    steady = [(r.step, r.epoch, r.loss, r.learning_rate, r.gradient_norm, r.metrics) for r in outcome.history]
    assert steady == [(r.step, r.epoch, r.loss, r.learning_rate, r.gradient_norm, r.metrics) for r in again.history]
    assert [step for step, *_ in steady] == [2, 3, 4, 6, 8]
    assert outcome.best and again.best
    assert (again.best.step, again.best.value) == (outcome.best.step, outcome.best.value) == (4, 0.3)
    assert distance(outcome.best.weights, again.best.weights) == 0


def test_a_finished_training_is_not_taken_further(tmp_path: Path) -> None:
    whole, outcome = run(hooks=Remember(tmp_path))
    hooks = Remember()
    again, same = run(network=ToyNetwork(seed=3), hooks=hooks, start=read_state(tmp_path / "8"))
    assert equal_weights(whole, again) and same.history == outcome.history
    assert hooks.steps == 0 and hooks.saved == []


def test_the_seed_decides() -> None:
    one, _ = run(dropout=0.2, seed=1)
    other, _ = run(dropout=0.2, seed=1)
    third, _ = run(dropout=0.2, seed=2)
    assert equal_weights(one, other)
    assert not equal_weights(one, third)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    run(hooks=Remember(tmp_path))
    start = read_state(tmp_path / "4")
    with pytest.raises(OutputError, match=r"step 4.*\n.*loss: 'bce' there, 'mse' now\n.*lr: 0.01 there, 0.02 now"):
        run("mse", lr=0.02, start=start)
    with pytest.raises(OutputError, match="another network"):
        run(network=ToyNetwork(hidden=8), start=start)


@pytest.mark.parametrize(("loss", "micro"), [("mse", None), ("mse", 2), ("cosent", None), ("cosent", 2)])
def test_what_is_not_finite_stops_the_training(tmp_path: Path, loss: str, micro: int | None) -> None:
    examples = toy_examples(loss)
    plan = Settings(epochs=2, batch_size=4).plan(len(examples))
    (window,) = list(plan.windows())[:1]
    third = window.rows[plan.batches(window, examples.take(window.rows).lengths)[2]]
    network = ToyNetwork(5 if loss == "cosent" else 1)
    # A token that only this example has, and that the network cannot take.
    examples.texts[third[0]][0][:] = [39]
    for text in (text for texts in examples.texts for text in texts if text is not examples.texts[third[0]][0]):
        text[:] = [token % 38 + 1 for token in text]
    with torch.no_grad():
        network.embed.weight[39] = math.nan
    hooks = Remember(tmp_path)
    with pytest.raises(StoppedError, match=r"not finite at step 3; .*of 2") as caught:
        run(loss, network=network, examples=examples, hooks=hooks, micro_batch_size=micro, checkpoint_steps=2)
    assert (caught.value.step, caught.value.checkpoint) == (3, 2)
    assert hooks.steps == 4 and [step for step, _ in hooks.saved] == [2]
    assert all(parameter[:39].isfinite().all() for parameter in network.parameters())
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.step, again.checkpoint, str(again)) == (3, 2, str(caught.value))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_a_loss_that_is_not_finite_stops_the_training_though_its_gradient_is() -> None:
    examples = toy_examples("mse")
    examples.labels[:] = 1e20  # its square is too large, twice itself is not

    class Flat(ToyNetwork):
        def forward(self, batch: object) -> torch.Tensor:
            return super().forward(batch) * 0

    with pytest.raises(StoppedError, match=r"step 8; .*no checkpoint"):
        run("mse", network=Flat(), examples=examples, eval_steps=100, checkpoint_steps=100)


def test_hooks_are_called_when_they_are_due() -> None:
    hooks = Remember(metrics=[{"good": 0.1}, {"good": 0.5}, {"good": 0.5}, {"good": math.nan}])
    network, outcome = run(hooks=hooks, epochs=2.5, log_steps=4, eval_steps=3, checkpoint_steps=5, best_by="good")
    assert [record.step for record in hooks.records] == [3, 4, 5, 6, 8, 9, 10]
    assert [record.step for record in hooks.records if record.metrics] == [3, 6, 9, 10]
    assert [step for step, _ in hooks.saved] == [5, 10]
    assert hooks.saved[0][1] == {} and math.isnan(hooks.saved[1][1]["good"])
    assert hooks.evaluated == [False] * 4 and network.training
    assert outcome.best and (outcome.best.step, outcome.best.value) == (6, 0.5)
    assert [record.epoch for record in hooks.records] == [0.75, 1, 1.25, 1.5, 2, 2.25, 2.5]
    assert all(record.examples_per_second > 0 for record in hooks.records)


def test_evaluations_and_checkpoints_come_once_an_epoch_by_default() -> None:
    examples = toy_examples()
    hooks = Remember()
    run(hooks=hooks, epochs=2.5, examples=examples)
    assert [step for step, _ in hooks.saved] == [4, 8, 10] and len(hooks.evaluated) == 3
    lengths = examples.take(np.arange(13)).tokens.lengths
    assert hooks.steps == 10
    assert 2 * 13 < hooks.examples <= 2 * 13 + 8 and hooks.tokens >= 2 * lengths.sum()


def test_the_best_weights_are_those_of_their_step() -> None:
    class Watch(Remember):
        def evaluate(self, network: nn.Module) -> Mapping[str, float]:
            seen.append({name: weight.clone() for name, weight in network.state_dict().items()})
            return {"good": -float(len(seen))}

    seen: list[dict[str, torch.Tensor]] = []
    network, outcome = run(hooks=Watch(), best_by="good")
    assert outcome.best and outcome.best.step == 4
    assert distance(outcome.best.weights, seen[0]) == 0
    assert distance(network.state_dict(), seen[1]) == 0 < distance(seen[0], seen[1])


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'godo'\n.*good, other"):
        run(hooks=Remember(metrics=[{"good": 1.0, "other": 2.0}]), best_by="godo")


def test_an_error_of_the_examples_reaches_the_caller() -> None:
    class Broken:
        def __len__(self) -> int:
            return 300

        def take(self, rows: np.ndarray) -> object:
            if len(rows) < 256:
                raise InputError("part 1 is gone")
            return toy_examples(count=300).take(rows)

    hooks = Remember()
    with pytest.raises(InputError, match="part 1 is gone"):
        run(examples=Broken(), hooks=hooks)
    assert hooks.steps == 64


def test_frozen_parameters_stay() -> None:
    network = ToyNetwork()
    network.embed.requires_grad_(False)
    before = network.embed.weight.clone()
    run(network=network, weight_decay=0.5)
    assert torch.equal(network.embed.weight, before)
    assert not torch.equal(network.mix.weight, ToyNetwork().mix.weight)


def test_decay_spares_what_the_trainer_of_transformers_spares() -> None:
    from transformers import BertConfig, BertForSequenceClassification, T5Config, T5EncoderModel
    from transformers.trainer_pt_utils import get_parameter_names

    patterns = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]
    sizes = {"vocab_size": 20, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
    bert = BertForSequenceClassification(BertConfig(hidden_size=8, **sizes))
    t5 = T5EncoderModel(T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    heads = nn.ModuleDict({"norm": nn.Linear(2, 2), "head": nn.LayerNorm(2), "q_norm": nn.Linear(2, 2)})
    for network in (bert, t5, heads):
        every = dict(network.named_parameters())  # without second names of shared ones
        wanted = every.keys() & get_parameter_names(network, [nn.LayerNorm], patterns)
        groups = adamw(network, 0.3).param_groups
        names = {id(parameter): name for name, parameter in every.items()}
        assert {names[id(parameter)] for parameter in groups[0]["params"]} == wanted
        assert {names[id(parameter)] for parameter in groups[1]["params"]} == every.keys() - wanted
        assert [group["weight_decay"] for group in groups] == [0.3, 0.0]


def test_a_stepper_leaves_no_gradients() -> None:
    network, settings = ToyNetwork(), Settings(batch_size=4)
    stepper = Stepper(network, LOSSES["bce"], settings, Crew(), CPU)
    examples = toy_examples()
    batch = next(Feed(examples, settings.plan(len(examples)), Crew(), None, 0).batches())
    part, norm = stepper.take(batch, 1e-3)
    assert float(part) > 0 and float(norm) > 0
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0), ("epochs", math.inf), ("batch_size", 0), ("micro_batch_size", 0), ("lr", 0), ("lr", math.nan),
        ("warmup_ratio", 1.5), ("weight_decay", -1), ("max_grad_norm", -1), ("dtype", "float16"), ("seed", -1),
        ("log_steps", 0), ("eval_steps", 0), ("checkpoint_steps", 0),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_name_their_flag(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} is "):
        Settings(**{name: value})
