'''Labs: tasks that are checked by value, workloads that make what there is to see, and results for a teacher.

In a lab's notebook there are four calls::

    bpfnb.lab.begin("lab01")                    # says whether its programs are loaded here, in a guest, or replayed
    work = bpfnb.lab.workload("lab01")          # processes that are ready and wait
    work.run()                                  # lets them go and waits for their end
    bpfnb.lab.check("lab01.task1", answer)      # right, and why it matters; or a hint

How a lab is made
-----------------

**The module** ``bpfnb/lab/labNN.py`` has the workload and the checks. ``LAB`` is found by its name::

    LAB = Lab("lab01", "Hello, kernel", minutes=30)

    @LAB.workload()                             # bpfnb.lab.workload("lab01")
    def calls(make: Making) -> None:
        count = make.random.randint(1_000, 2_000)          # the same for the same seed
        process = make.python("for _ in range(count): os.getppid()", name="caller", count=count)
        make.tell(pid=process.pid)              # what the student may know: work.pid
        make.keep(calls=count)                  # what only the check knows

    @LAB.workload("files")                      # bpfnb.lab.workload("lab01.files"); its facts are "files.pid" ...
    def files(make: Making) -> None: ...

    @LAB.task("How often did it call?", why="One number stands for a thousand events that were never copied.")
    def task1(answer: Any, facts: Facts) -> str | None:
        """A hint that fits the mistake (never the answer), or None when it is right."""
        count = number(answer)                  # of whatever was given; of a wrong type says what is wanted
        if count == 2 * facts["calls"]:
            return "That counts each call twice: at its beginning and at its end."
        return None if count == facts["calls"] else f"{count:,} is not what process {facts['pid']} called."

Readers of answers (:mod:`bpfnb.lab.answers`: ``number``, ``frame``, ``mapping``, ``names``, ``texts``, ``text``; of
programs ``loaded`` and ``hooked``, and ``member`` for their maps and variables) raise ``Unfit`` with a hint for wrong
types; so may a check, and so does a fact that is not there yet. Any other exception of a check becomes a hint too.
Checks look at values, never at a notebook's text; a program is judged through its object: its sections, its maps, its
counts. Tolerances are stated where they are used. A truth that is only there at the time of the check (a figure of
/proc) is taken with ``facts.measured("threads", function)``, which a recording keeps.

**A workload's processes** begin with ``ready`` on standard output and then wait for a line on standard input:
``make.python`` does so by itself, ``make.process(argv)`` leaves it to the program. Nothing is timed and nothing sleeps
to wait. ``report(slow=17)`` in the code of ``make.python`` adds facts that only the process knows, ``tell(served=99)``
such as the student may know (any process: a line ``{"slow": 17, "tell": {"served": 99}}``). ``background=True``
is for servers: let go first, ended last. All end with the notebook's kernel. Facts are kept as JSON: names are text,
tuples become lists. With ``BPFNB_RECORD`` they are written to ``facts.json`` beside the recordings; in replay a
workload does nothing and has the facts from there.

**In a guest** (:mod:`bpfnb.guest`) a lab runs whose module says ``Lab(..., runs_on_vm=True)``. Its processes start
there, with this machine's Python: all that a definition asks of them it asks where they are, by ``make.place``
(``python``, ``path("/proc/...")``, ``types()``) and ``make.folder("file")``. It has no
network but loopback, no disk, and one CPU whose time is emulated: checks compare durations with what the processes
measured themselves, and a lab that is about durations is not for it. A lab with ``hooks=("lsm/inode_unlink",)`` runs in
a guest only.

**The notebook** is written once, as ``notebooks/labs/solutions/NN-name.ipynb``; ``python notebooks/labs/make.py
student`` makes the student's ``notebooks/labs/NN-name.ipynb`` from it: a code cell tagged ``solution`` becomes what its
metadata has as ``skeleton`` (text or list of lines; without it an empty cell with the name of its ``%%bpf``; an empty
text leaves the cell out), a Markdown cell so tagged is left out. A skeleton that runs must not raise (``answer =
None``; ``%%bpf`` cells may be refused: they get the tag ``raises-exception``). The notebook's metadata has ``"bpfnb":
{"lab": "lab01"}``, and its first cell ends with ``bpfnb.lab.begin``. One ``check`` a cell, as its last line. Order:
goal, what you need to know, the workload, a worked example, 3-5 tasks, what to try next. What is measured by a program
is filtered by ``work.pid``: others do things too.

In replay a map has its last snapshot from the beginning. So an object is used for one measurement and read after it;
the next one has a name, and a part of the workload, of its own.

**The tests** execute the solution and judge wrong answers in its kernel; see ``tests/notebooks/labs_common.py``.
'''

from __future__ import annotations

from bpfnb.lab.answers import Unfit, frame, loaded, mapping, number, text, texts
from bpfnb.lab.beginning import Begun, begin
from bpfnb.lab.facts import Facts
from bpfnb.lab.tasks import Lab, Task, Verdict, check, find, judge, labs
from bpfnb.lab.workloads import Making, Workload, workload

__all__ = [
    "Begun",
    "Facts",
    "Lab",
    "Making",
    "Task",
    "Unfit",
    "Verdict",
    "Workload",
    "begin",
    "check",
    "find",
    "frame",
    "judge",
    "labs",
    "loaded",
    "mapping",
    "number",
    "text",
    "texts",
    "workload",
]
