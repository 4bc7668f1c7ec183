import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { isEnding } from '../../node/hosting/mount-table.ts';

it('of a process that has ended, and that nobody has waited for yet, nothing is told by what it sees', async () => {
  // Its parent becomes another program, which waits for nobody.
  const parent = spawn('sh', ['-c', 'sleep 0.1 & echo $!; exec sleep 30'], { stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const [said] = await once(parent.stdout, 'data');
    const pid = Number(String(said));
    expect(isEnding(pid)).toBe(false);
    await expect.poll(() => readFileSync(`/proc/${pid}/stat`, 'utf8'), { timeout: 10_000 }).toMatch(/\) Z /);
    expect([isEnding(pid), isEnding(process.pid)]).toEqual([true, false]);
  } finally {
    parent.kill('SIGKILL');
  }
});
