"""Retrieval metrics: the peer's formulas, the order of ranks, and the law that parts merge to the whole."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import ConfigError, InputError
from st_ray.evaluation import retrieval
from st_ray.evaluation.qrels import Qrels
from st_ray.evaluation.retrieval import RetrievalScores, merge_scores, parse_metrics, score_hits
from st_ray.store.hits import hits_table

ALL = parse_metrics(
    ["ndcg@10", "mrr@10", "map@100", "recall@100", "precision@10", "hit@10", "ndcg@3", "map@3", "hit@1"]
)


def ranked(rankings: dict[str, list[str]]) -> pa.Table:
    documents = [document for ranking in rankings.values() for document in ranking]
    counts = [len(ranking) for ranking in rankings.values()]
    scores = np.zeros(len(documents), np.float32)  # ties throughout: ranks alone decide
    return hits_table(pa.array(list(rankings), pa.string()), counts, pa.array(documents, pa.string()), scores)


def random_case(
    seed: int, grades: int = 1, queries: int = 60
) -> tuple[dict[str, list[str]], dict[str, dict[str, int]]]:
    """Rankings of 0 to 150 documents, and judgements of 1 to 40, of some further queries and without some."""
    random = np.random.default_rng(seed)
    documents = [f"d{number}" for number in range(300)]
    rankings, judged = {}, {}
    for number in range(queries):
        depth, relevant = int(random.integers(0, 151)), int(random.choice([1, 2, 5, 40]))
        rankings[f"q{number}"] = [documents[at] for at in random.permutation(300)[:depth]]
        chosen = random.permutation(300)[:relevant]
        judged[f"q{number}"] = {documents[at]: int(random.integers(1, grades + 1)) for at in chosen}
    return rankings, judged


def test_the_figures_are_the_peers() -> None:
    from sentence_transformers.evaluation import InformationRetrievalEvaluator

    rankings, judged = random_case(1)
    ks = [1, 3, 10, 100]
    peer = InformationRetrievalEvaluator(
        queries={query: query for query in rankings},
        corpus={f"d{number}": "" for number in range(300)},
        relevant_docs={query: set(documents) for query, documents in judged.items()},
        mrr_at_k=ks,
        ndcg_at_k=ks,
        accuracy_at_k=ks,
        precision_recall_at_k=ks,
        map_at_k=ks,
        score_functions={"cosine": None},
    )
    results = [
        [{"corpus_id": document, "score": -rank} for rank, document in enumerate(rankings[query])]
        for query in peer.queries_ids
    ]
    expected = peer.compute_metrics(results)
    names = {
        "accuracy": "hit",
        "precision": "precision",
        "recall": "recall",
        "ndcg": "ndcg",
        "mrr": "mrr",
        "map": "map",
    }
    metrics = parse_metrics([f"{ours}@{k}" for ours in names.values() for k in ks])
    found = score_hits(ranked(rankings), qrels := Qrels.from_dict(judged), metrics).means(qrels)
    for theirs, ours in names.items():
        for k in ks:
            assert found[f"{ours}@{k}"] == pytest.approx(expected[f"{theirs}@k"][k], abs=1e-12), (ours, k)


def test_grades_are_gains_of_ndcg_alone() -> None:
    rankings, judged = random_case(2, grades=3)
    graded, binary = (
        score_hits(ranked(rankings), Qrels.from_dict(judgements), ALL)
        for judgements in (judged, {query: dict.fromkeys(found, 1) for query, found in judged.items()})
    )
    for column, name in enumerate(graded.names):
        same = np.array_equal(graded.values[:, column], binary.values[:, column])
        assert same != name.startswith("ndcg")
    discounts = 1 / np.log2(np.arange(2, 12))
    for row, query in enumerate(graded.query_ids.to_pylist()):
        gains = np.array([judged[query].get(document, 0) for document in rankings[query][:10]])
        ideal = np.array(sorted(judged[query].values(), reverse=True)[:10])
        expected = (gains @ discounts[: len(gains)]) / (ideal @ discounts[: len(ideal)])
        assert graded.values[row, 0] == pytest.approx(expected, abs=1e-12)


def test_rank_decides_whatever_the_order_scores_and_ids() -> None:
    rankings = {"q": ["z", "m", "a"]}
    qrels = Qrels.from_dict({"q": {"z": 1}})
    table = ranked(rankings)
    shuffled = table.take([2, 0, 1]).set_column(3, "score", pa.array([9, 1, 5], pa.float32()))
    for hits in (table, shuffled):
        assert score_hits(hits, qrels, parse_metrics(["mrr@10"])).values.tolist() == [[1.0]]


def test_every_query_counts_as_it_should() -> None:
    qrels = Qrels.from_dict({"good": {"a": 1}, "absent": {"a": 1}, "hopeless": {"a": 0}})
    scores = score_hits(ranked({"good": ["a"], "hopeless": ["a"], "unknown": ["a"]}), qrels, ALL)
    assert scores.query_ids.to_pylist() == ["good"]
    assert (scores.hits, scores.queries, scores.unjudged, qrels.judged) == (3, 3, 2, 2)
    assert scores.without_hits(qrels).to_pylist() == ["absent"]
    assert scores.means(qrels)["mrr@10"] == 0.5


def test_integer_ids_meet_text() -> None:
    hits = hits_table(pa.array([5, 10**15]), [1, 1], pa.array([7, 8]), np.ones(2, np.float32))
    qrels = Qrels.from_dict({"5": {"7": 1}, "1000000000000000": {"8": 1}})
    assert score_hits(hits, qrels, ALL).means(qrels)["mrr@10"] == 1.0


@settings(max_examples=15, deadline=None)
@given(st.data(), st.sampled_from([1, 2, 7]))
def test_parts_merge_to_the_whole_exactly(data: st.DataObject, parts: int) -> None:
    rankings, judged = random_case(data.draw(st.integers(0, 1000)), queries=20)
    del judged["q3"], rankings["q4"]
    qrels = Qrels.from_dict(judged)
    whole = score_hits(ranked(rankings), qrels, ALL)
    names = list(rankings)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(names)), min_size=parts - 1, max_size=parts - 1)))
    pieces: list[RetrievalScores] = []
    for begin, end in zip([0, *cuts], [*cuts, len(names)], strict=True):
        pieces.append(score_hits(ranked({name: rankings[name] for name in names[begin:end]}), qrels, ALL))
    merged = merge_scores(data.draw(st.permutations(pieces)))
    assert merged.means(qrels) == whole.means(qrels)
    assert (merged.hits, merged.queries, merged.unjudged) == (whole.hits, whole.queries, whole.unjudged)
    assert merged.without_hits(qrels).equals(whole.without_hits(qrels))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rankings, judged = random_case(3)
    qrels = Qrels.from_dict(judged)
    whole = score_hits(ranked(rankings), qrels, ALL)
    for rows in (1, 100, 333):
        monkeypatch.setattr(retrieval, "_ROWS_AT_ONCE", rows)
        assert np.array_equal(score_hits(ranked(rankings), qrels, ALL).values, whole.values)


def test_what_no_ranking_can_hold() -> None:
    qrels = Qrels.from_dict({"q": {"a": 1}})
    with pytest.raises(InputError, match="query 'q' has the document 'b' twice"):
        score_hits(ranked({"q": ["a", "b", "b"]}), qrels, ALL)
    table = ranked({"q": ["a", "b"]}).set_column(1, "rank", pa.array([1, 1], pa.int32()))
    with pytest.raises(InputError, match="query 'q' has rank 1 twice"):
        score_hits(table, qrels, ALL)
    part = score_hits(ranked({"q": ["a"]}), qrels, ALL)
    with pytest.raises(InputError, match="query 'q' has hits in two parts"):
        merge_scores([part, part])


def test_names_of_metrics() -> None:
    metrics = parse_metrics([" NDCG@10", "Success@5", "hit@05", "ndcg@10", "R@1000"])
    assert [metric.name for metric in metrics] == ["ndcg@10", "success@5", "hit@5", "r@1000"]
    qrels = Qrels.from_dict({"q": {"a": 1}})
    assert score_hits(ranked({"q": ["b", "a"]}), qrels, metrics).values[0, 1:].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", ["ndgc@10", "ndcg", "ndcg@", "map@0", "map@-1", "mrr@ten", "@5", ""])
def test_no_metric_of_that_name(name: str) -> None:
    with pytest.raises(ConfigError, match="is no metric") as error:
        parse_metrics(["mrr@10", name])
    assert "ndcg, mrr, map, recall, precision, hit" in error.value.remedy
