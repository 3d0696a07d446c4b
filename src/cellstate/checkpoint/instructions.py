"""Reading a checkpoint's pickle as what it is, a list of instructions, before torch's unpickler follows them.

The restricted unpickler of ``torch.load`` runs no code of the file's choosing. But it calls what its own list allows:
``bytearray(10**12)``; and it believes what the file says of its tensors. Here the instructions are followed with
nothing but dictionaries, lists and numbers at hand, and a tensor is a note of where it lies, held against the size of
the entry that it lies in.
"""

from __future__ import annotations

import math
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from cellstate.checkpoint.archive import Entry, RefusedError
from cellstate.checkpoint.values import KEYS, LARGEST_INT

MOST_DIMENSIONS = 32
# Bytes of a number in what torch calls a storage.
STORAGES = {
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage", "UntypedStorage"), 1),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
}
VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE")
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
FRESH: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Width(NamedTuple):
    """A storage class or a dtype: bytes of a number."""

    bytes: int


class Storage(NamedTuple):
    """An entry that holds numbers."""

    bytes: int
    width: int


class StoredTensor(NamedTuple):
    """A tensor that lies within its storage."""

    shape: tuple[int, ...]


class Called(NamedTuple):
    """A function by its name; only those of ``FUNCTIONS`` are ever meant by one."""

    name: str


def followed(pickled: bytes, entries: Mapping[str, Entry]) -> Any:
    """Return what a checkpoint's pickle describes: plain values, with a ``StoredTensor`` for each tensor.

    Args:
        pickled: the content of ``data.pkl``.
        entries: those of the whole file, of which ``data/KEY`` hold tensors.

    Raises:
        RefusedError: it is no pickle of plain values and tensors, or a tensor does not lie within the file.
    """
    machine = Machine(entries)
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            machine.step(opcode.name, argument)
        (value,) = machine.stack
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # of instructions that make no sense
        raise RefusedError("holds no record that could be read; nothing of it was run") from error
    return value


class Machine:
    """The stack that instructions work on."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        if name in VALUES:
            if type(argument) is int and abs(argument) > LARGEST_INT:
                raise RefusedError(f"holds a number of {argument.bit_length():,} bits; it is refused")
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in FRESH:
            self.stack.append(FRESH[name]())
        elif name in TUPLES:
            self.stack.append(tuple(self.pop(TUPLES[name])))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in OTHERS:
            OTHERS[name](self, argument)
        else:
            raise RefusedError(f"holds more than plain values and tensors (pickle's {name}); nothing of it was run")

    def pop(self, count: int) -> list[Any]:
        """Take the last values off the stack."""
        if len(self.stack) < count + (self.marks[-1] if self.marks else 0):
            raise ValueError("the stack is empty")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def pop_marked(self) -> list[Any]:
        """Take off the stack what came since the last mark."""
        mark = self.marks.pop()
        taken = self.stack[mark:]
        del self.stack[mark:]
        return taken

    def mark(self, _: Any) -> None:
        """Remember where the stack ends."""
        self.marks.append(len(self.stack))

    def protocol(self, number: int) -> None:
        """Refuse another pickle protocol than torch's."""
        if number != 2:
            raise RefusedError(
                f"holds a pickle of protocol {number}, which torch.save does not write; nothing of it was run"
            )

    def append(self, values: list[Any]) -> None:
        """Append to the list on the stack."""
        if type(self.stack[-1]) is not list:
            raise TypeError("no list")
        self.stack[-1].extend(values)

    def put(self, pairs: list[Any]) -> None:
        """Set items of the dictionary on the stack, ``key, value, key, value, …``."""
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if type(key) not in KEYS:  # others take long to hash, or overflow the stack of the process
                raise RefusedError("has a dictionary with keys that are no plain values; it is refused")
            if type(self.stack[-1]) not in (dict, OrderedDict):
                raise TypeError("no dictionary")
            self.stack[-1][key] = value

    def build(self, _: Any) -> None:
        """Leave out attributes, which only ordered dictionaries may have."""
        self.pop(1)
        if type(self.stack[-1]) is not OrderedDict:
            raise RefusedError("gives attributes to something that has none; it is refused")

    def name(self, argument: str) -> None:
        """Put what a name stands for on the stack, if it is one of those that torch.save uses."""
        module, _, name = argument.rpartition(" ")
        dtype = vars(torch).get(name)
        if argument in FUNCTIONS:
            self.stack.append(Called(argument))
        elif module in ("torch", "torch.storage") and name in STORAGES:
            self.stack.append(Width(STORAGES[name]))
        elif module == "torch" and isinstance(dtype, torch.dtype):
            self.stack.append(Width(dtype.itemsize))
        else:
            shown = ".".join(argument.split(" "))[:100]
            raise RefusedError(f"holds more than numbers ({shown}), which is refused; nothing of it was run")

    def call(self, _: Any) -> None:
        """Do what a function of torch.save's would."""
        function, arguments = self.pop(2)
        if type(function) is not Called or type(arguments) is not tuple:
            raise RefusedError("calls what is no function of torch.save; nothing of it was run")
        self.stack.append(FUNCTIONS[function.name](*arguments))

    def stored(self, _: Any) -> None:
        """Put a storage on the stack, by ``("storage", class, key, device, numbers)``."""
        (reference,) = self.pop(1)
        what, kind, key, _, count = reference
        entry = self.entries.get(f"data/{key}") if type(key) is str else None
        if what != "storage" or type(kind) is not Width or not is_count(count) or entry is None:
            raise RefusedError("holds a tensor whose numbers are not in the file; it is refused")
        if entry.size != count * kind.bytes:
            raise RefusedError(f"tells of {count:,} numbers in an entry of {entry.size:,} bytes; it is refused")
        self.stack.append(Storage(entry.size, kind.bytes))


