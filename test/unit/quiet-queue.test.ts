import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { QuietQueue } from '../../node/hosting/beside/quiet-queue.ts';
import { quietFile, wakingFile } from '../../node/hosting/push/push-hook.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 't-quiet-'));
  mkdirSync(join(home, 'gitlab-hooks'));
  writeFileSync(quietFile(home), '');
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(home, { recursive: true, force: true });
});

it("a GitLab that serves and whose queue stands still says so, until it goes on; each try waits longer than the one before, and a later agent's goes on", async () => {
  let code = 1;
  let calls = 0;
  const said: string[] = [];
  const exec = async () => {
    calls += 1;
    return { code, out: 'Running handlers:\nthere was an error\n' };
  };
  const queue = () =>
    new QuietQueue({ home, host: { exec }, log: { info: () => undefined, warn: (text) => void said.push(text) } });
  const first = queue();
  const later = async (one: QuietQueue, seconds: number): Promise<number> => {
    vi.advanceTimersByTime(seconds * 1000);
    one.tend('c');
    await new Promise((done) => setImmediate(done));
    return calls;
  };
  expect(first.problem).toBe(null);
  expect(await later(first, 0)).toBe(1);
  expect(first.problem).toContain(
    'no pipeline goes on and no mail is sent: gitlab-ctl reconfigure ended with code 1: "there was an error"',
  );
  expect([await later(first, 16), await later(first, 15), await later(first, 59), await later(first, 2)]).toEqual([
    1, 2, 2, 3,
  ]);
  expect([existsSync(quietFile(home)), existsSync(wakingFile(home))]).toEqual([false, true]);
  code = 0;
  const next = queue();
  expect(await later(next, 0)).toBe(4);
  expect(existsSync(wakingFile(home))).toBe(false);
  expect(await later(next, 1000)).toBe(4);
  // Whoever made it work, or made the container anew: it is over.
  await later(first, 0);
  expect(first.problem).toBe(null);
});
