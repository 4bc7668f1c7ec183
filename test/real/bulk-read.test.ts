import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, vi } from 'vitest';
import { ProcessFiles } from '../../node/executors/process-files.ts';

vi.mock('../../node/starter/starter.ts', () => ({
  spawnAside: () => {
    throw new Error('by the messages of the starter');
  },
}));

const folder = mkdtempSync(join(tmpdir(), 'autogit-bulk-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('what a job packs comes straight from its pipe: by the messages of the starter 2 GiB cost the agent 170 MiB', async () => {
  writeFileSync(join(folder, 'big'), Buffer.alloc(3_000_000, 7));
  const files = new ProcessFiles(folder, process.env, null);
  const read = await files.read(Buffer.from('./big\0'));
  let length = 0;
  for await (const chunk of read.bytes) length += chunk.length;
  expect(length).toBeGreaterThan(3_000_000);
  expect(await read.complaint()).toBe('');
});
