"""The ``liminal`` command. Each verb is imported when it is asked for, so that help is instant."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from liminal_assets.cli.output import complain, print_diagnostics
from liminal_assets.errors import StepError
from liminal_assets.execution.threads import let_idle_threads_sleep
from liminal_assets.language.diagnostics import InvalidProjectError

__all__ = ["DONE", "FAILED", "INTERRUPTED", "WRONG_INPUT", "cli", "main"]

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: the work is done; it failed; what was asked is wrong; Ctrl-C."""

_VERBS = {
    "init": ("init", "A new project that runs at once."),
    "validate": ("validate", "Find every mistake that can be known without running."),
    "resolve": ("resolve", "Show the final configuration."),
    "migrate": ("migrate", "Show what must change in a project of Apache Liminal."),
    "schema": ("schema", "Write the JSON Schema of liminal.yml, for editors."),
    "plan": ("plan", "Show what a run would do, and why."),
    "run": ("run", "Materialise assets, with progress and a closing table."),
    "ui": ("ui", "Dagster's UI and daemon, with MLflow's UI beside them."),
    "serve": ("serve", "A model server in the foreground."),
    "predict": ("predict", "Score the rows of a file."),
    "status": ("status", "Deployments: version, health, last refresh, drift."),
    "promote": ("promote", "Make a version the champion."),
    "rollback": ("rollback", "Take the champion back to an earlier version."),
    "history": ("history", "Which version when, decided by whom, on which evidence."),
    "trace": ("trace", "From a prediction to its inputs, model, runs, data and code."),
    "backtest": ("backtest", "Replay a monitor's policy over the past."),
    "build": ("build", "Build the images of an Apache Liminal project."),
    "create": ("create", "Make the volumes of an Apache Liminal project."),
    "deploy": ("deploy", "Register projects for start; services to a cluster."),
    "start": ("start", "Bring a project up: UI, daemon, services, model servers."),
    "stop": ("stop", "Stop what start has brought up."),
    "logs": ("logs", "What servers and tasks have written."),
    "delete": ("delete", "Take back what create and deploy made."),
    "doctor": ("doctor", "What works on this machine."),
}
"""Each verb, the module of its ``command``, and its line in the help."""


class _Verbs(click.Group):
    """A group whose commands are modules, imported when invoked."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module = import_module(f"liminal_assets.cli.{_VERBS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in _VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from liminal_assets.language.diagnostics import did_you_mean

        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], _VERBS)
            raise click.UsageError(
                f"there is no command {args[0]!r}" + (f" ({hint})" if hint else ""), ctx
            )
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"liminal-assets {version('liminal-assets')}")
        ctx.exit()


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Version."
)
def cli() -> None:
    """From a SQL query to a monitored, self-refreshing model: liminal.yml on Dagster."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command and leaves with its exit code; what is the user's to mend is one message."""
    let_idle_threads_sleep()
    try:
        sys.exit(_run(arguments))
    except BrokenPipeError:
        # the reader of the pipe has gone (``| head``)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(DONE)


def _run(arguments: list[str] | None) -> int:
    try:
        code: Any = cli.main(arguments, prog_name="liminal", standalone_mode=False)
        sys.stdout.flush()
        return int(code or DONE)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code if isinstance(error, click.UsageError) else FAILED
    except InvalidProjectError as error:
        print_diagnostics(error.diagnostics)
        return WRONG_INPUT
    except StepError as error:
        complain(error.message, hint=error.hint, at=error.location)
        return FAILED
    except (KeyboardInterrupt, click.Abort):
        complain("interrupted")
        return INTERRUPTED


if __name__ == "__main__":
    main()
