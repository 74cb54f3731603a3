"""The widget: validates and answers the page's requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import anywidget
import traitlets
from cachetools import LRUCache, cached

from rvlab.errors import RvlabError, SpecError, did_you_mean
from rvlab.viewer.catalog import IMAGE_LAYER, Catalog, error_legend
from rvlab.viewer.lifo_executor import LifoExecutor
from rvlab.viewer.tiles import TILE_PX, Tile, TileRef

STATIC_FOLDER = Path(__file__).parent / "static"
SCRIPT_FILES = ("parts.js", "messages.js", "layers.js", "viewer.js")  # joined into one module
CACHE_BYTES = 64_000_000
MAX_DROPPED = 512  # request ids in one drop message


@cache
def page_script() -> str:
    """Return the script: Leaflet inside a function, to keep it out of globals, then own files."""
    leaflet = (STATIC_FOLDER / "leaflet" / "leaflet.js").read_text("utf-8")
    leaflet = leaflet.replace("//# sourceMappingURL=leaflet.js.map", "")
    own = "\n".join((STATIC_FOLDER / name).read_text("utf-8") for name in SCRIPT_FILES)
    begin, end = "const exports = {}, module = { exports };", "return exports.noConflict();"
    return f"const L = (() => {{ {begin}\n{leaflet}\n{end} }})();\n{own}"


@cache
def page_style() -> str:
    """Return Leaflet's style sheet followed by the viewer's."""
    parts = [STATIC_FOLDER / "leaflet" / "leaflet.css", STATIC_FOLDER / "viewer.css"]
    return "\n".join(part.read_text("utf-8") for part in parts)


class Viewer(anywidget.AnyWidget):
    """A map of scenes, created by `rvlab.viewer.viewer`.

    ``scene``, ``left``, ``right``, ``opacity`` and ``hidden`` follow the page's controls and can be
    set from a cell. The widget's state, which a notebook may save, has no addresses and no pixels.

    Args:
        catalog: Scenes and layers.
        scenes: Ids of the scenes to choose from.
        scene: Scene to show first; the empty string is the first of `scenes`.
        windows: Rows with ``scene col row width height`` and a caption, ``words``.
        words: Message if there is nothing to show.
        height_px: Height of the map.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    spec = traitlets.Dict().tag(sync=True)
    scene = traitlets.Unicode().tag(sync=True)
    left = traitlets.Unicode("truth").tag(sync=True)
    right = traitlets.Unicode().tag(sync=True)
    opacity = traitlets.Float(0.7, min=0.0, max=1.0).tag(sync=True)
    hidden = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(
        self,
        catalog: Catalog,
        scenes: Sequence[str],
        *,
        scene: str = "",
        windows: Sequence[Mapping[str, Any]] = (),
        words: str = "",
        height_px: int = 520,
    ) -> None:
        self._catalog, self._scenes = catalog, frozenset(scenes)
        self._executor: LifoExecutor[Any] = LifoExecutor()
        self._cache: LRUCache[Any, Tile] = LRUCache(CACHE_BYTES, getsizeof=lambda x: len(x.data))
        self._cache_lock = Lock()
        self._tile = cached(self._cache, lock=self._cache_lock)(catalog.tile)
        self._sending = Lock()
        self._is_closed = False
        layers = [{"key": x.key, "title": x.title, "kind": x.kind} for x in catalog.layers.values()]
        super().__init__(
            spec={
                "scenes": list(scenes),
                "layers": layers,
                "windows": list(windows),
                "words": words,
                "height": height_px,
                "tile": TILE_PX,
                "legend": error_legend([x.classes for x in catalog.sources if x.error is None]),
            },
            scene=scene or next(iter(scenes), ""),
            right="run:0" if "run:0" in catalog.layers else "",
            _esm=page_script(),
            _css=page_style(),
        )
        self.on_msg(self._on_message)

    @traitlets.validate("scene", "left", "right")
    def _validate_choice(self, proposal: Any) -> str:
        """Validate the scene or layer that a cell or the page selects."""
        name, value = proposal["trait"].name, str(proposal["value"])
        known = self._scenes if name == "scene" else self._catalog.layers
        if value and value not in known:
            raise traitlets.TraitError(f"{name} cannot be {value!r}. {did_you_mean(value, known)}")
        return value

    def close(self) -> None:
        """Remove the viewer from the page; its threads exit after their current tile."""
        self._is_closed = True
        self._executor.close()
        with self._cache_lock:
            self._cache.clear()
        super().close()

    def _on_message(self, _: Any, content: Any, __: Any) -> None:
        """Answer a message of the page; reject an invalid one without reading anything."""
        try:
            answers: dict[str, Callable[[Mapping[str, Any]], None]]
            answers = {"tile": self._send_tile, "boxes": self._send_boxes}
            answers |= {"scene": self._send_scene_info, "drop": self._drop}
            kind = content.get("kind") if isinstance(content, Mapping) else None
            if not isinstance(kind, str) or kind not in answers:
                raise SpecError("The viewer received a message of an unknown kind.")
            answers[kind](content)
        except RvlabError as exc:
            name = content.get("id") if isinstance(content, Mapping) else None
            self._send_message({"kind": "refused", "id": name, "words": str(exc)})

    def _send_tile(self, content: Mapping[str, Any]) -> None:
        scene, key = self._validate_layer(content)
        spot = TileRef(*(_number(content, word) for word in ("level", "x", "y")))
        self._submit(content, lambda: self._tile(scene, key, spot))

    def _send_boxes(self, content: Mapping[str, Any]) -> None:
        scene, key = self._validate_layer(content)
        self._submit(content, lambda: self._catalog.box_rows(scene, key))

    def _submit(self, content: Mapping[str, Any], work: Callable[[], Tile]) -> None:
        about = {word: _text(content, word) for word in ("id", "scene", "layer")}

        def done(found: Tile | RvlabError) -> None:
            if isinstance(found, RvlabError):
                words = self._catalog.error_text(about["layer"], about["scene"], found)
                self._send_message({"kind": "failed", "words": words} | about)
                return
            size = {"rows": found.rows, "cols": found.cols, "form": found.form}
            self._send_message({"kind": "tile"} | about | size, [found.data])

        self._executor.submit(about["id"], work, done)

    def _send_scene_info(self, content: Mapping[str, Any]) -> None:
        name, scene = _text(content, "id"), self._scene(content)

        def done(found: dict[str, Any] | RvlabError) -> None:
            about = {"kind": "scene", "id": name, "scene": scene}
            if isinstance(found, RvlabError):
                self._send_message(
                    about | {"words": self._catalog.error_text("image", scene, found)}
                )
            else:
                self._send_message(about | {"about": found})

        self._executor.submit(name, lambda: self._catalog.scene_info(scene), done)

    def _drop(self, content: Mapping[str, Any]) -> None:
        names = content.get("ids")
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise SpecError("A drop message must have a list of request ids.")
        self._executor.cancel(names[:MAX_DROPPED])

    def _scene(self, content: Mapping[str, Any]) -> str:
        scene = _text(content, "scene")
        if scene not in self._scenes:
            raise SpecError(f"The viewer has no scene {scene[:40]!r}.")
        return scene

    def _validate_layer(self, content: Mapping[str, Any]) -> tuple[str, str]:
        key = _text(content, "layer")
        if key != IMAGE_LAYER and key not in self._catalog.layers:
            raise SpecError(f"The viewer has no layer {key[:40]!r}.")
        return self._scene(content), key

    def _send_message(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        with self._sending:
            if not self._is_closed:
                self.send(content, buffers)


def _text(content: Mapping[str, Any], word: str) -> str:
    value = content.get(word)
    if not isinstance(value, str) or not 0 < len(value) <= 1000:
        raise SpecError(f"{word!r} in a message must be a string of 1 to 1000 characters.")
    return value


def _number(content: Mapping[str, Any], word: str) -> int:
    value = content.get(word)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
        raise SpecError(f"{word!r} in a message must be an integer from 0 to {(1 << 31) - 1}.")
    return value
