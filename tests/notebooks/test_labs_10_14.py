"""Labs 10 to 14, and what a student might get wrong in them."""

from __future__ import annotations

import pytest
from labs_common import OfLabs

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]

WRONG: dict[str, dict[str, list[str]]] = {
    "lab10": {
        "task1": [
            "None",
            "rows",
            'rows[rows.path.str.contains("etc/")]',
            "watched.head(10)",
            "watched[watched.how % 2 == 0]",
        ],
        "task2": ["None", "everything", "approved.events"],
        "task3": [
            "len(rows)",
            '{"build": factor["build"]}',
            '{"build": 0.94, "office": 0.2}',
            '{"build": 1 / 17, "office": 0.8}',
            '{"build": 17, "office": 17}',
        ],
        "task4": [
            "None",
            "everything.events",
            '{name: 1 for name in counted.folders.df["name"]}',
            "rows.path.value_counts()",
            'rows.path.str.partition("/")[0].value_counts()',
        ],
        "task5": [
            "None",
            '{"user": user.ns_per_open, "kernel": kernel.ns_per_open}',
            '{"user": added["user"] + 100, "kernel": added["kernel"]}',
        ],
    },
    "lab11": {
        "task1": ["None", '"NOT_SPECIFIED"', '"TCP_OLD_DATA"'],
        "task2": ["{}", "{6: 67, 17: work.flood}", "{17: 5}", "{1: 2}"],
        "task3": ["None", "seen", "shield.vars.dropped"],
        "task4": [
            "{}",
            "{1112: 5}",
            '{"10.11.0.1": 3700}',
            '{key: value for key, value in senders.sources.df.itertuples(index=False) if key != "10.11.0.2"}',
            '{".".join(reversed(str(key).split("."))): 1 for key in senders.sources.df["key"]}',
        ],
        "task5": ["None", "senders", "shield"],
    },
    "lab12": {
        "task1": [
            "None",
            "after_400.set_index('user_stack').bytes",
            "held / 1000",
            "held.drop('keep_picture')",
        ],
        "task2": [
            "{'keep_picture': 20}",
            "{'make_basket': 300}",
            "{'remember_session': int(held_later['remember_session'])}",
            "held",
        ],
        "task3": ["{}", "{1: 1}", "{300: 1, 1000: 1, 2000: 1}", "{300: 400, 2000: 400, 1000: 400}"],
        "task4": ["None", "'check_out'", "'start_thread;doorman;wait_for_guests'"],
        "task5": ["None", "sizes"],
    },
    "lab13": {
        "task1": ["None", "calls.ret.sum()", "len(calls)", "earned / 100"],
        "task2": [
            "{}",
            "handled.df[handled.df['request->count'] >= 80].groupby('request->customer->name').size()",
            "orders * 2",
            "orders - 1",
        ],
        "task3": ["None", "prices", "handled"],
        "task4": ["None", "items"],
    },
    "lab14": {
        "task1": ["None", "'shop'", "'prices'", "'backup'"],
        "task2": ["None", "'recvfrom'", "'openat'"],
        "task3": ["None", "waits"],
        "task4": ["None", "'backup'", "'shop'", "'stock'"],
        "task5": ["None", "1 / faster", "latency(edges)", "1.0"],
    },
}
NEEDS = {"lab11": ("ip", "unshare"), "lab14": ("ip", "unshare", "nsenter")}


class TestLabs(OfLabs):
    WRONG = WRONG
    NEEDS = NEEDS
