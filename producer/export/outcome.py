"""What came of an export."""

from __future__ import annotations

from dataclasses import dataclass, field

LISTED = 20  # refused photos that are named; the others are counted


@dataclass
class Outcome:
    """Photos whose caption was `written`, those that were left as they were, and those that could not be served."""

    written: int = 0
    kept: int = 0
    failed: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)  # the first 20: path, reason

    def refuse(self, path: str, reason: str) -> None:
        """Count a photo that could not be served, and remember why."""
        self.failed += 1
        if len(self.reasons) < LISTED:
            self.reasons.append((path, reason))
