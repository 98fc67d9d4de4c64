# Copyright 2026 The hf_learn2pd authors. Licensed under the Apache License, Version 2.0.
"""Kills each long job again and again, starts it again, and compares with the run that nobody has killed.

python tests/faults.py --kills 50 --seed 0
python tests/faults.py --kills 50 --what collection dataset

A job is killed at a random time, before a random change to a file, or in the middle of writing one. After every kill
whatever is there under its final name has to be whole, and nothing that was there before may be gone or made again. The
same call then goes on, until it is done. Jobs are children of one process that has imported everything: no attempt
waits for imports. The table says how often each was killed, how many runs that took, and whether results are equal.
"""

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fault_jobs import JOBS, Job

__all__ = ["main"]

# Changes to files that Python tells of before it makes them.
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
# Bytes of a file at which a process may be killed: few enough that every kind of file reaches some of them.
SIZES = (1, 100, 1_000, 10_000)


def before_change(number: int) -> None:
    """Kills this process before it changes a file for the given time."""
    left = number

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        # The second argument of "open" is the mode, None for `os.open`.
        opened = event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wxa"
        if opened or event in CHANGES:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def amid_file(size: int) -> None:
    """Has the kernel kill this process as soon as a file would grow beyond a size."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def attempt(job: Job, folder: Path, log: Path, arm: Callable[[], None], seconds: float | None) -> bool:
    """
    Runs a job in a child.

    Args:
        job (`Job`): The job.
        folder (`Path`): Where it works.
        log (`Path`): What it prints.
        arm (`Callable[[], None]`): Called in the child before the job.
        seconds (`float`, *optional*): When to kill it; never if None.

    Returns:
        `bool`: Whether it has come to its end.

    Raises:
        RuntimeError: If it has failed.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # The log would end at a file's size limit: what is printed goes through a pipe.
            reading, writing = os.pipe()
            if os.fork() == 0:
                os.close(writing)
                with open(reading, "rb") as source, open(log, "ab") as target:
                    shutil.copyfileobj(source, target)
                os._exit(0)
            os.close(reading)
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os.close(writing)
            arm()
            job.run(folder)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    until = None if seconds is None else time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, 0 if until is None else os.WNOHANG)
        if ended:
            break
        if time.monotonic() >= until:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            break
        time.sleep(0.002)
    if os.WIFSIGNALED(status):
        return False
    if os.WEXITSTATUS(status):
        raise RuntimeError(f"{job.name} has failed:\n{log.read_text(errors='replace')[-3000:]}")
    return True


def moment(rng: random.Random, duration: float, kinds: list[str]) -> tuple[Callable[[], None], float | None]:
    """Draws when to kill: what to call in the child, and after how many seconds."""
    kind = rng.choice(kinds)
    if kind == "time":
        return lambda: None, rng.uniform(0, 0.6 * duration)
    if kind == "change":
        number = rng.randrange(10)
        return lambda: before_change(number), None
    size = rng.choice(SIZES)
    return lambda: amid_file(size), None


def torment(job: Job, kills: int, seed: int) -> dict[str, int | bool]:
    """
    Kills a job until it has been killed often enough, starting over in a new folder whenever it is done.

    Args:
        job (`Job`): The job.
        kills (`int`): How often, at least.
        seed (`int`): Of the moments.

    Returns:
        `dict[str, int | bool]`: `kills`, `attempts`, `runs` that came to their end, and whether all are `equal`.

    Raises:
        AssertionError: If after a kill something is lost, made again, or not whole.
    """
    rng = random.Random(f"{seed} {job.name}")
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        job.prepare(base / "alone")
        began = time.monotonic()
        attempt(job, base / "alone", base / "log", lambda: None, None)
        duration = time.monotonic() - began
        expected = job.pieces(base / "alone")
        assert expected, f"{job.name} has left nothing"
        counts: dict[str, int | bool] = {"kills": 0, "attempts": 0, "runs": 0, "equal": True}
        while counts["kills"] < kills:
            folder = base / f"run-{counts['runs']}"
            job.prepare(folder)
            before: dict[str, object] = {}
            done = False
            killed = 0
            while not done:
                # Who is killed at every file has no way to go on: time passes more and more often, at last undisturbed.
                kinds = ["time", "change", "size"] if killed < 12 else ["time"]
                arm, seconds = moment(rng, duration, kinds) if killed < 24 else (lambda: None, None)
                done = attempt(job, folder, base / "log", arm, seconds)
                counts["attempts"] += 1
                killed += not done
                found = job.pieces(folder)
                wrong = [name for name, piece in found.items() if job.kept and piece != expected.get(name)]
                assert not wrong, f"{job.name}: {wrong} is not what the run alone has written"
                stamps = {name: (folder / name).stat().st_mtime_ns for name in found if (folder / name).exists()}
                again = [name for name, stamp in before.items() if job.kept and stamps.get(name) != stamp]
                assert not again, f"{job.name}: {again} is lost or made again"
                before = {name: stamp for name, stamp in stamps.items() if name not in job.renewed}
            counts["kills"] += killed
            counts["runs"] += 1
            counts["equal"] = bool(counts["equal"]) and job.pieces(folder) == expected
            shutil.rmtree(folder)
    return counts


def main(arguments: list[str] | None = None) -> bool:
    """Prints the table; returns whether all results are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of each job, at least (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--what", nargs="+", choices=JOBS, default=list(JOBS), help="jobs (default: all)")
    options = parser.parse_args(arguments)
    print("| job | kills | attempts | runs | result equal | seconds |\n|---|---|---|---|---|---|", flush=True)
    equal = True
    for name in options.what:
        began = time.monotonic()
        row = torment(JOBS[name], options.kills, options.seed)
        equal = equal and bool(row["equal"])
        cells = [name, *map(str, list(row.values())[:3]), "yes" if row["equal"] else "NO"]
        print(f"| {' | '.join(cells)} | {time.monotonic() - began:.0f} |", flush=True)
    return equal


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
