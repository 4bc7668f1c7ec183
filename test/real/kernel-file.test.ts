import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { processesOfUid } from '../../node/executors/run-processes.ts';
import { readKernelFile } from '../../node/machine/kernel-file.ts';

it('is all of a file, however long, a character for each byte, and nothing of the file before', () => {
  const folder = mkdtempSync(join(tmpdir(), 'autogit-kernel-file-'));
  try {
    const file = join(folder, 'f');
    for (const length of [300_000, 16_384, 3, 0, 65_537]) {
      const bytes = Buffer.from(Array.from({ length }, (_, at) => (at * 7 + length) % 256));
      writeFileSync(file, bytes);
      expect(readKernelFile(file) === bytes.toString('latin1')).toBe(true);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  expect(readKernelFile('/proc/self/environ')).toBe(readFileSync('/proc/self/environ', 'latin1'));
  expect(() => readKernelFile('/proc/self/none')).toThrow(/ENOENT/);
  expect(() => readKernelFile('/proc/self')).toThrow(/EISDIR/);
});

it('a look at every process of this computer takes no buffer for each', () => {
  processesOfUid(4_000_000_000);
  const before = process.memoryUsage().arrayBuffers;
  for (let look = 0; look < 20; look++) processesOfUid(4_000_000_000);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100_000);
});
