"""A client and its runs belong to the process that made them."""

from __future__ import annotations

from typing import NoReturn


class NotPicklable:
    """Refuses to be pickled or copied, and says what to do instead."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} holds connections and threads and cannot be pickled or copied; "
            "create it in the process that uses it (and keep it out of what data-loader workers are sent)"
        )
