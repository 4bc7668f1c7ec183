import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { bin, until } from '../e2e/rig.ts';

let dir = '';
let machine: ChildProcess | null = null;
afterEach(() => {
  machine?.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});

/** In a network of its own, where 7117 is free: all of them look at it before one has it (official-runner F21). */
it('agents that start at the same moment on one machine take one port each', async () => {
  dir = mkdtempSync(join(tmpdir(), 'autogit-same-'));
  const agent = `"$0" "$1" --home "$2/$n" --no-input join --new "m$n" --name "n$n" --no-mdns --witness`;
  const script = `ip link set lo up; for n in 1 2 3 4; do ${agent} >"$2/$n.out" 2>&1 & done; while sleep 0.5; do ss -Hltn >"$2/ports"; done`;
  // The agents end with the shell that is the first process of their own process namespace.
  const words = ['-n', '-p', '-f', '--mount-proc', '--kill-child', 'sh', '-c', script, process.execPath, bin, dir];
  machine = spawn('unshare', words, { stdio: 'ignore', env: { PATH: process.env.PATH, HOME: dir } });
  const text = (file: string): string => {
    try {
      return readFileSync(join(dir, file), 'utf8');
    } catch {
      return '';
    }
  };
  const all = ['1', '2', '3', '4'];
  await until('all have founded their mesh', async () => all.every((n) => /joined +mesh m/.test(text(`${n}.out`))));
  expect(all.map((n) => text(`${n}.out`)).join('')).not.toContain('EADDRINUSE');
  await until(
    'each has a port of its own',
    async () =>
      // Between them are those of their pages, on loopback.
      new Set(text('ports').match(/ 0\.0\.0\.0:71[1-3]\d /g)).size >= all.length,
  );
}, 180_000);
