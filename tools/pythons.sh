# Sourced. pyenv's shims answer for versions that are not selected, too, and then fail: put the versions themselves first.
for folder in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin; do
    [ ! -d "$folder" ] || PATH="$folder:$PATH"
done
export PATH
# Where 3.14 is not installed, debian_python.sh runs the tests on that of Debian's next release.
export UV_PYTHON_DOWNLOADS=never  # only what is installed here
