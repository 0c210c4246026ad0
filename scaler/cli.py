"""`scaling`: the command's place is taken, and it says that there is nothing behind it yet."""

from __future__ import annotations

import sys
from typing import Final

import click

ABSENT: Final = "The worker autoscaler is not part of this release; the exporter (`monitor`) is."


class _Absent(click.Group):
    """Takes any sub-command, and answers each with the same sentence."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        del ctx
        return click.Command(
            cmd_name, callback=_say_so, context_settings={"ignore_unknown_options": True}, params=[_ANYTHING]
        )


_ANYTHING: Final = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)


def _say_so(words: tuple[str, ...] = ()) -> None:
    del words
    click.echo(f"scaling: {ABSENT}", err=True)
    sys.exit(2)


@click.group(cls=_Absent, invoke_without_command=True, help=ABSENT)
@click.version_option(package_name="oxherd", prog_name="scaling", message="oxherd %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        _say_so()
