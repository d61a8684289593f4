"""Any GenICam camera whose maker has a GenTL producer (a file `*.cti`), through Harvesters."""

from drivers.cameras.harvesters.camera import HarvestersCamera, HarvestersSettings, harvesters_camera

__all__ = ["HarvestersCamera", "HarvestersSettings", "harvesters_camera"]
