import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { spawnClean } from '../../node/clean-spawn.ts';
import { readChild } from '../../node/executors/tree-read.ts';
import type { Child } from '../../node/starter/far-child.ts';
import { spawnAside } from '../../node/starter/starter.ts';

const options = { env: process.env, stdio: ['pipe' as const, 'pipe' as const, 'pipe' as const] };
const script = ['-c', 'printf "a\\0b\\0"; echo odd >&2'];

/** Whoever packs a job's files may be at something else while the list of them is made. */
it.each([
  ['by the starter', (): Child => spawnAside('bash', script, options)],
  ['by the agent itself', (): Child => spawnClean('bash', script, options) as Child],
])('what a program said is there when it has long ended, begun %s', async (_, begin) => {
  const child = begin();
  const read = readChild(child, new Uint8Array(0), 'list');
  await new Promise((done) => child.once('exit', done));
  await sleep(100);
  const parts: Uint8Array[] = [];
  for await (const bytes of read.bytes) parts.push(Buffer.from(bytes));
  expect(Buffer.concat(parts).toString()).toBe('a\0b\0');
  expect(await read.complaint()).toBe('odd');
});

it('one that is given up before anybody reads it ends, and says that it did', async () => {
  const child = spawnAside('bash', ['-c', 'sleep 600'], options);
  const read = readChild(child, new Uint8Array(0), 'list');
  await new Promise((done) => child.once('spawn', done));
  read.close();
  await expect(async () => {
    for await (const bytes of read.bytes) expect(bytes).toBe(null);
  }).rejects.toThrow();
});
