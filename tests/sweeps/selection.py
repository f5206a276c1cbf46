"""A thin selection of the sweeps, from a seed: every kind of fault and every step, once."""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping

from tests.sweeps.sweep import Sweep


def select(
    sweeps: Iterable[Sweep], *, seed: int, most: Mapping[str, int], usual: int
) -> list[tuple[Sweep, int]]:
    """One run of each kind: transient or persistent, at an n that every scenario comes to.

    most: the highest n to choose, by a prefix of the kind; usual: of all others.
    """
    kinds: dict[str, list[Sweep]] = defaultdict(list)
    for sweep in sweeps:
        kinds[sweep.case.kind].append(sweep)
    chosen = []
    for kind, found in kinds.items():
        rng = random.Random(f"{seed} {kind}")
        sweep = rng.choice(found)
        limit = next((n for prefix, n in most.items() if kind.startswith(prefix)), usual)
        chosen.append((sweep, rng.randint(1, sweep.last or limit)))
    return chosen
