"""Styles, scripts and fonts: as `collectstatic` packed them, or from the packages themselves where it has not run.

It writes a gzip copy beside each file: with its first page a browser loads 1 MB instead of 2.
"""

from __future__ import annotations

from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]  # WhiteNoise has no types
    """What was collected goes first. In WhiteNoise the files of the packages do, which are not compressed."""

    def add_files_from_finders(self) -> None:
        collected = dict(self.files)
        super().add_files_from_finders()
        self.files.update(collected)
