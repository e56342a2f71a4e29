"""Entry point of ``gfl``: lists the commands, parses their arguments, prints errors as one line.

A command is a function: its parameters are the options, its docstring the help (cyclopts). Each is
imported when it is called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.exceptions import MissingArgumentError, UnknownOptionError, UnusedCliTokensError

from cli.remedies import worded
from gfl import escape, terminal
from gfl.errors import UserError, did_you_mean, disk_error
from gfl.records import account
from gfl.terminal import note

ABOUT = "Train, print, draw and check the tables, figures and claims of the GFL paper."
COMMANDS = {
    "Results": {
        "run": "cli.training:run",
        "status": "cli.status:status",
        "table": "cli.artefacts:table",
        "figure": "cli.artefacts:figure",
        "errors": "cli.artefacts:errors",
        "audit": "cli.artefacts:audit",
        "report": "cli.artefacts:report",
    },
    "Your own data and pictures": {
        "own": "cli.own:own",
        "detect": "cli.detect:detect",
        "evaluate": "cli.evaluate:evaluate",
    },
    "Runs": {
        "config": "cli.configfile:config",
        "diff": "cli.records:diff",
        "predict": "cli.predict:predict",
        "test-dev": "cli.testdev:detect_test_dev",
        "photos": "cli.photos:photos",
        "shapes": "cli.shapes:shapes",
    },
    "Reference and settings": {
        "promote": "cli.records:promote",
        "tune": "cli.training:tune",
        "register": "cli.artefacts:register",
        "spread": "cli.spread:spread",
        "bench": "cli.bench:bench",
    },
}
FORMER = {"own": "train-own"}  # former names, suggested by "did you mean"
HELP = ("--help", "-h")


def build() -> App:
    """Return the command line."""
    app = App(
        name="gfl",
        help=ABOUT,
        help_flags=HELP,
        help_format="markdown",
        version_flags=["--version"],
        version=_version,
        default_parameter=Parameter(negative_bool=(), negative_iterable=(), allow_repeating=True),
        exit_on_error=False,
        print_error=False,
    )
    for group, commands in COMMANDS.items():
        ordered = Group.create_ordered(group)
        for order, (name, path) in enumerate(commands.items()):
            former = {"synonym": FORMER[name]} if name in FORMER else {}
            app.command(path, name=name, group=ordered, sort_key=order, **former)
    about = "Install completion for this shell."
    app.register_install_completion_command(help=about, group=ordered)
    app["--help"].group = app["--version"].group = ordered
    return app


def _version() -> str:
    """Return the package's version and the code's commit."""
    import tomllib

    from experiments.checkout import ROOT, code_state

    # Set-up installs the requirements alone, so the package has no metadata of its own.
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    number = declared["project"]["version"]
    commit, dirty = code_state()
    where = f"commit {commit[:7]}" if commit else "no commit"
    return f"gfl {number} ({where}{', with uncommitted changes' if commit and dirty else ''})"


def script() -> int:
    """Run this process's command, in UTF-8 mode whatever the locale."""
    terminal.as_utf8()
    return main()


def main(argv: Sequence[str] | None = None, worker: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 2 after a user error, printed in one line.

    ``worker`` replaces the training process, in tests.
    """
    terminal.prepare()
    account.complete()
    try:
        code = _call(list(sys.argv[1:] if argv is None else argv), worker)
        sys.stdout.flush()
        return code
    except UserError as err:
        complain(err)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        terminal.abandon_output()
        return 0
    except OSError as err:
        if (users := disk_error(err, Path("disk"))) is None:
            raise
        complain(users)
    return 2


def complain(err: Exception) -> None:
    """Print, in one line, the error that ended a command."""
    note(escape.message(worded(err)))


def _call(argv: Sequence[str], worker: Sequence[str] | None) -> int:
    app = build()
    if not argv:
        raise UserError("no command named; see gfl --help")
    console = None
    if set(HELP) & set(argv):
        console = terminal.console()
        app.resolved_commands()  # the list of commands quotes their docstrings
    try:
        words = list(_spelt_out(app, argv))
        command, bound, unparsed = app.parse_args(words, console=console)
    except CycloptsError as err:
        raise UserError(_worded(err, app, argv)) from None
    if worker is not None and "worker" in unparsed:
        bound.arguments["worker"] = worker
    return command(*bound.args, **bound.kwargs) or 0


def _spelt_out(app: App, argv: Sequence[str]) -> Iterator[str]:
    """Yield the words with ~ expanded to the home folder and abbreviated options in full.

    A shell leaves the ~ in ``--data=~/coco``.

    Raises:
        UserError: an abbreviation is ambiguous.
    """
    names = _options(app, argv)
    words = iter(argv)
    for word in words:
        if word == "--":
            yield word
            break
        name, equals, value = word.partition("=")
        if not name.startswith("--"):
            yield os.path.expanduser(word)
            continue
        found = [name] if name in names else [n for n in names if n.startswith(name)]
        if len(found) > 1:
            raise UserError(f"ambiguous option {name}: {escape.either(found)}")
        yield "".join([*(found or [name]), equals, os.path.expanduser(value)])
    yield from words


def _options(app: App, argv: Sequence[str]) -> list[str]:
    """Return the options, in full, of the command in the words; none of a hidden one."""
    # Only the words before the first option: to cyclopts, --help is a command.
    command = app.parse_commands(takewhile(lambda word: word[:1] != "-", argv))[1][-1]
    arguments = ()
    if command.default_command:
        defaults = app.default_parameter
        arguments = command.assemble_argument_collection(default_parameter=defaults)
    visible = [name for argument in arguments if argument.show for name in argument.names]
    return [name for name in (*visible, *command.help_flags) if name.startswith("--")]


def _worded(err: CycloptsError, app: App, argv: Sequence[str]) -> str:
    """Describe an error in the arguments, as one line."""
    chain = app.parse_commands(argv)[0]
    see = f"see {' '.join(['gfl', *chain])} --help"
    match err:
        case UnknownOptionError():
            name = (err.token.keyword or err.token.value).partition("=")[0]
            known = [option for option in _options(app, argv) if option not in HELP]
            return f"unknown option {name!r}{did_you_mean(name, known)}"
        case UnusedCliTokensError():
            return f"unexpected argument {(err.unused_tokens or ['?'])[0]!r}; {see}"
        case MissingArgumentError() if err.argument is not None:
            return f"{' '.join(chain)}: {err.keyword or err.argument.name} needs a value; {see}"
    err.verbose = False
    text = " ".join(str(err).split())
    text = text if text.endswith("...") else text.removesuffix(".")
    return text[:1].lower() + text[1:]
