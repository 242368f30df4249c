"""How long a run waits for the host of its files, and whose a folder is: on SQLite and PostgreSQL alike."""

from __future__ import annotations

import shutil

import pytest

from blipq.models import migrate, run_folder, stranded, training
from blipq.models.database import open_ledger
from blipq.models.training import Checkpoint, RunError
from blipq.settings import Settings


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request, tmp_path):
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    made = open_ledger(Settings(home=tmp_path, database_url=url))
    migrate.upgrade(made)
    yield made
    made.close()


@pytest.fixture
def run(ledger):
    with ledger.write() as connection:
        return training.enqueue(connection, base="demo", weights="x", data="/data", plan={}, priority=0)


def worker(connection, host, ago):
    connection.exec_driver_sql(
        "insert into worker (name, host, pid, queue, versions, state, started_at, seen_at)"
        f" select 'w', '{host}', 1, 'train', '', 'running', 0, created_at - {ago} from job"
    )


def look(ledger, run, host="alpha", here="beta"):
    with ledger.write() as connection:
        told = stranded.wait(connection, run, host, here)
        if told.is_new:
            stranded.strand(connection, run, told)
        return told


def test_a_run_waits_ten_minutes_from_when_it_was_first_looked_at(ledger, run):
    first, second = look(ledger, run), look(ledger, run)
    assert (first.over, first.is_new, second.is_new) == (False, True, False)
    assert first.note.endswith("for host alpha, which has its files")
    with ledger.write() as connection:
        assert connection.exec_driver_sql("select note, run_after from job").one() == (first.note, 0)
        connection.exec_driver_sql(f"update run set stranded_at = stranded_at - {stranded.WAIT_SECONDS}")
    assert look(ledger, run).over
    # Whoever takes it up, ends it or tries it again lets the wait begin anew
    with ledger.write() as connection:
        training.end(connection, run.id, "failed")
    assert look(ledger, run).is_new


def test_no_time_passes_while_a_training_worker_of_that_host_lives(ledger, run):
    with ledger.write() as connection:
        worker(connection, "alpha", 0)
    told = look(ledger, run)
    assert (told.over, told.note) == (False, "waits for host alpha, which has its files and is at work")
    with ledger.read() as connection:
        assert connection.exec_driver_sql("select stranded_at from run").scalar_one() is None
    assert not look(ledger, run).is_new
    # That host itself, which does not see its own folder, waits like others; so does one for a host that is gone
    assert look(ledger, run, here="alpha").note.startswith("waits until")
    with ledger.write() as connection:
        connection.exec_driver_sql("update worker set seen_at = seen_at - 60")
    assert look(ledger, run).note.startswith("waits until")


def test_a_run_that_was_taken_up_meanwhile_is_told_nothing(ledger, run):
    with ledger.write() as connection:
        connection.exec_driver_sql("update unit set state = 'running'")
    look(ledger, run)
    with ledger.read() as connection:
        assert connection.exec_driver_sql("select note from job").scalar_one() is None
        assert connection.exec_driver_sql("select stranded_at from run").scalar_one() is None


def test_a_folder_is_one_runs_of_one_ledger_and_is_made_once(ledger, run, tmp_path):
    url = "postgresql+psycopg://ann:secret@db/blipq?password=secret"
    names = {run_folder.new_name(tmp_path, run.id) for _ in range(100)}
    assert len(names) == 100
    folder = names.pop()
    run_folder.create(folder, run, url)
    with ledger.read() as connection:
        again = training.read(connection, run_id=run.id)
    assert run_folder.is_own(folder, again)
    assert "secret" not in (folder / run_folder.MARKER).read_text()
    with pytest.raises(FileExistsError):
        run_folder.create(folder, run, url)
    with pytest.raises(FileExistsError):
        run_folder.mark(folder, run, url)
    # A run of the same number, enqueued at another moment, has no part in it; nor is a copy the run's
    with ledger.write() as connection:
        connection.exec_driver_sql("update run set created_at = created_at + 1")
        assert not run_folder.is_own(folder, training.read(connection, run_id=run.id))
    shutil.copytree(folder, tmp_path / "copy")
    assert not run_folder.is_own(tmp_path / "copy", run)
    for broken in ("", "[]", "{", "null"):
        (folder / run_folder.MARKER).write_text(broken)
        assert not run_folder.is_own(folder, run)


def test_what_was_promoted_stays_listed_where_its_copy_is_when_its_branch_is_left(ledger, run, tmp_path):
    with ledger.write() as connection:
        for step in (4, 8, 12):
            path = tmp_path / "away" / f"f1-{step:08d}"
            training.add_checkpoint(connection, run, Checkpoint(step, path, bytes(32), step == 8, "alpha"))
        training.promote(connection, "best", model=f"run:{run.id}@8", weights="x")
        left = training.supersede(connection, run, 4)
        assert [one.step for one in left] == [12, 8]
        listed = [(one.step, one.path.parent.name) for one in training.checkpoints(connection, run.id)]
        assert listed == [(8, "kept"), (4, "away")]
        # A newer one says which is the best now, and the copy is no place to go on from
        newer = Checkpoint(6, tmp_path / "f2-00000006", bytes(32), False, "beta")
        training.add_checkpoint(connection, run, newer, best_step=4)
        best = [one.step for one in training.checkpoints(connection, run.id) if one.is_best]
        assert best == [4]
        assert training.tidy(connection, run, 1) == [newer.path, tmp_path / "away" / "f1-00000004"]
        assert [one.step for one in training.checkpoints(connection, run.id)] == [8, 6, 4]
        with pytest.raises(RunError):
            training.read(connection, run_id=run.id + 1)
