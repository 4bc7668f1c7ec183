import { afterEach, describe, expect, it } from 'vitest';
import type { Workspace } from '../../node/ports.ts';
import type { Run } from '../../protocol/ledger.ts';
import { plainText, RunLab, until } from './run-lab.ts';
import { placesWith, removal } from './stand-in.ts';

/** What a job asks of its runner is done (official-runner F3, F7-F11, F14, F15, F17, F24). */
let lab: RunLab;
afterEach(() => lab.stop());

/** Runs all jobs of the pipeline at once; answers each one's result and trace by name. */
async function runAll(ci: string, count: number): Promise<Map<string, { run: Run; text: string }>> {
  lab = await RunLab.start({ '.gitlab-ci.yml': ci, file: 'x' });
  await lab.agent();
  const runs: Run[] = [];
  for (let i = 0; i < count; i++) runs.push(await lab.begin());
  const ends = await Promise.all(runs.map((run) => lab.ended(run)));
  const all = new Map<string, { run: Run; text: string }>();
  for (const run of ends) all.set(run.name, { run, text: plainText(await lab.traceAt(run)) });
  return all;
}

describe('what a job asks of its runner', () => {
  it('variables, places, limits, checks', async () => {
    const ci = `
values:
  variables: { PRICE: "cost $$5", GAP: "a\${NO_SUCH_NAME}b", HERE: "$CI_PROJECT_DIR/x", GIT_SUBMODULE_STRATEGY: recursive }
  script:
    - 'echo "values: $PRICE $GAP"; [ "$HERE" = "$PWD/x" ] && echo "place right"'
    - '[ "$CI_PROJECT_DIR" = "$CI_BUILDS_DIR/$CI_PROJECT_PATH" ] && echo "builds right"'
    - '[ -n "$CI_RUNNER_SHORT_TOKEN" ] && [ -n "$CI_RUNNER_REVISION" ] && [ -d "$RUNNER_TEMP_PROJECT_DIR" ] && echo "names right"'
    - 'echo "A=b c" >> $GITLAB_ENV; echo "BAD-NAME=1" >> $GITLAB_ENV; echo "P=$(id)" >> $GITLAB_ENV; printf "no newline"'
  after_script: ['echo "after: $A, line of ours: [$AUTOGIT_LINE]"']
cached:
  cache: { key: k, paths: [c], fallback_keys: [other] }
  variables: { OPT: "-d", CMD: "ls $OPT $$HOME", B: "$CI_PROJECT_DIR x\${NOT_SET}y $$5" }
  script: ['[ "$CMD" = "ls -d \\$HOME" ]', '[ "$B" = "$CI_PROJECT_DIR xy \\$5" ]']
limit:
  variables: { RUNNER_SCRIPT_TIMEOUT: 1s, RUNNER_AFTER_SCRIPT_TIMEOUT: 1s }
  script: ["sleep 60"]
  after_script: ['echo "status $CI_JOB_STATUS"', "sleep 60"]
checked: { variables: { FF_ENABLE_BASH_EXIT_CODE_CHECK: "1" }, script: ["set +e", 'env | grep ^FF_', "false", "echo never"] }
cleanup: { variables: { AFTER_SCRIPT_IGNORE_ERRORS: "false" }, script: ["true"], after_script: ["exit 9"] }
traced: { variables: { CI_DEBUG_TRACE: "true" }, script: ['X="$CI_JOB_TOKEN"; echo seen'] }
bare:
  variables: { GIT_CHECKOUT: "false", GIT_CLONE_PATH: "$CI_BUILDS_DIR/other", FF_SCRIPT_SECTIONS: "true", RUNNER_SCRIPT_TIMEOUT: soon }
  script: ["test ! -e file && git cat-file -e $CI_COMMIT_SHA && echo bare"]
`;
    const all = await runAll(ci, 7);
    const { run: values, text } = all.get('values') as { run: Run; text: string };
    expect(values.result, text).toMatchObject({ state: 'success' });
    expect(text).toContain('values: cost $5 ab\n');
    for (const what of ['place right', 'builds right', 'names right']) expect(text).toContain(`${what}\n`);
    expect(text).toContain('after: b c, line of ours: []\n');
    // The section's end stands on a line of its own, as in gitlab-runner's log.
    expect(await lab.traceAt(values)).toMatch(/no newline\nsection_end:/);

    // In every spelling of it: GitLab must not drop the job for one.
    const cached = all.get('cached');
    expect(cached?.run.result, cached?.text).toMatchObject({ state: 'success' });
    expect(cached?.text).toContain('Checking cache for other-protected...\nWARNING: Cache file does not exist\n');
    const limit = all.get('limit');
    expect(limit?.run.result, limit?.text).toMatchObject({ state: 'failed', reason: 'job_execution_timeout' });
    expect(limit?.text).toContain('status timedout\n');
    expect(limit?.text).toContain(
      'after_script failed, but job will continue unaffected: it ran longer than its limit',
    );
    expect(all.get('checked')?.run.result, all.get('checked')?.text).toMatchObject({ state: 'failed', exitCode: 1 });
    expect(all.get('checked')?.text).not.toContain('\nnever\n');
    // A switch that the job sets is a variable of its environment like any other.
    expect(all.get('checked')?.text).toContain('\nFF_ENABLE_BASH_EXIT_CODE_CHECK=1\n');
    expect(all.get('cleanup')?.run.result, all.get('cleanup')?.text).toMatchObject({ state: 'failed', exitCode: 9 });
    expect(all.get('traced')?.text).toContain('+ echo seen\n');
    expect(all.get('traced')?.text).toContain('[MASKED]');
    expect(all.get('bare')?.run.result, all.get('bare')?.text).toMatchObject({ state: 'success' });
    expect(all.get('bare')?.text).toContain('not supported by this version and ignored: FF_SCRIPT_SECTIONS\n');
    expect(all.get('bare')?.text).toContain(
      'neither true, false nor a time as in 1h30m, and ignored: RUNNER_SCRIPT_TIMEOUT\n',
    );
  });

  it('numbers of those that run at the same time: the least free one, kept over a restart of the agent', async () => {
    const step =
      'script: ["echo id $CI_CONCURRENT_ID $CI_CONCURRENT_PROJECT_ID; until [ -e /tmp/GATE ]; do sleep 0.05; done; echo still"]';
    lab = new RunLab();
    const gate = `${lab.folder}/gate`;
    const ci = ['a', 'b', 'c'].map(
      (name) =>
        `${name}: { ${step.replace('/tmp/GATE', `${gate}-${name}`)}, after_script: ['echo after $CI_CONCURRENT_ID'] }`,
    );
    lab = await RunLab.start({ '.gitlab-ci.yml': ci.join('\n') });
    await lab.agent();
    const { writeFileSync } = await import('node:fs');
    const says = async (run: Run, what: string): Promise<string> =>
      until(`${what} of ${run.name}`, async () => (await lab.traceHere(run)).includes(what) && what);
    const first = await lab.begin();
    const second = await lab.begin();
    await says(first, 'id 0 0\n');
    await says(second, 'id 1 1\n');
    await lab.stopAgent();
    await lab.agent();
    writeFileSync(`${gate}-${first.name}`, '');
    await lab.ended(first);
    const third = await lab.begin();
    await says(third, 'id 0 0\n');
    for (const run of [second, third]) writeFileSync(`${gate}-${run.name}`, '');
    await Promise.all([lab.ended(second), lab.ended(third)]);
    expect(plainText(await lab.traceAt(second))).toContain('after 1\n');
  });
});

