"""The one line with which a reader refuses a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from romanprf.errors import InputError


def refusal(read: Callable[..., Any], path: Path, **options: Any) -> str:
    """Message of the error that ``read(path, **options)`` raises: one line that names the file."""
    with pytest.raises(InputError) as error:
        read(path, **options)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message
