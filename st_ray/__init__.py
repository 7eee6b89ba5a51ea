"""Sentence Transformers' batch work at cluster scale, on Ray.

The names below load when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_PLACES = {
    "BiEncoder": "st_ray.models.bi_encoder",
    "CEBinaryAccuracyEvaluator": "st_ray.evaluation.evaluators",
    "CEBinaryClassificationEvaluator": "st_ray.evaluation.evaluators",
    "CECorrelationEvaluator": "st_ray.evaluation.evaluators",
    "CEF1Evaluator": "st_ray.evaluation.evaluators",
    "CERerankingEvaluator": "st_ray.evaluation.evaluators",
    "CESoftmaxAccuracyEvaluator": "st_ray.evaluation.evaluators",
    "CrossEncoder": "st_ray.models.cross_encoder",
    "CrossEncoderClassificationEvaluator": "st_ray.evaluation.successors",
    "CrossEncoderCorrelationEvaluator": "st_ray.evaluation.successors",
    "CrossEncoderRerankingEvaluator": "st_ray.evaluation.successors",
    "community_detection": "st_ray.mining.communities",
    "cos_sim": "st_ray.scoring.similarity",
    "dot_score": "st_ray.scoring.similarity",
    "euclidean_sim": "st_ray.scoring.similarity",
    "export_dynamic_quantized_onnx_model": "st_ray.export.functions",
    "export_optimized_onnx_model": "st_ray.export.functions",
    "export_static_quantized_openvino_model": "st_ray.export.functions",
    "http_get": "st_ray.core.download",
    "is_training_available": "st_ray.core.environment",
    "manhattan_sim": "st_ray.scoring.similarity",
    "mine_bitext": "st_ray.mining.bitext",
    "mine_hard_negatives": "st_ray.mining.negatives",
    "normalize_embeddings": "st_ray.scoring.tensors",
    "packed_dimension": "st_ray.scoring.quantization",
    "pairwise_angle_sim": "st_ray.scoring.similarity",
    "pairwise_cos_sim": "st_ray.scoring.similarity",
    "pairwise_dot_score": "st_ray.scoring.similarity",
    "pairwise_euclidean_sim": "st_ray.scoring.similarity",
    "pairwise_manhattan_sim": "st_ray.scoring.similarity",
    "paraphrase_mining": "st_ray.mining.paraphrases",
    "paraphrase_mining_embeddings": "st_ray.mining.paraphrases",
    "quantization_ranges": "st_ray.scoring.quantization",
    "quantize_embeddings": "st_ray.scoring.quantization",
    "semantic_search": "st_ray.search.semantic",
    "semantic_search_faiss": "st_ray.search.faiss_search",
    "truncate_embeddings": "st_ray.scoring.tensors",
}

__all__ = [
    "BiEncoder",
    "CEBinaryAccuracyEvaluator",
    "CEBinaryClassificationEvaluator",
    "CECorrelationEvaluator",
    "CEF1Evaluator",
    "CERerankingEvaluator",
    "CESoftmaxAccuracyEvaluator",
    "CrossEncoder",
    "CrossEncoderClassificationEvaluator",
    "CrossEncoderCorrelationEvaluator",
    "CrossEncoderRerankingEvaluator",
    "community_detection",
    "cos_sim",
    "dot_score",
    "euclidean_sim",
    "export_dynamic_quantized_onnx_model",
    "export_optimized_onnx_model",
    "export_static_quantized_openvino_model",
    "http_get",
    "is_training_available",
    "manhattan_sim",
    "mine_bitext",
    "mine_hard_negatives",
    "normalize_embeddings",
    "packed_dimension",
    "pairwise_angle_sim",
    "pairwise_cos_sim",
    "pairwise_dot_score",
    "pairwise_euclidean_sim",
    "pairwise_manhattan_sim",
    "paraphrase_mining",
    "paraphrase_mining_embeddings",
    "quantization_ranges",
    "quantize_embeddings",
    "semantic_search",
    "semantic_search_faiss",
    "truncate_embeddings",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
