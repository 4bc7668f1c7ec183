#!/usr/bin/env bash
# btrfstune -u (and -m) on an image that was copied while it was mounted: exit 0, and the copy can never be mounted again
# ("can't read superblock"; the kernel's log says "bad fsid … failed to read log tree"). fsync writes a log that only a mount
# takes in, and btrfstune gives every block a new identity but those of the log. Mounted and unmounted once before (it gets
# a temporary identity beside its original), the same copy takes its identity and has the fsynced file.
# Seen with kernel 6.18 and btrfs-progs 6.2. Needs root and loop devices. Fails when that changes.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo 'run as root'; exit 2; }
place=$(mktemp -d "${TMPDIR:-/tmp}/t-replica-finding-XXXXXX")
devices=()
away() {
  umount "$place/c" 2>/dev/null || true
  umount "$place/a" 2>/dev/null || true
  for device in "${devices[@]}"; do losetup -d "$device" 2>/dev/null || true; done
  rm -rf "$place"
}
trap away EXIT
mkdir "$place/a" "$place/c"
attach() { device=$(losetup --nooverlap --show -f "$1"); devices+=("$device"); }
fallocate -l 300M "$place/image"
mkfs.btrfs -q -K "$place/image" > "$place/mkfs.log"
attach "$place/image"; mount -o nodiscard,noatime "$device" "$place/a"
sync -f "$place/a"
echo fsynced > "$place/a/file"; sync "$place/a/file"
cp --reflink=never "$place/image" "$place/at-once"
cp --reflink=never "$place/image" "$place/mounted-first"

btrfstune -f -u "$place/at-once" > /dev/null
attach "$place/at-once"
if mount "$device" "$place/c" 2> "$place/words"; then echo 'a new identity keeps the log now'; exit 1; fi

attach "$place/mounted-first"; mount "$device" "$place/c"; umount "$place/c"; losetup -d "$device"
btrfstune -f -u "$place/mounted-first" > /dev/null
attach "$place/mounted-first"; mount "$device" "$place/c"
[ "$(cat "$place/c/file")" = fsynced ]
echo "as seen: at once: $(head -1 "$place/words" | sed 's/.*: //'); mounted first: the file is there"
