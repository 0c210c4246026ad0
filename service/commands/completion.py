"""The command `completion bash|zsh|fish`: prints the script with which a shell completes a command."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


def add_completion(group: click.Group, name: str) -> None:
    """Add the command `completion` to a group of this name."""

    @group.command("completion")
    @click.argument("shell", type=click.Choice(SHELLS))
    def completion(shell: str) -> None:
        """Print what completes this command in SHELL; how to use it is its first line."""
        completer = get_completion_class(shell)
        if completer is None:
            raise click.UsageError(f"{shell} cannot be completed")
        use = {
            "bash": f'eval "$({name} completion bash)" in ~/.bashrc',
            "zsh": f'eval "$({name} completion zsh)" in ~/.zshrc',
            "fish": f"{name} completion fish > ~/.config/fish/completions/{name}.fish",
        }[shell]
        click.echo(f"# {use}")
        # click's BashComplete would run bash for its version here; the script does not depend on it.
        click.echo(completer(group, {}, name, f"_{name.upper()}_COMPLETE").source_template % _words(name))


def _words(name: str) -> dict[str, str]:
    return {
        "complete_func": f"_{name}_completion",
        "complete_var": f"_{name.upper()}_COMPLETE",
        "prog_name": name,
    }
