"""Deletion of runs: all their keys, and the empty folders that some stores list."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from rvlab.errors import StoreError
from rvlab.model import RESERVED_NAMES, Run
from rvlab.store import annotation
from rvlab.store.run_listing import list_runs
from rvlab.store.store import Store


def delete_runs(store: Store, runs: Sequence[Run]) -> None:
    """Delete every key of runs and of their annotations, and experiments that are then empty.

    Raises:
        StoreError: If the store refuses; the run is still listed, so the call can be repeated.
    """
    for run in runs:
        _delete_run(store, run)
    for experiment in dict.fromkeys(run.experiment for run in runs):
        folders = store.folders(f"{experiment}/")
        if set(folders) <= set(RESERVED_NAMES) and not list_runs(store, experiment).runs:
            for name in folders:
                store.delete(key for key, _ in store.files(f"{experiment}/{name}"))
            remove_empty_folder(store, experiment)


def _delete_run(store: Store, run: Run) -> None:
    own = [key for key, _ in store.files(run.prefix)]
    # The keys that list a run are deleted last, so that an interrupted deletion can be repeated.
    last = [run.key("spec.json"), run.end_key, run.active_key]
    steps = [key for key in own if key.startswith(run.key("steps/"))]
    store.delete(key for key, _ in store.files(annotation.annotation_key_prefix(run)))
    store.delete(key for key in own if key not in (*last, *steps))
    store.delete(steps)
    for key in last:
        store.delete([key])
    if "://" not in store.uri:
        with _translate_errors(run.prefix):  # interrupted uploads leave files that are not listed
            shutil.rmtree(Path(store.uri, run.prefix))
    remove_empty_folder(store, run.prefix)
    remove_empty_folder(store, annotation.annotation_key_prefix(run))


def remove_empty_folder(store: Store, prefix: str) -> None:
    """Remove a folder without keys that the store still lists.

    A folder on a disk exists without files. SeaweedFS lists a prefix for a while after its last key
    is deleted. Other object storage may have a marker, a key that ends in ``/``. None of the calls
    here removes a folder that has content.
    """
    parent, _, name = prefix.rpartition("/")
    if name not in store.folders(f"{parent}/" if parent else ""):
        return
    for below in store.folders(f"{prefix}/"):
        remove_empty_folder(store, f"{prefix}/{below}")
    import fsspec

    fs, path = fsspec.core.url_to_fs(f"{store.uri}/{prefix}", **store.storage_options)
    if not store.is_s3:
        with contextlib.suppress(OSError):
            fs.rmdir(path)
        return
    bucket, _, key = path.partition("/")
    with _translate_errors(prefix):
        fs.call_s3("delete_object", Bucket=bucket, Key=f"{key}/")


@contextlib.contextmanager
def _translate_errors(prefix: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        return
    except OSError as exc:
        raise StoreError(f"The folder {prefix!r} cannot be removed: {exc}.") from exc