describe('a job that is cancelled', () => {
  it('hands in the artifacts that it owes whatever its end', async () => {
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
only:
  script: ["echo log > out.txt", "echo begun", "sleep 600"]
  artifacts: { when: always, paths: [out.txt] }
`,
    });
    await lab.agent();
    lab.leaderAt = () => lab.clock.bootMs() - 1500;
    const run = await lab.begin();
    await until('the script', async () => (await lab.traceHere(run)).includes('\nbegun\n'));
    await lab.admin.cancelJob(lab.projectId, run.job);
    const ended = await lab.ended(run);
    const text = plainText(await lab.traceAt(run));
    expect(ended.result, text).toMatchObject({ state: 'canceled' });
    expect(lab.gitlab.job(run.job)).toMatchObject({ status: 'canceled' });
    expect(text).toContain('Uploading artifacts as "archive" to coordinator... 201 Created\n');
  });

  it('while after_script runs, lets it end, and never says that the job succeeded', async () => {
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
only:
  script: ["true"]
  after_script: ["echo giving back", "sleep 2", "echo given back"]
`,
    });
    await lab.agent();
    lab.leaderAt = () => lab.clock.bootMs() - 1500;
    const run = await lab.begin();
    await until('after_script', async () => (await lab.traceHere(run)).includes('\ngiving back\n'));
    await lab.admin.cancelJob(lab.projectId, run.job);
    const ended = await lab.ended(run);
    const text = plainText(await lab.traceAt(run));
    expect(text).toContain('\ngiven back\n');
    expect(text).not.toContain('Job succeeded');
    expect(ended.result, text).toMatchObject({ state: 'canceled' });
    expect(lab.gitlab.job(run.job)).toMatchObject({ status: 'canceled' });
  });
});

