#!/bin/sh
# Score one file and print its anomalies and the summary of the run, for cron: nightly.sh MODEL FILE [FOLDER]
# Prints nothing if there are none. Ends with 3 if rows were rejected, with 2 if nothing could be scored.
# Leaves the anomalies (.csv), the summary for programs (.json) and for people (.log) in FOLDER, by the name of the file.
set -u
model=$1
file=$2
folder=${3:-scored}
name=$(basename "${file%.*}")
mkdir -p "$folder"

exec 9>"$folder/.lock"
flock --nonblock 9 || { echo "another run is not finished" >&2; exit 2; }

residuum score "$model" "$file" --to "$folder/$name.csv" --summary "$folder/$name.json" \
    --only-anomalies --strict --fail-on-anomalies --force >"$folder/$name.log" 2>&1
code=$?
case $code in
    0) exit 0 ;;
    3) cat "$folder/$name.log" >&2 ;;  # rows were rejected; there may be anomalies too
    4) code=0 ;;  # anomalies are what the run is for
    *) cat "$folder/$name.log" >&2; exit "$code" ;;
esac
if [ "$(wc -l <"$folder/$name.csv")" -gt 1 ]; then
    echo "$(($(wc -l <"$folder/$name.csv") - 1)) anomalies in $file:"
    head -n 21 "$folder/$name.csv"
    [ "$code" -eq 3 ] || cat "$folder/$name.log"
fi
exit "$code"
