import { describe, expect, it } from 'vitest';
import { failureReason } from '../../gitlab-bridge/failure-reason.ts';
import { JobPayload, timeoutMsOf } from '../../gitlab-bridge/payload.ts';
import { expand, lateVariables, payloadVariables, secretsOf, shellQuoted } from '../../gitlab-bridge/variables.ts';
import { type Contact, rightToGoOn, signOfLifeMs } from '../../node/runs/contact.ts';
import { isUploaded, planSteps, stepLines, unsupported } from '../../node/runs/job-script.ts';

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
};

describe('the right to go on (SAFETY J1)', () => {
  const contact = (more: Partial<Contact>): Contact => ({
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
    expect(rightToGoOn(contact({})).mayGoOn).toBe(true);
    expect(rightToGoOn(contact({ leaderAtMs: 97_999 }))).toEqual({
      mayGoOn: false,
      because: 'neither the leader nor GitLab was heard for 2.0 s',
    });
    expect(rightToGoOn(contact({ leaderAtMs: 0, gitlabAtMs: 98_500 })).mayGoOn).toBe(true);
    expect(rightToGoOn(contact({ leaderAtMs: Number.NEGATIVE_INFINITY, sinceMs: 99_000 })).mayGoOn).toBe(true);
  });
  it('thaws when GitLab confirmed it, or the leader has been back for a second', () => {
    const frozen = { frozenAtMs: 90_000 };
    expect(rightToGoOn(contact({ ...frozen, leaderBackAtMs: 99_500 })).mayGoOn).toBe(false);
    expect(rightToGoOn(contact({ ...frozen, leaderBackAtMs: 98_900 })).mayGoOn).toBe(true);
    expect(rightToGoOn(contact({ ...frozen, leaderAtMs: 0, gitlabAtMs: 99_999 })).mayGoOn).toBe(true);
    expect(rightToGoOn(contact({ ...frozen, leaderAtMs: 0, gitlabAtMs: 80_000 })).mayGoOn).toBe(false);
    // Begun just before it was frozen: that is no contact.
    expect(rightToGoOn(contact({ ...frozen, leaderAtMs: 0, sinceMs: 99_999 })).mayGoOn).toBe(false);
  });
  it('after a restored GitLab only its own answer counts (SAFETY J8)', () => {
    expect(rightToGoOn(contact({ verifyFromMs: 99_000, gitlabAtMs: 98_999 })).mayGoOn).toBe(false);
    expect(rightToGoOn(contact({ verifyFromMs: 99_000, gitlabAtMs: 99_001 })).mayGoOn).toBe(true);
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
  it('expands what refers to the folder that only the node knows, and nothing else', () => {
    const late = lateVariables(
      payload({
        variables: [
          { key: 'CACHE', value: '$CI_PROJECT_DIR/cache' },
          { key: 'RAW', value: '$CI_PROJECT_DIR', raw: true },
          { key: 'PRICE', value: '5$ and $OTHER' },
          { key: 'BOTH', value: `$\{CI_PROJECT_DIR}:$PRICE` },
        ],
      }),
      facts,
    );
    const value = (key: string) => late.find((variable) => variable.key === key)?.value;
    expect([value('CI_PROJECT_DIR'), value('CACHE'), value('RAW'), value('PRICE'), value('BOTH')]).toEqual([
      '/b/g/p',
      '/b/g/p/cache',
      undefined,
      undefined,
      '/b/g/p:5$ and $OTHER',
    ]);
    expect(expand(`$$A $\{B} $C.`, (key) => (key === 'B' ? 'b' : null))).toBe('$A b .');
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
    expect(unsupported(payload({}))).toBeNull();
    expect(unsupported(payload({ services: [{ name: 'postgres' }], artifacts: [{ untracked: true }] }))).toBe(
      'this version of autogit-node does not support services, artifacts:untracked',
    );
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
