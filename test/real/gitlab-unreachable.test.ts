import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { answersItself } from '../../gitlab-bridge/gitlab-runner.ts';
import { startPractice } from '../../gitlab-bridge/practice/practice-gitlab.ts';
import { ExecutorHealth, jobNeeds } from '../../node/agent/executor-health.ts';
import { GitlabReturn, gitlabProblem } from '../../node/runs/gitlab-return.ts';
import { plainText, RunLab, until } from './run-lab.ts';

const end = join(tmpdir(), `t-away-end-${process.pid}`);
let lab: RunLab | null = null;
let returning: GitlabReturn | null = null;
afterEach(async () => {
  returning?.stop();
  await lab?.stop();
  rmSync(end, { force: true });
});

it('a machine that GitLab does not answer says so, takes no jobs, and does again when it answers; its job went on', async () => {
  const script = `echo begun; until [ -e ${end} ]; do sleep 0.1; done; echo it went on`;
  lab = await RunLab.start({ '.gitlab-ci.yml': JSON.stringify({ one: { script: [script] } }) });
  const { url } = lab.gitlab;
  returning = new GitlabReturn({ answers: () => answersItself(url, 1000), lookEveryMs: 50 });
  lab.more = { gitlabReturn: returning };
  await lab.agent();
  const health = new ExecutorHealth(
    lab.options(lab.store as NonNullable<typeof lab.store>).executors,
    { info: () => undefined, warn: () => undefined },
    jobNeeds(() => ({ diskProblem: null, gitlabProblem: gitlabProblem(returning as GitlabReturn, url, 300) })),
  );
  await health.look();
  returning.look();
  const run = await lab.begin();
  await until('its script', async () => (await lab?.traceHere(run))?.includes('begun\n'));
  expect(health.working()).toEqual(['process']);
  await lab.gitlab.stop();
  expect(await lab.take()).toMatchObject({ kind: 'failed' });
  const sentence = `GitLab (${url}) does not answer this machine`;
  await until('it is said', () => health.problems()[0]?.sentence === sentence, 5000);
  expect(health.problems()).toEqual([{ about: 'gitlab-away', sentence }]);
  expect(health.working()).toEqual([]);
  lab.gitlab = await startPractice({ dataDir: join(lab.folder, 'gitlab'), port: Number(new URL(url).port) });
  await until('it is there again', () => health.working().length === 1, 5000);
  writeFileSync(end, '');
  expect((await lab.ended(run)).result).toMatchObject({ state: 'success' });
  expect(plainText(await lab.traceAt(run))).toContain('it went on\n');
});
