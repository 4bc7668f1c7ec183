import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ImageRecords } from '../../node/executors/image-records.ts';

const home = mkdtempSync(join(tmpdir(), 'autogit-images-full-'));
beforeAll(() => void execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', home]));
afterAll(() => {
  spawnSync('umount', [home]);
  rmSync(home, { recursive: true, force: true });
});

describe('records of images on a disk that gets full', () => {
  it('stay as they were, rather than be cut where the room ended: who may use an image is still known', () => {
    const noted: string[] = [];
    const log = { warn: (sentence: string): void => void noted.push(sentence) };
    const records = new ImageRecords(home, log, () => 1);
    const pull = (id: string): void =>
      records.pulled({ id, name: id, project: 'P', hasLogin: true, wasHere: false, before: null });
    for (let k = 0; k < 60; k++) pull(`sha256:${String(k).padStart(64, '0')}`);
    const size = readFileSync(join(home, 'images.json')).length;
    expect(size).toBeGreaterThan(8192);
    // Room for one page more: the kernel writes that much of the next draft, and calls it a success.
    writeFileSync(join(home, 'ballast'), Buffer.alloc((16 - Math.ceil(size / 4096) - 1) * 4096));
    pull('sha256:late');
    const restarted = new ImageRecords(home, log, () => 2);
    expect(restarted.rightOf(`sha256:${'0'.repeat(64)}`, 'x', 'Q')).toBe('ask');
    expect(noted).toEqual([expect.stringMatching(/images\.json cannot be written: .*ENOSPC/)]);
  });
});
