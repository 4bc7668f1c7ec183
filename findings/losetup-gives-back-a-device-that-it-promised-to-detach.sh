#!/usr/bin/env bash
# losetup --detach exits 0 while somebody else (a scan of all disks, say) has the device open, and only promises: the device goes
# with its last reader. losetup --nooverlap --find attaches such a file by giving that very device back, with what it has read of the
# file before. Was the file written to in between (btrfstune -u, as one does with a copy of an image), its mount fails: "superblock
# contains fatal errors" in the kernel's log, though the file is in order. Waited for until `losetup --associated` is empty, the same
# file mounts.
# Seen with kernel 6.18, util-linux 2.38 and btrfs-progs 6.2. Needs root and loop devices. Fails when that changes.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo 'run as root'; exit 2; }
place=$(mktemp -d "${TMPDIR:-/tmp}/t-losetup-finding-XXXXXX")
image=$place/image
reader=
away() {
  [ -z "$reader" ] || kill "$reader" 2> /dev/null || true
  umount "$place/mount" 2> /dev/null || true
  for device in $(losetup --associated "$image" --noheadings --output NAME); do losetup --detach "$device" || true; done
  rm -rf "$place"
}
trap away EXIT
mkdir "$place/mount"
attach() { losetup --nooverlap --show --find "$image"; }
fallocate -l 300M "$image"
mkfs.btrfs -q -K "$image" > "$place/mkfs.log"

first=$(attach)
exec 7< "$first"
dd of=/dev/null bs=1M count=1 <&7 2> /dev/null
sleep 60 <&7 7<&- & reader=$!
exec 7<&-
losetup --detach "$first"
[ -n "$(losetup --associated "$image")" ] || { echo 'a device that somebody reads is detached at once now'; exit 1; }
btrfstune -f -u "$image" > /dev/null
second=$(attach)
[ "$second" = "$first" ] || { echo "another device is attached now: $second beside $first"; exit 1; }
if mount "$second" "$place/mount" 2> "$place/words"; then echo 'what was written meanwhile is seen now'; exit 1; fi

kill "$reader"; wait "$reader" 2> /dev/null || true; reader=
losetup --detach "$second"
for _ in $(seq 100); do [ -z "$(losetup --associated "$image")" ] && break; sleep 0.1; done
mount "$(attach)" "$place/mount"
echo "as seen: $second was promised to be gone and came back; $(head -1 "$place/words" | sed 's/.*: //'); gone first, the same file mounts"
