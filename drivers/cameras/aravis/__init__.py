"""GigE Vision cameras of any maker through Aravis."""

from drivers.cameras.aravis.camera import AravisCamera, AravisSettings, aravis_camera

__all__ = ["AravisCamera", "AravisSettings", "aravis_camera"]
