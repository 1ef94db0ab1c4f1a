"""The first line of a lab: what it is, and whether its programs are loaded here, in a guest, or recordings shown."""

from __future__ import annotations

import html
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bpfnb import guest
from bpfnb.errors import BadValue, BpfnbError, MissingRecording
from bpfnb.lab.notebooks import recordings_of
from bpfnb.lab.places import folders, sees_workloads
from bpfnb.lab.tasks import Lab, find
from bpfnb.recording import session

if TYPE_CHECKING:
    from bpfnb.vm.kernels import Kernel

__all__ = ["Begun", "begin"]

KERNEL = "6.12"
"""That labs ask for where none is there yet."""


@dataclass(frozen=True)
class Begun:
    """What a lab's first cell shows. *recordings* is the folder that is replayed, None where programs are loaded."""

    lab: Lab
    recordings: Path | None
    how: str

    def __repr__(self) -> str:
        return f"{self._title()} {self.how}"

    def _repr_html_(self) -> str:
        color = "#0969da" if self.recordings is None else "#8250df"
        return (
            f'<div style="border-left: 4px solid {color}; padding: 4px 12px; margin: 4px 0; max-width: 60em">'
            f"<b>{html.escape(self._title())}</b><br>{html.escape(self.how)}</div>"
        )

    def _title(self) -> str:
        number = int(self.lab.name.removeprefix("lab"))
        return (
            f"Lab {number}: {self.lab.title}. {len(self.lab.tasks)} tasks, about {self.lab.minutes} minutes."
        )


def begin(name: str, *, on: str | None = None) -> Begun:
    """Begin the lab *name* (``lab01``); its result, as a cell's last line, says how the lab runs.

    Where this session may load programs, they are. Where it may not (a laptop without privileges), or the lab needs
    hooks beyond those that every kernel has, the lab runs in a disposable kernel, if there is one that need not be
    fetched first. *on* (``"6.12"``), or ``BPFNB_ON``, asks for one and fetches it: programs and tools are then loaded
    there, and the workload's processes run there, so that checks judge what happened there. A path asks for a kernel of
    one's own; it is looked at again when the guest has ended. A lab that runs in none sets the session's guest aside,
    which the next one that does finds again.

    Where there is none either (Binder), the lab's recordings are replayed, which are looked for in ``recordings/NN``
    beside the notebook and one folder up. They also are where ``BPFNB_REPLAY`` asks for it; the folder that it names
    may be this lab's, or the one that has a folder ``NN`` for each lab, so that one setting serves them all.

    :raises UnknownName: there is no such lab.
    :raises MissingRecording: ``BPFNB_REPLAY`` is set, and there are no recordings of this lab.
    :raises BadValue: *on* was given, and the lab does not run in a disposable kernel. Then also what
        :func:`bpfnb.vm.start` raises.
    """
    lab = find(name)
    if on is not None and not lab.runs_on_vm:
        raise BadValue(
            f"{name} does not run in a disposable kernel: it needs networks, disks, symbols or true times",
            hints=[f'begin("{name}") where programs may be loaded, else its recordings are replayed'],
        )
    if on is not None:
        session.replay_from(None)  # what is asked for here counts, whatever the environment says
    asked = session.folder()
    if asked is not None:
        found = next(_asked_for(name, asked), None)
        if found is None:
            raise MissingRecording(
                f"there are no recordings of {name} in {asked}",
                hints=[
                    "BPFNB_REPLAY names the folder of the labs' recordings, notebooks/labs/recordings",
                    "or unset it, where programs may be loaded",
                ],
            )
        return _replayed(lab, found, "")
    guest.bring_back()  # a lab before this one may not have run in it
    wanted = on or guest.wanted()
    if wanted and lab.runs_on_vm:
        return _in_guest(lab, wanted, "", again=on is None)
    aside = guest.set_aside()
    why = _why_not_here(lab)
    if why is None:
        others = " The session's disposable kernel is for labs that run there." if aside else ""
        return Begun(
            lab, None, f"Live: its programs are loaded into the kernel {os.uname().release}.{others}"
        )
    found = None if os.environ.get("BPFNB_RECORD") else recordings_of(name, Path.cwd())
    if lab.runs_on_vm and (kernel := guest.prepared()) is not None:
        try:
            return _in_guest(lab, kernel.release, f" {why}")
        except (BpfnbError, OSError, subprocess.SubprocessError) as error:
            reason = error.message if isinstance(error, BpfnbError) else error
            why += f" A disposable kernel could not be started: {reason}."
    elif lab.hooks and found is None:
        return _in_guest(lab, KERNEL, f" {why}")
    elif lab.runs_on_vm:
        why += f' It also runs in a disposable kernel, which is fetched: bpfnb.lab.begin("{name}", on="{KERNEL}").'
    if found is None:
        return Begun(
            lab,
            None,
            f"{why} There are no recordings of the lab beside this notebook either: its programs will be "
            "refused. BPFNB_REPLAY may name the folder with them.",
        )
    return _replayed(lab, found, f" {why}")


