import { afterAll, beforeAll, expect, it } from 'vitest';
import { fulfil } from '../../node/agent/job-wishes.ts';
import { endForOwner, type PauseNowTools } from '../../node/agent/pause-now.ts';
import type { RunSupervisor } from '../../node/runs/run-supervisor.ts';
import { plainText, RunLab, until } from './run-lab.ts';

let lab: RunLab;
const warned: string[] = [];
const ci = `
train:
  script: [echo begun, sleep 60]
  after_script: [echo tidied]
again:
  script: [echo begun, sleep 60]
  retry: 1
`;
beforeAll(async () => {
  lab = await RunLab.start({ '.gitlab-ci.yml': ci });
  await lab.agent();
});
afterAll(() => lab.stop());

const supervisor = (): RunSupervisor => lab.supervisor as RunSupervisor;
const tools = (): PauseNowTools => ({
  runs: () => supervisor().runs(),
  isPaused: () => true,
  end: (run, because) => supervisor().end(run, because),
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
  isMine: () => lab.supervisor !== null,
});

it('pause --now ends what runs, says why in its trace, and each runs again once: by the mesh, or by its own retry', async () => {
  const runs = [await lab.begin(), await lab.begin()];
  for (const run of runs) await until('it has begun', async () => /begun/.test(await lab.traceHere(run)));
  expect(endForOwner('all', tools()).sort()).toEqual(runs.map(({ job }) => job).sort());
  for (const run of runs) {
    await lab.ended(run);
    expect(lab.gitlab.job(run.job)).toMatchObject({ status: 'failed', failureReason: 'runner_system_failure' });
    expect(plainText(await lab.traceAt(run))).toContain(
      'ERROR: Job failed: the owner of its machine wants the machine now',
    );
  }
  expect(plainText(await lab.traceAt(runs.find(({ name }) => name === 'train') as never))).toContain('tidied');
  // Each has one successor, and no more.
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const { jobs } = await lab.admin.readQueue(100);
  expect(jobs.map(({ name }) => name).sort()).toEqual(['again', 'train']);
  expect(warned).toEqual([]);
});
