"""What goes wrong while a report is made."""

from __future__ import annotations


class ReportError(Exception):
    """A report could not be made; the message is one line for a person."""
