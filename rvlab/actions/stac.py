"""The image of a STAC item: its assets, with the bands that a model needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rvlab.engines.extras import require_extra
from rvlab.errors import SpecError
from rvlab.raster.file_bytes import read_bytes
from rvlab.raster.imagery import ImageFiles, ImageryRules, channels_of_bands

if TYPE_CHECKING:
    from pystac import Asset, Item

RGB_NAMES = ("red", "green", "blue")

_MEDIA_TYPES = ("image/tiff", "image/jp2", "image/vnd.stac.geotiff")
_ENDINGS = (".tif", ".tiff", ".jp2")
_OTHER_ROLES = {"thumbnail", "overview", "metadata"}


@dataclass(frozen=True)
class ItemBand:
    """A band of an asset.

    Args:
        uri: The file.
        channel: Its number in the file, from 0.
        names: The names by which it can be chosen.
    """

    uri: str
    channel: int
    names: frozenset[str]


def is_item(one: Any) -> bool:
    """Return whether an argument is a STAC item: an object of pystac, a dict, or a JSON file."""
    if isinstance(one, Mapping):
        return True
    if isinstance(one, str | Path):
        return urlsplit(str(one)).path.lower().endswith(".json")
    return hasattr(one, "assets") and hasattr(one, "to_dict")


def item_image(one: Any, rules: ImageryRules) -> tuple[str, ImageFiles]:
    """Return the id of an item and the files of its image.

    Args:
        one: As `is_item` accepts it.
        rules: What the image must be like.

    Raises:
        MissingExtra: If pystac is not installed.
        SpecError: If it is not a STAC item, or its assets do not have the bands.
    """
    item = _load_item(one)
    assets = _image_assets(item)
    if not assets:
        raise SpecError(f"The STAC item {item.id!r} has no asset that is a GeoTIFF or JPEG 2000.")
    bands = rules.bands
    if len(assets) == 1 and (bands is None or all(isinstance(n, int) for n in bands)):
        order = None if bands is None else channels_of_bands(bands)
        return item.id, ImageFiles(((next(iter(assets.values())), order),))
    known = [band for key, uri in assets.items() for band in _bands(item.assets[key], key, uri)]
    wanted = [str(name) for name in bands] if bands is not None else _default_names(known, rules)
    if not wanted:
        raise SpecError(
            f"The STAC item {item.id!r} has {len(assets)} images: {_describe_bands(known)}. Name "
            "those of the model's channels, in order, with bands=[…]."
        )
    return item.id, _join_bands([_find(known, name, item.id) for name in wanted])


def _load_item(one: Any) -> Item:
    require_extra("predict", "A STAC item")
    import pystac

    if isinstance(one, pystac.Item):
        return one
    href = None
    if isinstance(one, str | Path):
        text = str(one)
        href = text if "://" in text else str(Path(text).expanduser().absolute())
        try:
            one = json.loads(read_bytes(href))
        except ValueError as exc:
            raise SpecError(f"{text} is not a STAC item: its JSON is invalid: {exc}.") from exc
    elif not isinstance(one, Mapping):
        one = one.to_dict()
    try:
        return pystac.Item.from_dict(dict(one), href=href)
    except Exception as exc:  # pystac raises many kinds for a malformed item
        raise SpecError(f"{href or 'The dict'} is not a STAC item: {exc!s:.200}.") from exc


def _image_assets(item: Item) -> dict[str, str]:
    """Return the URI of each asset that is imagery, by its key."""
    found = {
        key: asset
        for key, asset in item.assets.items()
        if _is_image(asset) and not _OTHER_ROLES & set(asset.roles or ())
    }
    data = {key: asset for key, asset in found.items() if "data" in (asset.roles or ())}
    return {key: _href(item, key, asset) for key, asset in (data or found).items()}


def _is_image(asset: Asset) -> bool:
    if asset.media_type:
        return str(asset.media_type).lower().startswith(_MEDIA_TYPES)
    return urlsplit(asset.href).path.lower().endswith(_ENDINGS)


def _href(item: Item, key: str, asset: Asset) -> str:
    href = asset.get_absolute_href()
    if href is None:
        raise SpecError(
            f"The asset {key!r} of the STAC item {item.id!r} has the relative address "
            f"{asset.href!r}. Give the item by its path or URL."
        )
    return str(href)


def _bands(asset: Asset, key: str, uri: str) -> Iterator[ItemBand]:
    """List the bands of an asset, of STAC 1.1 or of the extension ``eo``."""
    listed = asset.extra_fields.get("bands") or asset.extra_fields.get("eo:bands") or [{}]
    for channel, band in enumerate(listed):
        names = {band.get(name) for name in ("name", "common_name", "eo:common_name")}
        names |= {key} if len(listed) == 1 else set()
        yield ItemBand(uri, channel, frozenset(str(name) for name in names if name))


def _default_names(known: Sequence[ItemBand], rules: ImageryRules) -> list[str]:
    """Return red, green and blue for a model of three channels, if there is one of each."""
    names = {name for band in known for name in band.names}
    return list(RGB_NAMES) if rules.channels == len(RGB_NAMES) and names >= set(RGB_NAMES) else []


def _find(known: Sequence[ItemBand], name: str, item: str) -> ItemBand:
    found = [band for band in known if name in band.names]
    if len(found) != 1:
        number = "no band" if not found else f"{len(found)} bands"
        raise SpecError(
            f"The STAC item {item!r} has {number} {name!r}. Its images are "
            f"{_describe_bands(known)}."
        )
    return found[0]


def _join_bands(bands: Sequence[ItemBand]) -> ImageFiles:
    """Return the files of bands in order; neighbours of one file are read together."""
    files: list[tuple[str, tuple[int, ...]]] = []
    for band in bands:
        if files and files[-1][0] == band.uri:
            files[-1] = (band.uri, (*files[-1][1], band.channel))
        else:
            files.append((band.uri, (band.channel,)))
    return ImageFiles(tuple(files))


def _describe_bands(known: Sequence[ItemBand]) -> str:
    return ", ".join("/".join(sorted(band.names)) or band.uri for band in known[:20])
