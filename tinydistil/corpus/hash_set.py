"""Floor 1: a set of 64-bit numbers in 12 to 24 bytes an entry, where Python's own takes 70 to 100."""

from array import array


class HashSet:
    """Open addressing with linear probing. Keys must be well-mixed hashes: their low bits are the place."""

    def __init__(self) -> None:
        # array, not numpy: reading one number from it is twice as fast.
        self._slots = array("Q", bytes(8 * 1024))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def bytes_held(self) -> int:
        """Memory of the table; twice as much again for a moment when it grows."""
        return self._slots.itemsize * len(self._slots)

    def __contains__(self, key: int) -> bool:
        return self._slots[self._place(key)] != 0

    def add(self, key: int) -> None:
        """Put `key` (0 <= key < 2**64) in; nothing happens if it is there."""
        place = self._place(key)
        if self._slots[place]:
            return
        self._slots[place] = key or 1
        self._count += 1
        # Above two thirds full the runs to be searched grow quickly (Knuth 6.4: 2 probes a hit, 5 a miss).
        if 3 * self._count > 2 * len(self._slots):
            self._grow()

    def _place(self, key: int) -> int:
        """Where `key` stands or would stand. 0 marks a free slot, so the key 0 counts as 1."""
        key = key or 1
        # The size is a power of two, so the mask is the remainder.
        slots, mask = self._slots, len(self._slots) - 1
        place = key & mask
        while slots[place] and slots[place] != key:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        old = self._slots
        self._slots = array("Q", bytes(2 * old.itemsize * len(old)))
        # Half a second for a million keys; the doublings before it took as long together.
        for key in old:
            if key:
                self._slots[self._place(key)] = key
