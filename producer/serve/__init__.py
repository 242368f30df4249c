"""The HTTP side: an API under /v1 and pages for a browser."""
