"""The synchronous module: the same names, for as long as it is open."""

import inspect
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

import poste_restante
from poste_restante import sync
from poste_restante.testing import InMemoryMailboxes


def public(of: type) -> dict[str, Any]:
    return {name: m for name, m in vars(of).items() if callable(m) and not name.startswith("_")}


def parameters(function: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def test_the_synchronous_mailboxes_have_the_same_methods() -> None:
    """Names, arguments, defaults and their types; `pages` iterates instead of waiting (G6)."""
    ours, theirs = public(sync.Mailboxes), public(poste_restante.Mailboxes)

    assert list(ours) == list(theirs)
    for name, method in ours.items():
        assert parameters(method) == parameters(theirs[name]), name


def test_opening_takes_the_same_arguments() -> None:
    """What a gateway sets of the one it can set of the other (G8)."""
    assert parameters(sync.open_mailboxes) == parameters(poste_restante.open_mailboxes)


def test_mailboxes_serve_several_threads() -> None:
    """A server of threads has one `Mailboxes` for all of them (G8)."""
    with start_blocking_portal() as portal:
        memory = InMemoryMailboxes()
        portal.call(memory.deliver, "bob", b"hello")
        mailboxes = sync.Mailboxes(portal, memory)
        found: list[int] = []
        threads = [
            threading.Thread(target=lambda: found.append(len(mailboxes.fetch("bob").messages)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert found == [1] * 8


def test_a_forked_process_is_told_to_open_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread is not copied: a call there would wait for ever (G8)."""
    with start_blocking_portal() as portal:
        mailboxes = sync.Mailboxes(portal, InMemoryMailboxes())
        forked = os.getpid() + 1
        monkeypatch.setattr(os, "getpid", lambda: forked)
        with pytest.raises(RuntimeError, match="open them after the fork"):
            mailboxes.fetch("bob")


def test_the_asynchronous_module_does_not_bring_anyio() -> None:
    """It is an extra (G8)."""
    code = "import sys, poste_restante; sys.exit('anyio' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
