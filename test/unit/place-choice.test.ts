import { describe, expect, it } from 'vitest';
import { mountCommand, mountWay, unmountCommand } from '../../node/hosting/host-mounts.ts';
import { headerIn } from '../../node/hosting/image-header.ts';
import { mountOver, mountsIn } from '../../node/hosting/mount-table.ts';
import { choosePlace, ownersReserve, type PlaceFacts } from '../../node/hosting/place-choice.ts';

const GiB = 2 ** 30;
const facts = (over: Partial<PlaceFacts> = {}): PlaceFacts => ({
  path: '/srv/gitlab',
  content: 'absent',
  own: null,
  fileSystem: 'ext4',
  root: true,
  missing: [],
  totalBytes: 200 * GiB,
  freeBytes: 100 * GiB,
  ...over,
});

describe('the place of the data', () => {
  it.each<[Partial<PlaceFacts>, string, RegExp]>([
    [{}, 'image', /is on ext4: an image with btrfs/],
    [{ fileSystem: 'xfs', content: 'empty' }, 'image', /is on xfs/],
    [{ fileSystem: 'btrfs' }, 'subvolume', /is on btrfs: subvolumes there/],
    // A subvolume needs no image's tools.
    [{ fileSystem: 'btrfs', missing: ['mkfs.btrfs', 'losetup'] }, 'subvolume', /is on btrfs/],
    [{ fileSystem: 'btrfs', missing: ['btrfs'] }, 'folder', /btrfs is not here \(sudo apt-get install btrfs-progs/],
    [{ missing: ['btrfs', 'mkfs.btrfs'] }, 'folder', /btrfs, mkfs\.btrfs are not here \(sudo apt-get install/],
    [{ missing: ['losetup'] }, 'folder', /losetup is not here/],
    [{ root: false }, 'folder', /the agent is not root here.*cannot move by itself/],
    [{ fileSystem: 'zfs' }, 'folder', /zfs cannot take an image's room beforehand.*cannot move by itself/],
  ])('%j: %s', (over, kind, because) => {
    const choice = choosePlace(facts(over), 20 * GiB);
    expect(choice).toMatchObject({ kind, path: '/srv/gitlab', because: expect.stringMatching(because) });
  });

  it.each<[Partial<PlaceFacts>, RegExp, RegExp]>([
    [{ content: 'foreign' }, /holds files that are not the mesh's/, /--data DIR/],
    [{ content: 'place' }, /of a GitLab of another mesh/, /gitlab adopt --data \/srv\/gitlab/],
    [{ content: 'place', isGoing: true }, /is being deleted in this moment/, /type the same command again/],
    [
      { content: 'place', own: { kind: 'image', data: 'd' }, missing: ['losetup'] },
      /losetup not here/,
      /^sudo apt-get/,
    ],
    [
      { content: 'place', own: { kind: 'image', data: 'd' }, root: false },
      /by an agent as root/,
      /sudo autogit-node (service install|join --service)$/,
    ],
    [{ fileSystem: 'tmpfs' }, /in memory and is gone after a restart/, /--data DIR/],
    [{ fileSystem: 'proc', freeBytes: 0 }, /is no disk/, /--data DIR/],
    [{ fileSystem: 'nfs4' }, /on another machine/, /--data DIR/],
    [{ fileSystem: 'fuse.sshfs' }, /behind a program/, /--data DIR/],
    [{ fileSystem: 'vfat' }, /no owners and modes/, /--data DIR/],
    [{ fileSystem: 'overlay' }, /layer of a container/, /--data DIR/],
    [
      { freeBytes: 39 * GiB },
      /needs 20 GiB at .*, and 20 GiB stay for the machine's owner: 39 GiB are free/,
      /make room/,
    ],
  ])('%j is refused', (over, refused, fix) => {
    expect(choosePlace(facts(over), 20 * GiB)).toMatchObject({
      refused: expect.stringMatching(refused),
      fix: expect.stringMatching(fix),
    });
  });

  it('takes up what a GitLab of this mesh left there, as it was made, on a disk however full', () => {
    const own = { kind: 'image' as const, data: 'data-7' };
    expect(choosePlace(facts({ content: 'place', own, freeBytes: 0, fileSystem: 'zfs' }), 20 * GiB)).toMatchObject({
      kind: 'image',
      data: 'data-7',
      because: expect.stringMatching(/taken up again/),
    });
    expect(choosePlace(facts(), GiB)).toMatchObject({ data: null });
  });

  it('leaves the owner a tenth, within bounds, and takes all else', () => {
    expect([5, 100, 4000].map((size) => ownersReserve(size * GiB) / GiB)).toEqual([2, 10, 50]);
    expect(choosePlace(facts({ freeBytes: 40 * GiB }), 20 * GiB)).toMatchObject({ kind: 'image' });
  });
});

describe('the mount', () => {
  it("is systemd's where that runs, else the first process's, else ours", () => {
    const [own, first] = ['mnt:[1]', 'mnt:[2]'];
    expect(mountWay({ hasSystemd: true, own, first })).toBe('unit');
    expect(mountWay({ hasSystemd: false, own, first })).toBe('enter');
    expect(mountWay({ hasSystemd: false, own, first: own })).toBe('plain');
    // A container that may not look: the marker is looked for in GitLab's container anyway.
    expect(mountWay({ hasSystemd: false, own, first: null })).toBe('plain');
    const wanted = { image: '/srv/gitlab.img', device: '/dev/loop7', point: '/srv/a b', options: 'nodiscard,noatime' };
    expect(mountCommand('unit', wanted)).toEqual(
      expect.arrayContaining(['systemd-mount', '--options=loop,nodiscard,noatime', '--property=Before=docker.service']),
    );
    expect(mountCommand('unit', wanted).slice(-2)).toEqual(['/srv/gitlab.img', '/srv/a b']);
    const plain = ['mount', '-o', 'nodiscard,noatime', '-t', 'btrfs', '/dev/loop7', '/srv/a b'];
    expect(mountCommand('enter', wanted)).toEqual(['nsenter', '--mount=/proc/1/ns/mnt', '--', ...plain]);
    expect(mountCommand('plain', wanted)).toEqual(plain);
    expect(unmountCommand('enter', '/srv/a b').slice(-2)).toEqual(['umount', '/srv/a b']);
    expect(unmountCommand('unit', '/srv/a b')).toEqual(['systemd-mount', '--umount', '/srv/a b']);
  });

  const table = [
    '27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard',
    '40 27 0:45 /@home /home rw,noexec,noatime shared:1 - btrfs /dev/sdb1 rw,subvol=/@home',
    '41 27 0:46 / /srv/git\\040lab ro - btrfs /dev/loop1 rw',
    '42 27 0:47 / /srv/bad rw - btrfs /dev/loop2 ro',
    '43 40 0:48 / /home rw - tmpfs tmpfs rw',
    'nonsense',
  ].join('\n');

  it('is read with its blanks, its kind, both signs of a disk that takes no writes, and whether programs run from it', () => {
    const mounts = mountsIn(table);
    expect(mounts).toHaveLength(5);
    expect(mounts[2]).toEqual({
      root: '/',
      point: '/srv/git lab',
      source: '/dev/loop1',
      type: 'btrfs',
      device: '0:46',
      isReadOnly: true,
      isNoExec: false,
    });
    expect(mounts.map((one) => one.isReadOnly)).toEqual([false, false, true, true, false]);
    expect(mounts.map((one) => one.isNoExec)).toEqual([false, true, false, false, false]);
    expect(mountOver('/srv/git lab/data', mounts)?.device).toBe('0:46');
    expect(mountOver('/srv/git labour', mounts)?.device).toBe('254:0');
    // The later one covers it.
    expect(mountOver('/home/me', mounts)?.type).toBe('tmpfs');
  });
});

describe("an image's first super block", () => {
  it('says whose it is and how long', () => {
    const block = Buffer.alloc(0x100);
    block.write('0123456789abcdef0123456789abcdef', 0x20, 'hex');
    block.write('_BHRfS_M', 0x40, 'latin1');
    block.writeBigUInt64LE(160n << 20n, 0x70);
    expect(headerIn(block)).toEqual({ fsid: '01234567-89ab-cdef-0123-456789abcdef', totalBytes: 160 * 2 ** 20 });
    expect(headerIn(block.subarray(0, 0x60))).toBeNull();
    expect(headerIn(Buffer.alloc(0x100))).toBeNull();
  });
});
