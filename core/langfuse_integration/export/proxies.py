"""Proxies, as urllib finds them: by environment variables, else by what the system is set to (macOS and Windows).

A forked child on macOS reads environment variables only: the system's settings are read by libraries that crash in
such a child (bpo-33725), and would take the application with them.
"""

from __future__ import annotations

import sys
from urllib import request

from ..internals import forks


def proxy_of(scheme: str, host: str) -> str | None:
    """Return the address of the proxy for requests to *host*, or None."""
    if sys.platform == "darwin" and forks.is_child:
        proxies = request.getproxies_environment()
        return None if request.proxy_bypass_environment(host, proxies) else proxies.get(scheme)
    return None if request.proxy_bypass(host) else request.getproxies().get(scheme)
