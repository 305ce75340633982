# The whole way, from a pool through ssh into a pool: zhaul beside syncoid with its defaults, in alternating rounds, in one lab.
# Run by bash on pve0; prints a table of medians and ratios.
#   cargo build --release
#   cargo lab run --mem 8G --pool-size 6G -- env ZHAUL=$PWD/target/release/zhaul bash tests/lab/end_to_end.sh [ROUNDS]
# One disk of 1 GiB, then ten of 100 MiB with four jobs at once (syncoid has no jobs: it sends one after the other).
# Half of the data is noise, half of it text. "agent": zhaul is installed on the server; "shell": it is not.
set -euo pipefail
rounds=${1:-3}
source=${ZHAUL_LAB_POOL_PVE0}/data
backup=${ZHAUL_LAB_POOL_NFS8}/backup/pve0
work=/lab/tmp/end-to-end
mkdir -p "$work"
rows=$work/rows
: > "$rows"
ln -sf "$ZHAUL" /usr/local/bin/zhaul
text=$work/text
find /usr/include /usr/share/doc -type f -name '*[ht]*' -exec cat {} + 2>/dev/null | head -c 64M > "$text" || true

fill() { # fill DATASET MIB: half noise, half text
    local at
    for ((at = 0; at < $2; at += 16)); do
        head -c 8M /dev/urandom; dd if="$text" bs=1M skip=$((at % 48)) count=8 status=none
    done > "/lab/tmp/mnt-$1/data"
}
guest() { # guest NAME MIB
    mkdir -p "/lab/tmp/mnt-$1"
    zfs create -o "mountpoint=/lab/tmp/mnt-$1" "$source/$1"
    fill "$1" "$2"
}
config() { # config AGENT JOBS
    printf 'lock = "%s/lock"\n[source]\ndatasets = ["%s"]\nguest-config = ""\n[transfer]\njobs = %s\nagent = "%s"\n[[backup]]\nhost = "nfs8"\ndataset = "%s"\n' \
        "$work" "$source" "$2" "$1" "$backup" > "$work/zhaul.toml"
}
zhaul_agent() { config require "$jobs"; "$ZHAUL" run --config "$work/zhaul.toml" --no-snapshot -q; }
zhaul_shell() { config off "$jobs"; "$ZHAUL" run --config "$work/zhaul.toml" --no-snapshot -q; }
syncoid_default() { syncoid --quiet --recursive --skip-parent --no-sync-snap --no-privilege-elevation "$source" "root@nfs8:$backup"; }

cpu() { awk '/^cpu /{print $2 + $3 + $4 + $7 + $8}' /proc/stat; } # ticks of 10 ms, of all processes of all hosts

timed() { # timed WHAT TOOL
    local from to before status=0
    zfs destroy -r "$backup" 2>/dev/null || true
    zfs create -p -o mountpoint=none -o canmount=off "$backup"
    sync; zpool sync
    before=$(cpu) from=$(date +%s%N)
    "$2" > "$work/out" 2>&1 || status=$?
    to=$(date +%s%N)
    [ $status = 0 ] || { tail -20 "$work/out"; echo "$2 ended with $status" >&2; exit 1; }
    printf '%s\t%s\t%s\t%s\n' "$1" "$2" $(((to - from) / 1000000)) $((($(cpu) - before) * 10)) | tee -a "$rows"
}

table() {
    awk -F '\t' '
        function median(list,   n, parts, i, j, t) {
            n = split(list, parts, " ")
            for (i = 2; i <= n; i++) for (j = i; j > 1 && parts[j] + 0 < parts[j - 1] + 0; j--) { t = parts[j]; parts[j] = parts[j - 1]; parts[j - 1] = t }
            return parts[int((n + 1) / 2)]
        }
        { key = $1 SUBSEP $2; if (!(key in wall)) order[++count] = key; wall[key] = wall[key] " " $3; used[key] = used[key] " " $4 }
        END {
            printf "%-22s %-16s %9s %9s %14s %13s\n", "work", "tool", "wall s", "CPU s", "of syncoid wall", "of its CPU"
            for (i = 1; i <= count; i++) {
                split(order[i], part, SUBSEP); peer = part[1] SUBSEP "syncoid_default"
                w = median(wall[order[i]]); c = median(used[order[i]])
                printf "%-22s %-16s %9.2f %9.2f %13.2fx %12.2fx\n", part[1], part[2], w / 1000, c / 1000, w / median(wall[peer]), c / median(used[peer])
            }
        }' "$rows"
}

measure() { # measure WHAT
    local round tool
    zfs snapshot -r "$source@2026-01-01-000000"
    config require 1; "$ZHAUL" run --config "$work/zhaul.toml" --no-snapshot -q # the bookmarks
    for ((round = 0; round < rounds; round++)); do
        for tool in zhaul_agent zhaul_shell syncoid_default; do timed "$1" $tool; done
    done
    zfs destroy -r "$source"
}
zfs create -o mountpoint=none -o canmount=off "$source"
guest subvol-100-disk-0 1024
jobs=1
measure "1 GiB"
zfs create -o mountpoint=none -o canmount=off "$source"
for i in 0 1 2 3 4 5 6 7 8 9; do guest "subvol-20$i-disk-0" 96; done
jobs=4
measure "10 x 96 MiB, 4 jobs"
echo
table
