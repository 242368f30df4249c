"""blipq: a captioning daemon with a queue."""

__version__ = "0.1.0"
