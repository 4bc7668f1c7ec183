import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import type { Executor, LocalRun, Store } from '../../node/ports.ts';
import { RunSupervisor } from '../../node/runs/run-supervisor.ts';
import { openStore } from '../../node/store/level-store.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { Run } from '../../protocol/ledger.ts';
import { plainText, RunLab, until } from './run-lab.ts';

let lab: RunLab;
afterEach(() => lab.stop());
const one = { '.gitlab-ci.yml': 'only:\n  script: ["echo begun; sleep 1; echo done"]\n' };

/** A supervisor whose executor or store is another one than usual. */
async function changedSupervisor(
  change: (store: Store) => Partial<{ store: Store; executors: Executor[] }>,
): Promise<RunSupervisor> {
  const store = await openStore(join(lab.home, 'store'));
  lab.store = store;
  const changed = change(store);
  lab.supervisor = new RunSupervisor({ ...lab.options(changed.store ?? store), ...changed });
  await lab.supervisor.resume();
  return lab.supervisor;
}

/** A job whose script has begun, and goes on for long. */
async function longRun(): Promise<Run> {
  lab = await RunLab.start({ '.gitlab-ci.yml': 'only:\n  script: ["echo begun; sleep 600"]\n' });
  await lab.agent();
  const run = await lab.begin();
  await until('the script', async () => (await lab.traceHere(run)).includes('\nbegun\n'));
  return run;
}

/** The same, once its supervisor has looked at it. */
async function watchedRun(): Promise<Run> {
  const run = await longRun();
  await until('a tick', () => lab.supervisor?.beats().then((beats) => beats.length === 1));
  await new Promise((resolve) => setTimeout(resolve, 600));
  return run;
}

