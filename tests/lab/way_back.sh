# The way back beside the bare commands of ZFS, in alternating rounds, in one lab. Run by bash on pve0; prints medians and ratios.
#   cargo build --release
#   cargo lab run --mem 8G --pool-size 6G -- env ZHAUL=$PWD/target/release/zhaul bash tests/lab/way_back.sh [ROUNDS] [WHAT...]
# WHAT is some of: one (a guest of one disk, 1 GiB), four (of four disks, 256 MiB each), far (four again, with 100 ms to the backup and
# back: what one ssh may have under way is then the limit, and no longer the lab's one processor), killed (bytes of a restore that is killed
# in the middle, and continued), rollback (three disks), linked (a template of 64 MiB and twenty clones of 1 MiB: what the backup is
# sent and what it takes there, beside what the source takes), list (100 guests with 100 points each, on two targets: `zhaul list` beside
# `zhaul run -n`, and the logins of each). `bare` is `ssh nfs8 zfs send | zfs receive`, one disk after the other, or
# `zfs rollback` of each disk, or `zhaul run -n`. Bytes are those that the network interface has received.
set -euo pipefail
rounds=${1:-3}
shift || true
what=${*:-one four far killed rollback linked list}
source=${ZHAUL_LAB_POOL_PVE0}/data
backup=${ZHAUL_LAB_POOL_NFS8}/backup/pve0
work=/lab/tmp/way-back
mkdir -p "$work"
rows=$work/rows
: > "$rows"
point=2026-01-01-000000
zhaul() { "$ZHAUL" "$@" --config "$work/zhaul.toml" -q; }

printf 'lock = "%s/lock"\n[source]\ndatasets = ["%s"]\nguest-config = ""\n[[backup]]\nhost = "nfs8"\ndataset = "%s"\n' \
    "$work" "$source" "$backup" > "$work/zhaul.toml"

guest() { # guest DISKS MIB: half noise, half text, backed up
    local disk at
    zfs create -o mountpoint=none -o canmount=off "$source"
    ssh nfs8 zfs create -p -o mountpoint=none -o canmount=off "$backup"
    for ((disk = 0; disk < $1; disk++)); do
        zfs create -s -V "$(($2 + 64))M" "$source/vm-100-disk-$disk"
        while [ ! -b "/dev/zvol/$source/vm-100-disk-$disk" ]; do sleep 0.1; done
        for ((at = 0; at < $2; at += 16)); do
            head -c 8M /dev/urandom
            find /usr/include -type f -exec cat {} + 2>/dev/null | head -c 8M || true
        done | head -c "$2M" | dd of="/dev/zvol/$source/vm-100-disk-$disk" bs=1M iflag=fullblock conv=fsync status=none
    done
    zfs snapshot -r "$source@$point"
    zhaul run --no-snapshot
}
lose() {
    # A device that has just appeared may still be looked at.
    for try in 1 2 3 4 5 6 7 8 9; do zfs destroy -r "$source" 2>/dev/null && break; sleep 0.5; done
    zfs create -o mountpoint=none -o canmount=off "$source"
    zpool sync
}
end() { zfs destroy -r "$source"; ssh nfs8 zfs destroy -r "$backup"; }

received() { cat /sys/class/net/*/statistics/rx_bytes | awk '{ sum += $1 } END { printf "%.0f\n", sum }'; }
timed() { # timed WHAT NAME COMMAND...
    local from to before what=$1 name=$2
    shift 2
    before=$(received) from=$(date +%s%N)
    "$@" > "$work/out" 2>&1 || { tail -20 "$work/out" >&2; exit 1; }
    to=$(date +%s%N)
    printf '%s\t%s\t%s\t%s\n' "$what" "$name" $(((to - from) / 1000000)) $(($(received) - before)) >> "$rows"
}

bare_restore() {
    local disk
    for disk in $(ssh nfs8 zfs list -H -o name -r -d 1 "$backup" | tail -n +2); do
        ssh nfs8 zfs send -L -c "$disk@$point" | zfs receive -u "$source/${disk##*/}"
    done
}
zhaul_restore() { zhaul restore 100; }
killed_restore() {
    local pid target
    # Not by the function: the process to kill would be a shell.
    "$ZHAUL" restore 100 --config "$work/zhaul.toml" -q & pid=$!
    # In the middle, by what has arrived.
    target=$(($(received) + 512 * 1024 * 1024))
    while [ "$(received)" -lt $target ]; do sleep 0.05; done
    kill -KILL "$pid"
    wait "$pid" || true
    # The killed receive may still be ending, and the message then says to wait a moment.
    for try in 1 2 3 4 5; do
        zhaul restore 100 && return
        sleep 1
    done
    return 1
}
restores() { # restores WHAT DISKS MIB ZHAUL
    local round
    guest "$2" "$3"
    for ((round = 0; round < rounds; round++)); do
        lose; timed "$1" bare bare_restore
        lose; timed "$1" zhaul "$4"
    done
    end
}

bare_rollback() { local disk; for disk in 0 1 2; do zfs rollback "$source/vm-100-disk-$disk@$point"; done; }
zhaul_rollback() { zhaul rollback 100 --to "$point" --yes --stopped; }
rollbacks() {
    local round disk
    guest 3 16
    for ((round = 0; round < rounds; round++)); do
        for way in bare zhaul; do
            for disk in 0 1 2; do
                head -c 4M /dev/urandom | dd of="/dev/zvol/$source/vm-100-disk-$disk" bs=1M conv=fsync,notrunc status=none
            done
            timed rollback $way ${way}_rollback
        done
    done
    end
}

