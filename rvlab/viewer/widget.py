"""The widget: what the page asks for, checked and answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import anywidget
import traitlets

from rvlab.errors import RvlabError, SpecError, did_you_mean
from rvlab.viewer.catalog import IMAGE_LAYER, Catalog, error_legend
from rvlab.viewer.lifo_executor import LifoExecutor, SizedLRUCache
from rvlab.viewer.tiles import TILE_PX, Tile, TileRef

STATIC_FOLDER = Path(__file__).parent / "static"
SCRIPT_FILES = ("parts.js", "messages.js", "layers.js", "viewer.js")  # joined into one module
CACHE_BYTES = 64_000_000
MAX_DROPPED = 512  # names in one message that drops requests


@cache
def page_script() -> str:
    """Leaflet in a function of its own, which leaves the page's globals alone, then our files."""
    leaflet = (STATIC_FOLDER / "leaflet" / "leaflet.js").read_text("utf-8")
    leaflet = leaflet.replace("//# sourceMappingURL=leaflet.js.map", "")
    own = "\n".join((STATIC_FOLDER / name).read_text("utf-8") for name in SCRIPT_FILES)
    begin, end = "const exports = {}, module = { exports };", "return exports.noConflict();"
    return f"const L = (() => {{ {begin}\n{leaflet}\n{end} }})();\n{own}"


@cache
def page_style() -> str:
    """Leaflet's style sheet and ours."""
    parts = [STATIC_FOLDER / "leaflet" / "leaflet.css", STATIC_FOLDER / "viewer.css"]
    return "\n".join(part.read_text("utf-8") for part in parts)


class Viewer(anywidget.AnyWidget):
    """A map of scenes; made by `rvlab.viewer.viewer`.

    ``scene``, ``left``, ``right``, ``opacity`` and ``hidden`` follow what is chosen on the page,
    and may be set from a cell. Nothing else of the runs is kept in the state of the widget, which a
    notebook may save: no address, no pixel.

    Args:
        catalog: What there is to see.
        scenes: Names of the scenes to choose from.
        windows: Rows with ``scene col row width height`` and what is told of each, ``words``.
        words: Why there is nothing to see, if so.
        height_px: Of the map.
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
        self._desk: LifoExecutor[Any] = LifoExecutor()
        self._cache: SizedLRUCache[Tile] = SizedLRUCache(CACHE_BYTES)
        self._sending = Lock()
        self._gone = False
        layers = [{"key": x.key, "title": x.title, "kind": x.kind} for x in catalog.layers.values()]
        super().__init__(
            spec={
                "scenes": list(scenes),
                "layers": layers,
                "windows": list(windows),
                "words": words,
                "height": height_px,
                "tile": TILE_PX,
                "legend": error_legend(),
            },
            scene=scene or next(iter(scenes), ""),
            right="run:0" if "run:0" in catalog.layers else "",
            _esm=page_script(),
            _css=page_style(),
        )
        self.on_msg(self._on_message)

    @traitlets.validate("scene", "left", "right")
    def _validate_choice(self, proposal: Any) -> str:
        """What a cell or the page chooses must be there."""
        name, value = proposal["trait"].name, str(proposal["value"])
        known = self._scenes if name == "scene" else self._catalog.layers
        if value and value not in known:
            raise traitlets.TraitError(f"There is no {value!r}. {did_you_mean(value, known)}")
        return value

    def close(self) -> None:
        """Take the viewer off the page; its threads end with the tile they are at."""
        self._gone = True
        self._desk.close()
        self._cache.clear()
        super().close()

    def _on_message(self, _: Any, content: Any, __: Any) -> None:
        """A message of the page. What none of ours sends is refused, and nothing is read for it."""
        try:
            answers: dict[str, Callable[[Mapping[str, Any]], None]]
            answers = {"tile": self._send_tile, "boxes": self._send_boxes}
            answers |= {"scene": self._send_scene_info, "drop": self._drop}
            kind = content.get("kind") if isinstance(content, Mapping) else None
            if not isinstance(kind, str) or kind not in answers:
                raise SpecError("The viewer was sent a message of a kind that it does not know.")
            answers[kind](content)
        except RvlabError as exc:
            name = content.get("id") if isinstance(content, Mapping) else None
            self._post({"kind": "refused", "id": name, "words": str(exc)})

    def _send_tile(self, content: Mapping[str, Any]) -> None:
        scene, key = self._validate_layer(content)
        spot = TileRef(*(_number(content, word) for word in ("level", "x", "y")))

        def work() -> Tile:
            found = self._cache.get((scene, key, spot))
            if found is None:
                found = self._catalog.tile(scene, key, spot)
                self._cache.put((scene, key, spot), found, len(found.data))
            return found

        self._submit(content, work)

    def _send_boxes(self, content: Mapping[str, Any]) -> None:
        scene, key = self._validate_layer(content)
        self._submit(content, lambda: self._catalog.box_rows(scene, key))

    def _submit(self, content: Mapping[str, Any], work: Callable[[], Tile]) -> None:
        about = {word: _text(content, word) for word in ("id", "scene", "layer")}

        def done(found: Tile | RvlabError) -> None:
            if isinstance(found, RvlabError):
                words = self._catalog.error_text(about["layer"], about["scene"], found)
                self._post({"kind": "failed", "words": words} | about)
                return
            size = {"rows": found.rows, "cols": found.cols, "form": found.form}
            self._post({"kind": "tile"} | about | size, [found.data])

        self._desk.submit(about["id"], work, done)

    def _send_scene_info(self, content: Mapping[str, Any]) -> None:
        name, scene = _text(content, "id"), self._scene(content)

        def done(found: dict[str, Any] | RvlabError) -> None:
            about = {"kind": "scene", "id": name, "scene": scene}
            if isinstance(found, RvlabError):
                self._post(about | {"words": self._catalog.error_text("image", scene, found)})
            else:
                self._post(about | {"about": found})

        self._desk.submit(name, lambda: self._catalog.scene_info(scene), done)

    def _drop(self, content: Mapping[str, Any]) -> None:
        names = content.get("ids")
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise SpecError("A message that drops requests has no list of their names.")
        self._desk.cancel(names[:MAX_DROPPED])

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

    def _post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        with self._sending:
            if not self._gone:
                self.send(content, buffers)


def _text(content: Mapping[str, Any], word: str) -> str:
    value = content.get(word)
    if not isinstance(value, str) or not 0 < len(value) <= 1000:
        raise SpecError(f"A message to the viewer has no text {word!r}.")
    return value


def _number(content: Mapping[str, Any], word: str) -> int:
    value = content.get(word)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
        raise SpecError(f"A message to the viewer has no number {word!r} from 0.")
    return value
