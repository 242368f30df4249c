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
    unnamed: int = 0  # further reasons

    def refuse(self, path: str, reason: str) -> None:
        """Count a photo that could not be served, and remember why."""
        self.failed += 1
        self._remember(path, reason)

    def keep(self, path: str, reason: str | None = None) -> None:
        """Count a photo that was left as it was, and remember why where that is not plain."""
        self.kept += 1
        if reason is not None:
            self._remember(path, reason)

    def _remember(self, path: str, reason: str) -> None:
        if len(self.reasons) < LISTED:
            self.reasons.append((path, reason))
        else:
            self.unnamed += 1
