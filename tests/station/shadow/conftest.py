"""The small product of the rare-defect log's tests."""

from tests.station.rare.conftest import bench as bench
