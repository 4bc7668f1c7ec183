import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { GivingWay } from '../../node/agent/giving-way.ts';
import { fulfil } from '../../node/agent/job-wishes.ts';
import { OwedRetries } from '../../node/agent/owed-retries.ts';
import type { PauseState } from '../../node/agent/owner-wishes.ts';
import { CudaCheckpoint } from '../../node/machine/cuda-checkpoint.ts';
import type { Store } from '../../node/ports.ts';
import type { RunSupervisor } from '../../node/runs/run-supervisor.ts';
import { readGiveWay } from '../../node/settings/give-way.ts';
import type { Run } from '../../protocol/ledger.ts';
import { plainText, RunLab, until } from './run-lab.ts';

/**
 * Runs that make way for the owner, with real processes, the practice GitLab, and programs that stand for NVIDIA's. These are strict: a
 * process that stands still, or is gone, is not moved; one word that NVIDIA's program does not know is an error.
 */
const dir = mkdtempSync(join(tmpdir(), 'autogit-owner-hold-'));
const program = (name: string, text: string): void =>
  writeFileSync(join(dir, name), `#!/bin/bash\n${text}`, { mode: 0o755 });
const version = (driver: string): void =>
  writeFileSync(join(dir, 'version'), `NVRM version: NVIDIA UNIX x86_64 Kernel Module  ${driver}.54.14  Thu\n`);
program(
  'nvidia-smi',
  `[ "$*" = "--query-compute-apps=pid,used_memory --format=csv,noheader,nounits" ] || exit 9\ncat ${dir}/uses 2>/dev/null; exit 0`,
);
program(
  'cuda-checkpoint',
  `echo "$@" >>${dir}/asked
case "$1 $2" in
  "--toggle --pid") ;;
  "--get-state --pid") [ -e ${dir}/state-$3 ] && echo checkpointed || echo running; exit 0 ;;
  *) echo "unknown: $*" >&2; exit 2 ;;
esac
[ -e ${dir}/broken ] && { echo "CUDA error: operation not supported (UVM)" >&2; exit 1; }
state=$(sed 's/.*) //' /proc/$3/stat 2>/dev/null | cut -c1)
case $state in ""|T|Z) echo "process $3 does not answer ($state)" >&2; exit 1 ;; esac
if [ -e ${dir}/state-$3 ]; then rm ${dir}/state-$3; else touch ${dir}/state-$3; fi`,
);

const ci = `
train:
  script: ['echo pid-$$-', 'echo begun', 'for i in $(seq 600); do echo "tick $i" >>${dir}/ticks; sleep 0.05; [ -e ${dir}/enough ] && break; done', 'echo passed']
  after_script: [echo tidied]
  timeout: 10m
again:
  script: [echo begun, sleep 60]
  retry: 1
hooked:
  hooks: { pre_get_sources_script: ['echo begun', 'for i in $(seq 600); do echo "tick $i" >>${dir}/ticks; sleep 0.05; [ -e ${dir}/enough ] && break; done'] }
  script: [ls -a, echo passed]
short:
  script: [echo begun, sleep 60]
  timeout: 4 seconds
`;
let lab: RunLab;
const warned: string[] = [];
beforeAll(async () => {
  lab = await RunLab.start({ '.gitlab-ci.yml': ci });
  lab.gpus = ['GPU-1'];
  lab.more = { gpuSuspender: suspender() };
  await lab.agent();
});
afterAll(async () => {
  writeFileSync(join(dir, 'enough'), '');
  await lab.stop();
  rmSync(dir, { recursive: true, force: true });
});
beforeEach(() => {
  for (const name of ['enough', 'broken', 'ticks', 'uses', 'asked']) rmSync(join(dir, name), { force: true });
  version('570');
});

const suspender = (): CudaCheckpoint =>
  new CudaCheckpoint({ path: `${dir}:${process.env.PATH}`, smi: ['nvidia-smi'], version: join(dir, 'version') });
