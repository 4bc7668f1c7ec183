import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { LoopImage } from '../../node/hosting/loop-image.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';

it('room that was reckoned to a part of a byte is taken by the real fallocate, rounded up', async () => {
  const top = mkdtempSync(join(tmpdir(), 't-image-room-'));
  const tools: typeof systemTools = {
    ...systemTools,
    // Which file system is made in it is another matter, and its programs are not everywhere.
    run: async (program, args) => (program === 'mkfs.btrfs' ? '' : systemTools.run(program, args)),
  };
  try {
    const { path } = await LoopImage.create(join(top, 'gitlab.img'), 4_096_000 * 1.1, tools);
    expect(statSync(path).size).toBe(5 * 2 ** 20);
  } finally {
    rmSync(top, { recursive: true, force: true });
  }
});
