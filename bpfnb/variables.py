"""The global variables of a loaded object, read and written while its programs run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bpfnb.btf import Array, Btf, DataSec, Enum, Float, Int, Var
from bpfnb.errors import BpfnbError, MapTypeError, UnknownName
from bpfnb.frames.layout import Layout
from bpfnb.kernel.backend import LoadedObject

__all__ = ["ReadOnlyVariable", "Variable", "Vars", "encode_globals", "variables_of"]

HIDDEN_SECTION = ".data.bpfnb"  # loss counters that compile/ adds


class ReadOnlyVariable(BpfnbError, AttributeError):
    """A ``const`` variable was written after loading; the verifier has already relied on its value."""


@dataclass(frozen=True, slots=True)
class Variable:
    """Where one variable lives: ``section`` (.data, .bss, .rodata ...), ``offset`` and ``size`` in bytes.

    ``id`` and ``type`` are those of the declaration and of its type in the object's BTF.
    """

    name: str
    section: str
    offset: int
    size: int
    id: int
    type: int

    @property
    def constant(self) -> bool:
        return self.section.startswith(".rodata")


def variables_of(btf: Btf) -> dict[str, Variable]:
    """The named variables of an object's .data*, .bss and .rodata* sections, in the order of the BTF."""
    found: dict[str, Variable] = {}
    for number in btf.ids("datasec"):
        section = btf[number]
        if not isinstance(section, DataSec) or not section.name.startswith((".data", ".bss", ".rodata")):
            continue
        if section.name == HIDDEN_SECTION:
            continue
        for type_id, offset, size in section.variables:
            variable = btf[type_id]
            # Statics inside functions ("function.name") and compiler-made strings are not the user's interface.
            if isinstance(variable, Var) and variable.name.isidentifier():
                found[variable.name] = Variable(
                    variable.name, section.name, offset, size, type_id, variable.type
                )
    return found


def encode_globals(btf: Btf, values: Mapping[str, object]) -> dict[str, bytes]:
    """Initial values as bytes, by name. Raises UnknownName, MapTypeError."""
    known = variables_of(btf) if values else {}
    return {name: _encode(btf, _variable(known, name), value) for name, value in values.items()}


def _variable(known: Mapping[str, Variable], name: str) -> Variable:
    if name in known:
        return known[name]
    raise UnknownName.among(known, name, f"the object has no global variable '{name}'")


def _encode(btf: Btf, variable: Variable, value: object) -> bytes:
    try:
        return Layout.of(btf, variable.type).encode(_as_list(btf, variable, value))
    except MapTypeError as error:
        raise MapTypeError(f"variable '{variable.name}': {error.message}", map=variable.section) from None


def _as_list(btf: Btf, variable: Variable, value: object) -> object:
    """For an array of numbers or texts, what people write short: ``42``, ``"42,43"`` (of ``--set``), ``[42, 43]``.

    Elements that are not given are zero.
    """
    array = btf.resolve(variable.type)
    if not isinstance(array, Array) or isinstance(value, bytes | Mapping):
        return value
    element = btf.resolve(array.element)
    if isinstance(element, Int) and element.size == 1 and not element.bool:
        return value  # one text, or bytes
    if isinstance(value, str):
        text = isinstance(element, Array)
        value = [one if text else literal(one) for one in value.split(",")]
    values = list(value) if isinstance(value, Iterable) else [value]
    if isinstance(element, Array | Int | Float | Enum):
        values += ["" if isinstance(element, Array) else 0] * (array.count - len(values))
    return values


def literal(text: str) -> object:
    """What is written in one word: a whole number (also 0x..), a number, true, false, else text."""
    if text in ("true", "false"):
        return text == "true"
    for read in (lambda t: int(t, 0), float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


class Vars:
    """Global variables by attribute or item: ``io.vars.min_us = 50`` is seen by the program's next run.

    Integers, enums (by number), ``bool``, ``char[N]`` (``str``), arrays (a list, which may be shorter) and
    structs (``dict``).
    A ``const`` variable (.rodata) is set when the object is loaded; writing it afterwards raises ReadOnlyVariable.
    """

    __slots__ = ("_btf", "_loaded", "_maps", "_variables")

    def __init__(self, loaded: LoadedObject, btf: Btf) -> None:
        set_ = object.__setattr__
        set_(self, "_loaded", loaded)
        set_(self, "_btf", btf)
        set_(self, "_variables", variables_of(btf))
        set_(self, "_maps", {info.internal: name for name, info in loaded.maps.items() if info.internal})

    _btf: Btf
    _loaded: LoadedObject
    _variables: dict[str, Variable]
    _maps: dict[str, str]

    def __getitem__(self, name: str) -> object:
        variable = _variable(self._variables, name)
        data = self._loaded.read_bytes(self._maps[variable.section], variable.offset, variable.size)
        return Layout.of(self._btf, variable.type).decode_one(data)

    def __setitem__(self, name: str, value: object) -> None:
        variable = _variable(self._variables, name)
        if variable.constant:
            raise ReadOnlyVariable(
                f"'{name}' is const: the verifier compiled its value into the programs",
                hints=[
                    "declare it `volatile` without `const` to write it while the programs run",
                    f"or load again with globals={{'{name}': {value!r}}} (in a cell: --set {name}={value})",
                ],
            )
        data = _encode(self._btf, variable, value)
        self._loaded.write_bytes(self._maps[variable.section], variable.offset, data)

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: object) -> None:
        self[name] = value

    def __contains__(self, name: object) -> bool:
        return name in self._variables

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __dir__(self) -> list[str]:
        return list(self._variables)

    def __repr__(self) -> str:
        return "\n".join(
            f"{name} = {self[name]!r}" + ("  (const)" if variable.constant else "")
            for name, variable in self._variables.items()
        )

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._variables)
