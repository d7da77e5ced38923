"""What is uploaded is bounded before it is kept: Django writes a file of any size to the disk, of whoever sends one, a
login or not. A form says in its own words what it takes; this is what no form could take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler

if TYPE_CHECKING:
    from django.core.files.uploadedfile import UploadedFile

# Four times what the forms take (5 MB): who has chosen a wrong file is still told so by its form
MOST_BYTES: Final = 20_000_000


class BoundedUploads(FileUploadHandler):
    """The first of the handlers; those after it keep what it lets through."""

    def handle_raw_input(self, _input: Any, _meta: Any, content_length: int, *_form: Any) -> None:
        """RequestDataTooBig by the length that the request says: the server reads no more than that."""
        if content_length > MOST_BYTES:
            raise RequestDataTooBig(f"an upload of {content_length} bytes, and {MOST_BYTES} are the most")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:  # noqa: ARG002 - Django's
        return raw_data

    def file_complete(self, file_size: int) -> UploadedFile[bytes] | None:  # noqa: ARG002 - Django's
        return None
