"""The quickstart's corpus, from a package made here."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import _docstrings
from st_ray.core.errors import InputError

SOURCE = '''"""A module whose description is long enough to be kept."""

class Shape:
    """Shapes have a number of corners, and an area that can be measured.

    Parameters
    ----------
    corners : int
    """

    def area(self):
        """Measure the area in square metres, whatever the shape may be like.

        Args:
            nothing: at all.
        """

    def _hidden(self):
        """Nobody should see this description, however long it may be written."""

    def short(self):
        """Too short."""
'''


def test_descriptions_by_qualified_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "shapes_of_ours"
    (package / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text(SOURCE)
    (package / "broken.py").write_text("def (:")
    (package / "tests" / "test_x.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(_docstrings, "PACKAGES", ("shapes_of_ours", "not_installed_anywhere"))
    target = tmp_path / "corpus.parquet"
    assert _docstrings.write_docstring_corpus(str(target), 10) == 3
    table = pq.read_table(target).to_pylist()
    assert [row["id"] for row in table] == ["shapes_of_ours", "shapes_of_ours.Shape", "shapes_of_ours.Shape.area"]
    assert table[1]["text"] == "Shapes have a number of corners, and an area that can be measured."
    assert table[2]["text"] == "Measure the area in square metres, whatever the shape may be like."
    assert _docstrings.write_docstring_corpus(str(target), 2) == 2


def test_nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_docstrings, "PACKAGES", ("not_installed_anywhere",))
    with pytest.raises(InputError, match="not_installed_anywhere"):
        _docstrings.write_docstring_corpus(str(tmp_path / "c.parquet"), 10)
