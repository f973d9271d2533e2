#!/bin/sh
# Score one file and print its anomalies, for cron: nightly.sh MODEL FILE [FOLDER]
# Prints nothing if there are none. Ends with 3 if rows were rejected, with 2 if nothing could be scored.
set -u
model=$1
file=$2
folder=${3:-scored}
name=$(basename "${file%.*}")
mkdir -p "$folder"

exec 9>"$folder/.lock"
flock --nonblock 9 || { echo "another run is not finished" >&2; exit 2; }

residuum score "$model" "$file" --to "$folder/$name.csv" --only-anomalies --strict --force >"$folder/$name.log" 2>&1
code=$?
if [ "$code" -ne 0 ]; then
    cat "$folder/$name.log" >&2
    [ "$code" -eq 3 ] || exit "$code"
fi
if [ "$(wc -l <"$folder/$name.csv")" -gt 1 ]; then
    echo "$(($(wc -l <"$folder/$name.csv") - 1)) anomalies in $file:"
    head -n 21 "$folder/$name.csv"
fi
exit "$code"
