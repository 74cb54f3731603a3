"""Files that a caller lists, and their assignment to scenes by their names."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from rvlab.errors import NotFound, SpecError
from rvlab.store.file_patterns import RASTER_SUFFIXES, expand_file_pattern
from rvlab.store.store import normalize_uri

FilesLike: TypeAlias = str | Path | Iterable[str | Path] | Mapping[str, str | Path]
"""A folder, a glob, a file, a list of files, or a dict of scene ids and files."""

ListedFiles: TypeAlias = list[str] | dict[str, str]
"""Addresses, or scene ids and addresses."""

_SEPARATORS = "-_. "
_CANDIDATES = 64
"""Files with which the first prediction is compared to find how names are related."""

_SHOWN = 5


def list_scene_files(
    given: FilesLike, what: str, suffixes: Sequence[str] = RASTER_SUFFIXES
) -> ListedFiles:
    """List the files that an argument names.

    Args:
        given: A folder, whose files with one of the suffixes count; a glob, which may contain
            ``**``; one file; a list of files; or a dict of scene ids and files. Each is a path or
            a URI.
        what: The name of the argument, for messages.
        suffixes: The suffixes of files in a folder.

    Raises:
        NotFound: If a file does not exist, or none matches.
        SpecError: If `given` is of another type, or a file is listed twice.
    """
    if isinstance(given, Mapping):
        listed: ListedFiles = {str(scene): _address(one, what) for scene, one in given.items()}
    elif isinstance(given, str | Path):
        try:
            listed = expand_file_pattern(given, suffixes)
        except NotFound as exc:
            raise NotFound(f"{what}: {exc}") from exc
    elif isinstance(given, Iterable):
        listed = [_address(one, what) for one in given]
    else:
        raise SpecError(
            f"{what} must be a folder, a glob, a list of files, or a dict of scenes and files, got "
            f"{given!r:.100}."
        )
    if not listed:
        raise NotFound(f"{what} has no files: {given!s:.200}.")
    uris = list(listed.values()) if isinstance(listed, dict) else listed
    if len(set(uris)) < len(uris):
        twice = next(uri for uri, number in Counter(uris).items() if number > 1)
        raise SpecError(f"{what} has a file twice: {twice}.")
    return listed


def _address(one: object, what: str) -> str:
    if not isinstance(one, str | Path):
        raise SpecError(f"{what} has {one!r:.100}, which is not a path or a URI.")
    return normalize_uri(one)


def match_truth_to_predictions(
    predictions: ListedFiles, truth: ListedFiles
) -> tuple[dict[str, str], dict[str, str]]:
    """Match predictions and truth by scene.

    Names of files are compared without their suffix. They may have a text before or after the
    scene's id, the same one in all predictions and in all truth files: ``pred_town-1`` and
    ``town-1-labels`` belong to the scene ``town-1``.

    Args:
        predictions: As `list_scene_files` returns it.
        truth: The same.

    Returns:
        The predictions and the truth by scene id, both in the order of the ids.

    Raises:
        SpecError: If a file has no partner; the message names such files.
    """
    if isinstance(predictions, dict):
        guessed, known = (
            predictions,
            match_files_to_scenes(list(predictions), truth, "truth", extra=False),
        )
    elif isinstance(truth, dict):
        known = truth
        guessed = match_files_to_scenes(list(truth), predictions, "predictions", extra=False)
    else:
        left, right = _by_stem(predictions, "predictions"), _by_stem(truth, "truth")
        pairs = _pair_names(list(left), list(right))
        _require_all(left, [a for a, _ in pairs.values()], "predictions", "truth")
        _require_all(right, [b for _, b in pairs.values()], "truth files", "prediction")
        guessed = {scene: left[a] for scene, (a, _) in pairs.items()}
        known = {scene: right[b] for scene, (_, b) in pairs.items()}
    order = sorted(guessed)
    return {scene: guessed[scene] for scene in order}, {scene: known[scene] for scene in order}


def match_files_to_scenes(
    scenes: Sequence[str], files: ListedFiles, what: str, *, extra: bool = True
) -> dict[str, str]:
    """Return the file of each scene.

    Args:
        scenes: Scene ids.
        files: As `list_scene_files` returns it.
        what: The name of the argument, for messages.
        extra: Whether files of other scenes are ignored.

    Raises:
        SpecError: If a scene has no file, or, without `extra`, a file has no scene.
    """
    named = files if isinstance(files, dict) else _by_stem(files, what)
    pairs = (
        {scene: (scene, scene) for scene in scenes if scene in named}
        if isinstance(files, dict)
        else _pair_names(scenes, list(named))
    )
    _require_all(scenes, [a for a, _ in pairs.values()], "scenes", f"file in {what}")
    if not extra:
        _require_all(named, [b for _, b in pairs.values()], f"files in {what}", "scene")
    by_id = {a: named[b] for a, b in pairs.values()}
    return {scene: by_id[scene] for scene in scenes}


def _by_stem(files: Iterable[str], what: str) -> dict[str, str]:
    """Return files by name without suffix; by the path from their common folder if names repeat."""
    paths = [PurePosixPath(one) for one in files]
    stems = [one.stem for one in paths]
    if len(set(stems)) < len(stems):
        parts = [one.parts for one in paths]
        shared = next(
            (i for i, column in enumerate(zip(*parts, strict=False)) if len(set(column)) > 1), 0
        )
        stems = ["/".join((*one.parts[shared:-1], one.stem)) for one in paths]
        if all("/" in one for one in stems) and len({one.rpartition("/")[2] for one in stems}) == 1:
            stems = [one.rpartition("/")[0] for one in stems]  # a folder for each scene
    found: dict[str, str] = {}
    for stem, path in zip(stems, files, strict=True):
        if stem in found:
            raise SpecError(
                f"{what} has two files of the same name: {found[stem]} and {path}. Give a dict of "
                "scenes and files."
            )
        found[stem] = path
    return found


def _pair_names(left: Sequence[str], right: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return pairs of names with the same scene id; see `match_truth_to_predictions`."""
    known = set(right)
    if same := [name for name in left if name in known]:
        return {name: (name, name) for name in same}
    if len(left) == len(right) == 1:
        common = _common_part(left[0], right[0]).strip(_SEPARATORS)
        return {common if len(common) > 2 else left[0]: (left[0], right[0])}
    best: dict[str, tuple[str, str]] = {}
    for first in (left[0], left[-1]):
        for other in right[:_CANDIDATES]:
            common = _common_part(first, other)
            if not common:
                continue
            (start, end), (other_start, other_end) = (
                one.split(common, 1) for one in (first, other)
            )
            pairs = {}
            for name in left:
                if name.startswith(start) and name.endswith(end):
                    core = name[len(start) : len(name) - len(end)]
                    if core and f"{other_start}{core}{other_end}" in known:
                        pairs[core] = (name, f"{other_start}{core}{other_end}")
            best = max(best, pairs, key=len)
    short = {core: core.strip(_SEPARATORS) for core in best}
    unique = len(set(short.values())) == len(short) and all(short.values())
    return {short[core] if unique else core: pair for core, pair in best.items()}


def _common_part(one: str, other: str) -> str:
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    found = matcher.find_longest_match()
    return one[found.a : found.a + found.size]


def _require_all(names: Iterable[str], matched: Iterable[str], what: str, missing: str) -> None:
    every, there = list(names), set(matched)
    rest = [name for name in every if name not in there]
    if not rest:
        return
    more = f" and {len(rest) - _SHOWN} more" if len(rest) > _SHOWN else ""
    raise SpecError(
        f"{len(rest)} of {len(every)} {what} have no {missing} of the same name: "
        f"{', '.join(rest[:_SHOWN])}{more}. Select files that belong together with a glob, or give "
        "a dict of scenes and files."
    )
