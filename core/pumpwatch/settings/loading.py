"""Reads a configuration file and says everything that is wrong with it at once."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from pydantic import ValidationError

from pumpwatch.errors import BadConfig
from pumpwatch.settings.conflicts import conflicts
from pumpwatch.settings.models import REFERENCE, TOLD, Settings, Source
from pumpwatch.settings.places import scan
from pumpwatch.settings.problems import REMEDY, BadSettings, Problem, dotted, problems_from
from pumpwatch.settings.readable import readable

_POSITION = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_NEVER_CLOSED = re.compile(r"""Unterminated string|Expected "('+)"$""")
_SYNTAX = (
    # tomllib's words, ours, the remedy; the first that matches counts
    (
        r"Invalid value",
        "the value cannot be read",
        'put text in straight double quotes; write true or false; close every [ and "',
    ),
    (
        r"Cannot overwrite|Cannot declare",
        "this key or table stands there twice",
        "keep one of them; a list of tables has [[ ]]",
    ),
    (r"Expected '='", "there is no = after the key", "write `key = value`"),
    (
        r"Expected '\]'|Expected '\]\]'",
        "the table's name is not closed",
        "write [table], or [[table]] for one of several",
    ),
    (r"Unescaped '\\'|escape", "a backslash in double quotes begins an escape", "write the text in 'single quotes'"),
    (
        r"Unterminated string|Expected \"'|invalid character '\\n'",
        "the text's closing quote is missing",
        'close it: "one line" or """several lines"""',
    ),
    (
        r"Unclosed array",
        "the list is not closed, or a comma is missing in it",
        "separate elements with commas and close with ]",
    ),
    (
        r"Unclosed inline table",
        "the table in braces is not closed, or a comma is missing in it",
        "keep { … } on one line",
    ),
    (r"Expected newline", "something stands behind the value", "one `key = value` a line; put text in double quotes"),
    (
        r"Invalid statement|initial character",
        "this is neither a key nor a table",
        "write `key = value`, [table] or # comment",
    ),
)


def load_settings(path: Path) -> Settings:
    """Read and check a configuration file; raises ``BadSettings`` with every problem in it."""
    file = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")  # editors on Windows put a byte order mark first
    except FileNotFoundError:
        raise BadSettings([Problem(file, None, "", "there is no such file", "check the path after --config")]) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadSettings(
            [Problem(file, None, "", f"cannot be read: {reason}", "check path and permissions")]
        ) from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise BadSettings([Problem(file, line, "", "is not UTF-8 text", "save the file as UTF-8 (not GBK)")]) from error
    return parse_settings(text, file)


def parse_settings(text: str, file: str = "config.toml") -> Settings:
    """Check a configuration given as text; ``file`` is what problems call it."""
    try:
        data = tomllib.loads(text)
        lines = scan(text)
    except tomllib.TOMLDecodeError as error:
        raise BadSettings([_syntax_problem(str(error), text, file)]) from error
    except RecursionError as error:
        problem = Problem(
            file, None, "", "lists or tables are nested too deeply", "use [tables] with names of their own"
        )
        raise BadSettings([problem]) from error
    problems = [Problem(file, lines.line(c.place), dotted(c.place), c.message, c.remedy) for c in conflicts(data)]
    wrong: ValidationError | None = None
    try:
        settings: Settings | None = Settings.model_validate(data, context=TOLD)
    except ValidationError as error:
        wrong = error
        problems += problems_from(error, file, (), lines, Settings)
    if problems or wrong:
        settings = readable(data, wrong)
    if settings:
        settings._source = Source(file, lines)  # noqa: SLF001 - the one place where settings get their source
    if problems or not settings:
        raise BadSettings(sorted(problems, key=lambda p: p.line or 0), settings) from wrong
    return settings


def resolve_secret(reference: str) -> str:
    """Fetch the secret that ``env:NAME`` or ``file:PATH`` refers to; raises ``BadConfig`` when there is none.

    A relative PATH counts from the working folder; white space around the file's text is not part of the secret.
    """
    if not REFERENCE.fullmatch(reference):
        raise BadConfig(f'a secret must be given as a reference{REMEDY}write "env:NAME" or "file:PATH"')
    kind, _, name = reference.partition(":")
    if kind == "env":
        secret = os.environ.get(name, "").strip()
        if not secret:
            raise BadConfig(
                f"{reference}: the environment variable {name} is not set{REMEDY}export {name}=… before starting"
            )
        return secret
    try:
        secret = Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{reference}: the file cannot be read ({error}){REMEDY}check path and permissions") from error
    if not secret:
        raise BadConfig(f"{reference}: the file is empty{REMEDY}put the secret into it")
    return secret


def _syntax_problem(said: str, text: str, file: str) -> Problem:
    position = _POSITION.search(said)
    what = said[: position.start()] if position else said
    if position and position["line"]:
        line = int(position["line"])
    elif quotes := _NEVER_CLOSED.search(what):  # nothing closes it, so the last such quote is the one that opens
        line = text.count("\n", 0, text.rfind(quotes[1] or '"""')) + 1
    else:
        line = text.rstrip().count("\n") + 1
    for pattern, message, remedy in _SYNTAX:
        if re.search(pattern, what):
            return Problem(file, line, "", f"{message} ({what})", remedy)
    return Problem(file, line, "", f"this is not TOML ({what})", "compare with config/example.toml")
