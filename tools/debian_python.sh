#!/bin/sh
# Run the tests on a Python that only Debian's next release has: debootstrap unpacks the release into a folder, and the
# tests run in there, in a mount namespace of their own. Needs Debian or Ubuntu, root, debootstrap and `make .venv/.test`.
# Tests that need Chromium, redis-server or Node are skipped, unless they are installed in the folder.
# Usage: [SUITE=forky] [CHROOT=FOLDER] [MIRROR=ADDRESS] tools/debian_python.sh VERSION [ARGUMENTS OF PYTEST...]
# With PYTHON_THREAD_INHERIT_CONTEXT=1 threads inherit contexts, as on a free-threaded Python.
set -eu
cd "$(dirname "$0")/.."
. tools/index.sh
version=$1
shift
suite=${SUITE:-forky}
root=${CHROOT:-/var/tmp/langfuse-integration-$suite}
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | head -n 1)}

if [ ! -x "$root/usr/bin/python$version" ]; then
    echo "unpacking $suite into $root"
    packages=python$version,python$version-venv,python$version-dev,ca-certificates,gcc,git,libc6-dev,make
    debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" \
        /usr/share/debootstrap/scripts/sid >"$root.log" 2>&1 || { tail -n 5 "$root.log" >&2; exit 1; }
fi
mkdir -p "$root/venv" "$root/src" .venv
cp /etc/resolv.conf /etc/hosts "$root/etc/"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"

export root version
# shellcheck disable=SC2016  # the inner shell expands these
exec unshare --mount sh -euc '
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --rbind /sys "$root/sys"
    mount -t tmpfs tmpfs "$root/tmp"
    mount --bind . "$root/src"
    mount --bind "$root/venv" "$root/src/.venv"
    exec chroot "$root" env --ignore-environment HOME=/root LANG=C.UTF-8 PATH=/usr/bin:/usr/sbin:/bin:/sbin \
        SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \
        ${UV_DEFAULT_INDEX:+"UV_DEFAULT_INDEX=$UV_DEFAULT_INDEX" "PIP_INDEX_URL=$UV_DEFAULT_INDEX"} \
        ${PYTHON_THREAD_INHERIT_CONTEXT:+"PYTHON_THREAD_INHERIT_CONTEXT=$PYTHON_THREAD_INHERIT_CONTEXT"} \
        PYTHON="python$version" sh -euc "
            cd /src
            sh tools/venv.sh test
            exec .venv/bin/python -m pytest -n 2 --dist loadfile \"\$@\"" sh "$@"
' sh "$@"