def is_count(value: Any) -> bool:
    """Say whether a value is an integer of 0 or more."""
    return type(value) is int and value >= 0


def tensor(storage: Any, offset: Any, shape: Any, stride: Any, gradient: Any, hooks: Any, *more: Any) -> StoredTensor:
    """Return a tensor if all of its numbers lie in the storage, and each is one of its own.

    Raises:
        RefusedError: they do not; a tensor of 10^12 numbers that are all the same one is as large to work with as any.
    """
    if type(storage) is not Storage or type(shape) is not tuple or type(stride) is not tuple:
        raise TypeError("no tensor")
    own = more[:1] if more and type(more[0]) is Width else ()  # a dtype that storages have no class for
    width = own[0].bytes if own else storage.width
    if any(extra is not None for extra in more[len(own) :]) or hooks or type(gradient) is not bool:
        raise RefusedError("holds a tensor with more than numbers; it is refused")
    numbers = (offset, *shape, *stride)
    if len(shape) != len(stride) or len(shape) > MOST_DIMENSIONS or not all(map(is_count, numbers)):
        raise RefusedError("holds a tensor without a shape; it is refused")
    count = math.prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if count and max(last + 1, count) * width > storage.bytes:
        raise RefusedError(f"holds a tensor of shape {shape} in {storage.bytes:,} bytes; it is refused")
    return StoredTensor(shape)


def several(values: Any) -> tuple[Any, ...]:
    """Return what stands for a set of plain values."""
    if type(values) is not list or any(type(value) not in KEYS for value in values):
        raise RefusedError("has a set of more than plain values; it is refused")
    return tuple(values)


def ordered() -> OrderedDict[Any, Any]:
    """Return an ordered dictionary, which is filled later."""
    return OrderedDict()


def counted(counts: Any) -> dict[Any, Any]:
    """Return the counts of a Counter."""
    if type(counts) is not dict:
        raise TypeError("no counts")
    return dict(counts)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch._utils _rebuild_tensor_v2": tensor,
    "torch._utils _rebuild_tensor_v3": tensor,
    "collections OrderedDict": ordered,
    "collections Counter": counted,
    "__builtin__ set": several,
}
OTHERS: dict[str, Callable[[Machine, Any], None]] = {
    "PROTO": Machine.protocol,
    "MARK": Machine.mark,
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_marked())),
    "APPEND": lambda machine, _: machine.append(machine.pop(1)),
    "APPENDS": lambda machine, _: machine.append(machine.pop_marked()),
    "SETITEM": lambda machine, _: machine.put(machine.pop(2)),
    "SETITEMS": lambda machine, _: machine.put(machine.pop_marked()),
    "BUILD": Machine.build,
    "GLOBAL": Machine.name,
    "REDUCE": Machine.call,
    "BINPERSID": Machine.stored,
    "STOP": lambda *_: None,
}
