"""Packed linear layers compute what the plain ones do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from st_ray.models.packed_linear import PackedLinear, pack_linears


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
@torch.inference_mode()
def test_same_result(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    shared = nn.Linear(24, 24)
    model = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), shared, nn.Sequential(shared, nn.Linear(24, 8, bias=False)))
    x = torch.randn(3, 5, 16)
    expected = model(x)
    assert pack_linears(model, dtype) == 3
    assert isinstance(model[0], PackedLinear)
    assert model[2] is model[3][0]
    found = model(x)
    assert found.dtype == dtype
    assert torch.allclose(found.float(), expected, atol=tolerance, rtol=tolerance)


def test_nothing_to_pack_or_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pack_linears(nn.ReLU(), torch.float32) == 0
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    model = nn.Sequential(nn.Linear(4, 4))
    assert pack_linears(model, torch.float32) == 0
    assert type(model[0]) is nn.Linear
