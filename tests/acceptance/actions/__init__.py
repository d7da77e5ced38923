"""Every action that a person can start in the admin, driven by clicks in real Chromium: see `table.py`."""
