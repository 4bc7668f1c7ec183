import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { checkDocker } from '../../node/doctor/docker-check.ts';
import { limitsFix, withinEngine } from '../../node/executors/engine-limits.ts';

/** As Docker says it that runs without root, where its user was given no controller. */
const rootless = { MemoryLimit: false, CpuCfsQuota: false, PidsLimit: false };
const spec = { cpuMillis: 2000, memoryBytes: 64 << 20 };
const noted = (limits: object): [object, string[]] => {
  const notes: string[] = [];
  return [withinEngine(spec, limits, (sentence) => notes.push(sentence)), notes];
};

it('a job goes without the limits that its engine lacks, which would refuse a container with one for CPU, and is told so', () => {
  expect(noted(rootless)).toEqual([
    { ...spec, cpuMillis: null },
    [
      'WARNING: the engine of this machine cannot limit memory, CPU, the number of processes: the job has none of these limits',
    ],
  ]);
  expect(noted({ ...rootless, MemoryLimit: true, PidsLimit: true })[1]).toEqual([
    'WARNING: the engine of this machine cannot limit CPU: the job has none of these limits',
  ]);
  // One that has all of them, and one that does not say.
  for (const limits of [{ MemoryLimit: true, CpuCfsQuota: true, PidsLimit: true }, {}])
    expect(noted(limits)).toEqual([spec, []]);
});

it('doctor says so, with what to do', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'autogit-limits-'));
  const said = { '/version': { Version: '27.1.0', ApiVersion: '1.46' }, '/info': { ...rootless, CgroupVersion: '2' } };
  const server = createServer(({ url = '' }, response) => response.end(JSON.stringify(said[url as keyof typeof said])));
  const socket = join(folder, 'docker.sock');
  await new Promise<void>((listening) => server.listen(socket, listening));
  try {
    expect(await checkDocker(`unix://${socket}`)).toMatchObject({
      state: 'warn',
      sentence: expect.stringContaining(
        'cgroup v2 (?), ?: it cannot limit memory, CPU, the number of processes of a job',
      ),
      fix: limitsFix,
    });
  } finally {
    server.close();
    rmSync(folder, { recursive: true });
  }
});
