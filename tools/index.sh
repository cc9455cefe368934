# Sourced. uv does not read pip's configuration: hand it the index and the certificates that pip would use.

# What pip is told about KEY, by a file or by the environment; nothing if it is told nothing.
told() {
    for section in :env: install global; do
        .venv/bin/python -m pip config get "$section.$1" 2>/dev/null && return
    done
    return 0
}

index=$(told index-url)
cert=$(told cert)
[ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
[ -z "$cert" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$cert}"
