import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ExecutorHealth } from '../../node/agent/executor-health.ts';
import { checkDocker } from '../../node/doctor/docker-check.ts';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';
import { toolkitFix } from '../../node/executors/nvidia-toolkit.ts';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import { createMachine } from '../../node/machine/machine.ts';
import type { Executor } from '../../node/ports.ts';
import { Measured } from '../../protocol/report.ts';
import { demandOf } from '../../scheduler/jobs/demand.ts';
import { fitOf } from '../../scheduler/jobs/machine-fit.ts';
import { roomOf } from '../../scheduler/jobs/room.ts';

/** A machine with NVIDIA's driver, and an engine that says of itself what `info` holds (newcomer B6). */
const fixtures = fileURLToPath(new URL('../fixtures/gpu', import.meta.url));
let dir: string;
let engine: Server;
let info: Record<string, unknown> | null;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'autogit-gpus-'));
  info = { Runtimes: { runc: {} } };
  engine = createServer((request, answer) => {
    if (request.url?.endsWith('/_ping')) return answer.end('OK');
    if (info === null) return answer.writeHead(500).end('{}');
    answer.setHeader('Content-Type', 'application/json');
    const isVersion = request.url?.endsWith('/version') === true;
    answer.end(JSON.stringify(isVersion ? { Version: '28.0.1', ApiVersion: '1.48' } : info));
  });
  await new Promise<void>((done) => engine.listen(join(dir, 'engine.sock'), done));
  const query = `sed 's/ 97,/ 0,/; s/ 1187,/ 87,/' ${fixtures}/nvidia/query-3090ti.csv`;
  const smi = `#!/bin/sh\ncase "$1" in\n  --query-gpu=*) ${query} ;;\n  *) exit 3 ;;\nesac\n`;
  writeFileSync(join(dir, 'nvidia-smi'), smi, { mode: 0o755 });
});
afterEach(async () => {
  engine.closeAllConnections();
  await new Promise((done) => engine.close(done));
  rmSync(dir, { recursive: true, force: true });
});

function node(executors: Executor[]): { health: ExecutorHealth; seen(): Promise<{ measured: Measured; why: string }> } {
  const health = new ExecutorHealth(executors, { info: () => undefined, warn: () => undefined });
  const machine = createMachine({
    folder: dir,
    labels: [],
    executors: executors.map(({ kind }) => kind),
    maxRuns: null,
    reserveMemoryBytes: 0,
    playGpus: [],
    nvidiaSmi: join(dir, 'nvidia-smi'),
    sysfs: { sys: join(fixtures, 'sysfs-none'), amdgpuIds: '', pciIds: [] },
    sessions: join(dir, 'sessions'),
    gpuProblem: () => health.gpuProblem,
  });
  return {
    health,
    async seen() {
      await health.look();
      const measured = Measured.parse(await machine.measure());
      const kang = { node: 'n', name: 'kang', measured, room: roomOf(measured, [], 0), holders: {}, runs: 0 };
      const verdict = fitOf(demandOf(['gpu', `${measured.arch}`], 'amd64'), {
        ...kang,
        ...{ witness: false, drained: false, away: null, isHost: false },
      });
      return { measured, why: verdict.because };
    },
  };
}

describe('an engine without the NVIDIA Container Toolkit', () => {
  const exists = (path: string): boolean => path === '/proc/driver/nvidia/version';
  const docker = () =>
    new DockerExecutor({ node: 't-images', dockerHost: `unix://${join(dir, 'engine.sock')}`, exists });

  it('gets no GPU job: status and why name what is missing, until it is installed', async () => {
    const { seen, health } = node([docker()]);
    const { measured, why } = await seen();
    expect(why).toMatch(/^its only GPU does not work: docker jobs need the NVIDIA Container Toolkit on this machine: /);
    expect(measured.gpuProblems?.[0]).toMatch(
      /NVIDIA Container Toolkit.*nvidia-ctk runtime configure.*restart docker$/,
    );
    // For a node of the version before, which knows no problem of a card.
    expect(measured.gpus).toMatchObject([{ foreign: true }]);
    expect(measured.capacity.gpus).toHaveLength(1);
    expect(health.working()).toEqual(['docker']);
    // An engine too busy to describe itself: what was known stands, and its other jobs go on.
    info = null;
    expect((await seen()).why).toContain('NVIDIA Container Toolkit');
    expect(health.working()).toEqual(['docker']);
    info = { Runtimes: { runc: {}, nvidia: {} } };
    expect(await seen()).toMatchObject({ why: 'has room', measured: { gpus: [{ foreign: false }] } });
  });

  it('is said by doctor and where the machine joins, with what to type, before the first job fails', async () => {
    info = { OSType: 'linux', Runtimes: { runc: {} }, MemoryLimit: true, CpuCfsQuota: true, PidsLimit: true };
    const host = `unix://${join(dir, 'engine.sock')}`;
    expect(await docker().check()).toContain(`; jobs cannot use this machine’s NVIDIA GPU: ${toolkitFix}`);
    expect(await checkDocker(host, exists)).toMatchObject({
      state: 'warn',
      sentence: expect.stringContaining('cannot give this machine’s NVIDIA GPU to a job'),
      fix: toolkitFix,
    });
    info = { ...info, Runtimes: { runc: {}, nvidia: {} } };
    expect(await docker().check()).not.toContain('NVIDIA');
    expect(await checkDocker(host, exists)).toMatchObject({ state: 'ok' });
  });

  it('takes nothing from a node whose jobs are processes', async () => {
    const { why, measured } = await node([new ProcessExecutor({ home: dir, cgroups: false }), docker()]).seen();
    expect(why).toBe('has room');
    expect(measured.gpuProblems).toBeUndefined();
  });
});
