import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { readText } from '../../node/cli/read-text.ts';

const folder = mkdtempSync(join(tmpdir(), 't-read-text-'));
const pipe = join(folder, 'pipe');
execFileSync('mkfifo', [pipe]);
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes there by a shell, as <(…) does. */
const written = (script: string) => spawn('sh', ['-c', `exec > "$0"; ${script}`, pipe], { stdio: 'ignore' });

it('a file, an empty one, and what comes slowly out of a pipe are read whole', () => {
  const file = join(folder, 'file');
  writeFileSync(file, 'é');
  expect(readText(file, 64, 100)).toBe('é');
  writeFileSync(file, '');
  const began = performance.now();
  expect(readText(file, 64, 3000)).toBe('');
  expect(performance.now() - began).toBeLessThan(1000);
  written('printf a; sleep 0.3; printf b');
  expect(readText(pipe, 64, 5000)).toBe('ab');
});

it('a pipe without an end, one to which nobody writes, and more than a certificate has are told', () => {
  const endless = written('printf a; exec sleep 20');
  expect(() => readText(pipe, 64, 400)).toThrow('did not end within 0.4 s');
  endless.kill();
  expect(readText(pipe, 64, 200)).toBe('');
  const large = written('exec cat /dev/zero');
  expect(() => readText(pipe, 64, 5000)).toThrow('more than 0 KiB');
  large.kill();
});
