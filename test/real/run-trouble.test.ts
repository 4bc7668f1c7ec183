import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { marksOf, readRunFile } from '../../node/executors/run-file.ts';
import { processesOf } from '../../node/executors/run-processes.ts';
import type { Executor } from '../../node/ports.ts';
import { sharedTimings } from '../../protocol/timings.ts';
import { plainText, RunLab, until } from './run-lab.ts';
import { placesWith, removal } from './stand-in.ts';

let lab: RunLab;
afterEach(() => lab.stop());

/** An executor that has no run. */
const placeless: Executor = {
  kind: 'docker',
  features: [],
  check: async () => '',
  prepare: async () => Promise.reject(new Error('no place')),
  adopt: async () => null,
  sweep: async () => [],
};

const job = (script: string[], more = ''): Record<string, string> => ({
  '.gitlab-ci.yml': `only:\n  script:\n${script.map((line) => `    - ${JSON.stringify(line)}`).join('\n')}\n${more}`,
});

describe('a run in trouble', () => {
  it('ends at its timeout, after after_script', async () => {
    lab = await RunLab.start(
      job(['echo begun', 'sleep 600'], '  timeout: 3 seconds\n  after_script: ["echo after $CI_JOB_STATUS"]\n'),
    );
    await lab.agent();
    const run = await lab.begin();
    const ended = await lab.ended(run);
    const text = plainText(await lab.traceAt(run));
    expect(ended.result, text).toMatchObject({ state: 'failed', reason: 'job_execution_timeout' });
    expect(text).toContain('after failed\n');
    expect(text).toContain('ERROR: Job failed: execution took longer than');
    expect(lab.gitlab.job(run.job)).toMatchObject({ status: 'failed', failureReason: 'job_execution_timeout' });
  });

  it('hears that it was cancelled, does its after_script, and ends as canceled', async () => {
    lab = await RunLab.start(job(['echo begun', 'sleep 600'], '  after_script: ["echo after $CI_JOB_STATUS"]\n'));
    await lab.agent();
    // The leader is silent, so GitLab is asked twice a second and tells soon.
    lab.leaderAt = () => lab.clock.bootMs() - 1500;
    const run = await lab.begin();
    await until('the script', async () => (await lab.traceHere(run)).includes('\nbegun\n'));
    await lab.admin.cancelJob(lab.projectId, run.job);
    const ended = await lab.ended(run);
    expect(ended.result).toMatchObject({ state: 'canceled' });
    expect(lab.gitlab.job(run.job)).toMatchObject({ status: 'canceled' });
    expect(plainText(await lab.traceAt(run))).toContain('after canceled\n');
  });

  it('does its after_script, too, where it is cancelled between its script and that', async () => {
    lab = await RunLab.start(job(['echo begun'], '  after_script: ["echo after it"]\n'));
    let asked = 0;
    lab.more = {
      // Before the place is used, before its script, before its after_script.
      watched: async (run, signal) => {
        if (++asked !== 3) return;
        const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve));
        await lab.admin.cancelJob(lab.projectId, lab.gitlab.jobsOf(1)[0]!.id);
        lab.supervisor?.hint(run);
        await Promise.race([aborted, new Promise((resolve) => setTimeout(resolve, 1500))]);
      },
    };
    await lab.agent();
    const ended = await lab.ended(await lab.begin());
    expect(plainText(await lab.traceAt(ended))).toContain('\nafter it\n');
    expect(ended.result).toMatchObject({ state: 'canceled' });
  });

  it('loses nothing while GitLab is away in every phase, and delivers when it is back', async () => {
    lab = await RunLab.start({
      ...job(
        ['for i in $(seq 1 20); do echo "line $i"; sleep 0.1; done', 'echo done > out.txt'],
        '  artifacts: { paths: [out.txt] }\n',
      ),
      'big.txt': 'x'.repeat(100_000),
    });
    await lab.agent();
    const run = await lab.begin();
    // Away at once: while it fetches, or soon after.
    await lab.gitlab.down();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await lab.gitlab.up();
    await until('lines', async () => (await lab.traceHere(run)).includes('line 3\n'));
    await lab.gitlab.down();
    // The script ends while GitLab is away.
    await until('the upload', async () => (await lab.traceHere(run)).includes('trying again until GitLab is back'));
    lab.gitlab.boot(1500);
    await lab.gitlab.up();
    const ended = await lab.ended(run);
    const trace = await lab.traceAt(run);
    expect(ended, trace).toMatchObject({ state: 'delivered', result: { state: 'success' } });
    const lines = plainText(trace)
      .split('\n')
      .filter((line) => line.startsWith('line '));
    expect(lines).toEqual(Array.from({ length: 20 }, (_, i) => `line ${i + 1}`));
    expect(lab.gitlab.job(run.job)).toMatchObject({ status: 'success', traceCheck: 'match' });
  });

  it('keeps a result until GitLab is back, over a restart of the agent', async () => {
    lab = await RunLab.start(job(['echo short; sleep 0.5']));
    await lab.agent();
    const run = await lab.begin();
    await until('the script', async () => (await lab.traceHere(run)).includes('\nshort\n'));
    await lab.gitlab.down();
    await until('the result', () => lab.changes.find(({ state }) => state === 'finished'));
    await lab.stopAgent();
    lab.changes = [];
    await lab.agent();
    expect(lab.supervisor?.runs()).toMatchObject([{ job: run.job, state: 'finished', result: { state: 'success' } }]);
    await lab.gitlab.up();
    await lab.ended(run);
    expect(lab.gitlab.job(run.job)).toMatchObject({ status: 'success', traceCheck: 'match' });
    expect(plainText(await lab.traceAt(run)).match(/short\n/g)).toHaveLength(1);
  });

  it('leaves nothing of an ended run where it ran, though the agent was killed before it had cleaned up', async () => {
    lab = await RunLab.start(job(['echo short']));
    const whole = lab.executor;
    lab.executor = placesWith(whole, () => ({ remove: async () => undefined }));
    await lab.agent();
    const run = await lab.begin();
    await lab.ended(run);
    const kept = (): string[] =>
      readdirSync(lab.home, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('environment.sh'));
    expect(kept()).toHaveLength(1);
    await lab.stopAgent();
    lab.executor = whole;
    await lab.agent();
    // It is told of for a while: whoever was owed another try of it hears that it has ended.
    expect(lab.supervisor?.runs()).toMatchObject([{ job: run.job, state: 'delivered' }]);
    expect(kept()).toEqual([]);
  });

  it('removes its place again when that failed, while the agent goes on', async () => {
    lab = await RunLab.start(job(['echo short']));
    let tries = 0;
    const fails = (): void => {
      if (++tries === 1) throw new Error('the engine is away');
    };
    lab.executor = placesWith(lab.executor, (made) => ({ remove: removal(made, { before: fails }) }));
    await lab.agent();
    const run = await lab.begin();
    expect(await lab.ended(run)).toMatchObject({ result: { state: 'success' } });
    const kept = (): string[] =>
      readdirSync(lab.home, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('environment.sh'));
    await until('the second try', () => tries === 2 && kept().length === 0);
    expect(lab.notes.join()).toContain('the engine is away');
  });

  it('removes a place that it could not find again before the run was given up, once it can', async () => {
    lab = await RunLab.start(job(['sleep 600']));
    await lab.agent();
    const run = await lab.begin();
    const kept = (): string[] =>
      readdirSync(lab.home, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('environment.sh'));
    await until('the script', async () => kept().length === 1 && (await lab.traceHere(run)).includes('$ sleep'));
    await lab.stopAgent();
    // As an engine that starts after the agent of a machine that was rebooted.
    const whole = lab.executor;
    let tries = 0;
    lab.executor = () => {
      const executor = whole();
      const adopt = executor.adopt.bind(executor);
      executor.adopt = (spec, handle, signal) => {
        tries += 1;
        if (tries > 2) return adopt(spec, handle, signal);
        return new Promise((_, reject) => {
          if (!signal) return reject(new Error('the engine is away'));
          signal.addEventListener('abort', () => reject(new Error('called off')));
        });
      };
      return executor;
    };
    await lab.agent();
    await lab.supervisor?.drop(run.run, 'its machine was restarted while the job ran');
    expect(lab.changes.at(-1)).toMatchObject({ state: 'discarded' });
    await until('its place is gone', () => kept().length === 0);
    expect(tries).toBeGreaterThan(2);
  });

  it('stops at once when GitLab disowns the job, and forgets it', async () => {
    lab = await RunLab.start(job(['echo begun', 'sleep 600']));
    await lab.agent();
    lab.leaderAt = () => lab.clock.bootMs() - 1500;
    const run = await lab.begin();
    await until('the script', async () => (await lab.traceHere(run)).includes('\nbegun\n'));
    // The leader failed it meanwhile, with the run's own token.
    const token = Buffer.from(run.token, 'base64').toString();
    const { failRun } = await import('../../gitlab-bridge/gitlab-runner.ts');
    await failRun({ url: lab.gitlab.url, job: run.job, token });
    expect(await failRun({ url: lab.gitlab.url, job: run.job, token })).toMatch(/already/);
    expect(await lab.ended(run)).toMatchObject({ state: 'discarded', result: null });
    expect(lab.gitlab.job(run.job)).toMatchObject({ status: 'failed', failureReason: 'runner_system_failure' });
  });

  it('stops when a person has cancelled the job by force and erased it: nothing comes back of trace and artifacts', async () => {
    lab = await RunLab.start(
      job(['echo begun > kept.txt; cat kept.txt', 'sleep 600'], '  artifacts: { paths: [kept.txt], when: always }\n'),
    );
    await lab.agent();
    const run = await lab.begin();
    await until('the trace is at GitLab', async () => (await lab.traceAt(run)).includes('\nbegun\n'));
    const ask = async (what: string): Promise<number> => {
      const url = `${lab.gitlab.url}/api/v4/projects/${lab.projectId}/jobs/${run.job}/${what}`;
      return (await fetch(url, { method: 'POST', headers: { 'PRIVATE-TOKEN': lab.gitlab.adminToken } })).status;
    };
    expect(await ask('erase')).toBe(403);
    expect([await ask('cancel?force=true'), await ask('erase'), await ask('erase')]).toEqual([201, 201, 403]);
    expect(await lab.ended(run)).toMatchObject({ state: 'discarded', result: null });
    expect(await lab.traceAt(run)).toBe('');
    expect(lab.gitlab.job(run.job)).toMatchObject({ status: 'canceled', artifacts: [] });
  });

  it('stops when its token has ended, which fails the job at GitLab', async () => {
    lab = await RunLab.start(job(['echo begun', 'while sleep 0.1; do echo more; done']));
    await lab.agent();
    const run = await lab.begin();
    await until('the trace is at GitLab', async () => (await lab.traceAt(run)).includes('\nmore\n'));
    lab.gitlab.endJobToken(run.job);
    expect(await lab.ended(run)).toMatchObject({ state: 'discarded', result: null });
    expect(lab.gitlab.job(run.job)).toMatchObject({ status: 'failed', failureReason: 'job_token_expired' });
  });

  it('is dropped without a word when the mesh gave it up', async () => {
    lab = await RunLab.start(job(['echo begun', 'sleep 600']));
    const supervisor = await lab.agent();
    const run = await lab.begin();
    await until('the script', async () => (await lab.traceHere(run)).includes('\nbegun\n'));
    await supervisor.drop(run.run, 'the mesh gave it up');
    expect(supervisor.runs()).toEqual([]);
    expect(await lab.store?.runs()).toEqual([]);
    expect(lab.gitlab.job(run.job)).toMatchObject({ status: 'running' });
  });

  it('stands still while neither leader nor GitLab is heard, and goes on when GitLab confirms it', async () => {
    lab = await RunLab.start(job(['i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo "tick $i"; sleep 0.05; done']));
    await lab.agent();
    const run = await lab.begin();
    await until('ticks', async () => (await lab.traceHere(run)).includes('tick 5\n'));
    lab.leaderAt = () => Number.NEGATIVE_INFINITY;
    await lab.gitlab.down();
    await until('frozen', () => lab.changes.find(({ frozen }) => frozen));
    await new Promise((resolve) => setTimeout(resolve, 300));
    const before = await lab.traceHere(run);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(await lab.traceHere(run)).toBe(before);
    await lab.gitlab.up();
    await until('thawed', () => lab.changes.at(-1)?.frozen === false);
    const count = before.match(/tick/g)?.length ?? 0;
    await until('more ticks', async () => (await lab.traceHere(run)).includes(`tick ${count + 5}\n`));
  });

  it('without a leader’s word, as after a recovery by force: begins when a former try surely stands still, and goes on by GitLab’s word alone', async () => {
    lab = await RunLab.start(job(['date +began-%s%3N', 'sleep 600']));
    await lab.agent();
    lab.leaderAt = () => Number.NEGATIVE_INFINITY;
    const given = Date.now();
    const run = await lab.begin();
    let began = 0;
    await until('the script', async () => {
      began = Number(/^began-(\d+)$/m.exec(await lab.traceHere(run))?.[1] ?? 0);
      return began > 0;
    });
    expect(began - given).toBeGreaterThanOrEqual(sharedTimings.standsStillMs);
    // A leader of before gave it up: within a second the script is gone, whatever it does not say.
    await lab.admin.cancelJob(lab.projectId, run.job);
    expect((await lab.ended(run)).result).toMatchObject({ state: 'canceled' });
  });

  it('refuses by name what it cannot do', async () => {
    lab = await RunLab.start(job(['echo never'], '  services: ["postgres:16"]\n'));
    await lab.agent();
    const run = await lab.begin();
    const ended = await lab.ended(run);
    expect(ended.result).toMatchObject({ state: 'failed', reason: 'runner_configuration_error' });
    const text = plainText(await lab.traceAt(run));
    expect(text).toContain('services need the docker executor, and this node runs its jobs as processes');
    expect(text).not.toContain('never\n');
  });

  it('whose executor is switched off while its agent is away is ended before GitLab hears that it failed', async () => {
    lab = await RunLab.start(job(['echo begun', 'sleep 600']));
    await lab.agent();
    const run = await lab.begin();
    await until('the script', async () => (await lab.traceHere(run)).includes('\nbegun\n'));
    await lab.stopAgent();
    const process = lab.executor();
    const folder = join(lab.home, 'work', run.run);
    const marks = marksOf(folder, readRunFile(folder));
    expect(processesOf(marks)).not.toEqual([]);
    lab.executor = () => placeless;
    lab.more = { retired: (kind) => (kind === 'process' ? process : null) };
    await lab.agent();
    const ended = await lab.ended(run);
    expect(ended.result?.because).toBe('the executor process is no longer switched on here');
    expect(processesOf(marks)).toEqual([]);
    expect(existsSync(folder)).toBe(false);
  });
});