const supervisor = (): RunSupervisor => lab.supervisor as RunSupervisor;
let pause: PauseState = { paused: 'no', because: null, now: null };
const nothing: PauseState = pause;
const wantGpu: PauseState = { paused: 'gpu', because: null, now: { what: 'gpu', way: null } };
const giving = (...rules: string[]): GivingWay =>
  new GivingWay({
    rules: readGiveWay(rules),
    pause: () => pause,
    measured: () => null,
    runs: () => supervisor().runs(),
    holdOf: (run) => supervisor().ownerHoldOf(run),
    end: (run, because) => supervisor().end(run, because, 'owner'),
    owed: new OwedRetries(lab.store as Store, (sentence) => void warned.push(sentence)),
    async retry(job) {
      const name = lab.gitlab.job(job)?.name ?? '';
      const answer = await fulfil({ wish: 'retry', job, force: false }, 'kang', {
        find: () => ({ job, projectId: lab.projectId, name }),
        leads: () => true,
        admin: () => lab.admin,
        feed: () => {},
        log: { event: () => {} },
      });
      if (answer.kind === 'failed') throw new Error(answer.because);
    },
    warn: (sentence) => void warned.push(sentence),
    info: () => {},
  });
const ticks = (): number =>
  existsSync(join(dir, 'ticks')) ? readFileSync(join(dir, 'ticks'), 'utf8').split('\n').length : 0;
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
/** The named job, at work. */
async function atWork(name: string): Promise<{ run: Run; pid: number }> {
  for (;;) {
    const run = await lab.begin();
    if (run.name !== name) {
      await supervisor().drop(run.run, 'not this one');
      continue;
    }
    const text = await until('it has begun', async () => {
      const here = await lab.traceHere(run);
      return /begun/.test(here) && here;
    });
    return { run, pid: Number(/pid-(\d+)-/.exec(text)?.[1] ?? 0) };
  }
}
async function standsStill(): Promise<void> {
  await wait(150);
  const before = ticks();
  await wait(400);
  expect(ticks()).toBe(before);
}

it('suspend: GPU memory moves while the job runs, then it stands still, over a restart of the agent; then it passes', async () => {
  const { run, pid } = await atWork('train');
  writeFileSync(join(dir, 'uses'), `${pid}, 2\n1, 9000\n`);
  pause = wantGpu;
  const giver = giving('suspend');
  const [said] = await giver.look();
  expect(said).toMatch(
    /^job \d+ stands still, the owner of its machine wants the GPU now: its processor and its GPU are free, 2 MiB moved from GPU memory into main memory$/,
  );
  expect(existsSync(join(dir, `state-${pid}`))).toBe(true);
  const told = () =>
    supervisor()
      .runs()
      .find((one) => one.run === run.run)?.held;
  expect(told()).toMatch(/^stands still/);
  await standsStill();
  await lab.stopAgent();
  await lab.agent();
  await wait(1500);
  await standsStill();
  expect(told()).toMatch(/^stands still/);
  pause = nothing;
  const before = ticks();
  await until('it goes on', async () => {
    await giver.look();
    return ticks() > before;
  });
  expect(existsSync(join(dir, `state-${pid}`))).toBe(false);
  writeFileSync(join(dir, 'enough'), '');
  expect((await lab.ended(run)).result).toMatchObject({ state: 'success' });
  giver.stop();
});

