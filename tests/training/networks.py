"""What the tests of networks and of the folders that they become have in common."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from st_ray.models.batching import Tokens, padded_batches
from st_ray.models.network import TokenBatch
from st_ray.models.pair_tokenizer import PairTokenizer
from st_ray.models.tokenizer import TextTokenizer
from st_ray.training.bases import PairBase, TextBase
from st_ray.training.network import Network
from tests.models.tiny_models import read_json, write_json

# Not all models can run over no tokens at all.
LINES = ("the cat sat", "a dog ran, hello world!", "hello", "Query: The Dogs", "the cat " * 40, "漢字 smile")
PAIRS = tuple((first, second) for first in LINES for second in LINES[:4])


def move_transformer(folder: Path, place: str = "0_Transformer") -> Path:
    """Move the transformer of a folder by Sentence Transformers from its root to where some older ones have it."""
    modules = read_json(folder / "modules.json")
    (folder / place).mkdir()
    for file in list(folder.iterdir()):
        if file.is_file() and file.name not in ("modules.json", "config_sentence_transformers.json"):
            shutil.move(file, folder / place / file.name)
    modules[0]["path"] = place
    write_json(folder / "modules.json", modules)
    return folder


def trained(network: Network) -> Network:
    """The network with all weights a little off, as training leaves them."""
    noise = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for tensor in network.parameters():
            if tensor.requires_grad:
                tensor += 0.02 * torch.randn(tensor.shape, generator=noise)
    return network


def logits_of(network: Network, base: PairBase) -> np.ndarray:
    """What the network gives for `PAIRS` in eval mode, `[n, labels]`."""
    prompt = base.folder.prompt()
    tokens = PairTokenizer.of(base.folder, base.max_length).tokenize(*zip(*PAIRS, strict=True), prompt=prompt)
    return outputs(network, tokens)


def embeddings_of(network: Network, base: TextBase) -> np.ndarray:
    """What the network gives for `LINES` in eval mode, `[n, dimension]`."""
    return outputs(network, TextTokenizer(base.folder, base.max_length).tokenize(LINES, base.folder.prompt()))


@torch.inference_mode()
def outputs(network: Network, tokens: Tokens) -> np.ndarray:
    """What the network gives in eval mode, in the order of the inputs."""
    network.eval()
    found: dict[int, np.ndarray] = {}
    for batch in padded_batches(tokens, 400, network.padding_id):
        ids, lengths, mask, types = (
            None if part is None else torch.from_numpy(part)
            for part in (batch.ids, batch.lengths, batch.mask, batch.type_ids)
        )
        assert ids is not None and lengths is not None
        made = network(TokenBatch(ids, lengths, mask, types, tokens.prompt_length)).numpy()
        found.update(zip(batch.rows.tolist(), made, strict=True))
    network.train()
    return np.stack([found[row] for row in range(len(tokens))])
