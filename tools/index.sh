# Sourced. uv does not read pip's configuration: export pip's index and certificates for it.

# pip_option KEY: print the value in pip's configuration files or environment, or nothing.
pip_option() {
    for section in :env: install global; do
        .venv/bin/python -m pip config get "$section.$1" 2>/dev/null && return
    done
    return 0
}

index=$(pip_option index-url)
cert=$(pip_option cert)
[ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
[ -z "$cert" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$cert}"