it('says what keeps it from being suspended, and freezes: GPU memory stays; or ends, as the owner has set it', async () => {
  const first = await againOf('train');
  writeFileSync(join(dir, 'uses'), `${first.pid}, 2\n`);
  version('535');
  pause = wantGpu;
  const freezer = giving('suspend');
  expect((await freezer.look())[0]).toMatch(
    /its GPU's time are free, it keeps 2 MiB of GPU memory \(not suspended: NVIDIA’s driver is 535, and it takes 550 or newer\)$/,
  );
  await standsStill();
  pause = nothing;
  await freezer.look();
  await until('it goes on', () => ticks() > 0);
  version('570');
  const bare = (places: object): Promise<string | null> => new CudaCheckpoint({ smi: [], ...places }).refusal([]);
  expect(await bare({ version: join(dir, 'no-driver') })).toBe('there is no NVIDIA driver here');
  expect(await bare({ version: join(dir, 'version'), path: '/nowhere' })).toMatch(
    /^cuda-checkpoint is not installed: github/,
  );
  expect(await suspender().refusal([])).toBeNull();
  const two = [first.pid, 1].map((pid) => ({ pid, bytes: 1 }));
  expect(await suspender().refusal(two)).toBeNull();
  version('555');
  expect(await suspender().refusal(two)).toMatch(
    /^2 of its processes use the GPU, which takes driver 570 or newer \(here 555\)$/,
  );
  version('570');
  expect(await suspender().refusal([{ pid: first.pid, bytes: 2 ** 46 }])).toMatch(
    /64 TiB of GPU memory have no room in main memory/,
  );
  writeFileSync(join(dir, 'uses'), `${first.pid}, 2\n`);
  writeFileSync(join(dir, 'broken'), '');
  pause = wantGpu;
  const ender = giving('suspend/end');
  expect(await ender.look()).toEqual([`job ${first.run.job} ends now, and runs again elsewhere`]);
  await lab.ended(first.run);
  const text = plainText(await lab.traceAt(first.run));
  expect(text).toMatch(
    /Job failed: the owner of its machine wants the GPU now, and it cannot stand still: .*operation not supported \(UVM\)/,
  );
  expect(text).toContain('tidied');
  expect(lab.gitlab.job(first.run.job)).toMatchObject({ status: 'failed', failureReason: 'runner_system_failure' });
  pause = nothing;
});

it('a hook stands still as a script does, and its job passes afterwards', async () => {
  const { run } = await againOf('hooked');
  pause = wantGpu;
  const giver = giving('freeze');
  expect((await giver.look())[0]).toMatch(/its processor and its GPU's time are free/);
  await standsStill();
  writeFileSync(join(dir, 'enough'), '');
  pause = nothing;
  await giver.look();
  expect((await lab.ended(run)).result).toMatchObject({ state: 'success' });
  expect(plainText(await lab.traceAt(run))).toMatch(/\.gitlab-ci\.yml[\s\S]*passed/);
});

it('a job that stands still until its time at GitLab is over fails as the machine’s, not as its own', async () => {
  const { run } = await againOf('short');
  pause = wantGpu;
  const giver = giving('freeze');
  expect((await giver.look())[0]).toMatch(/it keeps its GPU memory$/);
  expect((await lab.ended(run)).fault).toEqual({ kind: 'owner', begun: true });
  expect(lab.gitlab.job(run.job)).toMatchObject({ failureReason: 'runner_system_failure' });
  expect(plainText(await lab.traceAt(run))).toMatch(
    /it stood still for .* for the owner of its machine, and its time at GitLab, \d+ s, is over/,
  );
  pause = nothing;
});

it('end: each says why in its trace, and runs again once: by the mesh, or by its own retry', async () => {
  const { run } = await againOf('again');
  const before = await waitingAgain();
  pause = wantGpu;
  await giving().look();
  // No fault of the machine: it would take no jobs after a few of them.
  expect((await lab.ended(run)).fault).toEqual({ kind: 'owner', begun: true });
  expect(lab.gitlab.job(run.job)).toMatchObject({ status: 'failed', failureReason: 'runner_system_failure' });
  const said = plainText(await lab.traceAt(run));
  expect(said).toContain('ERROR: Job failed: the owner of its machine wants the GPU now');
  expect(said).toMatch(
    /own fault: the owner of this machine wanted it.* It runs again, once, on another machine: .*\n$/,
  );
  await until('its other try', async () => (await waitingAgain()) > before);
  // Whoever was second would have asked by now.
  await wait(1200);
  expect(await waitingAgain()).toBe(before + 1);
  expect(warned).toEqual([]);
  pause = nothing;
});

const waitingAgain = async (): Promise<number> =>
  (await lab.admin.readQueue(100)).jobs.filter(({ name }) => name === 'again').length;

/** The same job anew, where an earlier test has used it. */
async function againOf(name: string): Promise<{ run: Run; pid: number }> {
  const tree = join(lab.folder, 'tree');
  writeFileSync(join(tree, 'stamp'), String(Math.random()));
  await lab.git('add', '.');
  await lab.git('commit', '-q', '-m', 'next');
  await lab.git('push', '-q', lab.address, 'HEAD:main');
  return atWork(name);
}
