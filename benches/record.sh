#!/bin/bash
# Runs all benches and keeps what they print in benches/record/. Arguments go to cargo:
#
#   benches/record.sh --features isal
set -euo pipefail
cd "$(dirname "$0")/.."

cpu=$(sed -n 's/^model name[[:space:]]*: *//p' /proc/cpuinfo | head -n 1)
cores=$(nproc)
memory_gib=$(awk '/^MemTotal:/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)
slug=$(tr '[:upper:]' '[:lower:]' <<< "${cpu:-unknown}" | tr -cs 'a-z0-9' '-' | sed 's/^-//; s/-$//')
record=benches/record/$(date -u +%F)-$cores-core-$slug.md
number=2
while [ -e "$record" ]; do
    record=benches/record/$(date -u +%F)-$cores-core-$slug-$number.md
    number=$((number + 1))
done
partial=$(mktemp)
trap 'rm -f "$partial"' EXIT

cargo bench --no-run "$@"
{
    echo "# $(date -u +%F), $cores cores of ${cpu:-an unknown CPU}, $memory_gib GiB"
    echo
    echo "\`cargo bench${*:+ $*}\`, revision $(git rev-parse --short HEAD)$(git diff --quiet HEAD || echo ", changed")."
} > "$partial"
for bench in $(sed -n '/^\[\[bench\]\]/,/^path/s/^name = "\(.*\)"/\1/p' Cargo.toml); do
    echo "== $bench"
    printf '\n# %s\n\n' "$bench" >> "$partial"
    # The figures alone: what cargo and the compiler say goes to the terminal.
    cargo bench "$@" --bench "$bench" | tee -a "$partial"
done
cp "$partial" "$record"
chmod 644 "$record"
echo "written to $record"
