"""Reading and writing safely: a file whole or not at all, one writer per folder, one line for whatever goes wrong.

Files may come from anybody. What is opened here is a regular file of bounded size, never a pipe, a device or (in
folders that people pass around) a link. JSON holds finite numbers; arrays are no pickles and no larger than their file.
"""

from gym_vlmrm.files.folders import (
    check_place,
    check_writable,
    free_folder,
    is_free,
    is_held,
    make_folder,
    only_writer,
    unwritable,
)
from gym_vlmrm.files.formats import (
    DAMAGED,
    MAX_JSON,
    MAX_PIXELS,
    MAX_TABLE,
    PICTURE_FORMATS,
    check_picture_size,
    decode_picture,
    open_picture,
    read_arrays,
    read_json,
    read_model,
)  # fmt: skip
from gym_vlmrm.files.reading import check_links, check_regular, open_regular, read_bytes, read_text
from gym_vlmrm.files.writing import replacing, sync, write_bytes, write_json, write_text

__all__ = [
    "DAMAGED", "MAX_JSON", "MAX_PIXELS", "MAX_TABLE", "PICTURE_FORMATS", "check_links", "check_picture_size",
    "check_place",
    "check_regular", "check_writable", "decode_picture", "free_folder", "is_free", "is_held", "make_folder",
    "only_writer", "open_picture", "open_regular", "read_arrays", "read_bytes", "read_json", "read_model",
    "read_text", "replacing", "sync", "unwritable", "write_bytes", "write_json", "write_text",
]  # fmt: skip
