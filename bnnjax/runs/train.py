"""A training run from its configuration to its report."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from bnnjax.config.training import Config
from bnnjax.constraints.objective import LCR
from bnnjax.data import DataError, Dataset, StreamedDataset
from bnnjax.data.load import load
from bnnjax.methods import make_method
from bnnjax.models import make_model
from bnnjax.report.run.console import summary_table, training_progress
from bnnjax.report.run.tensorboard import event_writer
from bnnjax.robustness.evaluation import check_quick
from bnnjax.runs import directory
from bnnjax.runs.initial import full_precision, take
from bnnjax.runs.input import SKIPPED, make_feed, skipped_by_all
from bnnjax.runs.plan import Prepared, begin, is_finished, made_from, teachers_of
from bnnjax.runs.results import conclude
from bnnjax.runs.saved import read_teachers, read_trained
from bnnjax.runs.setup import TARGETS, make_setup
from bnnjax.runtime.cache import use_compilation_cache
from bnnjax.runtime.console import complain
from bnnjax.runtime.determinism import require_determinism
from bnnjax.runtime.exit_codes import STOPPED_BY_DATA, STOPPED_BY_LOSS, WRONG_INPUT
from bnnjax.runtime.files import append_metrics, read_json, remove_unfinished, truncate_metrics
from bnnjax.runtime.lock import hold
from bnnjax.runtime.processes import as_first, is_first
from bnnjax.train.ahead import compile_ahead
from bnnjax.train.checkpoint import Checkpoints, MisfitError
from bnnjax.train.loop import Fit, NonFiniteLossError, fit, stop_on_signals
from bnnjax.train.parallel import compile_task, describe, make_mesh

IMAGENET_STEMS = ("resnet18", "resnet34")  # which have another stem for it


def resolve(config: Config) -> Config:
    """Returns the configuration with everything that was left out filled in.

    Raises:
      ValueError: if the method, its bits or the network are not defined.
    """
    method = make_method(config.method, config.wbits, config.abits)
    config = config.with_recipe(method.recipe if config.recipe == "published" else config.common)
    if config.dataset == "imagenet2012" and config.model in IMAGENET_STEMS:
        config = config.with_values(model=f"{config.model}_imagenet")
    model = make_model(config.model, method, structure=config.structure, classes=10)
    config = config.with_values(method=method.name)  # not an alias
    return config.with_values(
        wbits=method.wbits,
        abits=method.abits,
        structure=getattr(model, "structure", "plain"),
        workdir=config.workdir or directory.default_workdir(config),
    )


def prepare(config: Config, dataset: Dataset | None = None) -> Prepared:
    """Checks everything that can be wrong with a run before anything is compiled, and takes its directory.

    Of many processes the first claims it, before the others prepare: see `processes.in_turn`.

    Args:
      config: of the run.
      dataset: the one that it names, if it is loaded already.

    Raises:
      ValueError: with one sentence that says what is wrong.
    """
    if config.deterministic:
        require_determinism()
    use_compilation_cache()
    config = resolve(config)
    assert config.workdir is not None
    with ExitStack() as held:
        if is_first():
            held.enter_context(hold(config.workdir))
        run = check(config, dataset)
        if run.twin is not None:
            held.enter_context(run.twin.held)
        return run._replace(held=held.pop_all())


def check(config: Config, dataset: Dataset | None) -> Prepared:
    """Returns what `prepare` does, for a resolved configuration whose directory is held."""
    assert config.workdir is not None
    assert config.batch_size is not None
    mesh = make_mesh(config.batch_size, parts=config.accumulate)
    is_known = is_first() and directory.claim(config.workdir, config)
    if dataset is None:
        dataset = load(config)
    if config.noise == "quick":
        check_quick(dataset)
    teachers = read_teachers(config, dataset)
    setups = {name: teacher.setup for name, teacher in teachers.items()}
    needs_twin = config.compares and LCR not in teachers
    if needs_twin:
        setups[LCR] = make_setup(full_precision(config), dataset)
    setup = make_setup(config, dataset, setups)
    source = None if config.pretrained is None else read_trained(config.pretrained, dataset)
    if source is not None:
        take(config, setup, source)  # for its errors
    networks = {
        name: None if net is None else {"run": str(net.place), "digest": net.digest}
        for name, net in (
            ("pretrained", source),
            ("teacher", teachers.get(TARGETS)),
            ("lcr.teacher", teachers.get(LCR)),
        )
    }
    if not is_first():
        directory.check_shared(config.workdir)
    elif is_known:
        directory.check_digest(config.workdir, dataset.digest)
        directory.check_networks(config.workdir, networks)
    else:
        data = {"source": dataset.source, "digest": dataset.digest}
        about = {**describe(mesh), "peak_learning_rate": config.peak_learning_rate}
        directory.record_config(config.workdir, config, data=data, **networks, **about)
    twin = None
    needs_twin |= setup.method.pretrained and source is None
    if needs_twin and not is_finished(config.workdir):
        twin = prepare(full_precision(config), dataset)
    place, nothing = config.workdir, ExitStack()
    return Prepared(config, place, setup, dataset, mesh, is_known, source, teachers, twin, nothing)


def all_find_finished(place: Path) -> bool:
    """Returns the same for all processes, of which the first knows."""
    return bool(as_first(is_finished(place)))


def execute(run: Prepared, console: Console) -> int:
    """Trains, tests and reports; returns the exit code.

    0: finished, or stopped by a signal with everything saved.  2: the directory's checkpoints do not fit.
    3: the loss stopped being finite.  7: the data cannot be read on.

    Raises:
      OSError: a file of the run cannot be written; what was saved before is whole.
    """
    try:
        with run.held:
            return train(run, console)
    except DataError as error:
        intact = f"what is saved in {run.place} is intact, and the same command goes on from there"
        complain(f"stopped: {str(error).removesuffix('.')}; {intact}")
        return STOPPED_BY_DATA


def train(run: Prepared, console: Console) -> int:
    """Does what `execute` does, in a directory that is held; DataError: the data cannot be read on."""
    config, task, dataset, mesh = run.config, run.setup.task, run.dataset, run.mesh
    assert config.batch_size is not None

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    def complain(text: str) -> None:
        if is_first():
            complain(text)

    if all_find_finished(run.place):
        summary, units = (read_json(run.place / name) for name in ("summary.json", "units.json"))
        console.print(summary_table(summary, units))
        say(f"this run is finished already; its results are in {run.place}")
        return 0
    compiled = compile_task(task, mesh, config.batch_size, len(dataset.train.labels))
    init_key, data_key = jax.random.split(jax.random.key(config.seed))
    state = compiled.init(init_key)
    checkpoints = Checkpoints(run.place / "checkpoints", say)
    run.held.callback(checkpoints.close)
    try:
        restored = checkpoints.restore(state)
    except MisfitError as error:
        complain(
            f"the checkpoints in {run.place} are of another version's network: {error}; give a --workdir"
        )
        return WRONG_INPUT
    done = 0
    if restored is not None:
        done, state = restored
        say(f"going on from step {done}")
    twin = run.twin if restored is None or run.is_twins_pupil else None
    if twin is not None and not all_find_finished(twin.place):
        pupil = f"{config.method} begins from" if run.begins_from_twin else "lcr compares with"
        say(f"{pupil} a full-precision network, trained first in {twin.place}")
        code = execute(twin, console)
        if not all_find_finished(twin.place):
            return code
    elif restored is None and run.is_known:
        say("there is no checkpoint to go on from; starting at the beginning")
    if restored is None:
        state = begin(run, state, init_key, say)
    metrics_file = run.place / "metrics.jsonl"
    if is_first():
        remove_unfinished(run.place)
        truncate_metrics(metrics_file, done // task.steps_per_epoch)

    total_steps = task.epochs * task.steps_per_epoch
    with (
        stop_on_signals() as stop,
        events_of(run, done) as write_events,
        training_progress(console, task.epochs, task.steps_per_epoch, done) as display,
    ):
        skipped = Counter[str]()

        def on_skipped(images: int) -> None:
            skipped[SKIPPED] += images

        def on_epoch(record: dict[str, Any]) -> None:
            if isinstance(dataset, StreamedDataset):
                record[SKIPPED] = skipped_by_all(skipped.pop(SKIPPED, 0))
            if is_first():
                append_metrics(metrics_file, record)
            write_events(record)
            display.epoch_line(record)

        feed, lower = make_feed(config, dataset, task, compiled, mesh, teachers_of(run), data_key, on_skipped)
        setting = Fit(
            task=task,
            compiled=compiled,
            feed=feed,
            validation=dataset.validation,
            batch_size=config.batch_size,
            checkpoints=checkpoints,
            checkpoint_every=config.checkpoint_every,
            measure=run.setup.measure,
            learning_rate=run.setup.learning_rate,
            on_epoch=on_epoch,
            display=display,
            stop=stop,
        )
        if done < total_steps:
            compile_ahead(setting, lower, state.train)
        try:
            state = fit(setting, state)
        except NonFiniteLossError as error:
            kept = checkpoints.latest_step()
            last = (
                f"checkpoint {kept} in {run.place} is the last good one" if kept else "nothing was saved yet"
            )
            complain(f"stopped: {error}; {last}")
            return STOPPED_BY_LOSS
    done = int(state.train.step)
    if done < total_steps:
        again = "the same command" + (" with --resume=auto" if config.resume == "never" else "")
        say(
            f"stopped by {stop.signal_name} at step {done} of {total_steps}; everything is saved in "
            f"{run.place}, and {again} goes on from there"
        )
        return 0
    about = {**describe(mesh), **made_from(run), "peak_learning_rate": config.peak_learning_rate}
    results = conclude(run.place, config, run.setup, dataset, compiled, state.best, about, console)
    if results is not None:
        console.print(summary_table(*results))
    say(f"report: {run.place / 'report.html'}")
    return 0


def events_of(run: Prepared, done: int) -> AbstractContextManager[Callable[[dict[str, Any]], None]]:
    """Returns what writes a run's events, which process 0 does."""
    if is_first():
        return event_writer(run.place, done if run.is_known else None)
    return nullcontext(lambda record: None)
