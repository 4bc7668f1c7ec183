import { describe, expect, it } from 'vitest';
import { failureReason } from '../../gitlab-bridge/failure-reason.ts';
import { JobPayload, timeoutMsOf } from '../../gitlab-bridge/payload.ts';
import {
  expand,
  jobVariables,
  lateVariables,
  lookUpIn,
  payloadVariables,
  secretsOf,
  shellQuoted,
} from '../../gitlab-bridge/variables.ts';
import { jobEnvironment, jobPaths } from '../../node/executors/job-shell.ts';
import type { LocalRun } from '../../node/ports.ts';
import { executorSpec, factsOf } from '../../node/runs/executor-spec.ts';
import { isUploaded, planSteps, stepLines, unsupported } from '../../node/runs/job-script.ts';
import { type LeaseView, mayContinue, signOfLifeMs } from '../../node/runs/run-lease.ts';
import type { RunOptions } from '../../node/runs/run-options.ts';
import { UploadTime } from '../../node/runs/upload-time.ts';
import type { Run } from '../../protocol/ledger.ts';

const payload = (more: object): JobPayload =>
  JobPayload.parse({
    id: 7,
    token: 'glcbt-token-of-7',
    job_info: { project_id: 1 },
    steps: [{ name: 'script', script: ['true'] }],
    ...more,
  });
const facts = {
  projectDir: '/b/g/p',
  buildsDir: '/b',
  node: 'kang',
  version: '1',
  architecture: 'amd64',
  executor: 'docker',
  slots: { all: 2, project: 1 },
  runnerKey: 'abcdef123',
};

describe('the right to go on (SAFETY J1)', () => {
  const contact = (more: Partial<LeaseView>): LeaseView => ({
    atMs: 100_000,
    leaderAtMs: 99_900,
    gitlabAtMs: 0,
    sinceMs: 0,
    frozenAtMs: null,
    verifyFromMs: null,
    leaderBackAtMs: 0,
    ...more,
  });
  it('needs the leader or GitLab within 2 s', () => {
    expect(mayContinue(contact({})).mayGoOn).toBe(true);
    expect(mayContinue(contact({ leaderAtMs: 97_999 }))).toEqual({
      mayGoOn: false,
      because: 'neither the leader nor GitLab was heard for 2.0 s',
    });
    expect(mayContinue(contact({ leaderAtMs: 0, gitlabAtMs: 98_500 })).mayGoOn).toBe(true);
    expect(mayContinue(contact({ leaderAtMs: Number.NEGATIVE_INFINITY, sinceMs: 99_000 })).mayGoOn).toBe(true);
  });
  it('thaws when GitLab confirmed it, or the leader has been back for a second', () => {
    const frozen = { frozenAtMs: 90_000 };
    expect(mayContinue(contact({ ...frozen, leaderBackAtMs: 99_500 })).mayGoOn).toBe(false);
    expect(mayContinue(contact({ ...frozen, leaderBackAtMs: 98_900 })).mayGoOn).toBe(true);
    expect(mayContinue(contact({ ...frozen, leaderAtMs: 0, gitlabAtMs: 99_999 })).mayGoOn).toBe(true);
    expect(mayContinue(contact({ ...frozen, leaderAtMs: 0, gitlabAtMs: 80_000 })).mayGoOn).toBe(false);
    // Begun just before it was frozen: that is no contact.
    expect(mayContinue(contact({ ...frozen, leaderAtMs: 0, sinceMs: 99_999 })).mayGoOn).toBe(false);
  });
  it('after a restored GitLab only its own answer counts (SAFETY J8)', () => {
    expect(mayContinue(contact({ verifyFromMs: 99_000, gitlabAtMs: 98_999 })).mayGoOn).toBe(false);
    expect(mayContinue(contact({ verifyFromMs: 99_000, gitlabAtMs: 99_001 })).mayGoOn).toBe(true);
  });
  it('asks GitLab twice a second while the leader is silent', () => {
    expect(signOfLifeMs({ atMs: 5000, leaderAtMs: 4500, frozenAtMs: null }, 30_000)).toBe(30_000);
    expect(signOfLifeMs({ atMs: 5000, leaderAtMs: 3900, frozenAtMs: null }, 30_000)).toBe(500);
  });
});

