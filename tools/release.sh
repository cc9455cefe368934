#!/bin/sh
# Build wheel and sdist into dist/, check them, install the wheel with all its extras into a fresh environment, and
# write from there an SBOM (CycloneDX) and the licences of all dependencies.
set -eu
cd "$(dirname "$0")/.."
. tools/index.sh
bin=.venv/bin
rm -rf dist
"$bin/python" -m build --installer uv --outdir dist . >/dev/null
"$bin/twine" check --strict dist/*.whl dist/*.tar.gz

environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
"$bin/uv" venv --quiet --python "$bin/python" "$environment"
for built in dist/*.tar.gz dist/*.whl; do
    VIRTUAL_ENV="$environment" "$bin/uv" pip install --quiet --reinstall-package langfuse-integration \
        --constraint constraints.txt "langfuse-integration[all] @ file://$PWD/$built"
    "$environment/bin/langfuse-integration" --version
done
"$bin/cyclonedx-py" environment --output-reproducible --output-file dist/sbom.cdx.json "$environment/bin/python"
"$bin/pip-licenses" --python "$environment/bin/python" --from mixed --format markdown --order license \
    --output-file dist/licences.md >/dev/null
echo "dist/: $(ls dist | tr '\n' ' ')"
