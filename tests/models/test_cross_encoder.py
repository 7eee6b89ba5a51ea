"""The cross-encoder's own promises; its numbers are compared with the peer's in tests/parity."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from st_ray import CrossEncoder
from st_ray.core.errors import ConfigError, InputError, ModelError
from st_ray.models.activation import sigmoid
from st_ray.models.bert_layers import FirstTokenLayer, FusedSelfAttention, rewrite_layers
from tests.models.tiny_models import (
    ODD_TEXTS,
    TEXTS,
    read_json,
    save_tiny_classifier,
    save_tiny_model,
    write_json,
)

PAIRS = [(first, second) for first in TEXTS[:6] for second in TEXTS]
ARCHITECTURES = ("bert", "roberta", "electra", "distilbert", "llama")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_classifier(tmp_path_factory.mktemp("tiny"), request.param, labels=3)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_classifier(tmp_path_factory.mktemp("bert"))


def logits_of(folder: Path, pairs: list[tuple[str, str]]) -> np.ndarray:
    """What the transformers library makes of the pairs, one by one."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        rows = [
            model(**tokenizer([first], [second], truncation=True, return_tensors="pt")).logits[0]
            for first, second in pairs
        ]
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_logits_are_those_of_the_model(folder: Path, backend: str) -> None:
    encoder = CrossEncoder(folder, backend=backend)
    assert encoder.num_labels == 3
    # Not every model can run over no tokens at all.
    pairs = [pair for pair in PAIRS if any(pair)]
    for budget in (None, 30, 1):
        np.testing.assert_allclose(encoder.predict(pairs, batch_tokens=budget), logits_of(folder, pairs), atol=2e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_which_layers_are_rewritten(architecture: str, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(save_tiny_classifier(tmp_path, architecture)).eval()
    known = architecture in ("bert", "roberta", "electra")
    assert rewrite_layers(model, first_token=True) is known
    kinds = [type(module) for module in model.modules()]
    assert (kinds.count(FirstTokenLayer), kinds.count(FusedSelfAttention)) == (known, known)


def test_half_precision(bert: Path) -> None:
    exact = CrossEncoder(bert, activation_fn=torch.nn.Identity()).predict(PAIRS)
    for backend in ("torch", "openvino"):
        close = CrossEncoder(bert, activation_fn=torch.nn.Identity(), backend=backend, dtype="bfloat16").predict(PAIRS)
        assert np.corrcoef(exact, close)[0, 1] > 0.999
        assert close.dtype == np.float32


def test_shapes(bert: Path, folder: Path) -> None:
    one, many = CrossEncoder(bert), CrossEncoder(folder)
    assert one.predict(PAIRS[:3]).shape == (3,)
    assert one.predict(PAIRS[0]).shape == ()
    assert one.predict([]).shape == (0,)
    assert many.predict(PAIRS[:3]).shape == (3, 3)
    assert many.predict(PAIRS[0]).shape == (3,)
    tensor = one.predict(PAIRS[:3], convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor) and tensor.shape == (3,)
    listed = one.predict(PAIRS[:3], convert_to_numpy=False)
    assert [float(score) for score in listed] == tensor.tolist()
    np.testing.assert_array_equal(one.predict(np.array(PAIRS[:3], object).tolist()), one.predict(PAIRS[:3]))


def test_activations(bert: Path, folder: Path, tmp_path: Path) -> None:
    logits = CrossEncoder(bert, activation_fn=torch.nn.Identity()).predict(PAIRS)
    np.testing.assert_allclose(CrossEncoder(bert).predict(PAIRS), 1 / (1 + np.exp(-logits)), rtol=1e-6)
    np.testing.assert_array_equal(CrossEncoder(bert).predict(PAIRS, activation_fn=torch.nn.Identity()), logits)
    probabilities = CrossEncoder(folder).predict(PAIRS, apply_softmax=True)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    for settings in (
        {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}},
    ):
        named = save_tiny_classifier(tmp_path / next(iter(settings)), **settings)
        np.testing.assert_array_equal(CrossEncoder(named).predict(PAIRS), logits)
    tanh = save_tiny_classifier(
        tmp_path / "tanh", sentence_transformers={"activation_fn": "torch.nn.modules.activation.Tanh"}
    )
    np.testing.assert_allclose(CrossEncoder(tanh).predict(PAIRS), np.tanh(logits), rtol=1e-5, atol=1e-6)
    unknown = save_tiny_classifier(tmp_path / "own", sentence_transformers={"activation_fn": "somewhere.Curve"})
    with pytest.warns(UserWarning, match=r"somewhere\.Curve"):
        np.testing.assert_array_equal(CrossEncoder(unknown).predict(PAIRS), CrossEncoder(bert).predict(PAIRS))
    absent = save_tiny_classifier(tmp_path / "absent", sentence_transformers={"activation_fn": "torch.nn.Nothing"})
    with pytest.raises(ModelError, match=r"torch\.nn\.Nothing"):
        CrossEncoder(absent)


def test_sigmoid_does_not_overflow() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = sigmoid(np.array([-1e4, -90, -1, 0, 1, 90, 1e4], np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, torch.sigmoid(torch.tensor([-1e4, -90, -1, 0, 1, 90, 1e4])), rtol=1e-6, atol=1e-38
    )


def test_rank(bert: Path, folder: Path) -> None:
    encoder = CrossEncoder(bert)
    documents = [*ODD_TEXTS, *ODD_TEXTS]
    hits = encoder.rank("the cat", documents, return_documents=True)
    scores = encoder.predict([("the cat", document) for document in documents])
    assert [hit["corpus_id"] for hit in hits] == np.argsort(-scores, kind="stable").tolist()
    assert [hit["text"] for hit in hits] == [documents[hit["corpus_id"]] for hit in hits]
    assert encoder.rank("the cat", documents, top_k=3) == [
        {name: hit[name] for name in ("corpus_id", "score")} for hit in hits[:3]
    ]
    assert encoder.rank("the cat", []) == []
    with pytest.raises(ConfigError, match="ranking needs one"):
        CrossEncoder(folder).rank("a", ["b"])


def test_prompts(bert: Path) -> None:
    encoder = CrossEncoder(bert, prompts={"query": "query: "})
    prompted = [("query: " + first, second) for first, second in PAIRS]
    np.testing.assert_array_equal(encoder.predict(PAIRS, prompt_name="query"), encoder.predict(prompted))
    np.testing.assert_array_equal(encoder.predict(PAIRS, prompt="query: "), encoder.predict(prompted))
    named = CrossEncoder(bert, prompts={"query": "query: "}, default_prompt_name="query")
    np.testing.assert_array_equal(named.predict(PAIRS), encoder.predict(prompted))
    with pytest.raises(ConfigError, match="no prompt named 'other'"):
        encoder.predict(PAIRS, prompt_name="other")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("text", "got one string"),
        ([("a",)], "pair 0 is"),
        ([("a", "b"), ("a", 7)], "pair 1 is"),
        ([("a", "b"), "ab"], "pair 1 is 'ab'"),
    ],
)
def test_what_is_no_pair(bert: Path, pairs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CrossEncoder(bert).predict(pairs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_labels": 4}, "num_labels is 4"),
        ({"max_length": 3}, "leaves no room"),
        ({"backend": "none"}, "no backend"),
    ],
)
def test_arguments_that_cannot_be_honoured(bert: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CrossEncoder(bert, **changes).predict(PAIRS)


def test_folders_that_hold_no_cross_encoder(tmp_path: Path, bert: Path) -> None:
    with pytest.raises(ModelError, match="no cross-encoder with a classification head"):
        CrossEncoder(save_tiny_model(tmp_path / "bi"))
    plain = save_tiny_classifier(tmp_path / "plain")
    config = read_json(plain / "config.json")
    write_json(plain / "config.json", config | {"architectures": ["BertModel"]})
    with pytest.raises(ModelError, match=r"has no classification head \(config.json names BertModel\)"):
        CrossEncoder(plain)
    write_json(plain / "config.json", config | {"model_type": "xlnet"})
    with pytest.raises(ModelError, match="its head is not supported"):
        CrossEncoder(plain)
    with pytest.raises(ModelError, match="no model folder"):
        CrossEncoder(tmp_path / "nowhere")
    from safetensors.numpy import load_file, save_file

    beheaded = save_tiny_classifier(tmp_path / "beheaded")
    weights = load_file(beheaded / "model.safetensors")
    save_file({name: w for name, w in weights.items() if "classifier" not in name}, beheaded / "model.safetensors")
    with pytest.raises(ModelError, match=r"lack 2 tensors .*classifier"):
        CrossEncoder(beheaded)


def test_a_converted_model_needs_no_torch(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ST_RAY_CACHE", str(tmp_path))
    CrossEncoder(bert, backend="openvino")
    code = (
        "import sys; from st_ray import CrossEncoder; CrossEncoder(sys.argv[1], backend='openvino'); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(bert)], check=True)