describe('what GitLab sent', () => {
  it('is strict where we act on it and loose elsewhere', () => {
    const bare = payload({ steps: null, variables: null, artifacts: null, image: null, newer: { field: 1 } });
    expect(bare.steps).toEqual([]);
    expect(timeoutMsOf(bare)).toBe(7_200_000);
    expect(JobPayload.safeParse({ id: 7, token: '', job_info: { project_id: 1 } }).success).toBe(false);
    expect(JobPayload.safeParse({ id: '7', token: 'x', job_info: { project_id: 1 } }).success).toBe(false);
  });
  it('keeps the last of each variable, and names those that no shell can hold', () => {
    const { variables, leftOut } = payloadVariables(
      payload({
        variables: [
          { key: 'A', value: '1' },
          { key: 'A', value: '2', file: true },
          { key: 'not.a.name', value: 'x' },
          { key: 'N', value: null },
        ],
      }),
    );
    expect(variables).toEqual([
      { key: 'A', value: '2', file: true },
      { key: 'N', value: '', file: false },
    ]);
    expect(leftOut).toEqual(['not.a.name']);
  });
  it('expands as gitlab-runner does: once, and not by what stands beside it', () => {
    const all = jobVariables(
      payload({
        variables: [
          { key: 'CACHE', value: '$CI_PROJECT_DIR/cache' },
          { key: 'RAW', value: '$CI_PROJECT_DIR $$', raw: true },
          { key: 'PRICE', value: 'cost $$5, 5$ and $OTHER' },
          { key: 'BOTH', value: `$\{CI_PROJECT_DIR}:$PRICE` },
          { key: 'GAP', value: `a$\{NO_SUCH_NAME}b` },
          { key: 'CERT', value: 'in $CI_BUILDS_DIR', file: true },
          { key: 'USES', value: 'path is $CERT' },
          { key: 'CI_SERVER', value: 'mine' },
          { key: 'CI_PROJECT_DIR', value: '/elsewhere' },
          { key: 'UID', value: '$$' },
        ],
        image: { name: 'registry/$CI_SERVER:$NOTHING' },
      }),
      facts,
    );
    const values = Object.fromEntries(all.map(({ key, value }) => [key, value]));
    expect(values).toMatchObject({
      CACHE: '/b/g/p/cache',
      RAW: '$CI_PROJECT_DIR $$',
      PRICE: 'cost $5, 5$ and ',
      BOTH: '/b/g/p:cost $$5, 5$ and $OTHER',
      GAP: 'ab',
      CERT: 'in /b',
      USES: 'path is /b/g/p.tmp/CERT',
      // A job's own value wins, but for where its tree lies.
      CI_SERVER: 'mine',
      CI_PROJECT_DIR: '/b/g/p',
      CI_BUILDS_DIR: '/b',
      CI_JOB_IMAGE: 'registry/mine:',
      CI_CONCURRENT_ID: '2',
      CI_CONCURRENT_PROJECT_ID: '1',
      CI_RUNNER_SHORT_TOKEN: 'abcdef123',
      RUNNER_TEMP_PROJECT_DIR: '/b/g/p.tmp',
    });
    expect(Number(values.CI_RUNNER_VERSION?.split('.')[0])).toBeGreaterThanOrEqual(16);
    // Names and paths mean a file variable's path too; steps set no file, and nothing that bash would refuse.
    expect(lookUpIn(all, '/b/g/p')('CERT')).toBe('/b/g/p.tmp/CERT');
    const late = lateVariables(
      payload({
        variables: [
          { key: 'UID', value: '$$' },
          { key: 'SAME', value: 'x' },
        ],
      }),
      facts,
    );
    expect(late.map(({ key }) => key)).not.toEqual(expect.arrayContaining(['UID']));
    expect(late.map(({ key }) => key)).not.toEqual(expect.arrayContaining(['SAME']));
  });
  it('knows the dollar as Go does', () => {
    const of = (text: string): string => expand(text, (key) => (key === 'B' ? 'b' : null));
    const cases = { $$A: '$A', '${B}': 'b', '$B-$B.': 'b-b.', $C: '', $1x: 'x', '$@': '', a$: 'a$', '$ x': '$ x' };
    for (const [text, right] of Object.entries({
      ...cases,
      '${': '',
      '${}': '',
      '${B-x}': '',
      '$/': '$/',
      '${$}': '$',
    }))
      expect(of(text), text).toBe(right);
  });
  it('gives a job its builds folder, files with what is in them, and its image', () => {
    const job = payload({
      image: { name: 'alpine:$TAG', executor_opts: { docker: { user: '$WHO:5' } } },
      variables: [
        { key: 'WHO', value: 'dev' },
        { key: 'CI_PROJECT_PATH', value: 'a/b/c' },
        { key: 'TAG', value: '3.$MINOR' },
        { key: 'CONF', value: 'dir=$CI_PROJECT_DIR', file: true },
      ],
    });
    const options = {
      nodeName: 'kang',
      version: '1',
      instance: () => ({ uuid: 'u', epoch: 0 }),
      limitsFor: () => ({ cpuMillis: null, memoryBytes: null }),
      gpusByUuid: () => [],
      gitlabUrl: () => 'https://git.lan',
    } as unknown as RunOptions;
    const run = { run: 'r', job: 7, tags: [], gpus: [], class: '', executor: 'docker' } as unknown as Run;
    const factsAt = (place: { projectDir: string; buildsDir?: string }) =>
      factsOf(options, job, run, { all: 0, project: 0 }, place);
    expect(factsAt({ projectDir: '/x/builds/a/b/c' }).buildsDir).toBe('/x/builds');
    const spec = executorSpec({ run } as LocalRun, job, options, factsAt);
    expect([spec.image, spec.imageUser]).toEqual(['alpine:3.', 'dev:5']);
    const paths = jobPaths(spec, '/builds');
    expect(jobEnvironment(spec, paths).files).toEqual([{ name: 'CONF', content: 'dir=/builds/a/b/c' }]);
    const believed = jobVariables(job, { ...factsAt({ projectDir: '/builds/a' }), tlsCa: 'PEM of $HOME' });
    const file = { key: 'CI_SERVER_TLS_CA_FILE', value: 'PEM of $HOME', file: true };
    expect(believed.filter(({ key }) => key === file.key)).toEqual([file]);
    const told = payload({ variables: [{ key: 'GIT_SSL_CAINFO', value: '$CI_SERVER_TLS_CA_FILE' }] });
    expect(jobVariables(told, { ...factsAt({ projectDir: '/builds/a' }), tlsCa: 'PEM' })).toContainEqual({
      ...{ key: 'GIT_SSL_CAINFO', value: '/builds/a.tmp/CI_SERVER_TLS_CA_FILE', file: false },
    });
    expect(jobVariables(job, factsAt({ projectDir: '/builds/a' })).map(({ key }) => key)).not.toContain(file.key);
  });
  it('knows every secret', () => {
    const secrets = secretsOf(
      payload({
        variables: [
          { key: 'P', value: 'pass word/1', masked: true },
          { key: 'Q', value: 'plain' },
        ],
        dependencies: [{ id: 1, token: 'dependency-token' }],
        credentials: [{ password: 'registry-password' }],
      }),
    );
    expect(secrets.sort()).toEqual(
      ['glcbt-token-of-7', 'pass word/1', 'pass%20word%2F1', 'dependency-token', 'registry-password'].sort(),
    );
  });
  it('names what this version cannot do', () => {
    expect(unsupported(payload({}), 'process')).toBeNull();
    const secrets = { A: { vault: {} } };
    expect(unsupported(payload({ secrets, artifacts: [{ artifact_format: 'tarzstd' }] }), 'docker')).toBe(
      'this version of autogit-node does not support secrets: (its script can fetch them by a token of id_tokens:, or a variable of the project has them), artifacts of format tarzstd',
    );
    const variables = [{ key: 'GIT_STRATEGY', value: 'rebase', public: true, masked: false, file: false, raw: false }];
    expect(unsupported(payload({ variables }), 'docker')).toMatch(
      /GIT_STRATEGY: rebase \(there are clone, fetch, none and empty\)$/,
    );
    const hooks = [
      { name: 'pre_get_sources_script', script: ['true'] },
      { name: 'post_everything', script: ['true'] },
    ];
    expect(unsupported(payload({ hooks }), 'docker')).toMatch(/support hooks:post_everything$/);
    const beside = payload({ services: [{ name: 'postgres' }] });
    expect(unsupported(beside, 'docker')).toBeNull();
    expect(unsupported(beside, 'process')).toMatch(/^services need the docker executor.*tag docker/);
  });
});

