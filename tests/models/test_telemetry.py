"""OpenVINO sends nothing to anybody, nor do tools of its makers."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

SCRIPT = """
import sys
import st_ray.models.openvino_graph, openvino.tools.ovc
from openvino.tools.ovc.telemetry_utils import init_ovc_telemetry
assert "stub" in type(init_ovc_telemetry("x")).__module__, type(init_ovc_telemetry("x"))
assert not [name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module]
"""


def test_telemetry_is_never_loaded() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
