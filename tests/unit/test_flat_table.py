"""Rows of images become a table without pandas, and what does not fit is said."""

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.lake import as_table, flat_table
from pipeline.datasets.schemas import IMAGES
from pipeline.errors import PoisonedResultError

NOW = datetime(2026, 1, 2, 3, 4, 5, 123000, tzinfo=UTC)
ROW: dict[str, Any] = {
    field.name: "text" if pa.types.is_string(field.type) else 1 for field in IMAGES if not field.nullable
} | {"created_at": NOW}


@given(st.text(st.characters(codec="utf-8")), st.integers(-(2**63), 2**63 - 1), st.none() | st.integers(0, 2**31 - 1))
def test_it_holds_what_arrows_own_way_would_hold(text: str, large: int, small: int | None) -> None:
    rows = [ROW | {"detail": text, "size_bytes": large, "status": small}, ROW]
    table = flat_table("images", rows)
    assert table.equals(as_table("images", rows))
    assert table.schema.equals(IMAGES, check_metadata=True)


def test_no_rows_are_an_empty_table() -> None:
    assert flat_table("images", []).equals(as_table("images", []))


@pytest.mark.parametrize(
    "wrong",
    [
        {"width_px": "wide"},
        {"width_px": 1.5},
        {"width_px": 2**70},
        {"position": 2**40},
        {"record_id": 5},
        {"record_id": None},
        {"detail": "\ud800"},
        {"detail": b"bytes"},
        {"created_at": "yesterday"},
    ],
)
def test_rows_that_do_not_fit_are_refused_and_the_dataset_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(PoisonedResultError, match="images"):
        flat_table("images", [ROW, ROW | wrong])


def test_pandas_is_not_imported_for_it() -> None:
    code = (
        "import sys; from pipeline.datasets.lake import flat_table; flat_table('outcomes', []);"
        "from tests.unit.test_flat_table import ROW; sys.modules.pop('pandas', None); flat_table('images', [ROW]);"
        "print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
