import { describe, expect, it } from 'vitest';
import { ignoredOf, oddValues } from '../../gitlab-bridge/job-contract.ts';
import { plannedServices } from '../../gitlab-bridge/job-services.ts';
import { JobPayload, timeoutMsOf } from '../../gitlab-bridge/payload.ts';
import { jobVariables, lateVariables, lookUpIn, secretsOf } from '../../gitlab-bridge/variables.ts';
import { jobEnvironment, jobPaths } from '../../node/executors/job-shell.ts';
import type { LocalRun } from '../../node/ports.ts';
import { executorSpec, factsOf } from '../../node/runs/executor-spec.ts';
import { expandArtifact, planSteps, stepLines, unsupported } from '../../node/runs/job-script.ts';
import type { RunOptions } from '../../node/runs/run-options.ts';
import type { Run } from '../../protocol/ledger.ts';
import type { Chance } from '../sim/chance.ts';
import { fuzzRounds, fuzzTimeoutMs, least } from './fuzz-rounds.ts';

/** A server that lies, in thousands of ways: a payload is refused, or used as it is. Nothing else may come of it. */
const honest = (): unknown => ({
  id: 7,
  token: 'glcbt-token-of-7',
  allow_git_fetch: true,
  job_info: { id: 7, name: 'build', stage: 'test', project_id: 1, project_name: 'p', project_full_path: 'g/p' },
  git_info: {
    repo_url: 'http://gitlab-ci-token:x@h/g/p.git',
    ref: 'main',
    sha: 'a'.repeat(40),
    refspecs: ['+refs/heads/main:refs/remotes/origin/main'],
    depth: 20,
    ref_type: 'branch',
  },
  runner_info: { timeout: 3600, runner_session_url: null },
  inputs: [{ key: 'a', value: { content: 'x', type: 'string' } }],
  variables: [
    { key: 'CI_PROJECT_PATH', value: 'g/p', public: true, file: false, masked: false, raw: false },
    { key: 'SECRET', value: 'pass$$word 12345', public: false, file: false, masked: true, raw: false },
    { key: 'CERT', value: 'at $CI_PROJECT_DIR', public: false, file: true, masked: false },
    { key: 'RUNNER_SCRIPT_TIMEOUT', value: '10m' },
  ],
  steps: [
    { name: 'script', script: ['make', 'make test'], timeout: 3600, when: 'on_success', allow_failure: false },
    { name: 'after_script', script: ['true'], timeout: 3600, when: 'always', allow_failure: true },
  ],
  hooks: [],
  image: {
    name: 'alpine:$TAG',
    entrypoint: ['/bin/sh'],
    pull_policy: ['always'],
    executor_opts: { docker: { user: 'x' } },
  },
  services: [
    {
      name: 'r.lab:5000/g/db:$TAG',
      alias: 'db, two',
      entrypoint: ['/bin/sh'],
      command: ['-c', 'true'],
      variables: [{ key: 'A', value: '$SECRET', public: true, file: false, masked: false, raw: false }],
      pull_policy: ['never'],
      executor_opts: { docker: { user: 'x', platform: 'linux/amd64' } },
      ports: [],
    },
    { name: 'redis' },
  ],
  artifacts: [{ name: '$CI_JOB_NAME', paths: ['out/'], exclude: null, when: 'always', expire_in: '1 day' }],
  cache: [{ key: 'x', policy: 'pull-push', paths: ['c'], fallback_keys: ['y'] }],
  credentials: [{ type: 'registry', url: 'r', username: 'u', password: 'a password' }],
  dependencies: [{ id: 6, name: 'before', token: 'glcbt-before', artifacts_file: { filename: 'a.zip', size: 10 } }],
  run: null,
  features: { trace_sections: true, token_mask_prefixes: ['glpat-'], failure_reasons: ['image_pull_failure'] },
});

const inventions: (() => unknown)[] = [
  () => null,
  () => '',
  () => 0,
  () => -1,
  () => 1.5,
  () => 1e308,
  () => 2 ** 53,
  () => true,
  () => '7',
  () => [],
  () => ({}),
  () => [null],
  () => [[[]]],
  () => '\u0000',
  () => '\ud800 half',
  () => ['$$', '{$}', '$', '{A$B}$(id)`id`\n\r\u001b[2J'].join(''),
  () => `${'$A'.repeat(2000)}`,
  () => 'x'.repeat(70_000),
  () => '__proto__',
  () => 'constructor',
  () => '../../../etc/passwd',
  () => ({ name: '__proto__', key: 'toString', value: {} }),
];

