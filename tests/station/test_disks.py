"""A journal, pictures or rare parts on a network share are named, with what it can cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from station.config import load_config
from station.disks import share_of, share_warnings

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /proc rw - proc proc rw
40 22 0:40 / /srv/plant rw - nfs4 nas:/plant rw
41 40 8:2 / /srv/plant/local rw master:3 - xfs /dev/sdb1 rw
42 22 0:41 / /mnt/a\\040b rw - cifs //nas/share rw
43 22 0:42 / /mnt/ssh rw - fuse.sshfs user@host:/ rw
44 22 0:43 / /mnt/ntfs rw - fuseblk /dev/sdc1 rw
45 22 0:44 / /mnt/twice rw - ext4 /dev/sdd1 rw
46 45 0:45 / /mnt/twice rw - 9p host rw
"""


@pytest.mark.parametrize(
    ("path", "share"),
    [
        ("/var/lib/station/journal.db", ""),
        ("/srv/plant/journal.db", "nfs4"),
        ("/srv/plant", "nfs4"),
        ("/srv/plants/journal.db", ""),
        ("/srv/plant/local/journal.db", ""),
        ("/mnt/a b/pictures", "cifs"),
        ("/mnt/ssh/pictures", "fuse.sshfs"),
        ("/mnt/ntfs/pictures", ""),
        ("/mnt/twice/pictures", "9p"),
    ],
)
def test_the_mount_that_holds_a_path_says_whether_it_is_a_share(path: str, share: str) -> None:
    assert share_of(Path(path), MOUNTS) == share


def test_each_path_on_a_share_is_named_with_its_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(Path(__file__).parents[2] / "config" / "demo.yaml")
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr("station.disks.MOUNTS", mounts)
    folder = config.paths.journal.parent.resolve()
    for kind, count in (("ext4", 0), ("nfs", 3)):
        mounts.write_text(f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:1 / {folder} rw - {kind} x rw\n")
        found = share_warnings(config)
        assert len(found) == count
    assert found[0].startswith("paths.journal is on a network share (nfs): ")
