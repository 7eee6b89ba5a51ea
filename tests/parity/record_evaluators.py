"""Record what the evaluators of sentence-transformers 3.4.1 give for every case; `make peer-evaluators` runs this.

python -m tests.parity.record_evaluators [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from tests.parity.evaluator_cases import OF_3_4_1
from tests.parity.evaluator_runs import parameters_of, play_peer

VERSION = "3.4.1"
RECORDED = Path(__file__).with_name("recorded_evaluators.json")


def record() -> dict[str, Any]:
    """Parameters of every class, and the outcome of every case."""
    import sentence_transformers
    from sentence_transformers.cross_encoder import evaluation

    if sentence_transformers.__version__ != VERSION:
        raise SystemExit(f"this is sentence-transformers {sentence_transformers.__version__}, not {VERSION}")
    names = dict.fromkeys(case.evaluator for case in OF_3_4_1.values())
    classes = {name: getattr(evaluation, name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        outcomes = {
            name: play_peer(classes[case.evaluator], case, Path(folder) / str(number))
            for number, (name, case) in enumerate(OF_3_4_1.items())
        }
    return {
        "version": VERSION,
        "parameters": {name: [parameters_of(one), parameters_of(one.__call__)] for name, one in classes.items()},
        "outcomes": outcomes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RECORDED)
    file = parser.parse_args().output
    recorded = record()
    with file.open("w", encoding="utf-8") as stream:
        json.dump(recorded, stream, indent=1, default=float)
        stream.write("\n")
    print(f"{len(recorded['outcomes'])} cases in {file}")


if __name__ == "__main__":
    main()
