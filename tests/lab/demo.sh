# The main job, readable as it goes: guests with real data, backup, months, archive, an outage. Run by bash on pve0.
set -euo pipefail
export NO_COLOR=1
say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }
source=${ZHAUL_LAB_POOL_PVE0}/data
backup=${ZHAUL_LAB_POOL_NFS8}/backup/pve0
archive=${ZHAUL_LAB_POOL_NFS9}/archive/pve0
config=/lab/tmp/demo.toml
clock=()
run() { # run DATE WORDS...: the lab's own clock is put to DATE; a machine's own clock is left alone
    local day=$1; shift
    if [ "${ZHAUL_LAB:-}" = uml ]; then date -us "$day 01:00:00" >/dev/null; clock=(); else clock=(--lab-clock "${day}T01:00:00Z"); fi
    printf '$ zhaul run %s   # %s\n' "$*" "$day"
    "$ZHAUL" run --config "$config" "${clock[@]}" "$@" && printf '(exit 0)\n'
}
write() { # write MIB: new data in the container and on the disk
    dd if=/dev/urandom bs=1M count="$1" status=none of="/lab/tmp/demo-mnt/file-$RANDOM"
    zfs list -H -o name "$source" >/dev/null
}
cat > "$config" <<TOML
lock = "/lab/tmp/demo.lock"
[source]
datasets = ["$source"]
keep-last = 3
[[backup]]
host = "nfs8"
dataset = "$backup"
keep-last = 4
[[archive]]
host = "nfs9"
dataset = "$archive"
TOML
say "Two guests on pve0: a virtual machine's disk and a container's file system"
zfs create -p -o mountpoint=none "$source"
zfs create -s -V 256M "$source/vm-100-disk-0"
mkdir -p /lab/tmp/demo-mnt
zfs create -o mountpoint=/lab/tmp/demo-mnt "$source/subvol-101-disk-0"
write 40
show zfs list -r "$source"
say "The first run would do this"
run 2026-01-30 --dry-run
say "First run: everything in full"
run 2026-01-30
say "Changed data, second run: an increment from the newest point that both sides share"
write 10
run 2026-01-31
say "A month begins: archived on nfs9 as 2026-Feb"
write 5
run 2026-02-01
say "An outage of weeks; on pve0 only bookmarks are left of what nfs8 has"
for snapshot in $(zfs list -H -t snapshot -o name -r "$source"); do zfs destroy "$snapshot"; done
write 8
run 2026-03-20
say "What each side holds now"
show zfs list -t snapshot,bookmark -o name,used,refer -r "$source"
show ssh nfs8 zfs list -t snapshot -o name,used,refer -r "$backup"
show ssh nfs9 zfs list -t snapshot -o name,used,refer -r "$archive"
say "zhaul status"
"$ZHAUL" status --config "$config" || true
