"""Whether a file is what it claims to be, before a library gets to read it.

Nothing here unpickles or runs anything. A TorchScript archive is a program: it may hold only the operators
that a policy network needs, and none of the hooks that run while it is read. An ONNX file must be one flat
graph of known operators with all its weights inside.
"""

from __future__ import annotations

import ast
import io
import re
import zipfile
from collections.abc import Iterator
from typing import Final

MAX_ENTRIES: Final = 256
MAX_UNPACKED: Final = 64 * 2**20
MAX_CODE: Final = 2**20
MAX_NODES: Final = 512
_TOLD: Final = 100
"""Characters of a strange name that are told."""

_ENTRY: Final = re.compile(
    r"(data\.pkl|constants\.pkl|(constants|data)/\d+|code/__torch__(/\w+)*\.py(\.debug_pkl)?|version|byteorder"
    r"|\.data/serialization_id|\.format_version|\.storage_alignment)"
)
_PLAIN: Final = re.compile(r"[\n !-~]*")
_AMBIGUOUS: Final = re.compile(r"[\\#`]|\"\"\"|'''")
"""What torch and Python might read differently: the check must see what torch will."""
_TORCH_OPERATORS: Final = re.compile(
    r"add|addmm|bitwise_not|clamp|clamp_min|contiguous|detach|div|exp|linear|log|log_softmax|logical_not|logsumexp|matmul"
    r"|masked_fill|mean|mul|neg|relu|reshape|select|slice|softmax|split|squeeze|stack|sub|sum|t|unsqueeze"
    r"|view|where|xlogy"
)
_OF_TORCH: Final = re.compile(rf"torch\.({_TORCH_OPERATORS.pattern})")
_CALLED: Final = re.compile(
    rf"{_OF_TORCH.pattern}|annotate|unchecked_cast|int|float|bool|self(\.\w+)*\.forward"
)
"""What code may call: operators, casts, and the parts of a network that were not merged into one."""
_HOOKS: Final = re.compile(r"__setstate__|__getstate__|__new__|\b(?:import|while|for)\b")
"""What would run while it is read, or without an end."""
_ONNX_OPERATORS: Final = re.compile(
    r"Add|Clip|Concat|Div|Exp|Flatten|Gemm|Identity|Log|LogSoftmax|MatMul|Max|Mean|Min|Mul|Neg|Not"
    r"|ReduceLogSumExp|ReduceMax|ReduceMean|ReduceSum|Relu|Reshape|Slice|Softmax|Split|Squeeze|Sub|Tanh"
    r"|Transpose|Unsqueeze|Where"
)
_SUBGRAPHS: Final = frozenset({6, 11})
"""Fields of an attribute that hold graphs of their own."""


class FalseClaimError(ValueError):
    """The file is not what it claims to be. Get the artifact again from where it was made."""


def require_torchscript(data: bytes) -> None:
    """Check that bytes are a TorchScript archive of a plain network.

    Raises:
        FalseClaimError: saying what is wrong with them.
    """
    if not data.startswith(b"PK\x03\x04"):
        raise FalseClaimError("is not a TorchScript archive (it does not begin as a zip file does)")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _require_entries(archive)
            for name, code in _code(archive):
                _require_harmless(name, code)
    except (zipfile.BadZipFile, EOFError, UnicodeDecodeError, RuntimeError) as error:
        raise FalseClaimError(f"is a damaged TorchScript archive ({error})") from error


def _require_entries(archive: zipfile.ZipFile) -> None:
    entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES or unpacked > MAX_UNPACKED:
        raise FalseClaimError(
            f"unpacks to {len(entries)} entries and {unpacked} bytes;"
            f" at most {MAX_ENTRIES} and {MAX_UNPACKED} are read"
        )
    names = [entry.filename.partition("/") for entry in entries]
    if len({root for root, _, _ in names}) != 1:
        raise FalseClaimError("has entries outside its one folder")
    strange = [rest for _, _, rest in names if not _ENTRY.fullmatch(rest)]
    if strange:
        raise FalseClaimError(f"has an entry {strange[0]!r}, which no TorchScript network has")
    known = {rest for _, _, rest in names}
    if len(known) != len(entries):
        raise FalseClaimError("has two entries of one name")
    if not {"constants.pkl", "data.pkl"} <= known or not any(name.startswith("code/") for name in known):
        raise FalseClaimError("has no code: it is a checkpoint, not a TorchScript network")


