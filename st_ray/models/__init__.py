"""Model folders and what runs them: source, folder, tokenizer, network, BiEncoder."""

import sys

# OpenVINO and NNCF tell Google Analytics of their use, unless this package is missing. Nobody asked for that; and they
# do it from forked processes, which can stall in a lock of the parent's and then keep a job from ending.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
