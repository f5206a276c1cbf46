"""Arguments and options of several commands, checked before any call to a service."""

import click

from poste_restante.position import cursor_key, mailbox_key

#: The longest duration of an option. A longer one is a typing error.
TEN_YEARS_S = 3650 * 24 * 3600


def _user(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        mailbox_key(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


def _device(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    try:
        cursor_key(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


USER = click.argument("user", callback=_user)
DEVICE = click.option(
    "--device",
    metavar="NAME",
    callback=_device,
    help="Device whose cursor is used; default: the account's.",
)


def text_argument(
    _context: click.Context, parameter: click.Parameter, value: str | None
) -> str | None:
    """Check a text: UTF-8, and not empty for an attribute of an event."""
    if value is None:
        return None
    if value == "" and isinstance(parameter, click.Option):
        raise click.BadParameter("must not be empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("must be UTF-8") from None
    return value


YES = click.option(
    "--yes", is_flag=True, help="Apply the change; without it, only show what would change."
)
PARTITION = click.option(
    "--partition",
    type=click.IntRange(0),
    multiple=True,
    help="Partition to move, may be repeated; default: all.",
)
JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object (schema: worker/cli/schemas)."
)


class _TimeType(click.ParamType):
    """A time with its zone, as epoch milliseconds."""

    name = "TIME"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        from worker.settings import parse_time_ms

        if isinstance(value, int):
            return value
        try:
            return parse_time_ms(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


TIME = _TimeType()


class _HeaderType(click.ParamType):
    name = "NAME=VALUE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, bytes]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is no header such as traceparent=00-4bf9", param, ctx)
        try:
            name.encode()
            return name, text.encode()
        except UnicodeEncodeError:
            self.fail("must be UTF-8", param, ctx)


HEADER = _HeaderType()