sent() { cat /sys/class/net/*/statistics/tx_bytes | awk '{ sum += $1 } END { printf "%.0f\n", sum }'; }
used() { zfs get -Hp -o value used "$1"; }
linked() {
    local at before here bytes there
    zfs create -o mountpoint=none -o canmount=off "$source"
    zfs create -s -V 96M "$source/base-900-disk-0"
    while [ ! -b "/dev/zvol/$source/base-900-disk-0" ]; do sleep 0.1; done
    head -c 64M /dev/urandom | dd of="/dev/zvol/$source/base-900-disk-0" bs=1M iflag=fullblock conv=fsync status=none
    zfs snapshot "$source/base-900-disk-0@__base__"
    for ((at = 101; at <= 120; at++)); do
        zfs clone "$source/base-900-disk-0@__base__" "$source/vm-$at-disk-0"
        while [ ! -b "/dev/zvol/$source/vm-$at-disk-0" ]; do sleep 0.1; done
        head -c 1M /dev/urandom | dd of="/dev/zvol/$source/vm-$at-disk-0" bs=1M conv=fsync,notrunc status=none
    done
    zpool sync
    before=$(sent)
    zhaul run
    bytes=$(($(sent) - before))
    zpool sync
    here=$(used "$source") there=$(ssh nfs8 "zpool sync; zfs get -Hp -o value used $backup")
    awk -v here="$here" -v bytes="$bytes" -v there="$there" 'BEGIN {
        printf "linked: source %.1f MiB, sent %.1f MiB (%.2fx), backup %.1f MiB (%.2fx)\n", here / 1048576, bytes / 1048576, bytes / here, there / 1048576, there / here
    }'
    end
}

points() { # points POOL ROOT: what a hundred nights leave, on a machine
    cat << END
zfs create -p -o mountpoint=none -o canmount=off $1
for guest in \$(seq 101 200); do zfs create -o canmount=off $1/subvol-\$guest-disk-0; done
for day in \$(seq 0 99); do zfs snapshot -r $1@\$(date -u -d "2026-01-01 \$day days" +%Y-%m-%d-000000); done
END
}
list() {
    local archive=${ZHAUL_LAB_POOL_NFS9}/archive/pve0 round way
    cat "$work/zhaul.toml" > "$work/list.toml"
    printf '[[archive]]\nhost = "nfs9"\ndataset = "%s"\n' "$archive" >> "$work/list.toml"
    bash -c "$(points "$source")"
    ssh nfs8 "$(points "$backup")"
    ssh nfs9 "$(points "$archive")"
    mkdir -p "$work/bin"
    printf '#!/bin/sh\ndate +%%s >> %s/logins\nexec %s "$@"\n' "$work" "$(command -v ssh)" > "$work/bin/ssh"
    chmod +x "$work/bin/ssh"
    for way in list "run -n"; do
        date +%s > "$work/logins"
        # shellcheck disable=SC2086 # Two words.
        PATH=$work/bin:$PATH "$ZHAUL" $way --config "$work/list.toml" -q > /dev/null || true
        awk -v way="$way" 'NR == 1 { begin = $1; next } { after = after " " $1 - begin } END {
            print "logins of zhaul " way " to two targets: " NR - 1 ", after these seconds:" after
        }' "$work/logins"
    done
    for ((round = 0; round < rounds; round++)); do
        timed list bare listing "run -n"
        timed list zhaul listing list
    done
    end
    ssh nfs9 zfs destroy -r "$archive"
}
# shellcheck disable=SC2086 # Two words.
listing() { "$ZHAUL" $1 --config "$work/list.toml" -q > /dev/null || true; }

for one in $what; do
    case $one in
        one) restores one 1 1024 zhaul_restore ;;
        four) restores four 4 256 zhaul_restore ;;
        far)
            tc qdisc add dev eth0 root netem delay 100ms limit 100000
            restores far 4 256 zhaul_restore
            tc qdisc del dev eth0 root
            ;;
        killed) restores killed 1 1024 killed_restore ;;
        rollback) rollbacks ;;
        linked) linked ;;
        list) list ;;
    esac
done
awk -F '\t' '
    function median(list,   n, parts, i, j, t) {
        n = split(list, parts, " ")
        for (i = 2; i <= n; i++) for (j = i; j > 1 && parts[j] + 0 < parts[j - 1] + 0; j--) { t = parts[j]; parts[j] = parts[j - 1]; parts[j - 1] = t }
        return parts[int((n + 1) / 2)]
    }
    { if (!($1 in seen)) { seen[$1]; order[++count] = $1 } wall[$1, $2] = wall[$1, $2] " " $3; bytes[$1, $2] = bytes[$1, $2] " " $4 }
    END {
        printf "%-10s %9s %9s %7s %12s %12s %7s\n", "what", "bare s", "zhaul s", "ratio", "bare MiB", "zhaul MiB", "ratio"
        for (i = 1; i <= count; i++) {
            w = order[i]; a = median(wall[w, "bare"]); b = median(wall[w, "zhaul"]); c = median(bytes[w, "bare"]); d = median(bytes[w, "zhaul"])
            printf "%-10s %9.2f %9.2f %6.2fx %12.1f %12.1f %6.2fx\n", w, a / 1000, b / 1000, b / a, c / 1048576, d / 1048576, c ? d / c : 0
        }
    }' "$rows"
