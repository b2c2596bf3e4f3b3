"""The kill matrix of `faretra.multiprocessing`: what is killed or stopped, how, and how processes start.

A process that is stopped keeps what it has, and no more; when it is continued it goes on as if nothing was. A process that
is killed keeps nothing. In each case the others go on, or are told, the arena verifies, and nothing is left of the program.
"""

from __future__ import annotations

import mp_kills
import pytest
from mp_programs import Program, wait_until

PROGRAM = """
    import mp_kills

    if __name__ == "__main__":
        mp_kills.main()
"""
MATRIX = [
    pytest.param(role, name, method, marks=[] if method == "fork" else [pytest.mark.slow])
    for role in mp_kills.ROLES
    for name in ("SIGKILL", "SIGSTOP")
    for method in ("fork", "spawn", "forkserver")
]


@pytest.mark.parametrize(("role", "name", "method"), MATRIX)
def test_others_go_on(role: str, name: str, method: str) -> None:
    """The others go on, or raise, within a while; the program ends, and leaves neither process nor file."""
    with Program(PROGRAM, role, name, method) as program:
        status = program.end(90)
        assert wait_until(lambda: not program._threads[1].is_alive())
        assert status == 0, program.errors
        print(f"{role}, {name}, {method}: {program.line()} s")
        assert wait_until(lambda: not program.members())
        assert program.left() == []
