import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { bin, cleanEnv } from './cli-child.ts';

/** While the agent's code is loaded, some hundred milliseconds in which nothing else happens, signals come too. */
describe('an agent that has hardly begun', () => {
  const folder = mkdtempSync(join(tmpdir(), 'autogit-early-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each(['SIGTERM', 'SIGINT'] as const)(
    'ends by %s, at whatever moment that comes',
    async (signal) => {
      const moments = Array.from({ length: 24 }, (_, index) => 20 * (index + 1));
      const stays: number[] = [];
      const one = async (ms: number): Promise<void> => {
        const home = join(folder, `${signal}-${ms}`);
        const args = [
          '--home',
          home,
          '--no-input',
          'join',
          '--new',
          '--no-mdns',
          '--listen',
          '/ip4/127.0.0.1/tcp/0',
          '--dashboard',
          'off',
        ];
        const child = spawn(process.execPath, [bin, ...args], { env: cleanEnv(home), stdio: 'ignore' });
        const ended = once(child, 'exit');
        await sleep(ms);
        child.kill(signal);
        const isOver = await Promise.race([ended.then(() => true), sleep(10_000, false)]);
        if (!isOver) stays.push(ms);
        child.kill('SIGKILL');
        await ended;
      };
      while (moments.length > 0) await Promise.all(moments.splice(0, 4).map(one));
      expect(stays).toEqual([]);
    },
    60_000,
  );
});