def _why_not_here(lab: Lab) -> str | None:
    """Why the lab's programs are not for this machine's kernel; None where they are."""
    from bpfnb.doctor import permitted
    from bpfnb.kernel.features import check_section

    if os.environ.get("BPFNB_RECORD") and not lab.hooks:
        return None
    refused = permitted()
    if refused is not None or not lab.hooks:
        return None if refused is None else refused.message
    lacking = [section.partition("/")[0] for section in lab.hooks if check_section(section) is not None]
    if lacking:
        return f"This machine's kernel takes no programs of the kind {', '.join(lacking)}."
    return "Its programs may deny what processes ask for, which is tried out where it does no harm."


def _in_guest(lab: Lab, kernel: str, why: str, *, again: bool = False) -> Begun:
    """In the guest of the session, where that is of this kernel (*again*: that kernel is its own) and was started for
    labs, else in a new one.
    """
    from bpfnb import vm as guests

    vm = guest.current()
    if vm is not None and not vm.running:
        vm.stop()  # what is left of it; its name is the next one's
        vm = None
    if vm is None or not sees_workloads(vm) or not (again or _is_of(vm.kernel, kernel)):
        vm = guests.start(kernel, folders=folders())
    guest.use(vm)
    return Begun(
        lab,
        None,
        f"In a disposable kernel, Linux {vm.kernel.release}: its programs are loaded there and its workload runs "
        f"there, none of it on this machine. Times in it are emulated.{why}",
    )


def _is_of(known: Kernel, wanted: str) -> bool:
    """Its own release (of the guest that a session has) is that of no other, and not looked for at the mirror."""
    from bpfnb.vm import kernels

    return known.release == wanted or known == kernels.find(wanted)


def _asked_for(name: str, asked: Path) -> Iterator[Path]:
    """Folders that may be meant. The last one is for a relative path, which a kernel sees from its notebook."""
    below = asked / name.removeprefix("lab")
    if below.is_dir():
        yield below
    elif any(asked.glob("*.bpfnb")):
        yield asked
    elif (beside := recordings_of(name, Path.cwd())) is not None:
        yield beside


def _replayed(lab: Lab, folder: Path, why: str) -> Begun:
    from bpfnb.recording.backend import origin_of
    from bpfnb.recording.reader import Recording

    bound = session.folder()
    if (
        bound is None or bound.resolve() != folder.resolve()
    ):  # a cell that runs again keeps what others have bound
        session.replay_from(folder)
    made = ""
    for path in sorted(folder.glob("*.bpfnb"))[:1]:
        with Recording(path) as recording:
            made = f", {origin_of(recording)}"
    return Begun(lab, folder, f"In replay{made}: nothing is loaded, all else is the same.{why}")
