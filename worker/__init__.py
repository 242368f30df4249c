"""The Celery workers: what runs when a unit is due."""
