"""The hand-off: items of the rare-defect log travel to the workshop, signed, and a receipt comes back.

``bundle.py`` is the format, ``targets.py`` where bundles lie on their way, ``receipts.py`` the
workshop's word,
``sender.py`` one round of the station. The workshop's side is ``retraining/receiving.py``.
"""
