"""Text from a store, made safe for a terminal."""

from rvlab.display.printable import printable

__all__ = ["printable"]
