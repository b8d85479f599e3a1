"""Up to when commands may have been begun of which nothing is noted; pure."""

from __future__ import annotations

from datetime import datetime


class Missed:
    """What is to go into the next commit about it, beside what the file knows."""

    def __init__(self) -> None:
        self._until: datetime | None = None
        self._is_nothing = False

    def __repr__(self) -> str:
        return f"<Missed: {'nothing' if self._is_nothing else self._until}>"

    def nothing(self) -> None:
        """Note that no command was ever forgotten, whatever the file says."""
        self._is_nothing, self._until = True, None

    def until(self, at: datetime) -> None:
        """Note that commands may have been begun till then, unheard of."""
        self._is_nothing, self._until = False, at

    def forgot_at(self, known: datetime | None) -> datetime | None:
        """Return the moment; `known` is the one that the file has."""
        if self._is_nothing:
            return None
        if known is None or self._until is None:
            return known or self._until
        return max(known, self._until)

    def taken(self) -> None:
        """Note that it goes into a commit: from now on the file knows it."""
        self._is_nothing = False
