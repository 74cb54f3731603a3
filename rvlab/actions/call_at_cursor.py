"""The call and the argument in which the cursor is, from source code that is not complete."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_CALLEE = re.compile(r"([A-Za-z_][\w.]*)\s*\Z")
_KEYWORD = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)")
_WORD = re.compile(r"\w*\Z")
_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True)
class ArgumentAtCursor:
    """The argument of a call that is being typed.

    Args:
        function: The called expression, such as ``lab.submit``.
        outer: The called expression around this call, such as ``lab.sweep``; None without one.
        arguments: The source of the earlier arguments.
        keyword: The name of this argument, if it is given by name.
        in_string: Whether the cursor is in a string.
        fragment: What has been typed of the string or the word.
        is_empty: Whether nothing of the argument precedes the fragment.
        outer_arguments: The source of the earlier arguments of the call around this call.
    """

    function: str
    outer: str | None
    arguments: tuple[str, ...]
    keyword: str | None
    in_string: bool
    fragment: str
    is_empty: bool
    outer_arguments: tuple[str, ...] = ()

    @property
    def position(self) -> int:
        """The number of positional arguments before this one."""
        return sum(_KEYWORD.match(one) is None for one in self.arguments)

    @property
    def names(self) -> set[str]:
        """The names of the earlier arguments that are given by name."""
        return {found[1] for one in self.arguments if (found := _KEYWORD.match(one))}

    def source_of(self, position: int, name: str) -> str | None:
        """Return the source of an earlier argument; see `argument_source`."""
        return argument_source(self.arguments, position, name)


def argument_source(arguments: tuple[str, ...], position: int, name: str) -> str | None:
    """Return the source of the argument with a position or a name; None if it is not given."""
    for one in arguments:
        if (found := _KEYWORD.match(one)) and found[1] == name:
            return one[found.end() :].strip()
    positional = [one.strip() for one in arguments if not _KEYWORD.match(one)]
    return positional[position] if position < len(positional) else None


@dataclass
class _Bracket:
    kind: str
    function: str | None
    start: int
    ends: list[int] = field(default_factory=list)

    def arguments(self, code: str) -> tuple[str, ...]:
        starts = [self.start, *(end + 1 for end in self.ends)]
        return tuple(code[a:b] for a, b in zip(starts, self.ends, strict=False))

    def current(self, code: str) -> str:
        return code[self.ends[-1] + 1 if self.ends else self.start :]


def argument_at_cursor(code: str) -> ArgumentAtCursor | None:
    """Find the argument at the end of the code before the cursor; None outside of a call.

    An element of a list counts as the argument that the list is.
    """
    brackets, string_start = _scan(code)
    level = len(brackets) - 1
    while level >= 0 and brackets[level].kind == "[":
        level -= 1
    if level < 0 or brackets[level].kind != "(" or not brackets[level].function:
        return None
    call = brackets[level]
    outer = next((one for one in reversed(brackets[:level]) if one.function), None)
    current = call.current(code)
    found = _KEYWORD.match(current)
    if string_start is not None:
        fragment = code[string_start:]
        before = ""
    else:
        fragment = _WORD.search(code)[0]  # type: ignore[index]  # it matches the empty string
        before = current[found.end() if found else 0 : len(current) - len(fragment)]
    return ArgumentAtCursor(
        str(call.function),
        outer.function if outer else None,
        call.arguments(code),
        found[1] if found else None,
        string_start is not None,
        fragment,
        not before.strip(),
        outer.arguments(code) if outer else (),
    )


def _scan(code: str) -> tuple[list[_Bracket], int | None]:
    """Return the brackets that are open at the end, and where the open string starts, if any."""
    brackets: list[_Bracket] = []
    i = 0
    while i < len(code):
        char = code[i]
        if char == "#":
            line_end = code.find("\n", i)
            i = len(code) if line_end < 0 else line_end
        elif char in "\"'":
            quote = char * 3 if code.startswith(char * 3, i) else char
            end = _string_end(code, i + len(quote), quote)
            if end is None:
                return brackets, i + len(quote)
            i = end
            continue
        elif char in _OPEN:
            callee = _CALLEE.search(code, 0, i) if char == "(" else None
            brackets.append(_Bracket(char, callee[1] if callee else None, i + 1))
        elif char in _CLOSE and brackets:
            brackets.pop()
        elif char == "," and brackets:
            brackets[-1].ends.append(i)
        i += 1
    return brackets, None


def _string_end(code: str, start: int, quote: str) -> int | None:
    """Return the index after the end of a string; None if it is open at the end of the code."""
    i = start
    while i < len(code):
        if code[i] == "\\":
            i += 2
        elif code.startswith(quote, i):
            return i + len(quote)
        elif code[i] == "\n" and len(quote) == 1:
            return i  # the string of an earlier line was not closed
        else:
            i += 1
    return None
