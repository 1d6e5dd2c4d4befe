"""Whose work is next: askers take turns, and so do the requests of each of them."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

__all__ = ["Turns"]

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """A queue of pieces of work. Whoever uses it from several threads holds a lock of his own."""

    def __init__(self) -> None:
        self._rows: OrderedDict[Hashable, deque[Item]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(row) for row in self._rows.values())

    def __iter__(self) -> Iterator[Item]:
        """Yield what waits, without an order."""
        for row in self._rows.values():
            yield from row

    def put(self, asker: Hashable, item: Item) -> None:
        """Let an item wait behind the others of its asker; an asker that has none yet comes after the others."""
        self._rows.setdefault(asker, deque()).append(item)

    def take(self, suits: Callable[[Item], bool] | None = None) -> Item | None:
        """Return the next item, or the next one that suits; ``None`` where there is none. Its asker is last then."""
        for asker, row in self._rows.items():
            for item in row:
                if suits is None or suits(item):
                    row.remove(item)
                    if row:
                        self._rows.move_to_end(asker)
                    else:
                        del self._rows[asker]
                    return item
        return None

    def drop(self, asker: Hashable, item: Item) -> bool:
        """Take an item away that is wanted no more; whether it was there."""
        row = self._rows.get(asker)
        if row is None or item not in row:
            return False
        row.remove(item)
        if not row:
            del self._rows[asker]
        return True
