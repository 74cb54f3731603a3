"""Engines by name: rvlab's own and those of installed packages, found by entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Protocol, cast

from rvlab.errors import RvlabError, SpecError, did_you_mean

if TYPE_CHECKING:
    from rvlab.engines import Engine

GROUP = "rvlab.engines"
"""The group of entry points in which a package declares its engines."""

OWN_ENGINES = {
    "local": "rvlab.engines.local:LocalEngine",
    "kubeflow": "rvlab.engines.kubeflow.engine:KubeflowEngine",
    "rehearse": "rvlab.engines.rehearse:RehearseEngine",
}
"""rvlab's engines, as in ``pyproject.toml``, whose installed metadata may be missing or old.

A name of this table does not need a search of all installed packages, which takes about 30 ms.
"""


class EngineClass(Protocol):
    """The object of an entry point, usually a class that implements `rvlab.engines.Engine`."""

    def from_profile(self, profile: str | None) -> Engine:
        """Return an engine for a profile of ``rvlab.toml``; None is the default profile.

        Raises:
            SpecError: If the profile does not exist, or the engine has no profiles.
        """


def engine_names() -> list[str]:
    """Return the names of all engines: rvlab's own first, then engines of other packages."""
    others = {one.name for one in entry_points(group=GROUP)} - set(OWN_ENGINES)
    return [*OWN_ENGINES, *sorted(others)]


def load_engine_class(name: str) -> EngineClass:
    """Import the engine with a name.

    Raises:
        SpecError: If the engine is unknown, two packages declare it, or it cannot be imported.
        MissingExtra: If it needs a package that is not installed.
    """
    if name in OWN_ENGINES:
        return cast("EngineClass", EntryPoint(name, OWN_ENGINES[name], GROUP).load())
    entries = {entry.value: entry for entry in entry_points(group=GROUP, name=name)}
    if len(entries) > 1:
        raise SpecError(
            f"{len(entries)} installed packages declare an engine {name!r}: "
            f"{', '.join(map(_origin, entries.values()))}. Uninstall all but one."
        )
    for entry in entries.values():
        try:
            return cast("EngineClass", entry.load())
        except RvlabError:
            raise
        except Exception as exc:  # code of another package
            raise SpecError(
                f"The engine {name!r} of {_origin(entry)} cannot be imported: "
                f"{type(exc).__name__}: {exc}"
            ) from exc
    raise SpecError(f"Unknown engine {name!r}. {did_you_mean(name, engine_names())}")


def resolve_engine(engine: str | Engine, profile: str | None = None) -> Engine:
    """Return an engine by name; an engine object is returned as it is.

    Args:
        engine: One of `engine_names`, or an engine.
        profile: The profile of ``rvlab.toml``; None is the default profile.

    Raises:
        SpecError: If the engine is unknown, has no profiles, or `engine` is an object that is not
            an engine or has its profile already.
        MissingExtra: If it needs a package that is not installed.
    """
    if isinstance(engine, str):
        return load_engine_class(engine).from_profile(profile)
    if not hasattr(engine, "start"):
        raise SpecError(f"{engine!r} is not an engine. Use one of {', '.join(engine_names())}.")
    if profile is not None:
        raise SpecError(f"{engine!r} has its profile already. Omit profile={profile!r}.")
    return engine


def _origin(entry: EntryPoint) -> str:
    """Return the package of an entry point and the object that it names."""
    return f"{entry.dist.name if entry.dist else 'an unknown package'} ({entry.value})"
