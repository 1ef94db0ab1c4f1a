"""Labs 5 to 9, and what a student might get wrong in them."""

from __future__ import annotations

import pytest
from labs_common import OfLabs

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]

WRONG: dict[str, dict[str, list[str]]] = {
    "lab05": {
        "task1": ["None", "'decorate'", "'glaze'", "'main'", "'pack'"],
        "task2": [
            "None",
            "share * 100",
            "(last == 'glaze').mean()",
            "(last == 'whisk').mean()",
            "samples['user_stack'].str.contains('glaze').sum()",
        ],
        "task3": ["None", "sampler.samples[0]", "0", "sampler.samples", "seconds / 2"],
        "task4": [
            "None",
            "('ask_traffic', 2)",
            "('unlock_door', waits['count'].sum())",
            "('unlock_door', 1)",
            "'unlock_door'",
        ],
        "task5": [
            "None",
            "{}",
            "{0: away.by_state[1]}",
            "{1: 4000000000000000000}",
            "{1: 1.3}",
            "{1: 9_000_000}",
        ],
    },
    "lab06": {
        "task1": ["None", "crowd.df['total'].sum()", "crowd.df['count'].sum()", "waited / 3", "crowd.df"],
        "task2": ["None", "1 / ratio", "times[work.plain] / 1e9 + 20", "1.0"],
        "task3": [
            "None",
            "late.waits.df.head(0)",
            "late.waits.df.head(20)",
            "late.waits.df.assign(wait=late.waits.df['time'].astype('int64'))",
            "late.waits.df.assign(wait=0)",
            "late.waits.df[['time']]",
        ],
        "task4": [
            "None",
            "{}",
            "{'clock': 130}",
            "{'zip': 70, 'index': 70}",
            "'zip'",
            "{'zip': 3, 'index': 2}",
        ],
    },
    "lab07": {
        "task1": ["None", "('report', 4096)", "('journal', 4096)", "('journal', 25)", "('photos', 1)"],
        "task2": ["None", "asked.df['r_kb'].sum()", "kib * 1024", "0", "kib / 2"],
        "task3": [
            "None",
            "(totals, share * 100)",
            "(totals, 29 / totals['count'].sum())",
            "(times.df, 0.5)",
            "(totals[totals['op'] != 'fsync'], share)",
        ],
        "task4": [
            "None",
            "{}",
            "{0: counts['value'].sum()}",
            "{1: 1050, 4096: 180}",
            "{0: counts['value'][0]}",
        ],
        "task5": [
            "None",
            "disk.requests.df.head(0)",
            "disk.requests.df.assign(bytes=disk.requests.df['bytes'] // 512)",
            "disk.requests.df.assign(bytes=0)",
            "disk.requests.df.head(50)",
            "disk.requests.df.assign(latency=4 * 10**18)",
        ],
    },
    "lab08": {
        "task1": [
            "None",
            "(len(connects), slowest)",
            "((connects['ret'] == '0').sum(), slowest)",
            "(refused, slowest * 1e9)",
            "(refused, 0.0001)",
        ],
        "task2": [
            "None",
            "(life.df['rx_bytes'].sum(), 3)",
            "(mine['tx_bytes'].sum(), 3)",
            "(mine['rx_kb'].sum(), 3)",
            "(answer[0], len(mine) - len(first))",
            "(answer[0], 1)",
        ],
        "task3": ["None", "{}", "len(again.df)", "kinds * 2", "{'ESTABLISHED': 10}"],
        "task4": [
            "None",
            "('TCP_OLD_DATA', 5)",
            "('QUEUE_PURGE', 1)",
            "('TC_INGRESS', len(again.df) + 5)",
            "('TC_INGRESS', 1)",
        ],
        "task5": [
            "None",
            "opening.connections.df.head(0)",
            "opening.connections.df.head(5)",
            "opening.connections.df.assign(took=opening.connections.df['time'].astype('int64'))",
            "opening.connections.df.assign(took=1000)",
            "opening.connections.df[['time']]",
        ],
    },
    "lab09": {
        "task1": ["None", "{'web'}", "{'stock', 'prices'}", "{'search'}", "{'shop'}", "set(talk['target'])"],
        "task2": [
            "None",
            "requests['stock']",
            "requests['web'] / requests['stock']",
            "requests['prices'] / requests['web']",
        ],
        "task3": ["None", "'web'", "'shop'", "'log'", "'browser'", "'database'"],
        "task4": [
            "None",
            "(7000, 1)",
            "(6002, 120)",
            "(answer[0], 5)",
            "(answer[0], sent['tx_packets'].sum())",
            "(514, 1)",
        ],
        "task5": [
            "None",
            "{}",
            "{7000: 1175}",
            "{(port >> 8 | port << 8) & 0xffff: n for port, n in mine.sent.df.itertuples(index=False)}",
            "{**dict(mine.sent.df.itertuples(index=False)), 53: 1}",
            "{port: 2 * n for port, n in mine.sent.df.itertuples(index=False)}",
        ],
    },
}
NEEDS = {"lab08": ("ip",), "lab09": ("ip",)}


class TestLabs(OfLabs):
    WRONG = WRONG
    NEEDS = NEEDS
