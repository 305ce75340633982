# zhaul beside syncoid and bzfs: the same work, in alternating rounds, in one lab. Run by bash on pve0.
# Prints a table; raw rows go to /lab/out. syncoid comes with the lab, bzfs from a virtual environment of yours:
#   cargo build --release
#   python3 -m venv DIR && DIR/bin/pip install bzfs
#   cargo lab run --out OUT -- env ZHAUL=$PWD/target/release/zhaul BZFS=DIR/bin/bzfs \
#       bash tests/lab/compare.sh [DATASETS [SNAPSHOTS [ROUNDS]]]
# FIRST=no leaves out the first send; TOOLS="zhaul bzfs" leaves out syncoid, which takes most of the time; COUNT=no counts
# no programs, which costs a tool that starts many of them some milliseconds for each. In User Mode Linux only: the target
# pools are created again.
set -euo pipefail
datasets=${1:-20} snapshots=${2:-10} rounds=${3:-3}
read -ra tools <<< "${TOOLS:-zhaul bzfs syncoid}"
source=${ZHAUL_LAB_POOL_PVE0}/data
backup8=${ZHAUL_LAB_POOL_NFS8}/backup/pve0
backup9=${ZHAUL_LAB_POOL_NFS9}/backup/pve0
work=/lab/tmp/compare
mkdir -p "$work"
rows=/lab/out/compare.tsv
: > "$rows"

# Every zfs and ssh is counted where it runs; the root file system is the lab's own and thrown away.
count() { # count PROGRAM: a wrapper in its place
    local real
    real=$(readlink -f "$(command -v "$1")")
    mv "$real" "$real.real"
    printf '#!/bin/sh\nread -r host < /proc/sys/kernel/hostname\nprintf "%%s %s %%s\\n" "$host" "$1" >> %s/calls\nexec %s.real "$@"\n' "$1" "$work" "$real" > "$real"
    chmod +x "$real"
}

config() { # config INTERMEDIATES TARGETS...
    local intermediates=$1 target; shift
    printf 'lock = "%s/lock"\n[source]\ndatasets = ["%s"]\nkeep-last = 1000\nguest-config = ""\n' "$work" "$source" > "$work/zhaul.toml"
    for target; do
        printf '[[backup]]\nname = "%s"\nhost = "%s"\ndataset = "%s"\nintermediates = %s\n' "${target%%:*}" "${target%%:*}" "${target#*:}" "$intermediates" >> "$work/zhaul.toml"
    done
}
zhaul_run() { "$ZHAUL" run --config "$work/zhaul.toml" --no-snapshot -q; }
syncoid_run() { local target; for target; do syncoid --quiet --recursive --skip-parent --no-sync-snap --no-privilege-elevation "$source" "root@$target"; done; }
bzfs_run() { local target; for target; do "$BZFS" "$source" "root@$target" --recursive --skip-parent --quiet; done; }

cpu() { awk '/^cpu /{print $2 + $3 + $4 + $7 + $8}' /proc/stat; } # ticks of 10 ms, of all processes of all hosts

timed() { # timed WHAT TOOL COMMAND...
    local what=$1 tool=$2 from to before status=0; shift 2
    sync; : > "$work/calls"
    before=$(cpu) from=$(date +%s%N)
    "$@" > "$work/$tool.out" 2>&1 || status=$?
    to=$(date +%s%N)
    [ $status = 0 ] || { tail -20 "$work/$tool.out"; echo "$tool ended with $status" >&2; }
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$what" "$tool" "$status" $(((to - from) / 1000000)) $((($(cpu) - before) * 10)) \
        "$(awk '$2 == "zfs" && $3 == "list"' "$work/calls" | sort | uniq -c | awk '{printf "%s%s:%s", s, $2, $1; s = " "}')" \
        "$(awk '$2 == "ssh"' "$work/calls" | wc -l)" | tee -a "$rows"
}