describe('a machine that fails', () => {
  it('whose disk does not take the job tells GitLab at once', async () => {
    lab = await RunLab.start(one);
    await changedSupervisor((store) => ({
      store: Object.assign(Object.create(store) as Store, {
        id: store.id,
        runs: async () => [],
        deleteRun: async () => undefined,
        putRun: async () => {
          throw new AutogitError('store-failed', 'no space left on device');
        },
      }),
    }));
    expect(await lab.take()).toMatchObject({
      kind: 'failed',
      maybeTaken: false,
      because: expect.stringMatching(/job 1 was taken and cannot be kept: no space left/),
    });
    expect(lab.gitlab.job(1)).toMatchObject({ status: 'failed', failureReason: 'runner_system_failure' });
  });

  it('whose disk fails later never runs what it could not write down first', async () => {
    lab = await RunLab.start(one);
    let left = 1;
    await changedSupervisor((store) => ({
      store: Object.assign(Object.create(store) as Store, {
        id: store.id,
        runs: async () => [],
        deleteRun: async () => undefined,
        putRun: async (run: LocalRun) => {
          if (left-- <= 0) throw new AutogitError('store-failed', 'no space left on device');
          await store.putRun(run);
        },
      }),
    }));
    const run = await lab.begin();
    const ended = await lab.ended(run);
    expect(ended.result).toMatchObject({ state: 'failed', reason: 'runner_system_failure' });
    const text = plainText(await lab.traceAt(run));
    expect(text).toContain('ERROR: Job failed: the run cannot be kept: no space left on device\n');
    expect(text).not.toContain('begun');
  });

  it('whose folder cannot be used says so in the trace', async () => {
    lab = await RunLab.start(one);
    mkdirSync(lab.home, { recursive: true });
    writeFileSync(join(lab.home, 'runs'), 'a file in its place');
    await lab.agent();
    const run = await lab.begin();
    expect((await lab.ended(run)).result).toMatchObject({ state: 'failed', reason: 'runner_system_failure' });
    expect(plainText(await lab.traceAt(run))).toMatch(/ERROR: Job failed: the trace cannot be kept: .*ENOTDIR/);
  });

  it('whose executor makes no place says the fix in the trace', async () => {
    lab = await RunLab.start(one);
    await changedSupervisor((store) => {
      const [executor] = lab.options(store).executors as [Executor];
      const prepare = async (): Promise<never> => {
        throw new AutogitError('image-missing', 'image alpine:3 is not here');
      };
      return {
        executors: [
          Object.assign(Object.create(executor) as Executor, {
            prepare,
            kind: executor.kind,
            features: executor.features,
            adopt: async () => null,
            sweep: async () => [],
          }),
        ],
      };
    });
    const run = await lab.begin();
    expect((await lab.ended(run)).result).toMatchObject({ state: 'failed', reason: 'image_pull_failure' });
    expect(plainText(await lab.traceAt(run))).toContain(
      'image alpine:3 is not here; make its registry reachable, or pull it here',
    );
  });

  it('whose record cannot be read does not run the job again', async () => {
    const run = await longRun();
    await lab.supervisor?.stop();
    const [local] = (await (lab.store as Store).runs()) as [LocalRun];
    await lab.store?.putRun({ ...local, progress: '{"phase":"of a later version"}' });
    await lab.store?.close();
    await lab.agent();
    expect((await lab.ended(run)).result).toMatchObject({ state: 'failed', reason: 'runner_system_failure' });
    expect(plainText(await lab.traceAt(run)).match(/begun\n/g)).toHaveLength(1);
  });

  it('whose result is known is delivered, though the record of how it got there cannot be read', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only:\n  script: ["echo begun; sleep 2; exit 3"]\n' });
    await lab.agent();
    const run = await lab.begin();
    await until('the script', async () => (await lab.traceHere(run)).includes('\nbegun\n'));
    await lab.gitlab.down();
    await until('the result', () => lab.changes.at(-1)?.state === 'finished');
    await lab.supervisor?.stop();
    const [local] = (await (lab.store as Store).runs()) as [LocalRun];
    await lab.store?.putRun({ ...local, progress: 'torn' });
    await lab.store?.close();
    await lab.gitlab.up();
    await lab.agent();
    await until('the delivery', () => lab.changes.at(-1)?.state === 'delivered');
    expect(await lab.admin.job(lab.projectId, run.job)).toMatchObject({ status: 'failed' });
    expect(lab.changes.at(-1)?.result).toMatchObject({ state: 'failed', exitCode: 3, reason: 'script_failure' });
  });

  it('freezes its runs when GitLab was restored, until GitLab confirms each', async () => {
    await watchedRun();
    await lab.gitlab.down();
    lab.epoch = 1;
    await until('frozen', () => lab.changes.at(-1)?.frozen);
    await new Promise((resolve) => setTimeout(resolve, 2500));
    // The leader is heard all the time: it does not count.
    expect(lab.changes.at(-1)?.frozen).toBe(true);
    await lab.gitlab.up();
    await until('thawed', () => lab.changes.at(-1)?.frozen === false);
  });

  it('gives up a run that GitLab, put back to a state of before, knows nothing of (SAFETY J8)', async () => {
    const run = await watchedRun();
    Object.assign(lab.gitlab.job(run.job) as object, { status: 'pending', runnerId: null, token: 'not-given-yet' });
    lab.epoch = 1;
    const ended = await lab.ended(run);
    expect([ended.state, ended.because]).toEqual([
      'discarded',
      'GitLab disowned the job (HTTP 403): it was put back to a state in which this run had not begun',
    ]);
  });

  it('uploads reports as gzip, whatever the job ended with', async () => {
    lab = await RunLab.start({
      '.gitlab-ci.yml': `only:
  script:
    - printf '<testsuite name="a"/>' > a.xml; printf '<testsuite name="b"/>' > b.xml
    - "false"
  artifacts: { when: always, paths: [a.xml], reports: { junit: ["*.xml"] } }
`,
    });
    await lab.agent();
    const run = await lab.begin();
    const ended = await lab.ended(run);
    const trace = await lab.traceAt(run);
    expect(ended.result, trace).toMatchObject({ state: 'failed', exitCode: 1 });
    const artifacts = lab.gitlab.job(run.job)?.artifacts ?? [];
    expect(artifacts.map(({ type, format, filename }) => [type, format, filename])).toEqual([
      ['archive', 'zip', 'artifacts.zip'],
      ['junit', 'gzip', 'junit.xml.gz'],
    ]);
    const { readdirSync, readFileSync, statSync } = await import('node:fs');
    const stored = artifacts[1]?.stored as string;
    const files = readdirSync(join(lab.folder, 'gitlab'), { recursive: true, encoding: 'utf8' });
    const path = join(lab.folder, 'gitlab', files.find((file) => file.endsWith(stored)) as string);
    expect(statSync(path).isFile()).toBe(true);
    expect(
      gunzipSync(readFileSync(path))
        .toString()
        .match(/name="[ab]"/g)
        ?.sort(),
    ).toEqual(['name="a"', 'name="b"']);
  });
});
