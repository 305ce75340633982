# The main job, readable as it goes: guests with real data, backup, months, archive, an outage, and what restore points hold.
# Run by bash on pve0. PLAIN is set where no terminal is attached.
set -euo pipefail
export NO_COLOR=1
bold=$'\033[1m' normal=$'\033[0m'
if [ -n "${PLAIN:-}" ]; then bold='' normal=''; fi
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$normal"; }
show() { printf '$ %s\n' "$*"; "$@"; }
source=${ZHAUL_LAB_POOL_PVE0}/data
backup=${ZHAUL_LAB_POOL_NFS8}/backup/pve0
archive=${ZHAUL_LAB_POOL_NFS9}/archive/pve0
disk=vm-100-disk-0 container=subvol-101-disk-0
work=/lab/tmp/demo
config=$work/zhaul.toml
clock=()
mkdir -p "$work/disk" "$work/container" "$work/restored"
# The lab's console is a terminal to zhaul whoever reads it; in a file, progress would be hundreds of lines.
watched() { if [ -n "${PLAIN:-}" ]; then { "$@" 2>&1 >&3 | cat >&2; } 3>&1; else "$@"; fi; }
run() { # run DATE WORDS...: the lab's own clock is put to DATE; a machine's own clock is left alone
    local day=$1; shift
    if [ "${ZHAUL_LAB:-}" = uml ]; then date -us "$day 01:00:00" >/dev/null; clock=(); else clock=(--lab-clock "${day}T01:00:00Z"); fi
    printf '$ zhaul run %s   # %s\n' "$*" "$day"
    watched "$ZHAUL" run --config "$config" "${clock[@]}" "$@" && printf '(exit 0)\n'
}
write() { # write MIB: so much new data in the container, and half as much in the file system on the disk
    dd if=/dev/urandom bs=1M count="$1" status=none of="$work/container/data-$1"
    dd if=/dev/urandom bs=512K count="$1" status=none of="$work/disk/data-$1"
    sync
}
device() { # device VOLUME: its path, once udev has made the link and the kernel answers
    until head -c 1 "/dev/zvol/$1" >/dev/null 2>&1; do sleep 0.05; done
    printf '/dev/zvol/%s' "$1"
}
digest() { (cd "$1" && find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-16); }
check() { # check HOST SNAPSHOT DIGEST: a clone of it, or the snapshot itself, mounted read-only, against the source's digest
    local host=$1 snapshot=$2 wanted=$3 clone found
    clone=${snapshot%%/*}/restored
    case $snapshot in
        */vm-*) # a disk: the clone is a volume of its own, so that the guest's file system can be opened
            # Without -o volmode: setting it makes the kernel remove the device again and make another one.
            ssh "$host" zfs clone "$snapshot" "$clone"
            mount -o ro "$(device "$clone")" "$work/restored" ;;
        *) mount -t zfs -o ro "$snapshot" "$work/restored" ;;
    esac
    found=$(digest "$work/restored")
    printf '%s  %-53s  %s files  %s  ' "$host" "$snapshot" "$(find "$work/restored" -type f | wc -l)" "$found"
    umount "$work/restored"
    case $snapshot in */vm-*) until ssh "$host" zfs destroy "$clone" 2>/dev/null; do sleep 0.1; done ;; esac
    if [ "$found" != "$wanted" ]; then printf 'NOT what pve0 had: %s\n' "$wanted"; exit 1; fi
    printf 'as on pve0\n'
}
cat > "$config" <<TOML
lock = "$work/lock"
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
say "Two guests on pve0: a virtual machine's disk with ext4 on it, and a container's file system"
zfs create -p -o mountpoint=none "$source"
zfs create -s -V 256M "$source/$disk"
mkfs.ext4 -q "$(device "$source/$disk")"
mount "$(device "$source/$disk")" "$work/disk"
zfs create -o mountpoint="$work/container" "$source/$container"
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
write 6
run 2026-02-01
disk_in_february=$(digest "$work/disk") container_in_february=$(digest "$work/container")
say "An outage of weeks; on pve0 only bookmarks are left of what nfs8 has"
for snapshot in $(zfs list -H -t snapshot -o name -r "$source"); do zfs destroy "$snapshot"; done
rm "$work/container/data-10" "$work/disk/data-10"
write 8
run 2026-03-20
say "What each side holds now"
show zfs list -t snapshot,bookmark -o name,used,refer -r "$source"
show ssh nfs8 zfs list -t snapshot -o name,used,refer -r "$backup"
show ssh nfs9 zfs list -t snapshot -o name,used,refer -r "$archive"
say "What restore points hold: all files' checksums, now and as pve0 had them in February"
check nfs8 "$backup/$container@2026-03-20-010000" "$(digest "$work/container")"
check nfs8 "$backup/$disk@2026-03-20-010000" "$(digest "$work/disk")"
check nfs9 "$archive/$container@2026-Feb" "$container_in_february"
check nfs9 "$archive/$disk@2026-Feb" "$disk_in_february"
umount "$work/disk"
say "zhaul status"
"$ZHAUL" status --config "$config" "${clock[@]}" || true