describe('script and results', () => {
  it('quotes for any shell', () => {
    expect(shellQuoted(`it's $HOME`)).toBe(`'it'\\''s $HOME'`);
  });
  it('says each line before it is done', () => {
    const [step] = planSteps(payload({ steps: [{ name: 'script', script: ["echo 'a'", 'one\ntwo\n'] }] }));
    const lines = stepLines(step as never, [{ key: 'K', value: "v'", file: false }], 'running').join('\n');
    expect(lines).toContain("export K='v'\\'''\n");
    expect(lines).toContain('$ one # collapsed multi-line command');
    expect(lines).toContain('\none\ntwo\n');
  });
  it('gives artifacts the time that is left, not counting that of GitLab away', () => {
    let now = 1000;
    const time = new UploadTime(() => now);
    expect(time.isOver(0, true)).toBe(false);
    time.begin();
    now = 30_999;
    expect([time.isOver(0, true), time.isOver(60_000, true)]).toEqual([false, false]);
    now = 31_000;
    // A job that took all of its time has half a minute all the same; one that ended otherwise has five.
    expect([time.isOver(0, true), time.isOver(60_000, true), time.isOver(0, false)]).toEqual([true, false, false]);
    time.away(true);
    now = 3_600_000;
    expect(time.isOver(0, true)).toBe(false);
    time.away(false);
    expect([time.isOver(0, true), time.isOver(60_000, true)]).toEqual([true, false]);
    now += 29_000;
    expect(time.isOver(60_000, true)).toBe(true);
    now += 241_000;
    expect(time.isOver(0, false)).toBe(true);
  });
  it('uploads by `when`', () => {
    expect(
      [undefined, 'on_success', 'on_failure', 'always'].map((when) => [
        isUploaded(when, true),
        isUploaded(when, false),
      ]),
    ).toEqual([
      [true, false],
      [true, false],
      [false, true],
      [true, true],
    ]);
  });
  it('uses the reasons that this GitLab knows', () => {
    expect(failureReason('image-pull', [])).toBe('runner_system_failure');
    expect(failureReason('image-pull', ['image_pull_failure'])).toBe('image_pull_failure');
    expect(failureReason('configuration', [])).toBe('script_failure');
    expect(failureReason('unknown', [])).toBe('runner_system_failure');
    expect(failureReason('timeout', [])).toBe('job_execution_timeout');
  });
});
