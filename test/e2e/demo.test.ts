import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { bin } from './rig.ts';

const run = promisify(execFile);

it('demo: three agents, a pipeline, the leader killed, all green in under 90 s', async () => {
  const began = Date.now();
  const { stdout } = await run(process.execPath, [bin, 'demo'], { maxBuffer: 16 << 20 });
  const last = stdout.trimEnd().split('\n').at(-1);
  expect(last).toMatch(/^demo: \d+ jobs passed, 0 lost; leader kang killed, desktop-[12] leads after \d+ ms$/);
  expect(stdout).toMatch(/ the page, while this runs: http:\/\/127\.0\.0\.1:\d+\/enter\?code=[\w-]{20,}$/m);
  expect(Number(/\d+/.exec(last as string)![0])).toBeGreaterThanOrEqual(8);
  expect(Date.now() - began).toBeLessThan(90_000);
}, 120_000);
