"""Does everything stay right when anything is killed at any moment, while people work on both sides?

CHAOS_ROUNDS and CHAOS_SEED make it longer or another one; each round kills the run, and often something else before.
"""

import os
import random
import threading
from collections import Counter
from pathlib import Path

import pytest
from chaos_setup import World

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "2"))
SEED = int(os.environ.get("CHAOS_SEED", "20261128"))
REST_EVERY = 10


@pytest.mark.slow
@pytest.mark.timeout(60 + 30 * ROUNDS)
def test_whatever_is_killed_nothing_is_lost_doubled_or_half_written(tmp_path: Path):
    dice = random.Random(SEED)
    killed: Counter[str] = Counter()
    with World(tmp_path, SEED) as world:
        ways = {
            world.kill_run: 30,
            world.kill_backend: 25,
            world.end_session: 15,
            world.kill_four_d: 20,
            world.kill_postgres: 10,
        }
        for number in range(1, ROUNDS + 1):
            with world.people.at_work():
                world.start_runs(is_loading=dice.random() < 0.8)
                for way in dice.choices(list(ways), list(ways.values()), k=dice.choice((1, 2))):
                    threading.Event().wait(dice.random() ** 3)
                    way()
                    killed[way.__name__] += 1
                threading.Event().wait(dice.random() * 1.0)
                world.kill_run()
            world.check_what_always_holds()
            if number % REST_EVERY == 0 or number == ROUNDS:
                world.check_what_holds_at_rest()
        print(f"\n{dict(killed)}, {world.people.families} families, {world.people.variants} variants,", end=" ")
        print(f"{world.people.edits} edits in the ERP, runs: {world.outcomes()}")