/** Changes one or more places of the payload, wherever they are. */
function mutate(payload: unknown, chance: Chance): unknown {
  const places: { of: Record<string, unknown>; key: string }[] = [];
  const walk = (value: unknown): void => {
    if (value === null || typeof value !== 'object') return;
    for (const key of Object.keys(value)) {
      places.push({ of: value as Record<string, unknown>, key });
      walk((value as Record<string, unknown>)[key]);
    }
  };
  walk(payload);
  const pick = <T>(from: readonly T[]): T => chance.pick(from);
  for (let changes = 1 + chance.below(3); changes > 0; changes--) {
    const { of, key } = pick(places);
    const kind = chance.next();
    if (kind < 0.65) of[key] = pick(inventions)();
    else if (kind < 0.8) delete of[key];
    else if (kind < 0.9) of[pick(['__proto__x', 'constructor', 'newer', 'value', 'name'])] = pick(inventions)();
    else of[key] = pick(places).of;
  }
  return payload;
}

/** What was read must be what was sent: but for the defaults of null and nothing. */
function expectSame(read: unknown, sent: unknown, path: string): void {
  if (sent === null || sent === undefined) {
    const isDefault = read === null || read === undefined || read === '' || (Array.isArray(read) && read.length === 0);
    if (!isDefault) throw new Error(`${path}: ${JSON.stringify(read)} out of nothing`);
    return;
  }
  if (typeof sent !== 'object') {
    if (!Object.is(read, sent))
      throw new Error(`${path}: ${String(sent).slice(0, 50)} became ${String(read).slice(0, 50)}`);
    return;
  }
  for (const key of Object.keys(sent))
    expectSame((read as Record<string, unknown>)[key], (sent as Record<string, unknown>)[key], `${path}.${key}`);
}

const options = {
  nodeName: 'kang',
  version: '1',
  instance: () => ({ uuid: 'u', epoch: 0 }),
  gitlabUrl: () => null,
  limitsFor: () => ({ cpuMillis: null, memoryBytes: null }),
  gpusByUuid: () => [],
} as unknown as RunOptions;
const run = { run: 'r', job: 7, tags: [], gpus: [], class: 'c', executor: 'docker' } as unknown as Run;

/** Everything that the node makes of a payload before a process is begun. */
function use(payload: JobPayload): void {
  const factsAt = (place: { projectDir: string; buildsDir?: string }) =>
    factsOf(options, payload, run, { all: 0, project: 0 }, place);
  const spec = executorSpec({ run } as LocalRun, payload, options, factsAt);
  const paths = jobPaths(spec, '/builds');
  if (!/^\/builds\/[^\0]+$/.test(paths.projectDir) || paths.projectDir.includes('..'))
    throw new Error(paths.projectDir);
  jobEnvironment(spec, paths);
  const facts = factsAt(paths);
  const lookUp = lookUpIn(jobVariables(payload, facts), paths.projectDir);
  const late = lateVariables(payload, facts);
  for (const step of planSteps(payload)) {
    if (step.limitMs !== null && !(step.limitMs > 0)) throw new Error(`a limit of ${step.limitMs}`);
    stepLines(step, late, 'running');
  }
  for (const artifact of payload.artifacts) expandArtifact(artifact, lookUp);
  if (!(timeoutMsOf(payload) > 0)) throw new Error(`a timeout of ${timeoutMsOf(payload)}`);
  for (const secret of secretsOf(payload)) if (secret === '') throw new Error('an empty secret');
  for (const name of ignoredOf(payload)) if (!/^[\x20-\x7e]+$/.test(name)) throw new Error(`a trace with ${name}`);
  unsupported(payload, 'docker');
  unsupported(payload, 'process');
  const planned = plannedServices(payload, jobVariables(payload, facts), lookUp);
  for (const { aliases } of planned.services) if (aliases.length === 0) throw new Error('a service without a name');
  oddValues(payload);
}

describe('payloads of a server that lies', () => {
  it('the honest one is used as it is', () => {
    const read = JobPayload.parse(honest());
    expectSame(read, honest(), '');
    use(read);
    expect(ignoredOf(read)).toEqual(expect.arrayContaining(['inputs']));
    expect(unsupported(read, 'docker')).toBeNull();
  });

  it(
    'payloads: refused, or read as they were sent and used without a throw',
    async () => {
      let taken = 0;
      let refused = 0;
      await fuzzRounds('payloads', 8, (chance) => {
        const sent = mutate(honest(), chance);
        let text: string;
        try {
          text = JSON.stringify(sent);
        } catch {
          return; // A mutation made a ring of it, which no JSON can be.
        }
        const json = JSON.parse(text) as unknown;
        const read = JobPayload.safeParse(json);
        try {
          if (!read.success) refused++;
          else {
            taken++;
            expectSame(read.data, json, '');
            use(read.data);
          }
        } catch (error) {
          throw new Error(`${(error as Error).message}\n${text.slice(0, 3000)}`, { cause: error });
        }
      });
      expect(Math.min(taken, refused)).toBeGreaterThanOrEqual(least(100));
    },
    fuzzTimeoutMs(8),
  );
});
