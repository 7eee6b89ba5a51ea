"""What a driver need not load costs each start a second."""

from __future__ import annotations

import subprocess
import sys

WITHOUT_TORCH = (
    "encode.job",
    "score_pairs.job",
    "rerank.job",
    "fuse.job",
    "search.job",
    "evaluation.cross_encoder",
    "evaluation.similarity",
    "evaluation.retrieval",
    "evaluation.summary",
)


def test_drivers_that_leave_products_to_workers_load_no_torch() -> None:
    imports = "; ".join(f"import st_ray.runtime.{name}" for name in WITHOUT_TORCH)
    check = "import sys; sys.exit(' '.join({'torch', 'matplotlib', 'scipy', 'faiss'} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", f"{imports}; {check}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