describe('a phase that does not end', () => {
  it('be it an upload whose tree is never read: a cancel ends it, and its place goes', async () => {
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
collects: { script: ["echo x > out.txt"], timeout: 30s, artifacts: { paths: [out.txt] } }
`,
    });
    let isRemoved = false;
    lab.executor = placesWith(lab.executor, (made) => ({
      // A tree that is never read to its end, whatever one tells it.
      listFiles: () => new Promise<never>(() => undefined),
      remove: removal(made, {
        before: () => {
          isRemoved = true;
        },
      }),
    }));
    await lab.agent();
    lab.leaderAt = () => lab.clock.bootMs() - 1500;
    const run = await lab.begin();
    await until('the upload', async () => (await lab.traceHere(run)).includes('Uploading artifacts...\n'));
    const at = Date.now();
    await lab.admin.cancelJob(lab.projectId, run.job);
    const ended = await lab.ended(run);
    const text = plainText(await lab.traceAt(run));
    expect(ended.result, text).toMatchObject({ state: 'canceled' });
    expect(Date.now() - at).toBeLessThan(10_000);
    await until('the place', () => isRemoved);
  });

  it('be it a place that is never made: cancelled, the run ends, and what comes of it later is removed', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { script: ["true"] }\n' });
    let release: () => void = () => undefined;
    let isRemoved = false;
    const released = () =>
      new Promise<void>((resolve) => {
        release = resolve;
      });
    const others = (made: Workspace) => ({
      remove: removal(made, {
        after: () => {
          isRemoved = true;
        },
      }),
    });
    lab.executor = placesWith(lab.executor, others, released);
    await lab.agent();
    lab.leaderAt = () => lab.clock.bootMs() - 1500;
    const run = await lab.begin();
    await until('the executor', async () => (await lab.traceHere(run)).includes('Preparing the "process"'));
    await lab.admin.cancelJob(lab.projectId, run.job);
    expect((await lab.ended(run)).result).toMatchObject({ state: 'canceled' });
    expect(plainText(await lab.traceAt(run))).toContain(
      'preparing the job did not end within 10 s and was abandoned\n',
    );
    const length = (await lab.traceHere(run)).length;
    release();
    await until('the clean-up', () => isRemoved);
    expect((await lab.traceHere(run)).length).toBe(length);
  });
});
