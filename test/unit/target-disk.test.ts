import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, it, vi } from 'vitest';
import type { Mount } from '../../node/hosting/mount-table.ts';
import { disksBelow, targetDiskWords } from '../../node/hosting/vault/target-disk.ts';

/** Mounts by the folder below which they lie. */
const mounts = vi.hoisted(() => ({ known: [] as [string, object][] }));
vi.mock('../../node/hosting/mount-table.ts', () => ({
  mountOver: (path: string) => mounts.known.find(([below]) => path.startsWith(below))?.[1],
}));

const folder = mkdtempSync(join(tmpdir(), 'autogit-target-disk-'));
afterAll(() => rmSync(folder, { recursive: true }));
const [data, target] = [join(folder, 'gitlab'), join(folder, 'backups')];
mkdirSync(data);
mkdirSync(target);
const usual: Mount = {
  ...{ root: '/', point: '/', source: '/dev/none1', type: 'btrfs', device: '0:30', isReadOnly: false, isNoExec: false },
};
const words = (there: Partial<Mount>): Promise<string> => {
  mounts.known = [
    [target, { ...usual, ...there }],
    [data, usual],
  ];
  return targetDiskWords(join(target, 'made/of/now'), data);
};

beforeEach(() => {
  mounts.known = [];
});

it('two subvolumes of one btrfs are one disk, though they have numbers of their own; what lies in memory is said', async () => {
  expect(await words({ device: '0:31' })).toContain('it is the same disk');
  expect(await words({ device: '8:1', source: '/dev/none2' })).toBe('');
  expect(await words({ device: '0:40', source: 'tmpfs', type: 'tmpfs' })).toContain('gone after a restart');
  expect(await targetDiskWords('sftp:nas:/backups', data)).toBe('');
  await expect(targetDiskWords(join(data, 'backups'), data)).rejects.toThrow("in GitLab's own data");
});

it('partitions of one disk, and what is made of parts of it, lie on that disk', () => {
  const blocks = join(folder, 'blocks');
  const device = (path: string, ...files: string[]): void => {
    mkdirSync(join(folder, 'devices', path), { recursive: true });
    for (const file of files) writeFileSync(join(folder, 'devices', path, file), '1');
    mkdirSync(blocks, { recursive: true });
    symlinkSync(join(folder, 'devices', path), join(blocks, path.split('/').at(-1) as string));
  };
  device('nvme0n1');
  device('nvme0n1/nvme0n1p2', 'partition');
  device('nvme0n1/nvme0n1p3', 'partition');
  device('sda');
  device('dm-0');
  for (const part of ['nvme0n1p3', 'sda']) {
    mkdirSync(join(folder, 'devices/dm-0/slaves'), { recursive: true });
    symlinkSync(join(blocks, part), join(folder, 'devices/dm-0/slaves', part));
  }
  expect(['nvme0n1p2', 'sda', 'dm-0'].map((name) => disksBelow(name, blocks))).toEqual([
    ['nvme0n1'],
    ['sda'],
    ['nvme0n1', 'sda'],
  ]);
});
