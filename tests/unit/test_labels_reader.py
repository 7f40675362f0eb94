"""Pictures come out of shards in order and bounded; a damaged one costs nothing but itself."""

import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import PoisonedResultError
from pipeline.images.shards import ShardWriter
from pipeline.labels import reader
from pipeline.labels.reader import predicted, read_batches
from pipeline.storage import LocalStore

SIDE = 8


def jpeg(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 12), (grey, grey, grey)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def shard(store: LocalStore, name: str, greys: list[int], broken: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    """A shard of plain pictures, and their rows; those that are `broken` are half there."""
    path = Path(store.root.removeprefix("file://")) / name
    with ShardWriter(path) as writer:
        rows = []
        for grey in greys:
            content = jpeg(grey)
            offset, size = writer.add(f"{name}-{grey}", content[: len(content) // 2] if grey in broken else content)
            rows.append({"image_id": grey, "shard_uri": name, "shard_offset": offset, "shard_size": size})
    return rows


def greys(batch: reader.ImageBatch) -> list[int]:
    return [int(round(float(picture.mean()))) for picture in batch.pixels]


def test_batches_follow_the_rows_through_all_shards(store: LocalStore) -> None:
    rows = shard(store, "a", list(range(10, 100, 4))) + shard(store, "b", list(range(110, 200, 4)))
    rows = rows[::2] + rows[1::2]
    batches = list(read_batches(store, iter(rows), size=7, side_px=SIDE))
    assert [len(batch.rows) for batch in batches] == [7] * 6 + [4]
    assert [row["image_id"] for batch in batches for row in batch.rows] == [row["image_id"] for row in rows]
    for batch in batches:
        assert batch.pixels.shape == (len(batch.rows), SIDE, SIDE, 3) and batch.pixels.dtype == np.uint8
        assert greys(batch) == pytest.approx([row["image_id"] for row in batch.rows], abs=2)


def test_a_damaged_picture_costs_only_itself(store: LocalStore) -> None:
    rows = shard(store, "a", [10, 20, 30, 40, 50], broken=(20, 50))
    batches = list(read_batches(store, rows, size=4, side_px=SIDE))
    assert [[row["image_id"] for row in batch.rows] for batch in batches] == [[10, 30, 40], []]
    assert [[row["image_id"] for row in batch.unreadable] for batch in batches] == [[20], [50]]
    assert batches[1].pixels.shape == (0, SIDE, SIDE, 3)


def test_a_shard_that_is_gone_costs_only_its_own_pictures(store: LocalStore) -> None:
    rows = shard(store, "a", [10, 20]) + shard(store, "b", [30, 40]) + shard(store, "c", [50, 60])
    store.delete("b")
    (batch,) = read_batches(store, rows, size=10, side_px=SIDE)
    assert [row["image_id"] for row in batch.rows] == [10, 20, 50, 60] and greys(batch) == pytest.approx(
        [10, 20, 50, 60], abs=2
    )
    assert [row["image_id"] for row in batch.unreadable] == [30, 40]


def test_a_shard_that_was_cut_off_costs_only_what_is_missing(store: LocalStore) -> None:
    rows = shard(store, "a", [10, 20, 30])
    whole = store.get_bytes("a")
    store.put_bytes("a", whole[: rows[1]["shard_offset"] + 100])
    (batch,) = read_batches(store, rows, size=10, side_px=SIDE)
    assert [row["image_id"] for row in batch.rows] == [10]
    assert [row["image_id"] for row in batch.unreadable] == [20, 30]


def test_no_more_is_read_ahead_than_a_few_batches(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader.os, "cpu_count", lambda: 2)
    taken = []

    def rows() -> Any:
        for row in shard(store, "a", list(range(5, 250, 2))):
            taken.append(row)
            yield row

    batches = read_batches(store, rows(), size=2, side_px=SIDE)
    for number in range(1, 20):
        next(batches)
        assert len(taken) <= 2 * (number + 2 + reader.BATCHES_AHEAD)


class Model:
    """Predicts the number of pictures; fails at the batch `fails_at`."""

    def __init__(self, fails_at: int = -1) -> None:
        self.calls, self.fails_at, self.threads = 0, fails_at, set()

    def predict(self, pixels: np.ndarray) -> int:
        self.threads.add(threading.current_thread().name)
        self.calls += 1
        if self.calls == self.fails_at:
            raise PoisonedResultError("scores are not finite numbers")
        return len(pixels)


def test_predictions_come_with_their_batch_and_are_made_by_one_thread(store: LocalStore) -> None:
    model = Model()
    rows = shard(store, "a", list(range(10, 100, 4)))
    found = list(predicted(read_batches(store, rows, size=4, side_px=SIDE), model))
    assert [count for _, count in found] == [4, 4, 4, 4, 4, 3] == [len(images.rows) for images, _ in found]
    assert len(model.threads) == 1 and threading.current_thread().name not in model.threads


def test_an_impossible_prediction_stops_the_reading(store: LocalStore) -> None:
    model, before = Model(fails_at=2), set(threading.enumerate())
    rows = shard(store, "a", list(range(10, 250, 2)))
    found = predicted(read_batches(store, rows, size=2, side_px=SIDE), model)
    assert next(found)[1] == 2
    with pytest.raises(PoisonedResultError, match="not finite.*pictures 14 to 16 of shard a"):
        list(found)
    assert model.calls <= 3 + reader.PREDICTED_AHEAD
    assert not set(threading.enumerate()) - before, "its threads have ended"
