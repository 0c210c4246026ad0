#!/usr/bin/env bash
# Tests the built wheel, writes it, its SBOM and its notes to dist/, makes an annotated tag. docs/releasing.md has the steps.
# DRY_RUN=1 does everything except the tag. PYTHON names another interpreter for the venv.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "release: $*" >&2; exit 1; }
say() { echo "release: $*"; }

version=${1:-}
[ -n "$version" ] || fail "no version is given: make release VERSION=x.y.z"
tag=v$version

declared=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
[ "$version" = "$declared" ] || fail "VERSION is $version, pyproject.toml has $declared"
notes=$(scripts/release-notes.sh "$version") || fail "there are no release notes for $version"
! git rev-parse --quiet --verify "refs/tags/$tag" >/dev/null || fail "the tag $tag exists already"
[ -z "$(git status --porcelain)" ] || fail "the working tree is not clean: commit or remove what git status lists"

# One commit is built, tested and tagged: without ignored files, and without later commits.
commit=$(git rev-parse HEAD)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/source" "$work/wheel"
git archive "$commit" | tar -x -C "$work/source"

say "installing requirements/dev.txt into a new venv"
"${PYTHON:-python3}" -m venv "$work/venv"
python=$work/venv/bin/python
pip=("$python" -m pip -qq --disable-pip-version-check)
"${pip[@]}" install --require-hashes -r "$work/source/requirements/dev.txt"

say "building the wheel of $version and installing it"
"${pip[@]}" wheel --no-deps --no-build-isolation --wheel-dir "$work/wheel" "$work/source"
wheel=$work/wheel/oxherd-$version-py3-none-any.whl
[ -e "$wheel" ] || fail "the build made no $(basename "$wheel"): $(ls "$work/wheel")"
"${pip[@]}" install --no-deps "$wheel"

# Pytest puts this folder first on sys.path: without the packages there, only those of the wheel can be imported.
cd "$work/source"
rm -r exporter scaler service
for command in monitor scaling; do
  [ "$("$work/venv/bin/$command" --version)" = "oxherd $version" ] || fail "$command --version is not oxherd $version"
done
say "testing the wheel without the source tree"
PATH=$work/venv/bin:$PATH "$python" -m pytest -q tests/unit tests/rules tests/docs/test_docs.py tests/docs/test_demo_page.py \
  tests/dashboards/test_dashboards.py || fail "the tests fail with the wheel: nothing is tagged"
sbom=$work/oxherd-$version.cdx.json
"$python" -m tools.sbom "$version" "$(git -C "$OLDPWD" show -s --format=%cI "$commit")" >"$sbom" \
  || fail "the list of parts cannot be made: nothing is tagged"
cd "$OLDPWD"

mkdir -p dist
cp "$wheel" "$sbom" dist/
printf '%s\n' "$notes" >"dist/notes-$version.md"
say "dist/$(basename "$wheel"), dist/$(basename "$sbom"), dist/notes-$version.md"
if [ "${DRY_RUN:-}" = 1 ]; then
  say "dry run: $tag is not created"
else
  printf 'Oxherd %s\n\n%s\n' "$version" "$notes" | git tag --annotate --cleanup=whitespace --file=- "$tag" "$commit"
  say "tagged $tag; publish it with: git push origin $tag"
fi
printf '\n%s\n' "$notes"
