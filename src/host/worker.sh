# The worker: runs `zfs` on the remote host, for one session, with arguments that come as data.
#
# A session starts with a random key, one line. Each request is a line "KEY COUNT MODE" and COUNT lines with one argument
# each; nothing of it is ever evaluated. Each answer is what zfs printed, then a line "KEY STATUS" on both outputs.
# In mode "history" it is `zpool history -i`, in mode "pool" `zpool status`, in mode "feature" `zpool get`, in mode "health" the health of a pool and its newest
# transaction group. In mode "receive" zfs itself reads the stream that follows on the same input; a receive that failed leaves the rest
# of its stream unread, so the worker ends there and then, lest a stream be taken for requests. In mode "receive-once" it
# ends after a good one as well: whoever sends is not believed, and may send more than a stream.
# In mode "orphans" it ends every process of this user that an earlier run of the same policy left here, waits for that,
# and answers with their numbers and commands. ZHAUL_RUN in the environment of a process names its policy and run
# (POLICY-RUN; set by whoever started this worker).
# In mode "receivers" it answers with those of every zfs receive.
# In mode "send" the worker becomes zfs, which writes a stream until it ends: its exit status is the session's.
#
# Called with the word "agent", it leaves the session to zhaul's agent where zhaul is installed.
#
# This file becomes one line of one quoted word (worker.rs): every line must end where a space may follow, and the
# characters that some login shell would change (quote, backslash, exclamation mark) must not occur.
LC_ALL=C; export LC_ALL;
PATH=$PATH:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin; export PATH;
if [ "$1" = agent ] && command -v zhaul >/dev/null; then exec zhaul agent; fi;
IFS= read -r key || exit 9;
echo "zhaul-worker 1 $key"; echo "zhaul-worker 1 $key" >&2;
command_of() { echo "$1 $(tr "[:cntrl:]" " " <"/proc/$1/cmdline" | cut -c 1-2000)"; };
is_there() { grep -qzE "^ZHAUL_RUN=${ZHAUL_RUN%-*}-" "/proc/$1/environ" 2>/dev/null; };
orphans() {
    [ -n "$ZHAUL_RUN" ] || return 0;
    pids=;
    for file in $(grep -lzE "^ZHAUL_RUN=${ZHAUL_RUN%-*}-" /proc/[0-9]*/environ 2>/dev/null); do
        [ -O "$file" ] || continue;
        grep -qzxF "ZHAUL_RUN=$ZHAUL_RUN" "$file" 2>/dev/null && continue;
        pid=${file#/proc/}; pid=${pid%/environ};
        is_there "$pid" || continue;
        command_of "$pid" 2>/dev/null; pids="$pids $pid";
    done;
    [ -z "$pids" ] || kill $pids 2>/dev/null;
    tries=0;
    for pid in $pids; do
        while is_there "$pid" && [ "$tries" -lt 100 ]; do
            [ "$tries" -lt 50 ] || kill -KILL "$pid" 2>/dev/null;
            tries=$((tries + 1)); sleep 0.1 2>/dev/null || sleep 1;
        done;
    done;
    return 0;
};
while read -r given count mode && [ "$given" = "$key" ]; do
    set --;
    while [ "$count" -gt 0 ]; do
        IFS= read -r argument || exit 9;
        set -- "$@" "$argument";
        count=$((count - 1));
    done;
    case "$mode" in
        run) zfs "$@" </dev/null; status=$?;;
        history) zpool history -i "$@" </dev/null; status=$?;;
        receive|receive-once) zfs "$@"; status=$?;;
        feature) zpool get -H -o value "$@" </dev/null; status=$?;;
        pool) TZ=UTC0 zpool status "$@" </dev/null; status=$?;;
        health) zpool list -H -o health "$@" </dev/null; status=$?; tail -n 1 "/proc/spl/kstat/zfs/$1/txgs" 2>/dev/null;;
        date) date +%s; status=$?;;
        orphans) orphans; status=$?;;
        receivers) for file in $(grep -lzxE "receive|recv" /proc/[0-9]*/cmdline 2>/dev/null); do
            file=${file#/proc/}; command_of "${file%/cmdline}" 2>/dev/null; done; status=0;;
        send) exec zfs "$@" </dev/null;;
        *) exit 9;;
    esac;
    echo; echo "$key $status"; echo >&2; echo "$key $status" >&2;
    if [ "$mode $status" = "receive 0" ]; then continue; fi;
    case "$mode" in run|history|pool|feature|health|date|orphans|receivers) continue;; esac;
    exit 8;
done;
exit 7
