"""Pure machine learning: plain values in and out; no queue, no SQL, no settings."""