table() { # medians, and how often zhaul's time and CPU fit into each peer's
    awk -F '\t' '
        function median(list,   n, parts, i, j, t) {
            n = split(list, parts, " ")
            for (i = 2; i <= n; i++) for (j = i; j > 1 && parts[j] + 0 < parts[j - 1] + 0; j--) { t = parts[j]; parts[j] = parts[j - 1]; parts[j - 1] = t }
            return parts[int((n + 1) / 2)]
        }
        { key = $1 SUBSEP $2; if (!(key in wall)) order[++count] = key; wall[key] = wall[key] " " $4; used[key] = used[key] " " $5; lists[key] = $6; ssh[key] = $7 }
        END {
            printf "%-34s %-8s %9s %9s %9s %9s  %-28s %s\n", "work", "tool", "wall s", "CPU s", "x wall", "x CPU", "zfs list by host", "ssh"
            for (i = 1; i <= count; i++) {
                split(order[i], part, SUBSEP); own = part[1] SUBSEP "zhaul"
                w = median(wall[order[i]]); c = median(used[order[i]])
                printf "%-34s %-8s %9.2f %9.2f %9.1f %9.1f  %-28s %s\n", part[1], part[2], w / 1000, c / 1000, w / median(wall[own]), c / median(used[own]), lists[order[i]], ssh[order[i]]
            }
        }' "$rows"
}

# Both target pools are copies of the source's image, so that all have the same GUIDs: thousands of receives would take hours.
copy() { # copy POOL HOST NEW DATASET: POOL, which is exported, as the pool NEW of HOST, its data as DATASET
    local dir=/dev/shm/copy-$2
    zpool destroy -f "$3"
    rm -f "/dev/shm/lab-$2.img"
    mkdir "$dir"
    cp --sparse=always /dev/shm/lab-pve0.img "$dir/lab-$2.img"
    zpool import -N -o cachefile=none -d "$dir" "$1" "$3"
    zpool reguid "$3"
    zfs create -p -o mountpoint=none -o canmount=off "${4%/*}"
    zfs rename "$3/data" "$4"
}
guids() { zfs list -H -p -r -t snapshot -o guid "$1" | sort; }
alike() { # alike: whether both targets have what the source has, no more, no less
    local target
    for target in "$backup8" "$backup9"; do
        cmp <(guids "$source") <(guids "$target") || { echo "$target is not what the source is"; exit 1; }
    done
}

[ "$ZHAUL_LAB" = uml ] || { echo "only in User Mode Linux: the target pools would be destroyed"; exit 1; }
echo "$datasets datasets with $snapshots snapshots each, $rounds rounds"
pool=${source%%/*}
zfs create -o mountpoint=none -o canmount=off "$source"
for ((i = 0; i < datasets; i++)); do zfs create "$source/subvol-$((100 + i))-disk-0"; done
for ((s = 0; s < snapshots; s++)); do zfs snapshot -r "$source@$(date -u -d "2026-01-01 + $s hours" +%Y-%m-%d-%H%M%S)"; done
zpool export "$pool"
copy "$pool" nfs8 "${backup8%%/*}" "$backup8"
copy "$pool" nfs9 "${backup9%%/*}" "$backup9"
zpool import -N -o cachefile=none -d /dev/shm/lab-pve0.img "$pool"
alike
echo "$(guids "$source" | wc -l) snapshots on each of source and targets, with the same GUIDs"
[ "${COUNT:-yes}" = no ] || { count zfs; count ssh; }
: > "$work/calls"

what="no-op, $datasets x $snapshots, 2 targets"
config true "nfs8:$backup8" "nfs9:$backup9"
zhaul_run # makes the bookmarks that these snapshots lack
for ((round = 0; round < rounds; round++)); do
    for tool in "${tools[@]}"; do timed "$what" "$tool" "${tool}_run" "nfs8:$backup8" "nfs9:$backup9"; done
done
alike # none found anything to do
if [ "${FIRST:-yes}" = yes ]; then
    what="first send, $datasets x $snapshots, 1 target"
    config true "nfs8:$backup8"
    for ((round = 0; round < rounds; round++)); do
        for tool in "${tools[@]}"; do
            zfs destroy -r "$backup8"
            zfs create -o mountpoint=none -o canmount=off "$backup8"
            timed "$what" "$tool" "${tool}_run" "nfs8:$backup8"
        done
    done
fi
echo
table