def _code(archive: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    for entry in archive.infolist():
        if entry.filename.endswith(".py"):
            if entry.file_size > MAX_CODE:
                raise FalseClaimError(f"holds {entry.file_size} bytes of code; at most {MAX_CODE} are read")
            yield entry.filename, archive.read(entry).decode("utf-8")


def _require_harmless(name: str, code: str) -> None:
    hook = _HOOKS.search(code)
    if hook is not None:
        raise FalseClaimError(f"has {hook.group()!r} in {name}, which no policy network needs")
    if not _PLAIN.fullmatch(code) or _AMBIGUOUS.search(code):
        raise FalseClaimError(f"has characters in {name} that no code written by torch has")
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FalseClaimError(f"has code in {name} that cannot be read") from error
    for node in ast.walk(tree):
        strange = _strange(node)
        if strange is not None:
            raise FalseClaimError(f"uses {strange} in {name}, which no policy network needs")


def _strange(node: ast.AST) -> str | None:
    """What a node of the code's tree reaches for beyond a network's own operators."""
    if isinstance(node, ast.Call):
        name = _named(node.func)
        return None if _CALLED.fullmatch(name) else name[:_TOLD]
    if isinstance(node, ast.Attribute):
        # The longest name comes first: `torch.x` within `torch.x.y` is never got to alone.
        name = _named(node)
        is_library = name.startswith(("torch.", "ops."))
        return name[:_TOLD] if is_library and not _OF_TORCH.fullmatch(name) else None
    return None


def _named(node: ast.expr) -> str:
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    names.append(node.id if isinstance(node, ast.Name) else "(...)")
    return ".".join(reversed(names))


def require_onnx(data: bytes) -> None:
    """Check that bytes are an ONNX model of one flat graph of known operators, weights inside.

    Field numbers are those of onnx.proto3.

    Raises:
        FalseClaimError: saying what is wrong with them.
    """
    model = _message(data)
    graphs = model.get(7, [])
    if len(graphs) != 1 or not isinstance(graphs[0], bytes):
        raise FalseClaimError("is not an ONNX model (it holds no graph)")
    if model.get(25):
        raise FalseClaimError("defines functions of its own, which no policy network needs")
    graph = _message(graphs[0])
    nodes = graph.get(1, [])
    if not 0 < len(nodes) <= MAX_NODES:
        raise FalseClaimError(f"has {len(nodes)} nodes; 1 to {MAX_NODES} are read")
    for node in nodes:
        _require_known(_message(_bytes(node)))
    for tensor in graph.get(5, []):
        fields = _message(_bytes(tensor))
        if fields.get(13) or fields.get(14, [0]) != [0]:
            raise FalseClaimError("keeps weights in another file; they must be inside")


def _require_known(node: dict[int, list[int | bytes]]) -> None:
    if len(node.get(4, ())) > 1 or len(node.get(7, ())) > 1:
        # Of a field given twice the last one counts, and other readers take the first.
        raise FalseClaimError("has a node that names its operator twice")
    for attribute in node.get(5, ()):
        if not _message(_bytes(attribute)).keys().isdisjoint(_SUBGRAPHS):
            raise FalseClaimError("has a graph within a node, which no policy network needs")
    operator = _bytes(node.get(4, [b""])[0]).decode("utf-8", "replace")
    domain = _bytes(node.get(7, [b""])[0]).decode("utf-8", "replace")
    if domain not in ("", "ai.onnx") or not _ONNX_OPERATORS.fullmatch(operator):
        raise FalseClaimError(
            f"uses operator {domain}{'.' if domain else ''}{operator}, which no policy network needs"
        )


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise FalseClaimError("is not an ONNX model (a field has the wrong type)")
    return value


def _message(data: bytes) -> dict[int, list[int | bytes]]:
    """The fields of a protocol-buffers message by number, each value a number or bytes, undecoded."""
    fields: dict[int, list[int | bytes]] = {}
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        value: int | bytes
        kind = key & 7
        if kind == 0:
            value, position = _varint(data, position)
        elif kind in (1, 2, 5):
            length, position = _varint(data, position) if kind == 2 else ((8 if kind == 1 else 4), position)
            value = data[position : position + length]
            position += length
        else:
            raise FalseClaimError("is not an ONNX model (no protocol-buffers message)")
        if position > len(data):
            raise FalseClaimError("is cut short")
        fields.setdefault(key >> 3, []).append(value)
    return fields


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise FalseClaimError("is cut short")
