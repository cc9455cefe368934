"""HTTP requests that wait for a busy machine."""

from __future__ import annotations

from functools import partial

import httpx

get = partial(httpx.get, timeout=60)
