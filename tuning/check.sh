#!/bin/sh
# Prints what this machine is like, what Ringpost is advised to have and why. Changes nothing. `ringpost doctor` looks at more (it
# tries io_uring and times the disk); this needs a shell only, so it also runs where the program is not installed yet.
# usage: tuning/check.sh [DATA-DIRECTORY]
# Exit code: 0 all is well, 1 something is advised, 2 something keeps Ringpost from starting.
set -u
data=${1:-.}
worst=0

# $1: 0 ok, 1 advice, 2 problem; $2 what; $3 found; $4 advised; $5 why.
say() {
    case $1 in
    0) sign='ok     ' ;;
    1) sign='advice ' ;;
    2) sign='PROBLEM' ;;
    *) sign='?      ' ;;
    esac
    printf '%s  %-28s %s\n' "$sign" "$2" "$3"
    case $1 in
    1 | 2)
        printf '%38s -> %s\n%41s%s\n' '' "$4" '' "$5"
        if [ "$1" -gt "$worst" ]; then worst=$1; fi
        ;;
    esac
}

# $1 name, $2 least, $3 why.
sysctl_at_least() {
    path=/proc/sys/$(echo "$1" | tr . /)
    if [ ! -r "$path" ]; then say 3 "$1" 'not readable here' '' ''; return; fi
    value=$(cat "$path")
    if [ "${#value}" -gt 18 ] || [ "$value" -ge "$2" ]; then say 0 "$1" "$value" '' ''; else say 1 "$1" "$value" "$2 (tuning/sysctl.d)" "$3"; fi
}

release=$(uname -r)
major=${release%%.*}
rest=${release#*.}
minor=${rest%%[!0-9]*}
version=$((major * 1000 + minor))
if [ "$version" -lt 5010 ]; then
    say 2 kernel "$release" '5.10 or later' 'io_uring operations that are needed came by then'
elif [ "$version" -lt 6001 ]; then
    say 1 kernel "$release" '6.1 or later' 'the ring for the network needs 5.19 and is cheaper from 6.1'
else
    say 0 kernel "$release" '' ''
fi

if [ -r /proc/sys/kernel/io_uring_disabled ]; then
    disabled=$(cat /proc/sys/kernel/io_uring_disabled)
    case $disabled in
    0) say 0 kernel.io_uring_disabled 0 '' '' ;;
    1) say 1 kernel.io_uring_disabled 1 '0, or the user in kernel.io_uring_group' 'only privileged processes get a ring' ;;
    *) say 2 kernel.io_uring_disabled "$disabled" 0 'everything goes through io_uring' ;;
    esac
else
    say 0 kernel.io_uring_disabled 'not there (before 6.6): io_uring is on unless a filter hides it' '' ''
fi

cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
files=$(ulimit -Hn)
if [ "$files" = unlimited ] || [ "$files" -ge 100000 ]; then
    say 0 'descriptors (hard)' "$files" '' ''
else
    say 1 'descriptors (hard)' "$files" '100000 or more (LimitNOFILE=, limits.d)' 'one for each connection'
fi
# ulimit counts KiB here.
locked=$(sed -n 's/^Max locked memory *[^ ]* *\([^ ]*\).*/\1/p' /proc/self/limits)
wanted=$(((8 + 4 * cores) * 1024 * 1024))
if [ "$locked" = unlimited ] || [ "$locked" -ge "$wanted" ]; then
    say 0 'locked memory (hard)' "$locked" '' ''
elif [ "$locked" -lt 524288 ]; then
    say 2 'locked memory (hard)' "$locked" "$wanted (LimitMEMLOCK=, limits.d)" 'registered memory and rings count against it'
else
    say 1 'locked memory (hard)' "$locked" "$wanted (LimitMEMLOCK=, limits.d)" 'registered memory and rings count against it'
fi

sysctl_at_least net.core.somaxconn 4096 'connections that wait to be accepted beyond it are dropped'
sysctl_at_least net.ipv4.tcp_max_syn_backlog 4096 'half-open connections beyond it are dropped'
sysctl_at_least fs.file-max 200000 'descriptors of the whole machine'

type=$(stat -f -c %T "$data" 2>/dev/null)
case $type in
ext2/ext3 | ext4 | xfs) say 0 'file system' "$type ($data)" '' '' ;;
tmpfs | ramfs) say 2 'file system' "$type ($data)" 'ext4 or XFS on a disk' 'it is gone with the power' ;;
'') say 3 'file system' "$data is not there" '' '' ;;
*) say 1 'file system' "$type ($data)" 'ext4 or XFS' 'O_DIRECT and fdatasync are tested there' ;;
esac

device=$(stat -c '%d' "$data" 2>/dev/null)
if [ -n "$device" ]; then
    # Major and minor of a Linux dev_t as stat prints it.
    number=$((device >> 8 & 4095)):$((device & 255 | device >> 12 & 1048320))
    cache=unknown
    for path in "/sys/dev/block/$number/queue/write_cache" "/sys/dev/block/$number/../queue/write_cache"; do
        if [ -r "$path" ]; then cache=$(cat "$path"); fi
    done
    if [ "$cache" = unknown ]; then say 3 'write cache' unknown '' ''; else say 0 'write cache' "$cache" '' ''; fi
fi

if command -v timedatectl >/dev/null 2>&1; then
    case $(timedatectl show -p NTPSynchronized --value 2>/dev/null) in
    yes) say 0 clock synchronised '' '' ;;
    no) say 1 clock 'not synchronised' 'chrony or systemd-timesyncd' 'dates, certificates and signatures depend on it' ;;
    *) say 3 clock unknown '' '' ;;
    esac
else
    say 3 clock 'no timedatectl; ringpost doctor asks the kernel' '' ''
fi

for card in /sys/class/net/*; do
    [ -d "$card/device/msi_irqs" ] || continue
    cpus=$(for line in "$card"/device/msi_irqs/*; do cat "/proc/irq/${line##*/}/smp_affinity_list" 2>/dev/null; done | sort -u | tr '\n' ' ')
    count=$(ls "$card/device/msi_irqs" | wc -l)
    case $cpus in
    *[!0-9\ ]*) say 0 "interrupts of ${card##*/}" "$count, on CPUs $cpus" '' '' ;;
    *)
        if [ "$cores" -gt 1 ] && [ "$count" -gt 1 ] && [ "$(echo "$cpus" | wc -w)" -eq 1 ]; then
            say 1 "interrupts of ${card##*/}" "$count, all on CPU $cpus" 'spread them: irqbalance or smp_affinity_list' \
                'packets are handled where the interrupt is taken'
        else
            say 0 "interrupts of ${card##*/}" "$count, on CPUs $cpus" '' ''
        fi
        ;;
    esac
done
exit "$worst"
